// Package testmodel gives tests the models and golden vectors of testdata, the real model, and the devices to try them on.
package testmodel

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// Set is texts (or ids alone) and what sentence-transformers made of them.
type Set struct {
	Prompt  string
	Texts   []string
	IDs     [][]int32
	Vectors [][]float32
}

// Golden is a golden file; testdata/golden/README.md explains it.
type Golden struct {
	Set
	Raw             Set            // ids as given, without texts
	Query, Document *Set           // with these prompts
	Prompts         map[string]Set // by name
	Tasks           map[string]Set // of models with adapters, by name
}

// root is the folder that holds testdata: the working directory of a test, or one above it.
func root() string {
	dir := "."
	for range 8 {
		if _, err := os.Stat(filepath.Join(dir, "testdata", "tiny")); err == nil {
			break
		}
		dir = filepath.Join("..", dir)
	}
	return dir
}

// Path of a file or folder of testdata.
func Path(parts ...string) string {
	return filepath.Join(append([]string{root(), "testdata"}, parts...)...)
}

// Tiny lists the BERT directories of testdata/tiny; Arch those of the other architectures, testdata/arch.
func Tiny(t testing.TB) []string { return directories(t, "tiny") }

// Arch lists the directories of testdata/arch.
func Arch(t testing.TB) []string { return directories(t, "arch") }

func directories(t testing.TB, folder string) []string {
	entries, err := os.ReadDir(Path(folder))
	require.NoError(t, err)
	var dirs []string
	for _, e := range entries {
		if _, err := os.Stat(Path(folder, e.Name(), "golden.json")); err == nil {
			dirs = append(dirs, e.Name())
		}
	}
	require.NotEmpty(t, dirs)
	return dirs
}

// Read reads a golden file.
func Read(t testing.TB, path string) Golden {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var g Golden
	require.NoError(t, json.Unmarshal(data, &g))
	var all map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(data, &all))
	g.Prompts, g.Tasks = map[string]Set{}, map[string]Set{}
	for key, raw := range all {
		for prefix, sets := range map[string]map[string]Set{"prompt:": g.Prompts, "task:": g.Tasks} {
			if name, ok := strings.CutPrefix(key, prefix); ok {
				var s Set
				require.NoError(t, json.Unmarshal(raw, &s))
				sets[name] = s
			}
		}
	}
	return g
}

// OneVectorEach says whether a golden file is of a model that makes one vector of a text: not of scores, sparse vectors or vectors a token.
func OneVectorEach(t testing.TB, path string) bool {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var keys map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(data, &keys))
	return keys["vectors"] != nil
}

// RequireAll says that a test must fail, not skip, if what it needs is not there.
func RequireAll() bool { return os.Getenv("VKBERT_REQUIRE_ALL") == "1" }

// Missing skips the test, or fails it where everything must run.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if RequireAll() {
		t.Fatalf("VKBERT_REQUIRE_ALL=1, but "+format, args...)
	}
	t.Skipf(format, args...)
}

// MiniLM is the directory of the real all-MiniLM-L6-v2.
func MiniLM(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("VKBERT_MODEL_DIR")
	if dir == "" {
		Missing(t, "VKBERT_MODEL_DIR does not name a directory with all-MiniLM-L6-v2; \"make test\" sets it")
	}
	return dir
}

// Devices are the selectors that tests run on: the reference, the CPU and a software Vulkan device, or what VKBERT_TEST_DEVICES lists (on a machine with a
// GPU: "vulkan").
func Devices() []string {
	if list := os.Getenv("VKBERT_TEST_DEVICES"); list != "" {
		return strings.Split(list, ",")
	}
	return []string{"reference", "cpu", software}
}

const software = "vulkan:llvmpipe"

// Device skips the test if it is to run on software Vulkan and there is none.
func Device(t testing.TB, selector string) string {
	t.Helper()
	if selector != software {
		return selector
	}
	devices, err := cgo.Devices("")
	require.NoError(t, err)
	for _, d := range devices {
		if d.Usable && d.Kind == cgo.Software {
			return selector
		}
	}
	Missing(t, "there is no software Vulkan device (Mesa's lavapipe)")
	return ""
}

// MiniLMGolden are the vectors for a directory of [MiniLM]: those of the released weights, or those of weights rounded to f16.
func MiniLMGolden(t testing.TB, dir string) Golden {
	t.Helper()
	weights, err := loader.OpenWeights(dir)
	require.NoError(t, err)
	defer weights.Close()
	word, ok := weights.Lookup("embeddings.word_embeddings.weight")
	require.True(t, ok)
	if word.DType == loader.F16 {
		return Read(t, Path("golden", "minilm-f16w.json"))
	}
	return Read(t, Path("golden", "minilm.json"))
}

// OpenTokenizer opens the tokenizer of a directory alone, and returns what closes it.
func OpenTokenizer(t testing.TB, dir string) (close func()) {
	t.Helper()
	m, err := loader.Open(dir)
	require.NoError(t, err)
	tokenizer, err := loader.OpenTokenizer(m)
	require.NoError(t, err)
	return func() {
		assert.NoError(t, tokenizer.Close())
		assert.NoError(t, m.Close())
	}
}

// MaxDifference is the greatest |got − want|, and the greatest |want|, over all elements.
func MaxDifference(t testing.TB, want, got []float32) (difference, largest float64) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		difference = max(difference, math.Abs(float64(got[i])-float64(want[i])))
		largest = max(largest, math.Abs(float64(want[i])))
	}
	return difference, largest
}
