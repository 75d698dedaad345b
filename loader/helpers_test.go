package loader

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// rawFile is a safetensors file with the header as given.
func rawFile(header string, data []byte) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), data...)
}

type testTensor struct {
	name  string
	dtype DType
	shape []int
	data  []byte
}

func f32Tensor(name string, shape []int, values ...float32) testTensor {
	var data []byte
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	return testTensor{name, F32, shape, data}
}

// tensorFile is a correct safetensors file of the tensors, in their order.
func tensorFile(t testing.TB, tensors ...testTensor) []byte {
	header := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
	var data []byte
	for _, tt := range tensors {
		begin := len(data)
		data = append(data, tt.data...)
		header[tt.name] = map[string]any{"dtype": tt.dtype, "shape": tt.shape, "data_offsets": []int{begin, len(data)}}
	}
	text, err := json.Marshal(header)
	require.NoError(t, err)
	return rawFile(string(text), data)
}

func write(t testing.TB, dir, name string, data []byte) string {
	path := filepath.Join(dir, filepath.FromSlash(name))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, data, 0o644))
	return path
}

// writeFiles writes a directory of text files and returns it.
func writeFiles(t testing.TB, files map[string]string) string {
	dir := t.TempDir()
	for name, text := range files {
		write(t, dir, name, []byte(text))
	}
	return dir
}

const bertConfig = `{"model_type":"bert","architectures":["BertModel"],"hidden_size":4,"max_position_embeddings":512,"vocab_size":30}`

// modelFiles is a small model directory, changed by the given files: "" removes
// one.
func modelFiles(t testing.TB, change map[string]string) string {
	files := map[string]string{
		"config.json":       bertConfig,
		"model.safetensors": string(tensorFile(t, f32Tensor("w", []int{2}, 1, 2))),
		"modules.json": `[{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"},
			{"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"},
			{"idx":2,"name":"2","path":"2_Normalize","type":"sentence_transformers.models.Normalize"}]`,
		"1_Pooling/config.json": `{"word_embedding_dimension":4,"pooling_mode_cls_token":false,"pooling_mode_mean_tokens":true}`,
		"tokenizer.json":        wordPiece,
		"tokenizer_config.json": `{"tokenizer_class":"BertTokenizer","do_lower_case":true,"model_max_length":512}`,
	}
	for name, text := range change {
		if text == "" {
			delete(files, name)
		} else {
			files[name] = text
		}
	}
	return writeFiles(t, files)
}

// modules is a modules.json of the given types; modules after the first lie in
// folders 1, 2, ….
func modules(types ...string) string {
	var list []string
	for i, class := range types {
		path := ""
		if i > 0 {
			path = string(rune('0' + i))
		}
		list = append(list, `{"idx":`+string(rune('0'+i))+`,"name":"","path":"`+path+`","type":"`+class+`"}`)
	}
	return "[" + strings.Join(list, ",") + "]"
}

// realModel is a directory with a released model.
func realModel(t testing.TB) string {
	dir := os.Getenv("VKBERT_MODEL_DIR")
	if dir == "" {
		const why = "VKBERT_MODEL_DIR is not set: want the directory of all-MiniLM-L6-v2"
		if os.Getenv("VKBERT_REQUIRE_ALL") == "1" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	return dir
}

func isAny(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
