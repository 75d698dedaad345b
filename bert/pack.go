package bert

import (
	"errors"
	"time"

	"github.com/vkbert/vkbert/cgo"
)

// batch is a batch on its way through a lane; its memory is used again and again.
type batch struct {
	work   *cgo.Work
	full   cgo.Batch // work's slices with their whole capacity
	output []float32
	tokens int
	typed  bool // a sequence has type ids
	pooled bool // a sequence leaves rows out of pooling
	owners []owner
}

// owner says whose a sequence is.
type owner struct {
	call  *Call
	index int // of the sequence in its call
}

func newBatch(tokens, sequences, values int) (*batch, error) {
	work, err := cgo.NewWork(tokens, sequences, values)
	if err != nil {
		return nil, err
	}
	return &batch{work: work, full: work.Batch, output: work.Output}, nil
}

// besideBatches is for how many batches after the last short one long calls fill batches half, on a device that has one at a time.
const besideBatches = 16

// pack fills a batch up to target tokens, or with one sequence that is longer. Where halves is set, long calls fill them half while short calls come: such a call
// waits for the batch that runs and for its own.
func (q *queue) pack(b *batch, target int, halves bool) {
	b.tokens, b.typed, b.pooled, b.owners = 0, false, false, b.owners[:0]
	b.full.CuSeqlens[0] = 0
	share, least := target, target // of short calls, and what long ones fill up to at least
	if q.long.len() > 0 {
		share = target * 3 / 4
		if q.short.len() > 0 {
			least = share
			q.beside = besideBatches
		}
		if halves && q.beside > 0 {
			least = target / 2
			q.beside--
		}
	}
	now := time.Now()
	if q.owed {
		q.packLong(b, 1, now) // one sequence
	}
	q.packShort(b, share, now)
	target = min(target, max(least, b.tokens+target-share)) // a short call beside long ones need not wait for a full batch
	before := b.tokens
	q.packLong(b, target, now)
	q.owed = !q.owed && q.long.len() > 0 && b.tokens == before
	q.packShort(b, target, now)
	b.seal(q.output, q.positions != nil)
	q.stats.QueuedTokens -= b.tokens
	q.stats.Sequences += uint64(len(b.owners))
	q.stats.Tokens += uint64(b.tokens)
	if len(b.owners) > 0 {
		q.stats.Batches++
	}
	if len(q.line) > 0 {
		q.admit()
	}
}

func (q *queue) packShort(b *batch, limit int, now time.Time) {
	for q.short.len() > 0 {
		c := q.short.first()
		if err := c.ctx.Err(); err != nil {
			q.finish(c, err)
			continue
		}
		if !q.packCall(b, c, limit, limit, now) {
			return
		}
		q.short.pop()
		c.listed = false
	}
}

// packLong gives long calls their turns: a quarter of a batch each.
func (q *queue) packLong(b *batch, limit int, now time.Time) {
	for q.long.len() > 0 {
		c := q.long.first()
		if err := c.ctx.Err(); err != nil {
			q.finish(c, err)
			continue
		}
		before := b.tokens
		empty := q.packCall(b, c, limit, max(1, int(longCall*float64(limit))), now)
		if !empty && b.tokens == before {
			return // what it has next does not fit
		}
		q.long.pop()
		if c.listed = !empty; !empty {
			q.long.add(c)
		}
	}
}

// packCall packs sequences of a call, until the batch has limit tokens or the call has given quantum of them. It returns whether all that the call had waiting
// is packed.
func (q *queue) packCall(b *batch, c *Call, limit, quantum int, now time.Time) bool {
	given := 0
	for len(c.pieces) > 0 {
		p := &c.pieces[0]
		for p.next < len(p.seqs) {
			s := p.seqs[p.next]
			if given >= quantum || len(b.owners) == q.maxSequences || len(b.owners) > 0 && b.tokens+len(s.IDs) > limit {
				return false
			}
			b.add(s, q.positions)
			b.owners = append(b.owners, owner{c, p.first + p.next})
			p.next++
			given += len(s.IDs)
			c.waiting -= len(s.IDs)
		}
		q.stats.Queued += now.Sub(p.since)
		q.stats.HandIns++
		if p.release != nil {
			p.release()
		}
		c.pieces[0] = piece{}
		c.pieces = c.pieces[1:]
	}
	c.pieces = c.one[:0]
	return true
}

func (b *batch) add(s Sequence, positions func(ids, positions []int32)) {
	at, n := b.tokens, len(s.IDs)
	copy(b.full.IDs[at:], s.IDs)
	types := b.full.TypeIDs[at : at+n]
	if s.TypeIDs != nil {
		copy(types, s.TypeIDs)
		b.typed = true
	} else {
		clear(types)
	}
	if positions != nil {
		positions(s.IDs, b.full.Positions[at:at+n])
	}
	b.full.PoolStarts[len(b.owners)] = uint32(s.PoolStart)
	b.pooled = b.pooled || s.PoolStart != 0
	b.tokens += n
	b.full.CuSeqlens[len(b.owners)+1] = uint32(b.tokens)
}

// seal cuts the slices of the work to what is in the batch.
func (b *batch) seal(output cgo.Value, positions bool) {
	n := len(b.owners)
	w := &b.work.Batch
	w.IDs, w.CuSeqlens = b.full.IDs[:b.tokens], b.full.CuSeqlens[:n+1]
	w.TypeIDs, w.Positions, w.PoolStarts = nil, nil, nil
	if b.typed {
		w.TypeIDs = b.full.TypeIDs[:b.tokens]
	}
	if positions {
		w.Positions = b.full.Positions[:b.tokens]
	}
	if b.pooled {
		w.PoolStarts = b.full.PoolStarts[:n]
	}
	rows := n
	if output.Scope == cgo.PerToken {
		rows = b.tokens
	}
	b.work.Output = b.output[:rows*int(output.Width)]
}

// rowsBefore counts the values of the outputs before those of a sequence of the batch.
func (b *batch) rowsBefore(i int, output cgo.Value) int {
	if output.Scope == cgo.PerToken {
		i = int(b.full.CuSeqlens[i])
	}
	return i * int(output.Width)
}

// rows are the outputs of a sequence of the batch.
func (b *batch) rows(i int, output cgo.Value) []float32 {
	return b.work.Output[b.rowsBefore(i, output):b.rowsBefore(i+1, output)]
}

// together is how many values of a call's neighbouring sequences are copied out as one piece of memory: 256 vectors of 384 in 13 pieces
// instead of 256. A vector that is kept alone keeps the others of its piece, 32 KiB.
const together = 8192

// copyOut gives calls the outputs of their sequences.
func (b *batch) copyOut(output cgo.Value) {
	for i := 0; i < len(b.owners); {
		call, first, next := b.owners[i].call, b.rowsBefore(i, output), i+1
		for next < len(b.owners) && b.owners[next].call == call && b.rowsBefore(next+1, output)-first <= together {
			next++
		}
		piece := append([]float32(nil), b.work.Output[first:b.rowsBefore(next, output)]...)
		for ; i < next; i++ {
			from, to := b.rowsBefore(i, output)-first, b.rowsBefore(i+1, output)-first
			call.results[b.owners[i].index] = piece[from:to:to]
		}
	}
}

// deliver hands every sequence's rows to its call, or the batch's error to all calls that had a part in it.
func (q *queue) deliver(b *batch, err error) {
	start := time.Now()
	notFinite := errors.Is(err, cgo.NotFinite) // the other sequences of such a batch are good
	if err == nil || notFinite {
		b.copyOut(q.output) // without the mutex: nobody else writes results, and nobody reads them before the call is over, or after it has failed
	}
	q.mutex.Lock()
	defer q.mutex.Unlock()
	for i, o := range b.owners {
		c := o.call
		switch {
		case c.over: // failed earlier
		case err != nil && !notFinite:
			q.finish(c, err)
		case notFinite && !finite(b.rows(i, q.output)):
			q.finish(c, &notFiniteError{o.index})
		default:
			if c.left--; c.left == 0 {
				q.finish(c, nil)
			}
		}
		b.owners[i] = owner{}
	}
	q.stats.Delivering += time.Since(start)
}
