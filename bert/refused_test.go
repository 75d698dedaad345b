package bert

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/internal/testmodel"
	"github.com/vkbert/vkbert/loader"
)

// copied is a copy of a directory of testdata/arch that may be changed.
func copied(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(testmodel.Path("arch", name))))
	return dir
}

// openDir opens a model directory on the reference, and closes what it opened.
func openDir(t *testing.T, dir string) error {
	t.Helper()
	m, err := loader.Open(dir)
	require.NoError(t, err)
	defer m.Close()
	e, err := Open(context.Background(), m, Options{Device: "reference"})
	if err == nil {
		e.Close()
	}
	return err
}

// configure changes keys of a model directory's config.json.
func configure(t *testing.T, dir string, keys map[string]any) {
	t.Helper()
	path := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var config map[string]any
	require.NoError(t, json.Unmarshal(data, &config))
	maps.Copy(config, keys)
	data, err = json.Marshal(config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, data, 0o600))
}

// f32Tensor is a tensor of a file that a test writes.
type f32Tensor struct {
	name   string
	shape  []int
	values []float32
}

// writeTensors makes them the weights of a model directory.
func writeTensors(t *testing.T, dir string, tensors ...f32Tensor) {
	t.Helper()
	header, data := map[string]any{}, []byte(nil)
	for _, x := range tensors {
		first := len(data)
		data = append(data, fromFloat32(x.values)...)
		header[x.name] = map[string]any{"dtype": "F32", "shape": x.shape, "data_offsets": []int{first, len(data)}}
	}
	text, err := json.Marshal(header)
	require.NoError(t, err)
	file := append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "model.safetensors"), append(file, data...), 0o600))
}

// A mapping may name the rows of the table alone.
func TestStaticMapping(t *testing.T) {
	dir := copied(t, "static_model2vec")
	nan := float32(math.NaN())
	for _, c := range []struct {
		row  float32
		good bool
	}{{0, true}, {1, true}, {2, false}, {-1, false}, {nan, false}, {-nan, false}, {float32(math.Inf(1)), false}, {float32(math.Inf(-1)), false}} {
		for _, width := range []int{3, 4} {
			writeTensors(t, dir, f32Tensor{"embeddings", []int{2, width}, make([]float32, 2*width)}, f32Tensor{"mapping", []int{3}, []float32{0, c.row, 1}})
			err := openDir(t, dir)
			if c.good {
				require.NoError(t, err, c.row)
				continue
			}
			require.ErrorIs(t, err, loader.ErrTensor, c.row)
			for _, says := range []string{`"mapping"`, "element 1", `"embeddings"`, "0 to 1"} {
				assert.ErrorContains(t, err, says)
			}
		}
	}
}

// Distances beyond the exact ones need a greatest distance that is larger; the buckets are those of transformers 5.24, T5Attention._relative_position_bucket.
func TestT5Distances(t *testing.T) {
	for _, c := range []struct {
		buckets, greatest int
		want              []int // of the distances −greatest … greatest
	}{
		{32, 9, []int{15, 8, 7, 6, 5, 4, 3, 2, 1, 0, 17, 18, 19, 20, 21, 22, 23, 24, 31}},
		{4, 2, []int{1, 1, 0, 3, 3}},
		{6, 2, []int{2, 1, 0, 4, 5}},
		{10, 3, []int{4, 2, 1, 0, 6, 7, 9}},
		{7, 4, []int{2, 2, 2, 1, 0, 4, 5, 5, 5}},
	} {
		var got []int
		for d := -c.greatest; d <= c.greatest; d++ {
			got = append(got, relativeBucket(d, c.buckets, c.greatest))
		}
		assert.Equal(t, c.want, got, c)
	}
	for greatest, good := range map[int]bool{2: false, 7: false, 8: false, 9: true, 128: true} {
		dir := copied(t, "t5")
		configure(t, dir, map[string]any{"relative_attention_max_distance": greatest})
		err := openDir(t, dir)
		if good {
			require.NoError(t, err, greatest)
			continue
		}
		require.Error(t, err, greatest)
		for _, says := range []string{"config.json", "relative_attention_max_distance", "relative_attention_num_buckets / 4 = 8", fmt.Sprintf("got %d", greatest)} {
			assert.ErrorContains(t, err, says)
		}
	}
}

// Rows of relative positions are made of config.json's numbers, and bounded: these are those of released models, and of models of 4,096 positions.
func TestDeBERTaPositions(t *testing.T) {
	const format = `{"model_type":"deberta-v2","hidden_size":%d,"num_hidden_layers":%d,"num_attention_heads":8,"intermediate_size":8,"vocab_size":16,"hidden_act":"gelu",
		"max_position_embeddings":%d,"position_buckets":256,"relative_attention":%t,"pos_att_type":"p2c|c2p","position_biased_input":false}`
	for _, c := range []struct {
		hidden, layers, positions int
		relative, good            bool
	}{
		{768, 12, 512, true, true}, {1536, 48, 512, true, true}, {768, 12, 4096, true, true}, {1024, 24, 4096, true, true},
		{40, 3, 1 << 22, true, false}, {8, 1024, 1 << 17, true, false}, {40, 3, 1 << 22, false, true},
	} {
		config, err := loader.ParseConfig("config.json", fmt.Appendf(nil, format, c.hidden, c.layers, c.positions, c.relative))
		require.NoError(t, err)
		_, err = planRandom(config, Options{})
		if c.good {
			require.NoError(t, err, c)
			continue
		}
		require.ErrorIs(t, err, loader.ErrUnsupported, c)
		for _, says := range []string{"config.json", "max_position_embeddings", fmt.Sprintf("got %d", c.positions), fmt.Sprint(positionFloats)} {
			assert.ErrorContains(t, err, says)
		}
	}
	dir := copied(t, "deberta_v2")
	configure(t, dir, map[string]any{"max_position_embeddings": 1 << 22})
	require.ErrorIs(t, openDir(t, dir), loader.ErrUnsupported)
}

// A task has a name of its own, which no other program has.
func TestTaskNames(t *testing.T) {
	for _, name := range []string{tokenVectors, maskedQueries, "", "separation"} {
		dir := copied(t, "jina_v3")
		configure(t, dir, map[string]any{"lora_adaptations": []string{"retrieval.query", "retrieval.passage", "separation", name, "text-matching"}})
		err := openDir(t, dir)
		require.Error(t, err, name)
		for _, says := range []string{"config.json", "lora_adaptations", fmt.Sprintf("task %q", name)} {
			assert.ErrorContains(t, err, says)
		}
	}
}
