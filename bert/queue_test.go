package bert

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// idle is a queue without a device, to look at what it packs.
func idle(maxTokens, maxSequences int, jobs ...*job) *queue {
	return &queue{width: 1, maxTokens: maxTokens, maxSequences: maxSequences, jobs: jobs}
}

func jobOf(ctx context.Context, lengths ...int) *job {
	j := &job{ctx: ctx, left: len(lengths), results: make([][]float32, len(lengths)), done: make(chan struct{})}
	for _, n := range lengths {
		j.seqs = append(j.seqs, Sequence{IDs: make([]int32, n)})
	}
	return j
}

// packedLengths packs one batch and returns the job and length of each sequence in it.
func packedLengths(q *queue, jobs ...*job) (from []int, lengths []int) {
	q.pack()
	for i, o := range q.batch.owners {
		for n, j := range jobs {
			if j == o.job {
				from = append(from, n)
			}
		}
		lengths = append(lengths, int(q.batch.CuSeqlens[i+1]-q.batch.CuSeqlens[i]))
	}
	return from, lengths
}

func TestPackTakesTurns(t *testing.T) {
	ctx := context.Background()
	large, small := jobOf(ctx, 4, 4, 4, 4, 4, 4), jobOf(ctx, 2)
	q := idle(20, 10, large, small)
	from, lengths := packedLengths(q, large, small)
	assert.Equal(t, []int{0, 1, 0, 0, 0}, from, "the small call is in the first batch")
	assert.Equal(t, []int{4, 2, 4, 4, 4}, lengths)
	assert.Len(t, q.batch.IDs, 18)
	from, _ = packedLengths(q, large, small)
	assert.Equal(t, []int{0, 0}, from)
	assert.Empty(t, q.jobs)
}

func TestPackLimits(t *testing.T) {
	ctx := context.Background()
	j := jobOf(ctx, 1, 1, 1, 1, 1)
	_, lengths := packedLengths(idle(100, 3, j), j)
	assert.Len(t, lengths, 3, "sequences")
	j = jobOf(ctx, 5, 5, 1)
	_, lengths = packedLengths(idle(9, 3, j), j)
	assert.Equal(t, []int{5}, lengths, "tokens; the order within a call is kept")
}

func TestPackDropsCancelledCalls(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	gone, here := jobOf(ctx, 3), jobOf(context.Background(), 4)
	cancel()
	q := idle(100, 10, gone, here)
	_, lengths := packedLengths(q, gone, here)
	assert.Equal(t, []int{4}, lengths)
	<-gone.done
	assert.ErrorIs(t, gone.err, context.Canceled)
}

func TestDeliverSparesTheOthers(t *testing.T) {
	ctx := context.Background()
	bad, good := jobOf(ctx, 1, 1), jobOf(ctx, 1)
	q := idle(2, 2, bad, good) // the first sequence of each; the second of bad waits
	q.pack()
	q.batch.vectors = []float32{float32(inf()), 7}
	q.deliver(&notFinite)
	<-bad.done
	<-good.done
	assert.ErrorIs(t, bad.err, ErrNotFinite)
	assert.Nil(t, bad.results)
	require.NoError(t, good.err)
	assert.Equal(t, [][]float32{{7}}, good.results)
	assert.Empty(t, q.jobs, "what a failed call still had waiting is taken out")
}

func TestDeliverTokens(t *testing.T) {
	ctx := context.Background()
	first, second := jobOf(ctx, 2, 1), jobOf(ctx, 3)
	q := idle(6, 3, first, second)
	q.perToken, q.width = true, 2
	q.pack() // in turn: 2 tokens of first, 3 of second, 1 of first
	require.Len(t, q.batch.vectors, 12)
	for i := range q.batch.vectors {
		q.batch.vectors[i] = float32(i)
	}
	q.batch.vectors[5] = float32(inf()) // of second
	q.deliver(&notFinite)
	<-first.done
	<-second.done
	require.NoError(t, first.err)
	assert.Equal(t, [][]float32{{0, 1, 2, 3}, {10, 11}}, first.results)
	require.ErrorIs(t, second.err, ErrNotFinite)
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

var notFinite = cgo.Error{Status: cgo.NotFinite, Message: "output 0, row 0"}

func inf() float64 { return math.Inf(1) }

func mustConfig(t *testing.T) *loader.Config {
	t.Helper()
	c, err := loader.ParseConfig("config.json", []byte(bertConfig(8, 1, 2, 16)))
	require.NoError(t, err)
	return c
}
