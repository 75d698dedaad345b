package convert

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/loader"
)

// TestHalf: every half comes back, and what lies between two goes to the nearest,
// in a tie to the even one.
func TestHalf(t *testing.T) {
	for h := range uint16(0x7c00) { // the finite ones that are not negative
		x := loader.HalfToFloat(h)
		next := 65536.0 // what would follow the largest
		if h < 0x7bff {
			next = float64(loader.HalfToFloat(h + 1))
		}
		middle := float32((float64(x) + next) / 2) // exact: a float32 has 13 more bits
		even := h + h&1
		for sign, bit := range map[float32]uint16{1: 0, -1: 0x8000} {
			require.Equal(t, h|bit, floatToHalf(sign*x+0*sign)|bit, "%g", x)
			require.Equal(t, h|bit, floatToHalf(sign*math.Nextafter32(middle, 0))|bit)
			require.Equal(t, (h+1)|bit, floatToHalf(sign*math.Nextafter32(middle, 1e9))|bit)
			require.Equal(t, even|bit, floatToHalf(sign*middle)|bit)
		}
	}
	for x, want := range map[float32]uint16{1e9: 0x7c00, 65520: 0x7c00, 65519: 0x7bff, 1e-9: 0, float32(math.Inf(1)): 0x7c00, float32(math.Inf(-1)): 0xfc00, -2: 0xc000} {
		assert.Equal(t, want, floatToHalf(x), "%g", x)
	}
	nan := floatToHalf(float32(math.NaN()))
	assert.True(t, nan&0x7c00 == 0x7c00 && nan&0x3ff != 0)
}

func TestBFloat(t *testing.T) {
	for h := range uint16(0x7f80) {
		x, next := math.Float32frombits(uint32(h)<<16), math.Float32frombits(uint32(h)<<16+1<<16)
		require.Equal(t, h, floatToBFloat(x))
		middle := math.Float32frombits(uint32(h)<<16 + 1<<15)
		require.Equal(t, h+h&1, floatToBFloat(middle))
		require.Equal(t, h, floatToBFloat(math.Nextafter32(middle, 0)))
		require.Equal(t, h+1, floatToBFloat(math.Nextafter32(middle, next)))
	}
	nan := floatToBFloat(math.Float32frombits(0x7f800001)) // whose fraction lies in the bits that are cut off
	assert.True(t, nan&0x7f80 == 0x7f80 && nan&0x7f != 0)
}

func TestAs(t *testing.T) {
	data := binary.LittleEndian.AppendUint64(nil, math.Float64bits(1.0/3))
	tensor := Tensor{Name: "w", DType: f64, Shape: []int{1}, Data: func(emit func([]byte) error) error { return emit(data) }}
	for to, want := range map[loader.DType][]byte{
		"":          {0xab, 0xaa, 0xaa, 0x3e}, // a float64 never stays one
		loader.F32:  {0xab, 0xaa, 0xaa, 0x3e},
		loader.F16:  {0x55, 0x35},
		loader.BF16: {0xab, 0x3e},
	} {
		out := tensor.as(to)
		require.NoError(t, out.Data(func(chunk []byte) error {
			assert.Equal(t, want, chunk, "%s", out.DType)
			return nil
		}))
	}
	ids := Tensor{DType: "I64"}
	assert.Equal(t, loader.DType("I64"), ids.as(loader.F16).DType)
}

// TestQ8: the largest scale and bytes, as ggml has them.
func TestQ8(t *testing.T) {
	block := make([]byte, q8Bytes)
	binary.LittleEndian.PutUint16(block, floatToHalf(0.5))
	block[2], block[3], block[33] = 0x7f, 0x80, 0xff
	out := dequantizeQ8(nil, block)
	require.Len(t, out, 4*q8Block)
	for i, want := range map[int]float32{0: 63.5, 1: -64, 2: 0, 31: -0.5} {
		assert.Equal(t, want, math.Float32frombits(binary.LittleEndian.Uint32(out[4*i:])))
	}
}
