//go:build !cgo

package cgo

// Available says whether the C core is part of this binary.
const Available = false

// Devices, OpenDevice and the methods below are explained in core.go.
func Devices(string) ([]DeviceInfo, error) { return nil, ErrNoCgo }

func Version() (core, header string) { return "", "" }

type Device struct{}

func OpenDevice(Options) (*Device, error)    { return nil, ErrNoCgo }
func (*Device) Info() DeviceInfo             { return DeviceInfo{} }
func (*Device) Close()                       {}
func (*Device) Variants() ([]Variant, error) { return nil, ErrNoCgo }

type Weights struct{}

func NewWeights(*Device, []Tensor) (*Weights, error)  { return nil, ErrNoCgo }
func (*Weights) Put(int, DType, uint64, []byte) error { return ErrNoCgo }
func (*Weights) Seal() (WeightsInfo, error)           { return WeightsInfo{}, ErrNoCgo }
func (*Weights) Close()                               {}

type Program struct{}

func NewProgram(*Weights, ProgramDesc) (*Program, error) { return nil, ErrNoCgo }
func (*Program) Info() ProgramInfo                       { return ProgramInfo{} }
func (*Program) Run(Batch, [][]float32) error            { return ErrNoCgo }
func (*Program) Close()                                  {}

// Work is explained in work.go.
type Work struct {
	Batch
	Output []float32
}

func NewWork(int, int, int) (*Work, error) { return nil, ErrNoCgo }
func (*Work) Close()                       {}
func (*Program) Do(*Work) error            { return ErrNoCgo }
