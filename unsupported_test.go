package vkbert_test

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/internal/testmodel"
)

// What is not supported is refused with an error that names it, and says what is supported or what to do; it never gives a wrong vector.
func TestUnsupported(t *testing.T) {
	config := func(from, to string) func(*testing.T, string) { return rewrite("config.json", from, to) }
	module := func(class string) func(*testing.T, string) {
		return rewrite("modules.json", "sentence_transformers.sentence_transformer.modules.pooling.Pooling", class)
	}
	isBERT := `"model_type": "bert"`
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		want   error
		says   []string
	}{
		"unknown model_type":        {config(isBERT, `"model_type": "mamba2"`), nil, []string{"config.json", "model_type", `"mamba2"`, "bert", "modernbert", "qwen3"}},
		"no model_type":             {config(isBERT, `"model_tipe": "bert"`), nil, []string{"config.json", "model_type", "modernbert"}},
		"auto_map class":            {config(isBERT, isBERT+`, "auto_map": {"AutoModel": "org/code--modeling.OddModel"}`), nil, []string{"auto_map", "OddModel", "JinaBertModel"}},
		"mixture of experts":        {config(isBERT, isBERT+`, "num_experts": 8`), nil, []string{"num_experts", "bert"}},
		"activation":                {config(`"hidden_act": "gelu"`, `"hidden_act": "xielu"`), nil, []string{"hidden_act", "xielu", "gelu", "silu"}},
		"position type":             {config(isBERT, isBERT+`, "position_embedding_type": "relative_key_query"`), nil, []string{"position_embedding_type", "relative_key_query", "absolute"}},
		"quantised by name":         {config(isBERT, isBERT+`, "quantization_config": {"quant_method": "gptq", "bits": 4}`), nil, []string{"quantization_config", "unquanti"}},
		"quantised weights":         {quantise, vkbert.ErrBadTensor, []string{"model.safetensors", "embeddings.word_embeddings.weight", "I8", "F32, F16 or BF16", "unquanti"}},
		"adapter":                   {extra("adapter_config.json", `{}`), nil, []string{"adapter_config.json", "merge_and_unload"}},
		"a decoder's attention":     {config(`"is_decoder": false`, `"is_decoder": true`), nil, []string{"is_decoder", "false"}},
		"CNN":                       {module("sentence_transformers.models.CNN"), nil, []string{"modules.json", "models.CNN", "Pooling", "Dense"}},
		"LSTM":                      {module("sentence_transformers.models.LSTM"), nil, []string{"models.LSTM", "Pooling"}},
		"BoW":                       {module("sentence_transformers.models.BoW"), nil, []string{"models.BoW", "Pooling"}},
		"WordEmbeddings":            {module("sentence_transformers.models.WordEmbeddings"), nil, []string{"models.WordEmbeddings", "Pooling"}},
		"WeightedLayerPooling":      {module("sentence_transformers.models.WeightedLayerPooling"), nil, []string{"models.WeightedLayerPooling", "Pooling"}},
		"CLIPModel":                 {module("sentence_transformers.models.CLIPModel"), nil, []string{"models.CLIPModel", "Pooling"}},
		"a module's own code":       {module("custom_st.Odd"), nil, []string{"modules.json", "custom_st.Odd", "supported"}},
		"modules the other way":     {module("sentence_transformers.models.Normalize"), nil, []string{"modules.json", "Pooling", "Normalize"}},
		"pooling mode":              {rewrite("1_Pooling/config.json", `"pooling_mode": "mean"`, `"pooling_mode": "attention"`), nil, []string{"1_Pooling", "pooling_mode", "attention", "mean", "lasttoken"}},
		"pooling mode, old":         {rewrite("1_Pooling/config.json", `"pooling_mode": "mean"`, `"pooling_mode_median": true`), nil, []string{"pooling_mode_median", "mean", "lasttoken"}},
		"kind of model":             {extra("config_sentence_transformers.json", `{"model_type":"AudioEncoder"}`), nil, []string{"config_sentence_transformers.json", "AudioEncoder", "SentenceTransformer", "CrossEncoder"}},
		"chat template":             {extra("sentence_bert_config.json", `{"modality_config":{"message":{}}}`), nil, []string{"sentence_bert_config.json", "chat"}},
		"tokenizer's model":         {rewrite("tokenizer.json", "\"model\": {\n    \"type\": \"WordPiece\"", "\"model\": {\n    \"type\": \"CharLevel\""), vkbert.ErrBadTokenizer, []string{"tokenizer.json", "CharLevel", "WordPiece", "Unigram"}},
		"normalizer":                {rewrite("tokenizer.json", `"type": "BertNormalizer"`, `"type": "OddNormalizer"`), nil, []string{"normalizer", "OddNormalizer", "BertNormalizer", "NFC"}},
		"pre-tokenizer":             {rewrite("tokenizer.json", `"type": "BertPreTokenizer"`, `"type": "OddPreTokenizer"`), nil, []string{"pre_tokenizer", "OddPreTokenizer", "Metaspace"}},
		"post-processor":            {rewrite("tokenizer.json", `"type": "TemplateProcessing"`, `"type": "OddProcessing"`), nil, []string{"post_processor", "OddProcessing", "TemplateProcessing"}},
		"slow tokenizer":            {replaced("tokenizer.json", "spiece.model", "x"), nil, []string{"spiece.model", "tokenizer.json"}},
		"PyTorch":                   {replaced("model.safetensors", "pytorch_model.bin", "x"), nil, []string{"pytorch_model.bin", "PyTorch", "vkbert convert"}},
		"PyTorch, old":              {replaced("model.safetensors", "model.pt", "x"), nil, []string{"model.pt", "PyTorch", "safetensors"}},
		"GGUF":                      {replaced("model.safetensors", "model-Q8_0.gguf", "x"), nil, []string{"model-Q8_0.gguf", "GGUF", "vkbert convert"}},
		"ONNX":                      {replaced("model.safetensors", "model.onnx", "x"), nil, []string{"model.onnx", "ONNX", "safetensors"}},
		"TensorFlow":                {replaced("model.safetensors", "tf_model.h5", "x"), nil, []string{"tf_model.h5", "TensorFlow", "safetensors"}},
		"weights of TensorFlow":     {metadata("tf"), nil, []string{"model.safetensors", "tf", "pt"}},
		"weights of another layout": {metadata("vkbert"), nil, []string{"model.safetensors", "vkbert", "rows-v1"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "model")
			require.NoError(t, os.CopyFS(dir, os.DirFS(testmodel.Path("tiny", "mean"))))
			c.change(t, dir)
			_, err := vkbert.Open(context.Background(), dir, vkbert.WithDevice("cpu"))
			if c.want == nil {
				c.want = vkbert.ErrUnsupported
			}
			require.ErrorIs(t, err, c.want)
			for _, says := range append(c.says, dir) {
				assert.ErrorContains(t, err, says)
			}
			assert.NotContains(t, err.Error(), "\n")
		})
	}
	for _, name := range []string{"pytorch_model.bin", "model.pt", "model.gguf", "model.onnx", "weights.h5", "model.txt"} {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte("x"), 0o644))
		_, err := vkbert.Open(context.Background(), path)
		require.ErrorIs(t, err, vkbert.ErrUnsupported, name)
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, "safetensors")
	}
}

// rewrite replaces a text in a file of a model.
func rewrite(name, from, to string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Contains(t, string(data), from)
		require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(data), from, to, 1)), 0o644))
	}
}

// extra writes a file of a model.
func extra(name, contents string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(contents), 0o644))
	}
}

// replaced takes a file away and writes another.
func replaced(name, other, contents string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		require.NoError(t, os.Remove(filepath.Join(dir, name)))
		extra(other, contents)(t, dir)
	}
}

// editHeader changes the text of a safetensors header.
func editHeader(t *testing.T, dir string, edit func(header string) string) {
	path := filepath.Join(dir, "model.safetensors")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	n := binary.LittleEndian.Uint64(data)
	header := edit(string(data[8 : 8+n]))
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	require.NoError(t, os.WriteFile(path, append(append(out, header...), data[8+n:]...), 0o644))
}

// quantise makes the word table one of bytes.
func quantise(t *testing.T, dir string) {
	editHeader(t, dir, func(header string) string {
		name := `"embeddings.word_embeddings.weight":{"dtype":"F32","shape":[`
		before, after, found := strings.Cut(header, name)
		require.True(t, found)
		rows, rest, _ := strings.Cut(after, ",")
		return before + strings.Replace(name, "F32", "I8", 1) + rows + "," + strings.Replace(rest, "60]", "240]", 1)
	})
}

// metadata changes the format that a file says it has.
func metadata(format string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		editHeader(t, dir, func(header string) string {
			before, after, found := strings.Cut(header, `"format":"pt"`)
			require.True(t, found)
			return before + `"format":"` + format + `"` + after
		})
	}
}
