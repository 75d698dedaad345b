package vkbert

import (
	"github.com/vkbert/vkbert/bert"
	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// Kinds of error, for errors.Is. Messages name the file, tensor or text, what was wanted and what was found.
var (
	// ErrNotFound: no such model on this machine.
	ErrNotFound = loader.ErrNotFound
	// ErrUnsupported: the model asks for an architecture, module, pooling mode, activation or file format that vkbert does not do, or an option does.
	ErrUnsupported = loader.ErrUnsupported

	ErrBadConfig    = loader.ErrBadConfig    // a JSON file of the model is malformed, or holds a value out of range
	ErrBadTensor    = loader.ErrTensor       // a tensor is missing, or of another shape or dtype than the model needs
	ErrBadHeader    = loader.ErrBadHeader    // a weights file breaks the rules of safetensors
	ErrTruncated    = loader.ErrTruncated    // a weights file ends early
	ErrPath         = loader.ErrPath         // a name in a model's file leads out of its folder
	ErrBadTokenizer = loader.ErrBadTokenizer // tokenizer.json is malformed or inconsistent

	// ErrEncode: the tokenizer failed on a text.
	ErrEncode = loader.ErrEncode
	// ErrInput: no texts, token ids out of range, a text that is too long where truncation is off.
	ErrInput = bert.ErrInput
	// ErrNotFinite: the vector of a text holds NaN or infinity; the weights are damaged.
	ErrNotFinite = bert.ErrNotFinite
	// ErrClosed: the model was closed.
	ErrClosed = loader.ErrClosed
	// ErrNoCgo: the program was built with CGO_ENABLED=0.
	ErrNoCgo = cgo.ErrNoCgo
	// ErrNoDevice: the device that was asked for is not there or cannot be used; the message says why.
	ErrNoDevice error = cgo.NoDevice
	// ErrOutOfMemory: the device or the host has too little memory; the message has the sizes.
	ErrOutOfMemory error = cgo.OutOfDeviceMemory
	// ErrDeviceLost: the device stopped. The first time the model is loaded again by itself, and calls work when that is done; after a second time it must be closed
	// and opened again.
	ErrDeviceLost error = cgo.DeviceLost
)
