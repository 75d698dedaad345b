package bert

import "context"

// Begin starts a call whose count sequences are handed in piece by piece, with [Call.Add], by any goroutines and in any order; task is as in
// [Encoder.EmbedTask]. [Call.Wait] ends it and must be called.
func (e *Encoder) Begin(ctx context.Context, task string, count int) (*Call, error) {
	r, err := e.program(ctx, task)
	if err != nil {
		return nil, err
	}
	return r.queue.begin(ctx, count)
}

// Add hands in sequences, the first of which is number first of the call. It waits while the call has enough waiting to keep the device busy, or all calls
// together too much to hold. release, if it is not nil, is called once, when seqs is not read any more, and must not block. An error means that the call is over.
func (c *Call) Add(first int, seqs []Sequence, release func()) error {
	return c.addChecked(first, first, seqs, release)
}

// Fail ends a call whose sequences cannot all be handed in.
func (c *Call) Fail(err error) {
	c.fail(err) //nolint:errcheck // Wait returns it
}

// Wait returns a vector for each sequence, in order, or ctx's error as soon as it ends.
func (c *Call) Wait() ([][]float32, error) { return c.wait() }
