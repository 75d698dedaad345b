package bert

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/cgo"
)

// A call for sparse vectors is made in parts, and an error names the text by its number in the whole call.
func TestSparseNamesTheText(t *testing.T) {
	spoilt := 0
	d := &fakeDevice{spoil: func(output []float32) {
		for i := 0; i < len(output); i += 2 {
			if output[i] == float32(100+spoilt) {
				output[i] = float32(math.NaN())
			}
		}
	}, fail: func(int) error { return &cgo.Error{Status: cgo.NotFinite, Message: "a value is not finite"} }}
	q := openQueue(t, d, twoValues, 100, 0, 1)
	refused := -1
	q.check = func(s *Sequence) error {
		if s.IDs[0] == int32(100+refused) {
			return ErrInput
		}
		return nil
	}
	r := &running{ready: make(chan struct{}), queue: q}
	close(r.ready)
	e := &Encoder{arch: &planned{sparse: &sparsePooling{}, cutOff: -1}, running: map[string]*running{base: r}}
	e.info.Dimensions = sparseFloats / 4 // four texts a part
	for text := range 8 {
		spoilt, refused = text, -1
		_, err := e.EmbedSparse(context.Background(), numbered(100, repeat(8, 5)...), 0)
		require.ErrorIs(t, err, ErrNotFinite)
		assert.ErrorContains(t, err, fmt.Sprintf("text %d: ", text))
		spoilt, refused = -1, text
		_, err = e.EmbedSparse(context.Background(), numbered(100, repeat(8, 5)...), 0)
		require.ErrorIs(t, err, ErrInput)
		assert.ErrorContains(t, err, fmt.Sprintf("text %d: ", text))
	}
}
