package loader

import "fmt"

// DType is the element type of a tensor, by its safetensors name.
type DType string

// The types that weights are streamed in.
const (
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
)

// dtypeBits holds every type of the safetensors format, so that a file with an
// unused tensor of any of them still loads.
var dtypeBits = map[DType]uint64{
	"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
	"BOOL": 8, "U8": 8, "I8": 8,
	"F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
	"I16": 16, "U16": 16, F16: 16, BF16: 16,
	"I32": 32, "U32": 32, F32: 32,
	"I64": 64, "U64": 64, "F64": 64, "C64": 64,
}

// IsFloat says whether tensors of this type can be streamed: F32, F16 or BF16.
func (d DType) IsFloat() bool { return d == F32 || d == F16 || d == BF16 }

// Size returns the bytes an element takes, 0 for a type smaller than a byte.
func (d DType) Size() int { return int(dtypeBits[d] / 8) }

// tensorBytes returns the elements and bytes of a tensor, or an error where
// either is over 64 bits or the last byte would be half full.
func tensorBytes(d DType, shape []uint64) (elements, bytes uint64, err error) {
	bits, known := dtypeBits[d]
	if !known {
		return 0, 0, fmt.Errorf("dtype %.40q is not a safetensors type", string(d))
	}
	elements = 1
	for _, n := range shape {
		if elements, err = mulU64(elements, n); err != nil {
			return 0, 0, fmt.Errorf("shape %v overflows: %w", shape, err)
		}
	}
	total, err := mulU64(elements, bits)
	if err != nil {
		return 0, 0, fmt.Errorf("shape %v of %s overflows: %w", shape, d, err)
	}
	if total%8 != 0 {
		return 0, 0, fmt.Errorf("shape %v of %s does not fill whole bytes", shape, d)
	}
	return elements, total / 8, nil
}
