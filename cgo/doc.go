// Package cgo is a thin Go face of the C core in include/vkbert.h: devices, weights and programs. It alone says import "C" (but for a test);
// no C type leaves it, and C keeps no Go pointer after a call returns.
//
// It is internal to vkbert in spirit: its API follows the C header and changes with it.
//
// Objects may be used from any goroutine, but must not be closed while a call on them is running. Close is idempotent; what is not closed is
// released when the garbage collector finds it.
package cgo
