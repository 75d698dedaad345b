package bert

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// A table of cosines and sines has a row for each position that a sequence in a batch can have, however many config.json asks for.
func TestRopeTableRows(t *testing.T) {
	const qwen = `{"model_type":"qwen3","hidden_size":64,"head_dim":%d,"num_hidden_layers":1,"num_attention_heads":1,"intermediate_size":8,"vocab_size":16,
		"max_position_embeddings":%d}`
	const nomic = `{"model_type":"nomic_bert","hidden_size":%d,"num_hidden_layers":1,"num_attention_heads":1,"intermediate_size":8,"vocab_size":16,
		"max_position_embeddings":%d,"n_positions":8,"rope_parameters":{"rope_type":"dynamic","rope_theta":1000,"factor":2}}`
	for _, c := range []struct {
		format          string
		size, positions int
		batch           int // tokens that are asked for
		rows, tokens    int // of the table, and of the longest sequence
	}{
		{qwen, 8, 512, 0, 512, 512},
		{qwen, 8, 32768, 0, 32768, 32768},
		{qwen, 128, 131072, 0, 32768, 32768},
		{qwen, 128, 131072, 131072, 131072, 131072},
		{qwen, 128, 40960, 16, 8192, 8192},
		{qwen, 256, 1 << 22, 0, 32768, 32768},
		{nomic, 64, 1 << 22, 0, 32768, 32768},
		{nomic, 64, 4, 0, 4 + 5 + 6 + 7 + 8, 8}, // each length beyond the trained one has rows of its own
	} {
		text := fmt.Sprintf(c.format, c.size, c.positions)
		config, err := loader.ParseConfig("config.json", []byte(text))
		require.NoError(t, err)
		p, err := planRandom(config, Options{MaxBatchTokens: c.batch})
		require.NoError(t, err)
		table := p.tensors[ropeTableOf(t, p)]
		require.Equal(t, cgo.Tensor{Rows: uint32(c.rows), Cols: uint32(c.size), Layout: cgo.Table, DType: cgo.F32}, table.Tensor, text)
		values := 0
		require.NoError(t, table.stream(context.Background(), nil, func(_ int, _ cgo.DType, chunk []byte) error {
			values += len(chunk) / 4
			return nil
		}))
		assert.Equal(t, c.rows*c.size, values, text)
		if p.encoder.positions != nil {
			positions := make([]int32, c.tokens)
			p.encoder.positions(positions, positions)
			assert.Equal(t, int32(c.rows-1), positions[c.tokens-1], text)
		}
	}
}

func ropeTableOf(t *testing.T, p *planned) uint32 {
	for _, op := range p.ops {
		if op.Kind == cgo.OpRotate {
			return op.PositionTable
		}
	}
	require.Fail(t, "no rotary embedding")
	return 0
}

// The greatest batch that is asked for, or that a device has unasked, holds the longest sequence.
func TestMostBatchTokens(t *testing.T) {
	values := []cgo.Value{{Scope: cgo.PerToken, Width: 64}}
	for _, asked := range []int{0, 1, 4096, 1 << 20} {
		for kind := range defaultBatchTokens {
			for _, longest := range []int{1, 512, unlimited, 1 << 22} {
				got := batchTokens(asked, cgo.DeviceInfo{Kind: kind}, values, longest)
				assert.LessOrEqual(t, got, mostBatchTokens(asked))
			}
		}
	}
}
