package bert

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// Sequence is one tokenized text.
type Sequence struct {
	IDs       []int32
	TypeIDs   []int32 // as long as IDs, or nil: zeros
	PoolStart int     // tokens at the start that pooling leaves out (a prompt, where the model says so)
}

// A queue packs the sequences of all waiting calls into batches, up to a number of tokens and of sequences. While a device is idle, what is handed in starts at
// once; while it is busy, calls collect and share the next batch. Small calls go first come, first served, and leave a quarter of each batch to the large
// ones, which take turns. Safe for any number of goroutines.
//
// Any number of lanes, which are devices, pull from it.
type queue struct {
	output       cgo.Value                    // of the programs
	positions    func(ids, positions []int32) // nil: 0, 1, 2, …
	check        func(*Sequence) error        // makes one ready, or refuses it; nil: all are good
	maxTokens    int                          // of a batch
	maxSequences int
	maxQueued    int // tokens that wait, over all calls
	promised     int // tokens of those that left the line and are about to be handed in

	mutex  sync.Mutex
	wake   *sync.Cond // lanes that have nothing to do
	short  calls      // with sequences to pack
	long   calls
	owed   bool      // the last batch had no room for what the long call whose turn it is has next
	beside int       // batches that long calls still fill half, because a short one came
	line   []*waiter // for room
	lanes  []*lane
	open   int // calls that are not done
	closed bool
	ended  sync.WaitGroup // the lanes' goroutines

	stats Stats
}

// waiter is a goroutine that waits for room for so many tokens.
type waiter struct {
	call   *Call
	tokens int
	room   chan struct{} // closed when they may be handed in
	let    bool          // it is closed
}

func newQueue(output cgo.Value, positions func(ids, positions []int32), maxTokens, maxSequences, maxQueued int) *queue {
	if maxQueued <= 0 {
		maxQueued = 64 * maxTokens
	}
	q := &queue{output: output, positions: positions, maxTokens: maxTokens, maxSequences: maxSequences, maxQueued: max(maxQueued, maxTokens)}
	q.wake = sync.NewCond(&q.mutex)
	return q
}

// A Call is sequences whose vectors are wanted together; they may be handed in piece by piece.
type Call struct {
	queue   *queue
	ctx     context.Context
	results [][]float32   // a sequence each: width values, or width values a token; the lanes write it until the call is over
	done    chan struct{} // gets one value when the call is over

	// Below the queue's mutex.
	pieces   []piece  // in order; those that are packed completely are gone
	one      [1]piece // the room for most calls' pieces
	waiting  int      // their tokens that are not packed
	promised int      // tokens of those that left the line and are about to be handed in
	left     int      // sequences without a result
	long     bool     // takes turns
	listed   bool     // in short or long
	over     bool
	err      error
}

// piece is some of a call's sequences.
type piece struct {
	seqs    []Sequence
	first   int    // the index of seqs[0] in the call
	next    int    // the first that is not packed
	release func() // called when the queue does not need seqs any more; may be nil
	since   time.Time
}

// longCall is how many batches' worth of tokens makes a call a long one, if it has more than one sequence.
const longCall = 0.25

// windowBatches is how many batches a call may have waiting: one to be packed while another is handed in.
const windowBatches = 2

// begin starts a long call of count sequences, which are handed in with [Call.add].
func (q *queue) begin(ctx context.Context, count int) (*Call, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	q.mutex.Lock()
	defer q.mutex.Unlock()
	return q.start(ctx, count, true)
}

// start starts a call, with the mutex held.
func (q *queue) start(ctx context.Context, count int, long bool) (*Call, error) {
	if q.closed {
		return nil, loader.ErrClosed
	}
	q.open++
	c := spare.Get().(*Call)
	*c = Call{queue: q, ctx: ctx, results: make([][]float32, count), left: count, long: long, done: c.done}
	c.pieces = c.one[:0]
	return c, nil
}

// spare are calls that ended well, which no batch knows any more.
var spare = sync.Pool{New: func() any { return &Call{done: make(chan struct{}, 1)} }}

// add hands in the sequences from the index first on. It waits while too many tokens wait already. release is called when the queue does not read seqs any more.
func (c *Call) add(first int, seqs []Sequence, release func()) error {
	tokens := tokensOf(seqs)
	q := c.queue
	q.mutex.Lock()
	if !c.over && (len(q.line) > 0 && !q.ahead(c) || !q.room(c, tokens)) {
		w := &waiter{call: c, tokens: tokens, room: make(chan struct{})}
		q.line = append(q.line, w)
		q.mutex.Unlock()
		select {
		case <-w.room:
		case <-c.ctx.Done():
		}
		q.mutex.Lock()
		if w.let {
			q.promised -= w.tokens
			c.promised -= w.tokens
		} else {
			q.leave(w)
		}
	}
	defer q.mutex.Unlock()
	if c.over || c.ctx.Err() != nil {
		if release != nil {
			release()
		}
		q.admit() // to the room that it leaves
		if c.over {
			return c.err
		}
		return c.ctx.Err()
	}
	q.put(c, piece{seqs: seqs, first: first, release: release, since: time.Now()}, tokens)
	q.signal()
	return nil
}

// addChecked is add after the sequences have been made ready; one that is refused ends the call. The first of them is number `number` of the caller's.
func (c *Call) addChecked(number, first int, seqs []Sequence, release func()) error {
	if err := c.queue.checkAll(number, seqs); err != nil {
		if release != nil {
			release()
		}
		return c.fail(err)
	}
	return c.add(first, seqs, release)
}

// put appends a piece of so many tokens.
func (q *queue) put(c *Call, p piece, tokens int) {
	c.pieces = append(c.pieces, p)
	c.waiting += tokens
	q.stats.QueuedTokens += tokens
	if c.listed {
		return
	}
	c.listed = true
	c.long = c.long || len(c.results) > 1 && float64(c.waiting) > longCall*float64(q.target())
	q.list(c).add(c)
}

func (q *queue) list(c *Call) *calls {
	if c.long {
		return &q.long
	}
	return &q.short
}

// ahead says that a call need not stand in line: those in front of it wait for their own windows alone.
func (q *queue) ahead(c *Call) bool {
	for _, w := range q.line {
		if w.call == c || q.queued()+w.tokens > q.maxQueued {
			return false
		}
	}
	return true
}

// room says whether a call may hand in so many tokens.
func (q *queue) room(c *Call, tokens int) bool {
	waiting := c.waiting + c.promised
	return (waiting == 0 || waiting+tokens <= windowBatches*q.maxTokens) && (q.queued() == 0 || q.queued()+tokens <= q.maxQueued)
}

func (q *queue) queued() int { return q.stats.QueuedTokens + q.promised }

// admit lets those in line hand in for whom there is room: the bound on all is kept first come, first served, that of a call's own window holds up that call alone.
func (q *queue) admit() {
	stay := q.line[:0]
	full := false
	for _, w := range q.line {
		if w.call.over {
			w.tokens = 0 // nothing will be handed in
		}
		full = full || w.tokens > 0 && q.queued() > 0 && q.queued()+w.tokens > q.maxQueued
		if w.call.over || !full && q.room(w.call, w.tokens) {
			w.let = true
			q.promised += w.tokens
			w.call.promised += w.tokens
			close(w.room)
		} else {
			stay = append(stay, w)
		}
	}
	clear(q.line[len(stay):])
	q.line = stay
}

func (q *queue) leave(w *waiter) {
	for i, other := range q.line {
		if other == w {
			q.line = append(q.line[:i], q.line[i+1:]...)
			return
		}
	}
}

// signal wakes a lane that may take what waits.
func (q *queue) signal() {
	for _, l := range q.lanes {
		if len(l.free) > 0 && (!l.held || l.running == 0 || l.full()) { // the timer is for the end of what runs
			q.wake.Broadcast()
			return
		}
	}
}

// wait waits for the vectors of all sequences, or for the end of the context, after which nothing that was handed in is read.
func (c *Call) wait() ([][]float32, error) {
	select {
	case <-c.done:
	case <-c.ctx.Done():
		c.fail(c.ctx.Err()) //nolint:errcheck // c has it, or ended well just before
		<-c.done
	}
	if c.err != nil {
		return nil, c.err
	}
	results := c.results
	*c = Call{done: c.done}
	spare.Put(c)
	return results, nil
}

// fail ends a call that is not over yet, and returns the error that it has then.
func (c *Call) fail(err error) error {
	q := c.queue
	q.mutex.Lock()
	defer q.mutex.Unlock()
	q.finish(c, err)
	return c.err
}

// finish ends a call: what it still has waiting is taken out.
func (q *queue) finish(c *Call, err error) {
	if c.over {
		return
	}
	c.over = true
	c.err = err
	if c.listed {
		q.list(c).remove(c)
		c.listed = false
	}
	for _, p := range c.pieces {
		if p.release != nil {
			p.release()
		}
	}
	c.pieces = nil
	q.stats.QueuedTokens -= c.waiting
	c.waiting = 0
	q.open--
	c.done <- struct{}{}
	if len(q.line) > 0 {
		q.admit()
	}
	if q.closed && q.open == 0 {
		q.wake.Broadcast()
	}
}

func tokensOf(seqs []Sequence) int {
	tokens := 0
	for _, s := range seqs {
		tokens += len(s.IDs)
	}
	return tokens
}

// checkAll makes sequences ready, the first of which is number first of the caller's.
func (q *queue) checkAll(first int, seqs []Sequence) error {
	for i := range seqs {
		if q.check == nil {
			return nil
		}
		if err := q.check(&seqs[i]); err != nil {
			return fmt.Errorf("text %d: %w", first+i, err)
		}
	}
	return nil
}

// run hands sequences in and waits for their vectors; the first of them is number first of the caller's.
func (q *queue) run(ctx context.Context, first int, seqs []Sequence) ([][]float32, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if tokensOf(seqs) > q.maxTokens || len(seqs) > q.maxSequences {
		return q.runPieces(ctx, first, seqs)
	}
	if err := q.checkAll(first, seqs); err != nil {
		return nil, err
	}
	total := tokensOf(seqs)
	q.mutex.Lock()
	c, err := q.start(ctx, len(seqs), false)
	if err != nil {
		q.mutex.Unlock()
		return nil, err
	}
	// A call that cannot be cancelled, or would be over before that is noticed, need not change goroutines, which takes some microseconds.
	if l := q.idle(total); l != nil && (ctx.Done() == nil || l.brief(total)) {
		q.put(c, piece{seqs: seqs, since: time.Now()}, total)
		l.once()
		q.mutex.Unlock()
		return c.wait()
	}
	q.mutex.Unlock()
	c.add(0, seqs, nil) //nolint:errcheck // wait says why
	return c.wait()
}

// runPieces is run for more than a batch: the device begins with the first when the others are still to be looked at.
func (q *queue) runPieces(ctx context.Context, number int, seqs []Sequence) ([][]float32, error) {
	c, err := q.begin(ctx, len(seqs))
	if err != nil {
		return nil, err
	}
	for first := 0; first < len(seqs); { // at most a batch at a time
		end, tokens := first, 0
		for end < len(seqs) && (end == first || tokens+len(seqs[end].IDs) <= q.maxTokens) {
			tokens += len(seqs[end].IDs)
			end++
		}
		if err := c.addChecked(number+first, first, seqs[first:end], nil); err != nil {
			break // wait says why
		}
		first = end
	}
	return c.wait()
}

// idle returns a lane that can do so many tokens at once, if nothing waits.
func (q *queue) idle(tokens int) *lane {
	if q.short.len()+q.long.len() > 0 || len(q.line) > 0 {
		return nil
	}
	for _, l := range q.lanes {
		if l.running == 0 && len(l.free) > 0 && tokens <= l.budget.tokens() { // a batch that is done is free once its vectors are handed out
			return l
		}
	}
	return nil
}

// close lets the calls that are open finish, refuses new ones, and returns when the devices are idle for good.
func (q *queue) close() {
	q.mutex.Lock()
	q.closed = true
	q.mutex.Unlock()
	q.wake.Broadcast()
	q.ended.Wait()
}

func (q *queue) snapshot() Stats {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	s := q.stats
	s.Waiting = q.open
	s.BatchTokens = q.target()
	for _, l := range q.lanes {
		if l.running > 0 {
			s.Busy += time.Since(l.began)
		}
		s.Speed += l.budget.speed()
	}
	return s
}

// target is how many tokens a batch is filled up to, of the lane that takes the most.
func (q *queue) target() int {
	tokens := 0
	for _, l := range q.lanes {
		tokens = max(tokens, l.budget.tokens())
	}
	if tokens == 0 {
		return q.maxTokens
	}
	return tokens
}

// calls is a list, of which mostly the first is taken.
type calls struct {
	list []*Call
	head int
}

func (l *calls) len() int     { return len(l.list) - l.head }
func (l *calls) first() *Call { return l.list[l.head] }

func (l *calls) add(c *Call) {
	if l.head > 0 && len(l.list) == cap(l.list) {
		n := copy(l.list, l.list[l.head:])
		clear(l.list[n:])
		l.list, l.head = l.list[:n], 0
	}
	l.list = append(l.list, c)
}

func (l *calls) pop() {
	l.list[l.head] = nil
	if l.head++; l.head == len(l.list) {
		l.list, l.head = l.list[:0], 0
	}
}

func (l *calls) remove(c *Call) {
	if i := slices.Index(l.list[l.head:], c); i == 0 {
		l.pop()
	} else if i > 0 {
		l.list = slices.Delete(l.list, l.head+i, l.head+i+1)
	}
}
