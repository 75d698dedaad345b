package vkbert

import "sync"

// calls counts the calls under way, so that Close can wait for them. The zero value is open.
type calls struct {
	mutex   sync.Mutex
	closed  bool
	running sync.WaitGroup
}

// enter begins a call; [ErrClosed] once close was called. leave ends it.
func (c *calls) enter() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.running.Add(1)
	return nil
}

func (c *calls) leave() { c.running.Done() }

// fork counts what goes on behind a call that may return before it; to be called within a call.
func (c *calls) fork() { c.running.Add(1) }

// close refuses new calls and waits for those under way.
func (c *calls) close() {
	c.mutex.Lock()
	c.closed = true
	c.mutex.Unlock()
	c.running.Wait()
}
