//go:build cgo

package cgo

/*
#include <stdlib.h>
#include "vkbert.h"

// What vkb_program_run takes, in one piece of C memory, so that a run pins nothing.
typedef struct { vkb_batch batch; vkb_output output; vkb_error error; } work_arguments;

static void *new_work(size_t bytes) { return malloc(bytes); } // C.malloc ends the process where there is none left
static vkb_status run_work(vkb_program *program, work_arguments *a) { return vkb_program_run(program, &a->batch, &a->output, &a->error); }
*/
import "C"

import (
	"fmt"
	"runtime"
	"unsafe"
)

// Work is a batch with room for its output that is filled and run again and again, without an allocation or a pinned pointer: all of it lies in memory of C.
// What is never written takes no memory. Not for several goroutines at a time.
type Work struct {
	Batch            // each slice has its full capacity; TypeIDs, Positions and PoolStarts may be set to nil for one run
	Output []float32 // of the program's first output; the length says how much there is to be
	a      *C.work_arguments
	clean  runtime.Cleanup
}

// NewWork takes memory for batches of up to so many tokens and sequences, and so many values of output.
func NewWork(tokens, sequences, values int) (*Work, error) {
	if tokens < 1 || sequences < 1 || values < 1 {
		return nil, &Error{Status: InvalidArgument, Message: fmt.Sprintf("work of %d tokens, %d sequences and %d values: want positive numbers", tokens, sequences, values)}
	}
	size := C.size_t(C.sizeof_work_arguments) + 4*(3*C.size_t(tokens)+2*C.size_t(sequences)+1+C.size_t(values))
	p := C.new_work(size)
	if p == nil {
		return nil, &Error{Status: OutOfHostMemory, Message: fmt.Sprintf("work: %d bytes", uint64(size))}
	}
	w := &Work{a: (*C.work_arguments)(p)}
	*w.a = C.work_arguments{}
	at := unsafe.Add(p, C.sizeof_work_arguments)
	take := func(n int) unsafe.Pointer {
		from := at
		at = unsafe.Add(at, 4*n)
		return from
	}
	w.IDs = unsafe.Slice((*int32)(take(tokens)), tokens)
	w.TypeIDs = unsafe.Slice((*int32)(take(tokens)), tokens)
	w.Positions = unsafe.Slice((*int32)(take(tokens)), tokens)
	w.CuSeqlens = unsafe.Slice((*uint32)(take(sequences+1)), sequences+1)
	w.PoolStarts = unsafe.Slice((*uint32)(take(sequences)), sequences)
	w.Output = unsafe.Slice((*float32)(take(values)), values)
	w.clean = runtime.AddCleanup(w, func(p unsafe.Pointer) { C.free(p) }, p)
	return w, nil
}

// Do runs the batch that the slices of w describe, which must be w's own, and writes w.Output. As [Program.Run] otherwise, for a program of one output.
func (p *Program) Do(w *Work) error {
	tokens, sequences := len(w.IDs), len(w.CuSeqlens)-1
	if p.outputs != 1 || sequences < 1 || (w.TypeIDs != nil && len(w.TypeIDs) != tokens) || (w.Positions != nil && len(w.Positions) != tokens) ||
		(w.PoolStarts != nil && len(w.PoolStarts) != sequences) {
		return &Error{Status: InvalidArgument, Message: fmt.Sprintf("work: %d outputs, %d ids, %d type ids, %d positions, %d cu_seqlens, %d pool starts do not fit together",
			p.outputs, tokens, len(w.TypeIDs), len(w.Positions), len(w.CuSeqlens), len(w.PoolStarts))}
	}
	w.a.batch = C.vkb_batch{
		struct_size: C.sizeof_vkb_batch, tokens: C.uint32_t(tokens), sequences: C.uint32_t(sequences),
		ids: (*C.int32_t)(unsafe.SliceData(w.IDs)), type_ids: (*C.int32_t)(unsafe.SliceData(w.TypeIDs)), positions: (*C.int32_t)(unsafe.SliceData(w.Positions)),
		cu_seqlens: (*C.uint32_t)(unsafe.SliceData(w.CuSeqlens)), pool_start: (*C.uint32_t)(unsafe.SliceData(w.PoolStarts)),
	}
	w.a.output = C.vkb_output{data: (*C.float)(unsafe.SliceData(w.Output)), capacity: C.uint64_t(len(w.Output))}
	status := C.run_work(p.c, w.a)
	err := failure(status, &w.a.error)
	runtime.KeepAlive(p)
	runtime.KeepAlive(w)
	return err
}

// Close frees the memory. Its slices must not be used any more.
func (w *Work) Close() {
	if w == nil || w.a == nil {
		return
	}
	w.clean.Stop()
	C.free(unsafe.Pointer(w.a))
	*w = Work{}
}
