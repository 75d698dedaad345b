package convert

import "errors"

// Errors of this package wrap one of these or one of package loader's, and name
// the file.
var (
	// ErrBadFile: a file breaks the rules of its format.
	ErrBadFile = errors.New("malformed file")
	// ErrExists: there is something at the destination already.
	ErrExists = errors.New("already exists")
	// ErrRange: a value does not fit the type that was asked for.
	ErrRange = errors.New("out of range")
)
