package vkbert

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// parallel calls each(i) for n texts, on all processors where there are many, and returns the error of the first text in order that fails. When ctx ends it returns
// at once: the texts at hand, of which one may take seconds if it is megabytes long, are finished behind it, so that each must not touch what the caller gets
// back. To be called within a call of m.
func (m *Model) parallel(ctx context.Context, n int, each func(i int) error) error {
	const share = 16 // texts that make another goroutine worth while
	var next, left atomic.Int64
	var mutex sync.Mutex
	var failed error
	at := n
	done := make(chan struct{})
	work := func() {
		defer m.calls.leave()
		for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
			if err := each(i); err != nil {
				mutex.Lock()
				if i < at {
					if failed, at = err, i; !errors.As(err, new(*TooLongError)) { // which names the text
						failed = fmt.Errorf("text %d: %w", i, err)
					}
				}
				mutex.Unlock()
				next.Store(int64(n))
			}
		}
		if left.Add(-1) == 0 {
			close(done)
		}
	}
	workers := min(runtime.GOMAXPROCS(0), (n+share-1)/share)
	left.Store(int64(workers))
	for range workers {
		m.calls.fork()
		go work()
	}
	select {
	case <-done:
		if failed == nil {
			failed = ctx.Err()
		}
		return failed
	case <-ctx.Done():
		return ctx.Err()
	}
}
