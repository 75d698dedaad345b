package convert

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/vkbert/vkbert/loader"
)

// f64 is a type that PyTorch has and that no model is stored in on purpose.
const f64 loader.DType = "F64"

// targets are the names of the types that can be asked for.
var targets = map[string]loader.DType{"": "", "f32": loader.F32, "f16": loader.F16, "bf16": loader.BF16}

// torchNames is how config.json spells them.
var torchNames = map[loader.DType]string{loader.F32: "float32", loader.F16: "float16", loader.BF16: "bfloat16"}

func parseDType(name string) (loader.DType, error) {
	dtype, ok := targets[name]
	if !ok {
		names := slices.Sorted(maps.Keys(targets))
		return "", fmt.Errorf("%w: dtype %q; supported: %s", loader.ErrUnsupported, name, strings.Join(names[1:], ", "))
	}
	return dtype, nil
}

// codec reads and writes one element, little-endian.
type codec struct {
	size int
	get  func(b []byte) float32
	put  func(b []byte, x float32)
}

// codecs are the types whose elements are numbers that may be stored in another
// type. A float64 becomes a float32 first, as in torch.
var codecs = map[loader.DType]codec{
	f64: {8, func(b []byte) float32 { return float32(math.Float64frombits(binary.LittleEndian.Uint64(b))) }, nil},
	loader.F32: {4,
		func(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) },
		func(b []byte, x float32) { binary.LittleEndian.PutUint32(b, math.Float32bits(x)) }},
	loader.F16: {2,
		func(b []byte) float32 { return loader.HalfToFloat(binary.LittleEndian.Uint16(b)) },
		func(b []byte, x float32) { binary.LittleEndian.PutUint16(b, floatToHalf(x)) }},
	loader.BF16: {2,
		func(b []byte) float32 { return math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16) },
		func(b []byte, x float32) { binary.LittleEndian.PutUint16(b, floatToBFloat(x)) }},
}

// floatToHalf rounds to the nearest IEEE binary16, ties to even; what is too
// large becomes infinite.
func floatToHalf(x float32) uint16 {
	b := math.Float32bits(x)
	sign := uint16(b>>16) & 0x8000
	b &^= 1 << 31
	switch {
	case b > 0x7f800000: // NaN, of which the quiet bit is kept set
		return sign | 0x7e00 | uint16(b>>13)&0x1ff
	case b >= 0x47800000: // 2¹⁶
		return sign | 0x7c00
	case b < 0x38800000: // 2⁻¹⁴: 0.5 has the ulp of a subnormal half, 2⁻²⁴, so the sum is rounded as it should be
		return sign | uint16(math.Float32bits(math.Float32frombits(b)+0.5)-math.Float32bits(0.5))
	}
	b += 0xfff + b>>13&1 // may carry into the exponent, up to infinity
	return sign | uint16((b-(127-15)<<23)>>13)
}

// floatToBFloat rounds to the nearest bfloat16, ties to even.
func floatToBFloat(x float32) uint16 {
	b := math.Float32bits(x)
	if x != x {
		return uint16(b>>16) | 1<<6
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// as returns the tensor stored in another type. Integers and booleans stay what
// they are; so does everything if to is "", but for a float64, which no
// architecture reads.
func (t Tensor) as(to loader.DType) Tensor {
	from, isNumber := codecs[t.DType]
	if to == "" && t.DType == f64 {
		to = loader.F32
	}
	if !isNumber || to == "" || to == t.DType {
		return t
	}
	into, data := codecs[to], t.Data
	out := t
	out.DType = to
	out.Data = func(emit func([]byte) error) error {
		var buffer []byte
		return data(func(chunk []byte) error {
			n := len(chunk) / from.size
			if need := n * into.size; cap(buffer) < need {
				buffer = make([]byte, need)
			}
			for i := range n {
				x := from.get(chunk[i*from.size:])
				dst := buffer[i*into.size:]
				into.put(dst, x)
				if isFinite(x) && !isFinite(into.get(dst)) {
					return fmt.Errorf("%w: tensor %.200q: %g does not fit %s; use f32 or bf16", ErrRange, t.Name, x, to)
				}
			}
			return emit(buffer[:n*into.size])
		})
	}
	return out
}

func isFinite(x float32) bool { return math.Float32bits(x)&0x7f800000 != 0x7f800000 }
