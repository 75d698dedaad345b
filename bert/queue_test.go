package bert

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// fakeDevice gives each sequence its first id and its length as its vector.
type fakeDevice struct {
	gate     chan struct{}          // if not nil, a batch needs one value
	each     time.Duration          // how long a token takes
	fail     func(batch int) error  // if not nil
	spoil    func(output []float32) // if not nil
	mutex    sync.Mutex
	batches  [][]int // lengths
	running  atomic.Int32
	together atomic.Int32 // most batches at a time
}

var twoValues = cgo.Value{Scope: cgo.PerSequence, Width: 2}

func (d *fakeDevice) Do(w *cgo.Work) error {
	n := d.running.Add(1)
	defer d.running.Add(-1)
	for most := d.together.Load(); n > most && !d.together.CompareAndSwap(most, n); most = d.together.Load() {
	}
	var lengths []int
	for i := range len(w.CuSeqlens) - 1 {
		lengths = append(lengths, int(w.CuSeqlens[i+1]-w.CuSeqlens[i]))
	}
	d.mutex.Lock()
	batch := len(d.batches)
	d.batches = append(d.batches, lengths)
	d.mutex.Unlock()
	if d.gate != nil {
		<-d.gate
	}
	time.Sleep(d.each * time.Duration(len(w.IDs)))
	for i, n := range lengths {
		if perToken := len(w.Output) == 2*len(w.IDs) && len(w.IDs) > len(lengths); perToken {
			for t := w.CuSeqlens[i]; t < w.CuSeqlens[i+1]; t++ {
				w.Output[2*t], w.Output[2*t+1] = float32(w.IDs[t]), float32(n)
			}
			continue
		}
		w.Output[2*i], w.Output[2*i+1] = float32(w.IDs[w.CuSeqlens[i]]), float32(n)
	}
	if d.spoil != nil {
		d.spoil(w.Output)
	}
	if d.fail != nil {
		return d.fail(batch)
	}
	return nil
}

// openQueue is a queue on a fake device.
func openQueue(t testing.TB, d *fakeDevice, output cgo.Value, maxTokens, maxQueued, depth int) *queue {
	q := newQueue(output, nil, maxTokens, 1024, maxQueued)
	require.NoError(t, q.addLane(d, depth, newBudget(maxTokens, true, "", "")))
	t.Cleanup(func() {
		if t.Failed() {
			d.open()
		}
		q.close()
	})
	return q
}

// open lets all batches go that wait at the gate, as a test that failed half-way did not.
func (d *fakeDevice) open() {
	if d.gate == nil {
		return
	}
	select {
	case <-d.gate: // it is open
	default:
		close(d.gate)
	}
}

// numbered sequences have these lengths and count up their first ids.
func numbered(first int, lengths ...int) []Sequence {
	seqs := make([]Sequence, len(lengths))
	for i, n := range lengths {
		seqs[i] = Sequence{IDs: make([]int32, n)}
		for j := range seqs[i].IDs {
			seqs[i].IDs[j] = int32(first + i)
		}
	}
	return seqs
}

func repeat(n, length int) []int {
	lengths := make([]int, n)
	for i := range lengths {
		lengths[i] = length
	}
	return lengths
}

// start runs a call behind.
func start(ctx context.Context, q *queue, seqs []Sequence) <-chan error {
	done := make(chan error, 1)
	go func() {
		vectors, err := q.run(ctx, 0, seqs)
		for i, v := range vectors {
			if v[0] != float32(seqs[i].IDs[0]) || v[1] != float32(len(seqs[i].IDs)) {
				err = fmt.Errorf("sequence %d has the vector %v", i, v)
			}
		}
		done <- err
	}()
	return done
}

// until waits for something that another goroutine is about to do.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func (d *fakeDevice) count() int {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return len(d.batches)
}

func TestQueueSharesBatches(t *testing.T) {
	ctx := context.Background()
	d := &fakeDevice{gate: make(chan struct{})}
	q := openQueue(t, d, twoValues, 100, 0, 1)
	all := []<-chan error{start(ctx, q, numbered(0, 3))}
	until(t, "a call starts at once", func() bool { return d.count() == 1 })
	for i := range 5 { // these wait together
		all = append(all, start(ctx, q, numbered(10*i, 2, 4)))
	}
	until(t, "they are queued", func() bool { return q.snapshot().QueuedTokens == 30 })
	assert.Equal(t, 6, q.snapshot().Waiting)
	d.gate <- struct{}{}
	d.gate <- struct{}{}
	for _, done := range all {
		require.NoError(t, <-done)
	}
	assert.Equal(t, [][]int{{3}, {2, 4, 2, 4, 2, 4, 2, 4, 2, 4}}, d.batches)
	s := q.snapshot()
	assert.Equal(t, []uint64{2, 11, 33}, []uint64{s.Batches, s.Sequences, s.Tokens})
	assert.Zero(t, s.Waiting+s.QueuedTokens)
}

func TestQueueIsFair(t *testing.T) {
	ctx := context.Background()
	d := &fakeDevice{gate: make(chan struct{})}
	q := openQueue(t, d, twoValues, 40, 0, 1)
	first, second := start(ctx, q, numbered(0, repeat(20, 4)...)), (<-chan error)(nil)
	until(t, "the device is busy", func() bool { return d.count() == 1 })
	second = start(ctx, q, numbered(0, repeat(20, 5)...))
	until(t, "both wait", func() bool { return q.snapshot().QueuedTokens == 80+80-40 }) // of each at most two batches
	small := start(ctx, q, numbered(0, 1, 1))
	until(t, "all wait", func() bool { return q.snapshot().QueuedTokens == 80+80-40+2 })
	close(d.gate)
	for _, done := range []<-chan error{first, second, small} {
		require.NoError(t, <-done)
	}
	assert.Equal(t, []int{1, 1}, d.batches[1][:2], "the small call is in the next batch")
	assert.Subset(t, d.batches[1], []int{4, 5}, "and the large ones share the rest")
}

func TestQueueLimits(t *testing.T) {
	ctx := context.Background()
	d := &fakeDevice{}
	q := openQueue(t, d, twoValues, 9, 0, 1)
	q.maxSequences = 3
	require.NoError(t, <-start(ctx, q, numbered(0, 1, 1, 1, 1, 5, 5, 9, 1)))
	assert.Equal(t, [][]int{{1, 1, 1}, {1, 5}, {5}, {9}, {1}}, d.batches)
}

func TestQueueStreams(t *testing.T) {
	d := &fakeDevice{}
	q := openQueue(t, d, twoValues, 50, 0, 2)
	const count, each = 4000, 8
	c, err := q.begin(context.Background(), count)
	require.NoError(t, err)
	var released atomic.Int32
	var next atomic.Int32
	for range 4 {
		go func() {
			for at := int(next.Add(each)) - each; at < count; at = int(next.Add(each)) - each {
				assert.NoError(t, c.add(at, numbered(at, repeat(each, 3)...), func() { released.Add(1) }))
				assert.LessOrEqual(t, q.snapshot().QueuedTokens, windowBatches*50)
			}
		}()
	}
	vectors, err := c.wait()
	require.NoError(t, err)
	for i, v := range vectors {
		require.Equal(t, []float32{float32(i), 3}, v)
	}
	assert.EqualValues(t, count/each, released.Load())
}

// TestQueueIsBounded: what is over the bound waits its turn outside, and an end of the context ends that.
func TestQueueIsBounded(t *testing.T) {
	d := &fakeDevice{gate: make(chan struct{})}
	q := openQueue(t, d, twoValues, 10, 25, 1)
	ctx, cancel := context.WithCancel(context.Background())
	var all []<-chan error
	for range 20 {
		all = append(all, start(context.Background(), q, numbered(1, 10)))
	}
	inLine := func(n int) {
		until(t, "all stand in line", func() bool {
			q.mutex.Lock()
			defer q.mutex.Unlock()
			return len(q.line) == n && d.running.Load() == 1
		})
	}
	inLine(17)
	gone := start(ctx, q, numbered(1, 10)) // the last in line
	inLine(18)
	assert.Equal(t, 20, q.snapshot().QueuedTokens)
	cancel()
	require.ErrorIs(t, <-gone, context.Canceled)
	for range all {
		assert.LessOrEqual(t, q.snapshot().QueuedTokens, 25)
		d.gate <- struct{}{}
	}
	for _, done := range all {
		require.NoError(t, <-done)
	}
}

func TestQueueOverlaps(t *testing.T) {
	d := &fakeDevice{each: 100 * time.Microsecond}
	q := openQueue(t, d, twoValues, 50, 0, 2)
	require.NoError(t, <-start(context.Background(), q, numbered(0, repeat(100, 10)...)))
	assert.EqualValues(t, 2, d.together.Load())
}

// TestQueueMakesReady: what waits is counted as it is packed, after a sequence has been made ready.
func TestQueueMakesReady(t *testing.T) {
	d := &fakeDevice{gate: make(chan struct{})}
	q := openQueue(t, d, twoValues, 100, 0, 1)
	q.check = func(s *Sequence) error {
		s.IDs = s.IDs[:1]
		return nil
	}
	done := start(context.Background(), q, numbered(0, 5, 5))
	until(t, "it runs", func() bool { return d.running.Load() == 1 })
	assert.Zero(t, q.snapshot().QueuedTokens)
	d.gate <- struct{}{}
	require.NoError(t, <-done)
	assert.Equal(t, [][]int{{1, 1}}, d.batches)
}

// TestLaneHold: a batch is made ready shortly before the running one ends; earlier where there is enough for a full one.
func TestLaneHold(t *testing.T) {
	now := time.Now()
	l := &lane{queue: newQueue(twoValues, nil, 100, 16, 0), budget: newBudget(100, true, "", ""), due: now.Add(10 * time.Millisecond)}
	assert.Zero(t, l.hold(now), "nothing runs")
	l.running = 1
	for _, c := range []struct {
		queued     int
		last, want time.Duration
	}{
		{99, 400 * time.Microsecond, 9800 * time.Microsecond},
		{99, 8 * time.Millisecond, 8 * time.Millisecond},
		{99, 100 * time.Millisecond, 7 * time.Millisecond},
		{100, 400 * time.Microsecond, 7 * time.Millisecond},
		{100, 100 * time.Millisecond, 7 * time.Millisecond},
	} {
		l.queue.stats.QueuedTokens, l.last = c.queued, c.last
		assert.Equal(t, c.want, l.hold(now), "%d tokens wait, the last batch takes %v", c.queued, c.last)
	}
}

// TestQueueSpeed: of the best batches, over all devices.
func TestQueueSpeed(t *testing.T) {
	q := openQueue(t, &fakeDevice{}, cgo.Value{Scope: cgo.PerSequence, Width: 1}, 1000, 0, 1)
	assert.Zero(t, q.snapshot().Speed, "nothing is known")
	first, second := q.lanes[0].budget, newBudget(1000, true, "", "")
	require.NoError(t, q.addLane(&fakeDevice{}, 1, second))
	second.observe(10, 100*time.Millisecond)
	assert.InDelta(t, 100, q.snapshot().Speed, 1)
	second.observe(1000, 100*time.Millisecond)
	assert.InDelta(t, 10_000, q.snapshot().Speed, 1)
	first.observe(1000, 200*time.Millisecond)
	assert.InDelta(t, 15_000, q.snapshot().Speed, 1)
	first.observe(100, 2*time.Millisecond) // so that was a bad moment
	assert.InDelta(t, 60_000, q.snapshot().Speed, 1)
	assert.InDelta(t, 60_000, Stats{Speed: 1}.Plus(q.snapshot()).Speed, 1)
}

// TestQueueWrongEstimate: a lane that expected a batch to take an hour goes on when it has ended, also if nothing waited at that moment.
func TestQueueWrongEstimate(t *testing.T) {
	d := &fakeDevice{gate: make(chan struct{})}
	q := newQueue(twoValues, nil, 100, 16, 0)
	b := newBudget(100, true, "", "")
	b.observe(100, time.Hour)
	require.NoError(t, q.addLane(d, 2, b))
	t.Cleanup(q.close)
	for range 3 {
		first := start(context.Background(), q, numbered(0, 100))
		until(t, "it runs", func() bool { return d.running.Load() == 1 })
		second := start(context.Background(), q, numbered(0, 100))
		until(t, "the other is held back", func() bool {
			q.mutex.Lock()
			defer q.mutex.Unlock()
			return q.lanes[0].held
		})
		d.gate <- struct{}{}
		require.NoError(t, <-first)
		d.gate <- struct{}{}
		require.NoError(t, <-second)
	}
}

// TestQueueHandsOut has calls come while the only batch is done but its vectors are still being handed out.
func TestQueueHandsOut(t *testing.T) {
	q := openQueue(t, &fakeDevice{}, twoValues, 64, 1<<20, 1)
	var callers sync.WaitGroup
	for range 4 {
		callers.Add(1)
		go func() {
			defer callers.Done()
			for i := range 500 {
				vectors, err := q.run(context.Background(), 0, numbered(i, 3, 5))
				if assert.NoError(t, err) {
					assert.Equal(t, [][]float32{{float32(i), 3}, {float32(i + 1), 5}}, vectors)
				}
			}
		}()
	}
	callers.Wait()
}

// TestQueueVectorsApart: results lie in pieces of memory together, but none reaches into the next.
func TestQueueVectorsApart(t *testing.T) {
	const tokens = 9 // two values each: some 450 sequences are a piece
	q := openQueue(t, &fakeDevice{}, cgo.Value{Scope: cgo.PerToken, Width: 2}, 1<<14, 1<<20, 1)
	vectors, err := q.run(context.Background(), 0, numbered(0, repeat(1000, tokens)...))
	require.NoError(t, err)
	for i, v := range vectors {
		require.Equal(t, slices.Repeat([]float32{float32(i), tokens}, tokens), v)
		_ = append(v, -1)
	}
	for i, v := range vectors {
		require.Equal(t, float32(i), v[0])
	}
}

// TestQueueGoneFromLine: a call that ends while its sequences are between the line and the queue makes room for the next in line.
func TestQueueGoneFromLine(t *testing.T) {
	d := &fakeDevice{gate: make(chan struct{})}
	q := openQueue(t, d, twoValues, 10, 10, 1)
	defer func() {
		if t.Failed() {
			close(d.gate)
		}
	}()
	running := start(context.Background(), q, numbered(1, 10))
	until(t, "it runs", func() bool { return d.count() == 1 })
	waiting, err := q.begin(context.Background(), 1)
	require.NoError(t, err)
	require.NoError(t, waiting.add(0, numbered(1, 10), nil), "the queue is full")
	inLine := func(n int) {
		until(t, "they stand in line", func() bool {
			q.mutex.Lock()
			defer q.mutex.Unlock()
			return len(q.line) == n
		})
	}
	gone, err := q.begin(context.Background(), 1)
	require.NoError(t, err)
	added := make(chan error, 1)
	go func() { added <- gone.add(0, numbered(1, 10), nil) }()
	inLine(1)
	last, err := q.begin(context.Background(), 1)
	require.NoError(t, err)
	go last.add(0, numbered(7, 10), nil)
	inLine(2)
	q.mutex.Lock() // so that the call that is gone looks only when both have ended
	q.finish(gone, context.Canceled)
	q.finish(waiting, context.Canceled)
	q.mutex.Unlock()
	require.ErrorIs(t, <-added, context.Canceled)
	until(t, "the last is let in", func() bool { return q.snapshot().QueuedTokens == 10 })
	close(d.gate)
	require.NoError(t, <-running)
	vectors, err := last.wait()
	require.NoError(t, err)
	assert.Equal(t, [][]float32{{7, 10}}, vectors)
}

// TestQueueLongBesideShort: short calls that fill every batch leave a quarter of it to a long one.
func TestQueueLongBesideShort(t *testing.T) {
	d := &fakeDevice{gate: make(chan struct{})}
	q := openQueue(t, d, twoValues, 100, 0, 1)
	all := []<-chan error{start(context.Background(), q, numbered(0, 1))}
	until(t, "the device is busy", func() bool { return d.count() == 1 })
	all = append(all, start(context.Background(), q, numbered(0, repeat(20, 10)...)))
	until(t, "the long call waits", func() bool { return q.snapshot().QueuedTokens == 200 })
	for range 8 {
		all = append(all, start(context.Background(), q, numbered(0, 25)))
	}
	until(t, "all wait", func() bool { return q.snapshot().QueuedTokens == 400 })
	close(d.gate)
	for _, done := range all {
		require.NoError(t, <-done)
	}
	assert.Equal(t, []int{25, 25, 25, 10, 10}, d.batches[1])
}

// TestQueueHalves: beside short calls and for a while after the last, a long call fills batches half on a device that has one at a time, so that the next short one
// waits for less.
func TestQueueHalves(t *testing.T) {
	for depth, want := range map[int]struct{ beside, after int }{1: {50, 50}, 2: {75, 100}} {
		d := &fakeDevice{gate: make(chan struct{})}
		q := openQueue(t, d, twoValues, 100, 0, depth)
		q.lanes[0].budget.observe(100, time.Hour) // one batch after the other, whatever the depth
		long := start(context.Background(), q, numbered(0, repeat(300, 10)...))
		next := func() []int {
			batch := d.count()
			d.gate <- struct{}{}
			until(t, "the next batch runs", func() bool { return d.count() > batch })
			until(t, "as much waits as may", func() bool { return q.snapshot().QueuedTokens >= 100 })
			d.mutex.Lock()
			defer d.mutex.Unlock()
			return d.batches[batch]
		}
		until(t, "the device is busy", func() bool { return d.count() == 1 && q.snapshot().QueuedTokens >= 100 })
		assert.Len(t, next(), 10, "none is beside")
		until(t, "the window is full", func() bool { return q.snapshot().QueuedTokens == 200 })
		short := start(context.Background(), q, numbered(7, 5))
		until(t, "the short call waits", func() bool { return q.snapshot().QueuedTokens == 205 })
		assert.Len(t, next(), 1+(want.beside-5)/10)
		for range besideBatches - 1 {
			assert.Len(t, next(), want.after/10)
		}
		require.NoError(t, <-short)
		assert.Len(t, next(), 10, "full again")
		close(d.gate)
		require.NoError(t, <-long)
	}
}

// TestQueueTakesTurns: a text that fills most of a batch is a short call, however long; a long call that has no room beside such ones is first in every other batch.
func TestQueueTakesTurns(t *testing.T) {
	d := &fakeDevice{gate: make(chan struct{})}
	q := openQueue(t, d, twoValues, 100, 0, 1)
	all := []<-chan error{start(context.Background(), q, numbered(0, 1))}
	until(t, "the device is busy", func() bool { return d.count() == 1 })
	all = append(all, start(context.Background(), q, numbered(0, 80, 80)))
	until(t, "the long call waits", func() bool { return q.snapshot().QueuedTokens == 160 })
	for range 4 {
		all = append(all, start(context.Background(), q, numbered(0, 90)))
	}
	until(t, "all wait", func() bool { return q.snapshot().QueuedTokens == 160+4*90 })
	close(d.gate)
	for _, done := range all {
		require.NoError(t, <-done)
	}
	assert.Equal(t, [][]int{{1}, {90}, {80}, {90}, {80}, {90}, {90}}, d.batches)
}

// TestQueueCloseWaits: Close waits for a batch that a call's own goroutine runs, also where the call has failed meanwhile.
func TestQueueCloseWaits(t *testing.T) {
	lost := errors.New("lost")
	d := &ownDevice{gate: make(chan struct{}), failed: make(chan struct{}), err: lost}
	q := newQueue(twoValues, nil, 256, 1024, 0)
	require.NoError(t, q.addLane(d, 2, newBudget(256, false, "", "")))
	call := start(context.Background(), q, numbered(0, repeat(256, 1)...))
	<-d.failed
	until(t, "the call has failed", func() bool { return q.snapshot().Waiting == 0 })
	closed := make(chan struct{})
	go func() { q.close(); close(closed) }()
	select {
	case <-closed:
		t.Error("closed while a batch runs")
	case <-time.After(50 * time.Millisecond):
	}
	close(d.gate)
	require.ErrorIs(t, <-call, lost)
	<-closed
	q.mutex.Lock()
	defer q.mutex.Unlock()
	assert.Empty(t, q.lanes[0].free, "no memory is left")
}

// ownDevice has the batch with the first sequence wait, and fails the other.
type ownDevice struct {
	gate, failed chan struct{}
	err          error
}

func (d *ownDevice) Do(w *cgo.Work) error {
	if w.IDs[0] != 0 {
		close(d.failed)
		return d.err
	}
	<-d.gate
	return nil
}

func TestQueueErrors(t *testing.T) {
	ctx := context.Background()
	lost := errors.New("lost")
	d := &fakeDevice{gate: make(chan struct{}), fail: func(batch int) error {
		if batch == 0 {
			return lost
		}
		return nil
	}}
	q := openQueue(t, d, twoValues, 10, 0, 1)
	bad := start(ctx, q, numbered(0, repeat(30, 5)...)) // more than the window holds
	until(t, "it runs", func() bool { return d.count() == 1 })
	good := start(ctx, q, numbered(7, 2))
	until(t, "both wait", func() bool { return q.snapshot().Waiting == 2 })
	d.gate <- struct{}{}
	require.ErrorIs(t, <-bad, lost)
	d.gate <- struct{}{}
	require.NoError(t, <-good)
	assert.Zero(t, q.snapshot().QueuedTokens, "what a failed call still had waiting is taken out")
}

func TestQueueNotFinite(t *testing.T) {
	ctx := context.Background()
	for _, output := range []cgo.Value{twoValues, {Scope: cgo.PerToken, Width: 2}} {
		d := &fakeDevice{gate: make(chan struct{}), spoil: func(output []float32) {
			for i, x := range output {
				if x == 13 {
					output[i] = float32(math.NaN())
				}
			}
		}, fail: func(int) error { return &notFinite }}
		q := openQueue(t, d, output, 30, 0, 1)
		blocker := start(ctx, q, numbered(0, 3))
		until(t, "the device is busy", func() bool { return d.count() == 1 })
		good, bad := start(ctx, q, numbered(2, 2)), start(ctx, q, numbered(12, 2, 2))
		until(t, "both wait", func() bool { return q.snapshot().QueuedTokens == 6 })
		close(d.gate)
		require.NoError(t, <-blocker)
		require.NoError(t, <-good)
		err := <-bad
		require.ErrorIs(t, err, ErrNotFinite)
		assert.ErrorContains(t, err, "text 1")
	}
}

func TestQueueCancel(t *testing.T) {
	d := &fakeDevice{gate: make(chan struct{})}
	q := openQueue(t, d, twoValues, 10, 1000, 1)
	ctx, cancel := context.WithCancel(context.Background())
	running, waiting := start(ctx, q, numbered(0, 10)), (<-chan error)(nil)
	until(t, "it runs", func() bool { return d.count() == 1 })
	waiting = start(ctx, q, numbered(0, repeat(30, 10)...))
	until(t, "the other waits", func() bool { return q.snapshot().QueuedTokens == 20 })
	from := time.Now()
	cancel()
	require.ErrorIs(t, <-running, context.Canceled)
	require.ErrorIs(t, <-waiting, context.Canceled)
	assert.Less(t, time.Since(from), 2*time.Second, "the device still works on it") // 10 ms, but on a machine that does other things too
	assert.Zero(t, q.snapshot().QueuedTokens+q.snapshot().Waiting)
	close(d.gate)
	require.NoError(t, <-start(context.Background(), q, numbered(0, 10)))
	_, err := q.run(ctx, 0, numbered(0, 1))
	require.ErrorIs(t, err, context.Canceled)
}

// TestQueueMix: calls of all sizes, cancelled calls and a close, from 64 goroutines.
func TestQueueMix(t *testing.T) {
	for _, procs := range []int{1, runtime.GOMAXPROCS(0)} {
		t.Run(fmt.Sprintf("GOMAXPROCS=%d", procs), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			before := runtime.NumGoroutine()
			d := &fakeDevice{}
			q := newQueue(twoValues, nil, 64, 16, 300)
			require.NoError(t, q.addLane(d, 2, newBudget(64, false, "", "")))
			require.NoError(t, q.addLane(d, 1, newBudget(64, true, "", ""))) // a second device
			var all sync.WaitGroup
			var refused, done atomic.Int32
			for g := range 64 {
				all.Add(1)
				go func() {
					defer all.Done()
					random := rand.New(rand.NewPCG(uint64(g), 1))
					for range 40 {
						ctx, cancel := context.WithCancel(context.Background())
						if random.IntN(3) == 0 {
							time.AfterFunc(time.Duration(random.IntN(300))*time.Microsecond, cancel)
						}
						lengths := make([]int, 1+random.IntN(20))
						for i := range lengths {
							lengths[i] = 1 + random.IntN(64)
						}
						err := <-start(ctx, q, numbered(random.IntN(1000), lengths...))
						cancel()
						switch {
						case err == nil:
							done.Add(1)
						case errors.Is(err, loader.ErrClosed):
							refused.Add(1)
						case !errors.Is(err, context.Canceled):
							t.Error(err)
						}
					}
				}()
			}
			until(t, "some are done", func() bool { return done.Load() > 200 })
			q.close()
			s := q.snapshot()
			assert.Zero(t, s.Waiting+s.QueuedTokens)
			all.Wait()
			assert.Positive(t, refused.Load())
			until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
		})
	}
}

func TestQueueClosesWhileIdle(t *testing.T) {
	e, err := OpenRandom(context.Background(), mustConfig(t), Options{Device: "cpu"})
	require.NoError(t, err)
	done := make(chan struct{})
	go func() { e.Close(); e.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("Close hangs")
	}
	_, err = e.Embed(context.Background(), []Sequence{{IDs: []int32{1}}})
	require.ErrorIs(t, err, loader.ErrClosed)
}

// BenchmarkQueue is what the queue adds to one call on an idle device.
func BenchmarkQueue(b *testing.B) {
	d := idleDevice{}
	q := newQueue(cgo.Value{Scope: cgo.PerSequence, Width: 384}, nil, 16384, 4096, 0)
	require.NoError(b, q.addLane(d, 2, newBudget(16384, true, "", "")))
	defer q.close()
	seqs := numbered(0, 16)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := q.run(ctx, 0, seqs); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBesideLong makes calls of one short sequence while another call of 20,000 keeps the device busy: VKBERT_BENCH_DEVICE, else the CPU. It reports their p99 in
// batches as the long call has them.
func BenchmarkBesideLong(b *testing.B) {
	device := cmp.Or(os.Getenv("VKBERT_BENCH_DEVICE"), "cpu")
	c, err := RandomConfig("minilm-l6")
	require.NoError(b, err)
	e, err := OpenRandom(context.Background(), c, Options{Device: device, DType: os.Getenv("VKBERT_BENCH_DTYPE")})
	require.NoError(b, err)
	defer e.Close()
	ctx, cancel := context.WithCancel(context.Background())
	random := rand.New(rand.NewPCG(1, 2))
	lengths := make([]int, 20_000)
	for i := range lengths {
		lengths[i] = 8 + random.IntN(120)
	}
	long := numbered(0, lengths...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			e.Embed(ctx, long)
		}
	}()
	time.Sleep(3 * time.Second) // the size of batches is known then
	before := e.Stats()
	begin := time.Now()
	var times []time.Duration
	for b.Loop() {
		start := time.Now()
		_, err := e.Embed(ctx, numbered(1, 16))
		require.NoError(b, err)
		times = append(times, time.Since(start))
		time.Sleep(time.Duration(random.IntN(int(5 * time.Millisecond))))
	}
	after := e.Stats()
	each := time.Since(begin) / time.Duration(after.Batches-before.Batches)
	cancel()
	<-done
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)*99/100])/1e6, "p99-ms")
	b.ReportMetric(float64(times[len(times)/2])/1e6, "p50-ms")
	b.ReportMetric(float64(each)/1e6, "batch-ms")
	b.ReportMetric(float64(times[len(times)*99/100])/float64(each), "p99-batches")
}

type idleDevice struct{}

func (idleDevice) Do(*cgo.Work) error { return nil }

var notFinite = cgo.Error{Status: cgo.NotFinite, Message: "output 0, row 0"}

func mustConfig(t *testing.T) *loader.Config {
	t.Helper()
	c, err := loader.ParseConfig("config.json", []byte(bertConfig(8, 1, 2, 16)))
	require.NoError(t, err)
	return c
}
