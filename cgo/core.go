//go:build cgo

package cgo

/*
#cgo CFLAGS: -I${SRCDIR}/../include -DVKB_STATIC
#include <stdlib.h>
#include "vkbert.h"

extern void vkb_go_log(uintptr_t user, int level, char *message);
static void forward_log(void *user, vkb_log_level level, const char *message) { vkb_go_log((uintptr_t)user, (int)level, (char *)message); }
static uint64_t header_abi(void) { return VKB_ABI; }

// The log user is a number that Go looks up, never a pointer.
static vkb_status open_device(char *selector, char *cache_dir, uint32_t threads, uintptr_t log_id, vkb_device **device, vkb_error *error) {
    vkb_device_options options = {.struct_size = sizeof options, .threads = threads, .selector = selector, .cache_dir = cache_dir};
    if (log_id) {
        options.log = forward_log;
        options.log_user = (void *)log_id;
    }
    return vkb_device_open(&options, device, error);
}
*/
import "C"

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"unsafe"

	_ "github.com/vkbert/vkbert/csrc"    // the C core itself
	_ "github.com/vkbert/vkbert/include" // so that a changed header rebuilds this package too
)

// Available says whether the C core is part of this binary.
const Available = true

// The numbers that types.go repeats for builds without cgo; an index other than 0 does not compile.
var (
	_ = [1]int{}[OpNormalize-C.VKB_OP_NORMALIZE]
	_ = [1]int{}[OpLinearMax-C.VKB_OP_LINEAR_MAX]
	_ = [1]int{}[RMSNorm-C.VKB_NORM_RMS]
	_ = [1]int{}[ResidualAfterNorm-C.VKB_RESIDUAL_AFTER_NORM]
	_ = [1]int{}[Interleaved-C.VKB_FLAG_INTERLEAVED]
	_ = [1]int{}[OpPool-C.VKB_OP_POOL]
	_ = [1]int{}[OpLinear-C.VKB_OP_LINEAR]
	_ = [1]int{}[Sigmoid-C.VKB_ACT_SIGMOID]
	_ = [1]int{}[GELU-C.VKB_ACT_GELU]
	_ = [1]int{}[PoolLast-C.VKB_POOL_LAST]
	_ = [1]int{}[PoolMean-C.VKB_POOL_MEAN]
	_ = [1]int{}[LayerNorm-C.VKB_NORM_LAYER]
	_ = [1]int{}[BF16-C.VKB_BF16]
	_ = [1]int{}[Linear-C.VKB_LAYOUT_LINEAR]
	_ = [1]int{}[PerSequence-C.VKB_PER_SEQUENCE]
	_ = [1]int{}[NoVulkan-C.VKB_DEVICE_NONE]
	_ = [1]int{}[Timestamps-C.VKB_FEATURE_TIMESTAMPS]
	_ = [1]int{}[NotFinite-C.VKB_ERROR_NOT_FINITE]
)

// A stale object file with another struct layout would be memory corruption: compare before the first use.
var checkABI = sync.OnceValue(func() error {
	if got, want := uint64(C.vkb_abi()), uint64(C.header_abi()); got != want {
		return fmt.Errorf("vkbert: the C core was compiled with another vkbert.h (ABI %#x, want %#x); run \"go clean -cache\" and build again", got, want)
	}
	return nil
})

// ABI returns the ABI number as the core and as this package's header give it; they are equal in a sound build.
func ABI() (core, header uint64) { return uint64(C.vkb_abi()), uint64(C.header_abi()) }

// Version of the C core and of the header that this package was compiled with.
func Version() (core, header string) {
	return C.GoString(C.vkb_version()), fmt.Sprintf("%d.%d.%d", C.VKB_VERSION_MAJOR, C.VKB_VERSION_MINOR, C.VKB_VERSION_PATCH)
}

func failure(status C.vkb_status, e *C.vkb_error) error {
	if status == C.VKB_OK {
		return nil
	}
	return &Error{Status: Status(status), VkResult: int32(e.vk_result), Message: C.GoString(&e.message[0])}
}

func infoOf(c *C.vkb_device_info) DeviceInfo {
	info := DeviceInfo{
		Kind: DeviceKind(c.kind), Usable: c.usable != 0, Features: Features(c.features), APIVersion: uint32(c.api_version),
		VendorID: uint32(c.vendor_id), DeviceID: uint32(c.device_id), Threads: int(c.threads),
		SubgroupSize: int(c.subgroup_size), SubgroupMin: int(c.subgroup_min), SubgroupMax: int(c.subgroup_max),
		WorkgroupInvocations: int(c.workgroup_invocations), SharedMemoryBytes: int(c.shared_bytes), Processors: int(c.processors),
		BufferRange: uint64(c.buffer_range), MemoryBytes: uint64(c.memory_bytes), MemoryAvailable: uint64(c.memory_available),
		Selector: C.GoString(&c.selector[0]), Name: C.GoString(&c.name[0]), Driver: C.GoString(&c.driver[0]), Reason: C.GoString(&c.reason[0]),
	}
	for i := range info.UUID {
		info.UUID[i] = byte(c.uuid[i])
	}
	return info
}

// Devices reports every device of the machine, the unusable ones with the reason. cacheDir is as in [Options].
func Devices(cacheDir string) ([]DeviceInfo, error) {
	if err := checkABI(); err != nil {
		return nil, err
	}
	var dir *C.char
	if cacheDir != "" {
		dir = C.CString(cacheDir)
		defer C.free(unsafe.Pointer(dir))
	}
	var e C.vkb_error
	raw := make([]C.vkb_device_info, 64)
	var count C.uint32_t
	if err := failure(C.vkb_devices(dir, &raw[0], C.uint32_t(len(raw)), &count, &e), &e); err != nil {
		return nil, err
	}
	infos := make([]DeviceInfo, min(int(count), len(raw)))
	for i := range infos {
		infos[i] = infoOf(&raw[i])
	}
	return infos, nil
}

// Device is an open device.
type Device struct {
	c       *C.vkb_device
	cleanup runtime.Cleanup
	logID   uintptr
	info    DeviceInfo
}

// OpenDevice opens the device that the selector names.
func OpenDevice(o Options) (*Device, error) {
	if err := checkABI(); err != nil {
		return nil, err
	}
	var selector, cacheDir *C.char
	if o.Selector != "" {
		selector = C.CString(o.Selector)
		defer C.free(unsafe.Pointer(selector))
	}
	if o.CacheDir != "" {
		cacheDir = C.CString(o.CacheDir)
		defer C.free(unsafe.Pointer(cacheDir))
	}
	d := &Device{logID: registerLog(o.Log)}
	var e C.vkb_error
	if err := failure(C.open_device(selector, cacheDir, C.uint32_t(max(threads(o.Threads), 0)), C.uintptr_t(d.logID), &d.c, &e), &e); err != nil {
		unregisterLog(d.logID)
		return nil, err
	}
	d.refresh()
	d.cleanup = runtime.AddCleanup(d, closeDevice, openDevice{d.c, d.logID})
	return d, nil
}

func (d *Device) refresh() {
	c := C.vkb_device_info{struct_size: C.sizeof_vkb_device_info}
	C.vkb_device_get_info(d.c, &c)
	d.info = infoOf(&c)
}

// Info describes the device as it was when it was opened.
func (d *Device) Info() DeviceInfo { return d.info }

// Close releases the device; weights and programs made on it stay good.
func (d *Device) Close() {
	if d == nil || d.c == nil {
		return
	}
	d.cleanup.Stop()
	closeDevice(openDevice{d.c, d.logID})
	d.c = nil
}

// openDevice is what a Device holds.
type openDevice struct {
	c     *C.vkb_device
	logID uintptr
}

func closeDevice(o openDevice) {
	C.vkb_device_close(o.c)
	unregisterLog(o.logID)
}

// Weights are the tensors of a model on a device.
type Weights struct {
	c       *C.vkb_weights
	cleanup runtime.Cleanup
}

// NewWeights takes memory for the tensors on the device.
func NewWeights(d *Device, tensors []Tensor) (*Weights, error) {
	raw := make([]C.vkb_tensor, len(tensors))
	for i, t := range tensors {
		raw[i] = C.vkb_tensor{rows: C.uint32_t(t.Rows), cols: C.uint32_t(t.Cols), layout: C.uint32_t(t.Layout), dtype: C.uint32_t(t.DType)}
	}
	var e C.vkb_error
	w := &Weights{}
	if err := failure(C.vkb_weights_create(d.c, unsafe.SliceData(raw), C.uint32_t(len(raw)), &w.c, &e), &e); err != nil {
		return nil, err
	}
	w.cleanup = runtime.AddCleanup(w, func(c *C.vkb_weights) { C.vkb_weights_destroy(c) }, w.c)
	runtime.KeepAlive(d)
	return w, nil
}

// Put copies elements of dtype source, given as their little-endian bytes, into a tensor, starting at its element first. A tensor
// stored as I8 takes whole rows, each in order.
func (w *Weights) Put(tensor int, source DType, first uint64, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	size := 2
	if source == F32 {
		size = 4
	}
	var e C.vkb_error
	status := C.vkb_weights_put(w.c, C.uint32_t(tensor), C.vkb_dtype(source), C.uint64_t(first), unsafe.Pointer(&data[0]), C.uint64_t(len(data)/size), &e)
	runtime.KeepAlive(w)
	return failure(status, &e)
}

// Seal ends the filling.
func (w *Weights) Seal() (WeightsInfo, error) {
	info := C.vkb_weights_info{struct_size: C.sizeof_vkb_weights_info}
	var e C.vkb_error
	err := failure(C.vkb_weights_seal(w.c, &info, &e), &e)
	runtime.KeepAlive(w)
	return WeightsInfo{Bytes: uint64(info.bytes), NonFinite: uint64(info.non_finite), FirstNonFinite: uint32(info.first_non_finite)}, err
}

// Close releases the weights; programs made of them stay good.
func (w *Weights) Close() {
	if w == nil || w.c == nil {
		return
	}
	w.cleanup.Stop()
	C.vkb_weights_destroy(w.c)
	w.c = nil
}

// Program is a compiled list of ops.
type Program struct {
	c       *C.vkb_program
	cleanup runtime.Cleanup
	outputs int
}

// NewProgram checks and compiles a program; the weights must be sealed.
func NewProgram(w *Weights, desc ProgramDesc) (*Program, error) {
	values := make([]C.vkb_value, len(desc.Values))
	for i, v := range desc.Values {
		values[i] = C.vkb_value{scope: C.uint32_t(v.Scope), width: C.uint32_t(v.Width)}
	}
	ops := make([]C.vkb_op, len(desc.Ops))
	for i, o := range desc.Ops {
		ops[i] = C.vkb_op{
			kind: C.uint32_t(o.Kind), input: C.uint32_t(o.Input), output: C.uint32_t(o.Output), residual: C.uint32_t(o.Residual),
			weight: C.uint32_t(o.Weight), bias: C.uint32_t(o.Bias), position_table: C.uint32_t(o.PositionTable),
			type_table: C.uint32_t(o.TypeTable), norm: C.uint32_t(o.Norm), norm_weight: C.uint32_t(o.NormWeight),
			norm_bias: C.uint32_t(o.NormBias), norm_eps: C.float(o.NormEps), activation: C.uint32_t(o.Activation),
			heads: C.uint32_t(o.Heads), scale: C.float(o.Scale), pool: C.uint32_t(o.Pool), column: C.uint32_t(o.Column),
			residual_at: C.uint32_t(o.ResidualAt), kv_heads: C.uint32_t(o.KVHeads), head_size: C.uint32_t(o.HeadSize), window: C.uint32_t(o.Window),
			flags: C.uint32_t(o.Flags),
		}
	}
	outputs := make([]C.uint32_t, len(desc.Outputs))
	for i, o := range desc.Outputs {
		outputs[i] = C.uint32_t(o)
	}
	for what, n := range map[string]int{"tokens": desc.MaxTokens, "sequences": desc.MaxSequences} {
		if n < 0 || n > math.MaxInt32 {
			return nil, &Error{Status: InvalidArgument, Message: fmt.Sprintf("at most %d %s: want 0 to %d", n, what, math.MaxInt32)}
		}
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	c := C.vkb_program_desc{
		struct_size: C.sizeof_vkb_program_desc, value_count: C.uint32_t(len(values)), op_count: C.uint32_t(len(ops)),
		output_count: C.uint32_t(len(outputs)), max_tokens: C.uint32_t(desc.MaxTokens), max_sequences: C.uint32_t(desc.MaxSequences),
		activations: C.uint32_t(desc.Activations), flags: C.uint32_t(desc.Flags),
		values:  (*C.vkb_value)(pinned(&pin, values)),
		ops:     (*C.vkb_op)(pinned(&pin, ops)),
		outputs: (*C.uint32_t)(pinned(&pin, outputs)),
	}
	var e C.vkb_error
	p := &Program{outputs: len(desc.Outputs)}
	if err := failure(C.vkb_program_create(w.c, &c, &p.c, &e), &e); err != nil {
		return nil, err
	}
	p.cleanup = runtime.AddCleanup(p, func(c *C.vkb_program) { C.vkb_program_destroy(c) }, p.c)
	runtime.KeepAlive(w)
	return p, nil
}

// Info is the memory that the program takes.
func (p *Program) Info() ProgramInfo {
	c := C.vkb_program_info{struct_size: C.sizeof_vkb_program_info}
	C.vkb_program_get_info(p.c, &c)
	runtime.KeepAlive(p)
	return ProgramInfo{ArenaBytes: uint64(c.arena_bytes), HostBytes: uint64(c.host_bytes)}
}

// Run does one batch and waits for it. outputs[i], a slice with room for [T, width] or [B, width], belongs to desc.Outputs[i]; nil: not wanted.
// A [NotFinite] error leaves the outputs written, so that the caller can tell which rows are good.
func (p *Program) Run(b Batch, outputs [][]float32) error {
	if len(outputs) != p.outputs {
		return &Error{Status: InvalidArgument, Message: fmt.Sprintf("program: %d outputs given, want %d", len(outputs), p.outputs)}
	}
	tokens, sequences := len(b.IDs), len(b.CuSeqlens)-1
	if sequences < 0 || (b.TypeIDs != nil && len(b.TypeIDs) != tokens) || (b.Positions != nil && len(b.Positions) != tokens) ||
		(b.PoolStarts != nil && len(b.PoolStarts) != sequences) {
		return &Error{Status: InvalidArgument, Message: fmt.Sprintf("batch: %d ids, %d type ids, %d positions, %d cu_seqlens, %d pool starts do not fit together",
			tokens, len(b.TypeIDs), len(b.Positions), len(b.CuSeqlens), len(b.PoolStarts))}
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	c := C.vkb_batch{
		struct_size: C.sizeof_vkb_batch, tokens: C.uint32_t(tokens), sequences: C.uint32_t(sequences),
		ids: (*C.int32_t)(pinned(&pin, b.IDs)), type_ids: (*C.int32_t)(pinned(&pin, b.TypeIDs)), positions: (*C.int32_t)(pinned(&pin, b.Positions)),
		cu_seqlens: (*C.uint32_t)(pinned(&pin, b.CuSeqlens)), pool_start: (*C.uint32_t)(pinned(&pin, b.PoolStarts)),
	}
	outs := make([]C.vkb_output, len(outputs))
	for i, o := range outputs {
		outs[i] = C.vkb_output{data: (*C.float)(pinned(&pin, o)), capacity: C.uint64_t(len(o))}
	}
	var e C.vkb_error
	status := C.vkb_program_run(p.c, &c, unsafe.SliceData(outs), &e)
	runtime.KeepAlive(p)
	return failure(status, &e)
}

func pinned[T any](pin *runtime.Pinner, s []T) unsafe.Pointer {
	if len(s) == 0 {
		return nil
	}
	pin.Pin(&s[0])
	return unsafe.Pointer(&s[0])
}

// Close releases the program.
func (p *Program) Close() {
	if p == nil || p.c == nil {
		return
	}
	p.cleanup.Stop()
	C.vkb_program_destroy(p.c)
	p.c = nil
}

// threads is what was asked for, or fewer than all processors where GOMAXPROCS says so; 0 leaves it to the core, which knows of affinity and cgroups.
func threads(asked int) int {
	if limit := runtime.GOMAXPROCS(0); asked == 0 && limit < runtime.NumCPU() {
		return limit
	}
	return asked
}
