package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const convertData = "../../loader/convert/testdata"

// convertGolden writes what sentence-transformers gives for a model of convertData, in the form that verify takes.
func convertGolden(t *testing.T, model string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(convertData, "golden.json"))
	require.NoError(t, err)
	var golden struct {
		Texts  []string
		Models map[string]struct {
			IDs     [][]int     `json:"ids"`
			Vectors [][]float64 `json:"vectors"`
		}
	}
	require.NoError(t, json.Unmarshal(data, &golden))
	m := golden.Models[model]
	require.NotEmpty(t, m.Vectors)
	text, err := json.Marshal(map[string]any{"texts": golden.Texts, "ids": m.IDs, "vectors": m.Vectors})
	require.NoError(t, err)
	return write(t, "golden.json", string(text))
}

// TestConvert: the vectors of what comes out are those of the original model.
func TestConvert(t *testing.T) {
	bert := convertGolden(t, "bert")
	pytorch := t.TempDir() // the small files of the GGUF file's model, with PyTorch's weights
	for name, tt := range map[string]struct {
		src, golden string
		args        []string
		note        string
		tolerance   string
	}{
		"GGUF":         {filepath.Join(convertData, "gguf", "bert.gguf"), bert, nil, "the activation is not in the file", "1e-5"},
		"GGUF Q8_0":    {filepath.Join(convertData, "gguf", "bert_q8.gguf"), bert, []string{"--pooling", "mean"}, "prompts and a limit of length", "2e-2"},
		"PyTorch":      {pytorch, bert, nil, "", "1e-5"},
		"shards":       {tiny("sharded"), filepath.Join(tiny("sharded"), "golden.json"), []string{"--dtype", "f32"}, "", "1e-5"},
		"GGUF, packed": {filepath.Join(convertData, "gguf", "bert.gguf"), bert, []string{"--packed"}, "the activation is not in the file", "1e-5"},
		"bf16, packed": {tiny("sharded"), filepath.Join(tiny("sharded"), "golden.json"), []string{"--dtype", "bf16", "--packed"}, "", "5e-2"},
		"safetensors":  {filepath.Join(tiny("mean"), "model.safetensors"), filepath.Join(tiny("mean"), "golden.json"), []string{"--dtype", "bf16"}, "", "5e-2"},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.src == pytorch {
				first := filepath.Join(t.TempDir(), "out")
				require.Equal(t, exitDone, vkb(t, "", "convert", "-m", filepath.Join(convertData, "gguf", "bert.gguf"), "-o", first).status)
				require.NoError(t, os.CopyFS(pytorch, os.DirFS(first)))
				require.NoError(t, os.Remove(filepath.Join(pytorch, "model.safetensors")))
				data, err := os.ReadFile(filepath.Join(convertData, "torch", "bert.bin"))
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(filepath.Join(pytorch, "pytorch_model.bin"), data, 0o666))
			}
			dst := filepath.Join(t.TempDir(), "out")
			o := vkb(t, "", append([]string{"convert", "-m", tt.src, "-o", dst}, tt.args...)...)
			require.Equal(t, exitDone, o.status, o.err)
			assert.Equal(t, dst+"\n", o.out)
			assert.Contains(t, o.err, tt.note)
			assert.Equal(t, tt.note == "", o.err == "")
			good(t, "", "verify", "-m", dst, "--device", "cpu", "--tolerance", tt.tolerance, tt.golden)
		})
	}
}

func TestConvertRefused(t *testing.T) {
	gguf := filepath.Join(convertData, "gguf", "bert.gguf")
	full := filepath.Dir(write(t, "file", ""))
	for name, tt := range map[string]struct {
		status int
		says   string
		args   []string
	}{
		"no output":        {exitUsage, `"output" not set`, []string{"-m", gguf}},
		"no model":         {exitUsage, `"model" not set`, []string{"-o", "x"}},
		"an argument":      {exitUsage, "unknown command", []string{"-m", gguf, "-o", "x", "y"}},
		"unknown type":     {exitUsage, "want one of keep, f32, f16, bf16", []string{"-m", gguf, "-o", "x", "--dtype", "q8"}},
		"unknown model":    {exitFailed, "vkbert download", []string{"-m", "org/none", "-o", "x"}},
		"not empty":        {exitFailed, "already exists", []string{"-m", gguf, "-o", full}},
		"code in a pickle": {exitFailed, `calls "system"`, []string{"-m", filepath.Join(convertData, "torch", "evil.bin"), "-o", filepath.Join(full, "new")}},
		"no tokenizer":     {exitFailed, "--tokenizer DIR", []string{"-m", filepath.Join(convertData, "gguf", "qwen3.gguf"), "-o", filepath.Join(full, "new")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("HF_HUB_CACHE", full)
			vkb(t, "", append([]string{"convert"}, tt.args...)...).bad(t, tt.status, tt.says)
			entries, err := os.ReadDir(full)
			require.NoError(t, err)
			assert.Len(t, entries, 1, "nothing is left")
		})
	}
	assert.Contains(t, good(t, "", "convert", "--help"), "--pooling auto|mean|cls|lasttoken")
}
