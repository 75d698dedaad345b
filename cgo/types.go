package cgo

import (
	"errors"
	"fmt"
)

// ErrNoCgo is what every call returns in a binary that was built without cgo.
var ErrNoCgo = errors.New("vkbert: built without cgo; build with CGO_ENABLED=1, a C compiler and the CGO_LDFLAGS that build/deps prints")

// None says "no tensor" or "no value" in an [Op].
const None = ^uint32(0)

// Status is the kind of an [Error] (vkb_status).
type Status int32

const (
	InvalidArgument   Status = 1
	OutOfHostMemory   Status = 2
	OutOfDeviceMemory Status = 3
	NoDevice          Status = 4
	Unsupported       Status = 5
	DeviceLost        Status = 6
	VulkanFailed      Status = 7
	NotFinite         Status = 8
)

var statusNames = [...]string{"ok", "invalid argument", "out of host memory", "out of device memory", "no usable device", "unsupported", "device lost",
	"Vulkan call failed", "not finite"}

// Error makes a Status a target for errors.Is.
func (s Status) Error() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("status %d", int32(s))
}

// Error is a failed call of the C core.
type Error struct {
	Status   Status
	VkResult int32 // of the Vulkan call that failed, else 0
	Message  string
}

func (e *Error) Error() string {
	if e.VkResult != 0 {
		return fmt.Sprintf("%s (VkResult %d)", e.Message, e.VkResult)
	}
	return e.Message
}

// Is says whether the error is of that Status; running out of the host's memory counts as [OutOfDeviceMemory] too.
func (e *Error) Is(target error) bool {
	s, ok := target.(Status)
	return ok && (s == e.Status || s == OutOfDeviceMemory && e.Status == OutOfHostMemory)
}

// DeviceKind says what a device is; lower is preferred.
type DeviceKind uint32

const (
	Discrete   DeviceKind = 0
	Integrated DeviceKind = 1
	Virtual    DeviceKind = 2
	Software   DeviceKind = 3
	CPU        DeviceKind = 4
	Reference  DeviceKind = 5
	NoVulkan   DeviceKind = 6
)

func (k DeviceKind) String() string {
	names := [...]string{"discrete GPU", "integrated GPU", "virtual GPU", "software", "CPU", "reference", "none"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint32(k))
}

// Features of a device, a set of bits (VKB_FEATURE_*).
type Features uint32

const (
	F16Storage Features = 1 << iota
	F16Arithmetic
	I8Storage
	I8Dot
	CooperativeMatrix
	CooperativeMatrix2
	ComputeQueue
	HostVisible
	Timestamps
)

var featureNames = []string{"f16 storage", "f16 arithmetic", "int8 storage", "int8 dot product", "cooperative matrix", "cooperative matrix 2",
	"compute queue", "host-visible memory", "timestamps"}

// Names lists the features that are set.
func (f Features) Names() []string {
	names := []string{}
	for i, name := range featureNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// VariantState says whether a [Variant] is used (vkb_variant_state).
type VariantState uint32

const (
	VariantRuns     VariantState = 0 // it passed its self-test
	VariantOff      VariantState = 1 // it failed, or is forbidden
	VariantUnfit    VariantState = 2 // the device lacks what it needs
	VariantUntested VariantState = 3 // it has no test of its own
)

func (s VariantState) String() string {
	names := [...]string{"runs", "off", "unfit", "untested"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("state %d", uint32(s))
}

// Variant is one way to do an op on a device (vkb_variant).
type Variant struct {
	Op     string // "" for what is no op
	Name   string
	State  VariantState
	Reason string // why it does not run
}

// DeviceInfo describes one device (vkb_device_info).
type DeviceInfo struct {
	Kind                                    DeviceKind
	Usable                                  bool
	Features                                Features
	APIVersion                              uint32 // as VK_MAKE_API_VERSION packs it; 0 for the CPU
	VendorID, DeviceID                      uint32
	Threads                                 int // CPU backend: worker threads
	SubgroupSize, SubgroupMin, SubgroupMax  int
	WorkgroupInvocations, SharedMemoryBytes int
	Processors                              int
	BufferRange                             uint64 // bytes of one storage buffer binding at most
	MemoryBytes, MemoryAvailable            uint64
	UUID                                    [16]byte
	Selector, Name, Driver                  string
	Reason                                  string // why it is not usable
}

// DType is the type of an element (vkb_dtype).
type DType uint32

const (
	F32  DType = 0
	F16  DType = 1
	BF16 DType = 2
	I8   DType = 3 // as LINEAR tensors are stored, never put
)

// Layout says what a tensor is used for (vkb_layout).
type Layout uint32

const (
	Vector Layout = 0 // [1, Cols]
	Table  Layout = 1 // [Rows, Cols], looked up by row
	Linear Layout = 2 // [Rows = outputs, Cols = inputs]
)

// Tensor is the shape of one tensor of [Weights].
type Tensor struct {
	Rows, Cols uint32
	Layout     Layout
	DType      DType // F32 or F16; Linear also I8
}

// WeightsInfo is what is known of weights once they are sealed.
type WeightsInfo struct {
	Bytes          uint64 // on the device
	NonFinite      uint64 // elements that are NaN or infinite
	FirstNonFinite uint32 // the tensor where the first of them was put; None if there is none
}

// Scope says whether a value has a row for each token or for each sequence.
type Scope uint32

const (
	PerToken    Scope = 0
	PerSequence Scope = 1
)

// Value is an intermediate result, [T, Width] or [B, Width].
type Value struct {
	Scope Scope
	Width uint32
}

// OpKind is what a step does (vkb_op_kind).
type OpKind uint32

// Activation is a function of each value (vkb_activation).
type Activation uint32

// Norm is a kind of normalisation (vkb_norm).
type Norm uint32

// Pool is a way to make one row of a sequence's rows (vkb_pool).
type Pool uint32

// Residual says where a residual comes in (vkb_residual).
type Residual uint32

// Flags are VKB_FLAG_* bits.
type Flags uint32

const (
	OpEmbed     OpKind = 0
	OpLinear    OpKind = 1
	OpAttention OpKind = 2
	OpNorm      OpKind = 3
	OpPool      OpKind = 4
	OpNormalize OpKind = 5
	OpGate      OpKind = 6
	OpRotate    OpKind = 7
	OpLinearMax OpKind = 8
)

const (
	NoActivation Activation = 0
	GELU         Activation = 1
	GELUTanh     Activation = 2
	ReLU         Activation = 3
	SiLU         Activation = 4
	Tanh         Activation = 5
	Sigmoid      Activation = 6
)

const (
	NoNorm    Norm = 0
	LayerNorm Norm = 1
	RMSNorm   Norm = 2
)

const (
	ResidualBeforeNorm       Residual = 0
	ResidualBeforeActivation Residual = 1
	ResidualAfterNorm        Residual = 2
)

const (
	Causal      Flags = 1
	Interleaved Flags = 2
)

const (
	PoolCLS          Pool = 0
	PoolMax          Pool = 1
	PoolMean         Pool = 2
	PoolMeanSqrtLen  Pool = 3
	PoolWeightedMean Pool = 4
	PoolLast         Pool = 5
)

// Op is one step of a program; vkbert.h says which fields each kind uses. Start from [NewOp], because the zero value names tensor 0.
type Op struct {
	Kind                     OpKind
	Input, Output, Residual  uint32
	Weight, Bias             uint32
	PositionTable, TypeTable uint32
	Norm                     Norm
	NormWeight, NormBias     uint32
	NormEps                  float32
	Activation               Activation
	Heads                    uint32
	Scale                    float32
	Pool                     Pool
	Column                   uint32
	ResidualAt               Residual
	KVHeads, HeadSize        uint32
	Window                   uint32
	Flags                    Flags
}

// NewOp returns an op that names no value and no tensor.
func NewOp(kind OpKind) Op {
	return Op{Kind: kind, Input: None, Output: None, Residual: None, Weight: None, Bias: None, PositionTable: None, TypeTable: None,
		NormWeight: None, NormBias: None}
}

// ProgramDesc describes a program and the greatest batch that it takes.
type ProgramDesc struct {
	Values       []Value
	Ops          []Op
	Outputs      []uint32
	MaxTokens    int
	MaxSequences int
	Activations  DType // F32, or F16: per-token values in half the memory where the device can
	Flags        ProgramFlags
}

// ProgramFlags (VKB_PROGRAM_*).
type ProgramFlags uint32

// Deterministic gives a sequence the same bits whatever batch it is in.
const Deterministic ProgramFlags = 1

// ProgramInfo is the memory that a program takes, in bytes.
type ProgramInfo struct {
	ArenaBytes, HostBytes uint64
}

// Batch is a number of sequences packed end to end.
type Batch struct {
	IDs        []int32  // [T]
	TypeIDs    []int32  // [T] or nil: zeros
	Positions  []int32  // [T] or nil: 0, 1, 2, … within each sequence
	CuSeqlens  []uint32 // [B + 1]
	PoolStarts []uint32 // [B] or nil: zeros
}

// Options of [OpenDevice].
type Options struct {
	Selector string // "" or "auto", "cpu", "reference", "vulkan", "vulkan:N", "vulkan:NAME"
	Threads  int    // CPU backend; 0 = as many as the process may use
	CacheDir string // existing folder for the pipeline cache; "" = none
	Log      func(level LogLevel, message string)
}

// LogLevel of a line handed to [Options].Log.
type LogLevel int

const (
	Debug   LogLevel = 0
	Info    LogLevel = 1
	Warning LogLevel = 2
)
