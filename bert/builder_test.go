package bert

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// The first device decides what "auto" is. A device that is opened again does so beside whoever makes a program of a task: the race detector says if it writes.
func TestChooseOnce(t *testing.T) {
	config, err := loader.ParseConfig("random", []byte(bertConfig(8, 1, 1, 8)))
	require.NoError(t, err)
	for dtype, want := range map[string]string{"": "f32", "auto": "f32", "f32": "f32", "f16": "f16", "int8": "int8"} {
		p, err := planRandom(config, Options{DType: dtype})
		require.NoError(t, err)
		p.choose(cgo.DeviceInfo{Kind: cgo.CPU})
		again := make(chan struct{})
		go func() {
			defer close(again)
			p.choose(cgo.DeviceInfo{Kind: cgo.Discrete, Features: cgo.CooperativeMatrix}) // for which "auto" is f16
		}()
		assert.Equal(t, want, p.stored.name)
		<-again
		assert.Equal(t, want, p.stored.name)
		for _, spec := range p.tensors {
			assert.NotEqual(t, asChosen, spec.DType)
		}
	}
}
