package convert

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/loader"
)

// convertGGUF converts a file of testdata with what it needs besides.
func convertGGUF(t *testing.T, g golden, file string, o Options) string {
	dst := tempDst(t)
	model := g.files[file].Model
	if dir := g.models[model].Tokenizer; dir != "" {
		o.Tokenizer = filepath.Join("testdata/gguf", dir)
	}
	if strings.Contains(file, "jina_code") {
		o.Tokenizer = "testdata/gguf/tokenizer"
	}
	if strings.HasSuffix(file, "bert_q8.gguf") { // made without
		o.Pooling = "mean"
	}
	require.NoError(t, Convert(context.Background(), filepath.Join("testdata", file), dst, o))
	return dst
}

func ggufFiles(g golden) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(g.files)), func(name string) bool { return !strings.HasPrefix(name, "gguf/") })
}

func TestGGUF(t *testing.T) {
	g := readGolden(t)
	files := ggufFiles(g)
	require.Len(t, files, 15)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want := g.files[file]
			dst := convertGGUF(t, g, file, Options{DType: "f32"})
			assert.Equal(t, want.Tensors, describe(t, filepath.Join(dst, "model.safetensors")))

			var config map[string]any
			require.NoError(t, json.Unmarshal(readFile(t, dst, "config.json"), &config))
			for key, value := range want.Config {
				assert.Equal(t, value, config[key], key)
			}
			assert.Equal(t, "float32", config["torch_dtype"])

			m, err := loader.Open(dst)
			require.NoError(t, err)
			defer m.Close()
			kinds := make([]string, len(m.Modules))
			for i, module := range m.Modules {
				kinds[i] = module.Kind()
			}
			expected := []string{"Transformer", "Pooling", "Normalize"}
			for i, dense := range []map[string]goldenTensor{want.Dense2, want.Dense3} {
				if dense != nil {
					expected = slices.Insert(expected, 2+i, "Dense")
					assert.Equal(t, dense, describe(t, filepath.Join(dst, fmt.Sprintf("%d_Dense", i+2), "model.safetensors")))
				}
			}
			assert.Equal(t, expected, kinds)
			assert.Equal(t, []loader.PoolingMode{loader.PoolingMode(want.Pooling)}, m.Modules[1].(loader.Pooling).Modes)
			compareIDs(t, m, g, want.Model)
		})
	}
}

// compareIDs checks that the tokenizer gives the ids that the original gives.
func compareIDs(t *testing.T, m *loader.Model, g golden, model string) {
	want, ok := g.models[model]
	if !ok {
		return
	}
	tok, err := loader.OpenTokenizer(m)
	require.NoError(t, err)
	defer tok.Close()
	require.Positive(t, m.MaxSeqLength)
	for i, text := range g.texts {
		e, err := tok.Encode(t.Context(), text)
		require.NoError(t, err)
		e, err = tok.Truncate(e, m.MaxSeqLength)
		require.NoError(t, err)
		assert.Equal(t, want.IDs[i], e.IDs, "%q", text)
	}
}

// TestGGUFKeepsTypes: without a type of its own the result has the file's.
func TestGGUFKeepsTypes(t *testing.T) {
	g := readGolden(t)
	for file, want := range map[string]string{"bert": "F32", "xlmr": "F16", "qwen2": "BF16", "qwen3": "F32"} {
		dst := convertGGUF(t, g, "gguf/"+file+".gguf", Options{})
		got := describe(t, filepath.Join(dst, "model.safetensors"))
		name := "encoder.layer.0.attention.self.query.weight"
		if strings.HasPrefix(file, "qwen") {
			name = "layers.0.self_attn.q_proj.weight"
		}
		assert.Equal(t, want, got[name].DType, file)
		var config map[string]any
		require.NoError(t, json.Unmarshal(readFile(t, dst, "config.json"), &config))
		assert.Equal(t, torchNames[loader.DType(want)], config["torch_dtype"], file)
	}
}

func TestGGUFRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		file    string
		options Options
		says    string
	}{
		"no tokenizer":       {"qwen3.gguf", Options{}, `"gpt2" cannot be made from a GGUF file: give the directory`},
		"not a directory":    {"qwen3.gguf", Options{Tokenizer: "testdata/none"}, "the tokenizer directory"},
		"another tokenizer":  {"qwen3.gguf", Options{Tokenizer: "testdata/gguf/tokenizer_other"}, "it is another model's tokenizer"},
		"no pooling":         {"bert_q8.gguf", Options{}, "bert.pooling_type"},
		"unknown pooling":    {"bert_q8.gguf", Options{Pooling: "max"}, `pooling "max"`},
		"unknown data type":  {"bert.gguf", Options{DType: "q4"}, `dtype "q4"`},
		"GGUF that is a bin": {"../torch/bert.bin", Options{Pooling: "mean"}, "for GGUF files"},
	} {
		t.Run(name, func(t *testing.T) {
			dst := tempDst(t)
			if strings.HasSuffix(tt.options.Tokenizer, "_other") { // two tokens changed places
				doc := strings.NewReplacer(`"Ġwh":`, `"Ġis":`, `"Ġis":`, `"Ġwh":`).Replace(string(readFile(t, "testdata/gguf/tokenizer/tokenizer.json")))
				tt.options.Tokenizer = filepath.Dir(writeFile(t, []byte(doc), t.TempDir(), "tokenizer.json"))
			}
			err := Convert(context.Background(), filepath.Join("testdata/gguf", tt.file), dst, tt.options)
			require.Error(t, err)
			assert.ErrorContains(t, err, tt.says)
			noLeftovers(t, filepath.Dir(dst))
		})
	}
}

// TestLowerCasing: a GGUF file does not say whether texts are lower-cased; the
// vocabulary does.
func TestLowerCasing(t *testing.T) {
	special := []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]"}
	for name, tt := range map[string]struct {
		words []string
		lower bool
		strip any
	}{
		"uncased":      {[]string{"▁a", "▁ℝ"}, true, nil}, // as bert-base-uncased has it
		"with accents": {[]string{"▁a", "▁é"}, true, false},
		"cased":        {[]string{"▁a", "▁A"}, false, nil},
		"suffix":       {[]string{"▁a", "B"}, true, nil}, // no word of a text begins in the middle
	} {
		src, dst := writeFile(t, tinyGGUF().set("tokenizer.ggml.tokens", append(special[:4:4], tt.words...)).bytes(), t.TempDir(), "m.gguf"), tempDst(t)
		var notes []string
		require.NoError(t, Convert(context.Background(), src, dst, Options{Note: func(s string) { notes = append(notes, s) }}))
		var doc struct {
			Normalizer map[string]any `json:"normalizer"`
		}
		require.NoError(t, json.Unmarshal(readFile(t, dst, "tokenizer.json"), &doc))
		assert.Equal(t, tt.lower, doc.Normalizer["lowercase"], name)
		assert.Equal(t, tt.strip, doc.Normalizer["strip_accents"], name)
		assert.Len(t, notes, 3)
		assert.Contains(t, strings.Join(notes, "\n"), map[bool]string{true: "has no capital letters", false: "has capital letters"}[tt.lower])
	}
}
