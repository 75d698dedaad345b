package convert

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/loader"
)

func TestTorchTensors(t *testing.T) {
	g := readGolden(t)
	for _, name := range []string{"torch/views.bin", "torch/protocol4.bin", "torch/module.bin", "torch/bert.bin"} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			dst := tempDst(t)
			require.NoError(t, Convert(context.Background(), filepath.Join("testdata", name), dst, Options{}))
			assert.Equal(t, g.files[name].Tensors, describe(t, filepath.Join(dst, "model.safetensors")))
		})
	}
}

func TestTorchRefused(t *testing.T) {
	for _, tt := range []struct {
		file string
		kind error
		says string
	}{
		{"torch/legacy.bin", loader.ErrUnsupported, "before 1.6"},
		{"torch/evil.bin", loader.ErrUnsupported, `calls "system" of "posix"`},
		{"torch/list.bin", loader.ErrUnsupported, "want a dictionary of tensors (a state dict), got a list"},
		{"torch/checkpoint.bin", loader.ErrUnsupported, `"epoch": want a tensor, got an int`},
		{"torch/whole_module.bin", loader.ErrUnsupported, `calls "Sequential" of "torch.nn.modules.container"`},
		{"torch/none.bin", loader.ErrNotFound, "no such file"},
	} {
		t.Run(filepath.Base(tt.file), func(t *testing.T) {
			dst, src := tempDst(t), filepath.Join("testdata", tt.file)
			err := Convert(context.Background(), src, dst, Options{})
			require.ErrorIs(t, err, tt.kind)
			assert.ErrorContains(t, err, tt.says)
			assert.ErrorContains(t, err, src)
			noLeftovers(t, filepath.Dir(dst))
		})
	}
	assert.NoFileExists(t, "/tmp/vkbert-was-here", "the pickle's code has run")
}

func TestTorchShards(t *testing.T) {
	dst := tempDst(t)
	require.NoError(t, Convert(context.Background(), "testdata/torch_shards", dst, Options{DType: "bf16"}))
	got := describe(t, filepath.Join(dst, "model.safetensors"))
	require.Len(t, got, 3)
	assert.Equal(t, []int{2, 2}, got["c"].Shape)
	assert.Equal(t, "BF16", got["c"].DType)
	noLeftovers(t, dst, "model.safetensors", "config.json")
	assert.JSONEq(t, `{"model_type":"bert","torch_dtype":"bfloat16"}`, string(readFile(t, dst, "config.json")))
}

func TestTorchShardsRefused(t *testing.T) {
	const good = `{"weight_map":{"a":"pytorch_model-00001-of-00002.bin","b":"pytorch_model-00001-of-00002.bin","c":"pytorch_model-00002-of-00002.bin"}}`
	for name, tt := range map[string]struct {
		index string
		kind  error
		says  string
	}{
		"leads out":      {`{"weight_map":{"a":"../../pytorch_model.bin"}}`, loader.ErrPath, "../../pytorch_model.bin"},
		"drive":          {`{"weight_map":{"a":"C:\\x.bin"}}`, loader.ErrPath, `C:`},
		"not a bin":      {`{"weight_map":{"a":"/etc/passwd"}}`, loader.ErrBadConfig, "want the name of a .bin file"},
		"missing shard":  {`{"weight_map":{"a":"other.bin"}}`, loader.ErrNotFound, "other.bin"},
		"missing tensor": {good[:len(good)-2] + `,"d":"pytorch_model-00002-of-00002.bin"}}`, ErrBadFile, `"d"`},
		"wrong shard":    {`{"weight_map":{"a":"pytorch_model-00002-of-00002.bin"}}`, ErrBadFile, `"c": the index says ""`},
		"duplicate":      {`{"weight_map":{"a":"x.bin","a":"y.bin"}}`, loader.ErrBadConfig, "duplicate"},
		"no map":         {`{}`, loader.ErrBadConfig, "weight_map"},
		"empty map":      {`{"weight_map":{}}`, loader.ErrBadConfig, "want 1 to 1000 shards, got 0"},
		"a number":       {`{"weight_map":{"a":1}}`, loader.ErrBadConfig, "want a string"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, dst := t.TempDir(), tempDst(t)
			require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/torch_shards")))
			writeFile(t, []byte(tt.index), dir, "pytorch_model.bin.index.json")
			err := Convert(context.Background(), dir, dst, Options{})
			require.ErrorIs(t, err, tt.kind)
			assert.ErrorContains(t, err, tt.says)
			assert.ErrorContains(t, err, dir)
			noLeftovers(t, filepath.Dir(dst))
		})
	}
}
