package bert

import (
	"errors"
	"fmt"
)

// Kinds of error that arise here; the others are package loader's.
var (
	ErrNotFinite = errors.New("the vector holds NaN or infinity")
	ErrInput     = errors.New("invalid input") // token ids out of range, an empty sequence, one longer than the model takes
)

// notFiniteError is an ErrNotFinite of a text, by its number in the call.
type notFiniteError struct{ text int }

// counted is an error of a text whose number is counted from number first of the call's on.
func counted(err error, first int) error {
	var bad *notFiniteError
	if errors.As(err, &bad) {
		return &notFiniteError{first + bad.text}
	}
	return err
}

func (e *notFiniteError) Error() string { return fmt.Sprintf("text %d: %v", e.text, ErrNotFinite) }

func (e *notFiniteError) Unwrap() error { return ErrNotFinite }
