package convert

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/loader"
)

// goldenTensor is a tensor as it must come out.
type goldenTensor struct {
	DType  string `json:"dtype"`
	Shape  []int  `json:"shape"`
	SHA256 string `json:"sha256"`
}

// goldenFile is what testdata/make_testdata.py knows of a file that it made.
type goldenFile struct {
	Model   string                  `json:"model"`
	Tensors map[string]goldenTensor `json:"tensors"`
	Dense2  map[string]goldenTensor `json:"dense_2"`
	Dense3  map[string]goldenTensor `json:"dense_3"`
	Config  map[string]any          `json:"config"`
	Pooling string                  `json:"pooling"`
}

// goldenModel is what transformers and sentence-transformers give for the model
// that a file was made of.
type goldenModel struct {
	IDs       [][]int32   `json:"ids"`
	Vectors   [][]float32 `json:"vectors"`
	Tokenizer string      `json:"tokenizer"`
}

type golden struct {
	texts  []string
	models map[string]goldenModel
	files  map[string]goldenFile
}

func readGolden(t testing.TB) golden {
	data, err := os.ReadFile("testdata/golden.json")
	require.NoError(t, err)
	var raw map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(data, &raw))
	g := golden{files: make(map[string]goldenFile)}
	for key, text := range raw {
		switch key {
		case "texts":
			require.NoError(t, json.Unmarshal(text, &g.texts))
		case "models":
			require.NoError(t, json.Unmarshal(text, &g.models))
		default:
			var f goldenFile
			require.NoError(t, json.Unmarshal(text, &f))
			g.files[key] = f
		}
	}
	require.NotEmpty(t, g.files)
	return g
}

// describe is the tensors of a safetensors file in the form of golden.json.
func describe(t testing.TB, path string) map[string]goldenTensor {
	w, err := loader.OpenWeights(path)
	require.NoError(t, err)
	defer w.Close()
	out := make(map[string]goldenTensor)
	for _, name := range w.Names() {
		tensor, _ := w.Lookup(name)
		sum := sha256.New()
		require.NoError(t, w.StreamBytes(tensor, make([]byte, 1000), func(chunk []byte) error {
			_, err := sum.Write(chunk)
			return err
		}))
		out[name] = goldenTensor{string(tensor.DType), tensor.Shape, hex.EncodeToString(sum.Sum(nil))}
	}
	return out
}

// tempDst is a path that does not exist.
func tempDst(t testing.TB) string { return filepath.Join(t.TempDir(), "out") }

func readFile(t testing.TB, path ...string) []byte {
	data, err := os.ReadFile(filepath.Join(path...))
	require.NoError(t, err)
	return data
}

func writeFile(t testing.TB, data []byte, path ...string) string {
	name := filepath.Join(path...)
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, data, 0o644))
	return name
}

// noLeftovers checks that there is nothing in a folder but what is listed.
func noLeftovers(t testing.TB, dir string, want ...string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	require.ElementsMatch(t, want, names)
}
