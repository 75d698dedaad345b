package bert

import "errors"

// Kinds of error that arise here; the others are package loader's.
var (
	ErrNotFinite = errors.New("the vector holds NaN or infinity")
	ErrInput     = errors.New("invalid input") // token ids out of range, an empty sequence, one longer than the model takes
)
