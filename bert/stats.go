package bert

import "time"

// Stats counts what a model has done since it was opened. Times of goroutines that work side by side add up.
type Stats struct {
	Batches, Sequences, Tokens uint64
	Waiting                    int     // calls that are not done yet
	QueuedTokens               int     // handed in and not in a batch yet
	BatchTokens                int     // that a batch is filled up to at present
	Speed                      float64 // tokens a second that the devices are expected to do in batches of that size; 0: nothing is known yet

	Tokenizing time.Duration // texts into token ids
	Queued     time.Duration // from handing in to the batch, for the sequences that were handed in together
	HandIns    uint64        // how many times that was
	Packing    time.Duration
	Computing  time.Duration // runs of batches: upload, kernels, read-back
	Busy       time.Duration // the device had at least one run to do
	Delivering time.Duration // copying vectors out
}

// Plus adds what two queues have done.
func (s Stats) Plus(o Stats) Stats {
	s.Batches += o.Batches
	s.Sequences += o.Sequences
	s.Tokens += o.Tokens
	s.Waiting += o.Waiting
	s.QueuedTokens += o.QueuedTokens
	s.BatchTokens = max(s.BatchTokens, o.BatchTokens)
	s.Speed = max(s.Speed, o.Speed) // they share the devices
	s.Tokenizing += o.Tokenizing
	s.Queued += o.Queued
	s.HandIns += o.HandIns
	s.Packing += o.Packing
	s.Computing += o.Computing
	s.Busy += o.Busy
	s.Delivering += o.Delivering
	return s
}
