package loader

import "errors"

// The errors of this package wrap one of these. Their messages name the file,
// the tensor or key, what was wanted and what was found.
var (
	// ErrNotFound: a model, or a file that a model must have, is not there.
	ErrNotFound = errors.New("not found")
	// ErrPath: a name inside a file, or a symbolic link, leads out of the model's folder.
	ErrPath = errors.New("path leaves the model's folder")
	// ErrBadHeader: a safetensors header or shard index breaks the format's rules.
	ErrBadHeader = errors.New("bad safetensors header")
	// ErrTruncated: a file ends before what it says it holds.
	ErrTruncated = errors.New("truncated file")
	// ErrChanged: a file is not the one that was opened before.
	ErrChanged = errors.New("file changed")
	// ErrBadConfig: a JSON file is malformed, or a value is missing, of the wrong type or out of range.
	ErrBadConfig = errors.New("bad configuration")
	// ErrBadTokenizer: tokenizer.json is malformed or inconsistent.
	ErrBadTokenizer = errors.New("bad tokenizer")
	// ErrUnsupported: the file is sound, but asks for something that vkbert does not do.
	ErrUnsupported = errors.New("unsupported")
	// ErrTensor: a tensor is missing or has another shape or type than the model needs.
	ErrTensor = errors.New("wrong tensor")
	// ErrEncode: the tokenizer failed on a text, or a text cannot be made to fit.
	ErrEncode = errors.New("tokenizing failed")
	// ErrNoCgo: the program was built without cgo, which the tokenizer needs.
	ErrNoCgo = errors.New("built without cgo")
	// ErrClosed: the value was used after Close.
	ErrClosed = errors.New("closed")
)
