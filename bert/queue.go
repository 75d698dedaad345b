package bert

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// Sequence is one tokenized text.
type Sequence struct {
	IDs       []int32
	TypeIDs   []int32 // as long as IDs, or nil: zeros
	PoolStart int     // tokens at the start that pooling leaves out (a prompt, where the model says so)
}

// A job is one call of Run. The caller reads results and err only after done is closed, and not at all once it has given up.
type job struct {
	ctx     context.Context
	seqs    []Sequence
	next    int         // the first sequence that is not in a batch yet
	left    int         // sequences without a result
	results [][]float32 // a sequence each: width values, or width values a token
	err     error
	done    chan struct{}
}

// queue packs the sequences of all waiting calls into batches, up to a number of tokens and of sequences, and runs one after another. While the
// device is idle, a call starts at once; while it is busy, calls collect and share the next batch. Jobs take turns, one sequence each, so that a small
// call does not wait for the end of a large one. Safe for any number of goroutines.
type queue struct {
	program      *cgo.Program
	positions    func(ids, positions []int32) // nil: 0, 1, 2, …
	width        int                          // of a row of the output
	perToken     bool                         // the output has a row for each token, not for each sequence
	maxTokens    int
	maxSequences int

	mutex  sync.Mutex
	wake   *sync.Cond
	jobs   []*job // with sequences left to pack, in turn
	closed bool
	ended  chan struct{} // closed when the last batch is done

	stats Stats
	batch packed
}

// Stats counts what a model has done since it was opened.
type Stats struct {
	Batches, Sequences, Tokens uint64
	Waiting                    int // calls that are not done yet
}

// packed is the batch at hand; its buffers are used again and again.
type packed struct {
	cgo.Batch
	owners  []owner
	vectors []float32
}

type owner struct {
	job   *job
	index int // of the sequence in its job
}

func newQueue(program *cgo.Program, positions func(ids, positions []int32), output cgo.Value, maxTokens, maxSequences int) *queue {
	q := &queue{program: program, positions: positions, width: int(output.Width), perToken: output.Scope == cgo.PerToken, maxTokens: maxTokens,
		maxSequences: maxSequences, ended: make(chan struct{})}
	q.wake = sync.NewCond(&q.mutex)
	go q.loop()
	return q
}

// run hands the sequences in and waits for their vectors, [len(seqs)][width], or where the output is per token [len(seqs)][tokens·width], or for the end
// of ctx. Every sequence must fit a batch.
func (q *queue) run(ctx context.Context, seqs []Sequence) ([][]float32, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	j := &job{ctx: ctx, seqs: seqs, left: len(seqs), results: make([][]float32, len(seqs)), done: make(chan struct{})}
	q.mutex.Lock()
	if q.closed {
		q.mutex.Unlock()
		return nil, loader.ErrClosed
	}
	q.jobs = append(q.jobs, j)
	q.stats.Waiting++
	q.mutex.Unlock()
	q.wake.Signal()

	select {
	case <-j.done:
		return j.results, j.err
	case <-ctx.Done():
		q.mutex.Lock() // from here on no batch reads what the caller may write to again
		defer q.mutex.Unlock()
		q.fail(j, ctx.Err())
		return nil, ctx.Err()
	}
}

// close lets the calls that are waiting finish, refuses new ones, and returns when the device is idle for good.
func (q *queue) close() {
	q.mutex.Lock()
	q.closed = true
	q.mutex.Unlock()
	q.wake.Signal()
	<-q.ended
}

func (q *queue) snapshot() Stats {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	return q.stats
}

func (q *queue) loop() {
	defer close(q.ended)
	for {
		q.mutex.Lock()
		for len(q.jobs) == 0 && !q.closed {
			q.wake.Wait()
		}
		if len(q.jobs) == 0 {
			q.mutex.Unlock()
			return
		}
		q.pack()
		q.mutex.Unlock()
		if len(q.batch.owners) == 0 {
			continue // all that waited was cancelled
		}
		err := q.program.Run(q.batch.Batch, [][]float32{q.batch.vectors})
		q.deliver(err)
	}
}

// pack fills the batch: every job gives one sequence in turn until one does not fit. Jobs whose caller has gone are dropped.
func (q *queue) pack() {
	b := &q.batch
	b.IDs, b.TypeIDs, b.Positions = b.IDs[:0], b.TypeIDs[:0], b.Positions[:0]
	b.CuSeqlens, b.PoolStarts, b.owners = append(b.CuSeqlens[:0], 0), b.PoolStarts[:0], b.owners[:0]
	for len(q.jobs) > 0 && len(b.owners) < q.maxSequences {
		j := q.jobs[0]
		if j.ctx.Err() != nil {
			q.jobs = q.jobs[1:]
			q.finish(j, j.ctx.Err())
			continue
		}
		s := j.seqs[j.next]
		if len(b.IDs)+len(s.IDs) > q.maxTokens {
			break
		}
		b.add(s, q.positions)
		b.owners = append(b.owners, owner{job: j, index: j.next})
		j.next++
		q.jobs = q.jobs[1:]
		if j.next < len(j.seqs) {
			q.jobs = append(q.jobs, j)
		}
	}
	rows := len(b.owners)
	if q.perToken {
		rows = len(b.IDs)
	}
	b.vectors = grow(b.vectors, rows*q.width)
	q.stats.Sequences += uint64(len(b.owners))
	q.stats.Tokens += uint64(len(b.IDs))
	if len(b.owners) > 0 {
		q.stats.Batches++
	}
}

func (b *packed) add(s Sequence, positions func(ids, positions []int32)) {
	b.IDs = append(b.IDs, s.IDs...)
	if s.TypeIDs != nil {
		b.TypeIDs = append(b.TypeIDs, s.TypeIDs...)
	} else {
		for range s.IDs {
			b.TypeIDs = append(b.TypeIDs, 0)
		}
	}
	if positions != nil {
		b.Positions = append(b.Positions, s.IDs...)
		positions(s.IDs, b.Positions[len(b.Positions)-len(s.IDs):])
	}
	b.CuSeqlens = append(b.CuSeqlens, uint32(len(b.IDs)))
	b.PoolStarts = append(b.PoolStarts, uint32(s.PoolStart))
}

func grow(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}

// rows are the outputs of a sequence of the batch.
func (q *queue) rows(i int) []float32 {
	first, end := i, i+1
	if q.perToken {
		first, end = int(q.batch.CuSeqlens[i]), int(q.batch.CuSeqlens[i+1])
	}
	return q.batch.vectors[first*q.width : end*q.width]
}

// deliver hands every sequence's rows to its job, or the batch's error to all jobs that had a part in it.
func (q *queue) deliver(err error) {
	notFinite := errors.Is(err, cgo.NotFinite) // the other sequences of such a batch are good
	q.mutex.Lock()
	defer q.mutex.Unlock()
	for i, o := range q.batch.owners {
		rows := q.rows(i)
		switch {
		case o.job.err != nil: // it has failed by an earlier sequence
		case err != nil && !notFinite:
			q.fail(o.job, err)
		case notFinite && !finite(rows):
			q.fail(o.job, fmt.Errorf("text %d: %w", o.index, ErrNotFinite))
		default:
			o.job.results[o.index] = append([]float32(nil), rows...)
			if o.job.left--; o.job.left == 0 {
				q.finish(o.job, nil)
			}
		}
	}
}

// fail ends a job early: what it still has waiting is taken out.
func (q *queue) fail(j *job, err error) {
	for i, other := range q.jobs {
		if other == j {
			q.jobs = append(q.jobs[:i:i], q.jobs[i+1:]...)
			break
		}
	}
	q.finish(j, err)
}

func (q *queue) finish(j *job, err error) {
	select {
	case <-j.done:
	default:
		if j.err = err; err != nil {
			j.results = nil
		}
		q.stats.Waiting--
		close(j.done)
	}
}
