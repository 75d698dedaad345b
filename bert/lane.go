package bert

import (
	"time"

	"github.com/vkbert/vkbert/cgo"
)

// An executor runs batches on one device and waits for them. Its Do is called by as many goroutines at a time as the lane was given. *[cgo.Program] is one.
type executor interface {
	Do(*cgo.Work) error
}

// A lane takes batches from the queue to an executor, up to a few at a time, so that packing, upload, compute, read-back and delivery overlap.
type lane struct {
	queue    *queue
	executor executor
	halves   bool // it has one batch at a time, and speed does not depend on large ones

	// Below the queue's mutex.
	budget  *budget
	free    []*batch
	timer   *time.Timer
	held    bool          // a goroutine waits for the timer
	running int           // batches
	began   time.Time     // when running became more than 0
	ended   time.Time     // when the last batch ended
	due     time.Time     // when all that run are expected to have ended
	last    time.Duration // what the batch that was packed last is expected to take
}

// batchesAtOnce is how many batches a device gets at a time: a GPU computes one while it takes the input of the next; the CPU backend has all processors at work on one.
func batchesAtOnce(kind cgo.DeviceKind) int {
	switch kind {
	case cgo.Discrete, cgo.Integrated, cgo.Virtual:
		return 2
	}
	return 1
}

// addLane starts a lane of so many batches at a time.
func (q *queue) addLane(e executor, depth int, b *budget) error {
	l := &lane{queue: q, executor: e, budget: b, halves: depth == 1}
	l.timer = time.AfterFunc(time.Hour, func() {
		q.mutex.Lock() // so that a goroutine that is about to wait does wait
		q.wake.Broadcast()
		q.mutex.Unlock()
	})
	l.timer.Stop()
	rows := q.maxSequences
	if q.output.Scope == cgo.PerToken {
		rows = q.maxTokens
	}
	batches := make([]*batch, depth)
	for i := range batches {
		var err error
		if batches[i], err = newBatch(q.maxTokens, q.maxSequences, rows*int(q.output.Width)); err != nil {
			for _, b := range batches[:i] {
				b.work.Close()
			}
			return err
		}
	}
	l.free = batches
	q.mutex.Lock()
	q.lanes = append(q.lanes, l)
	q.mutex.Unlock()
	q.ended.Add(depth)
	for range depth {
		go l.loop()
	}
	return nil
}

// loop runs one batch at a time.
func (l *lane) loop() {
	q := l.queue
	defer q.ended.Done()
	q.mutex.Lock()
	defer q.mutex.Unlock()
	for {
		switch {
		case q.short.len()+q.long.len() > 0 && len(l.free) > 0:
			if wait := l.hold(time.Now()); wait > 0 {
				l.timer.Reset(wait)
				l.held = true
				q.wake.Wait()
				l.held = false
			} else {
				l.once()
			}
		case q.closed && q.open == 0 && len(l.free) > 0: // a batch for each goroutine, when a call that runs one itself is done with it
			l.timer.Stop()
			n := len(l.free)
			l.free[n-1].work.Close()
			l.free = l.free[:n-1]
			return
		default:
			q.wake.Wait()
		}
	}
}

// hold says how long the next batch is held back: while another runs, until shortly before it ends, so that a call that comes meanwhile is not behind two
// batches and small calls collect. Where there is enough for a full batch, shortly is more than timers are late by, which may be a millisecond, so that the
// device does not run dry.
func (l *lane) hold(now time.Time) time.Duration {
	if l.running == 0 {
		return 0
	}
	const least, most = 200 * time.Microsecond, 3 * time.Millisecond
	early := min(max(l.last/4, least), most)
	if l.full() {
		early = most
	}
	return l.due.Sub(now) - early
}

// full says whether there is enough for a full batch.
func (l *lane) full() bool { return l.queue.stats.QueuedTokens >= l.budget.tokens() }

// brief says whether so many tokens are known to take so little time that a call need not be able to end before its batch does. (Where the device hangs just then,
// the call ends when that is noticed.)
func (l *lane) brief(tokens int) bool {
	const most = 2 * time.Millisecond
	took := l.budget.estimate(tokens)
	if r, ok := l.executor.(interface{ rebuilding() bool }); ok && r.rebuilding() {
		return false
	}
	return took > 0 && took <= most
}

// once packs a batch and runs it. The mutex is held before and after, not meanwhile.
func (l *lane) once() {
	q := l.queue
	b := l.free[len(l.free)-1]
	l.free = l.free[:len(l.free)-1]
	start := time.Now()
	q.pack(b, l.budget.target(q.stats.QueuedTokens), l.halves && l.budget.known())
	if len(b.owners) == 0 { // all that waited was cancelled
		l.free = append(l.free, b)
		return
	}
	if l.running++; l.running == 1 {
		l.began = start
	}
	if l.due.Before(start) {
		l.due = start
	}
	l.last = l.budget.estimate(b.tokens)
	l.due = l.due.Add(l.last)
	if q.short.len()+q.long.len() > 0 {
		q.signal() // the next batch may be prepared
	}
	q.mutex.Unlock()

	ready := time.Now()
	err := l.executor.Do(b.work)
	end := time.Now()

	q.mutex.Lock()
	q.stats.Packing += ready.Sub(start)
	q.stats.Computing += end.Sub(ready)
	if l.running--; l.running == 0 {
		q.stats.Busy += end.Sub(l.began)
		l.due = end // whatever was expected
	}
	from := ready
	if from.Before(l.ended) {
		from = l.ended // it stood behind another
	}
	l.ended = end
	var decided *budgetFile
	if err == nil && l.budget.observe(b.tokens, end.Sub(from)) {
		decided = l.budget.file()
	}
	if q.short.len()+q.long.len() > 0 {
		q.signal()
	}
	q.mutex.Unlock()
	if decided != nil {
		decided.store(l.budget.path)
	}
	q.deliver(b, err)
	q.mutex.Lock()
	l.free = append(l.free, b)
	if q.short.len()+q.long.len() > 0 || q.closed {
		q.signal()
	}
}
