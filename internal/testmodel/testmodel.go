// Package testmodel gives tests the models and golden vectors of testdata, the real model, and the devices to try them on.
package testmodel

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/cgo"
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
}

func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Path of a file or folder of testdata.
func Path(parts ...string) string {
	return filepath.Join(append([]string{root(), "testdata"}, parts...)...)
}

// Tiny lists the directories of testdata/tiny.
func Tiny(t testing.TB) []string {
	entries, err := os.ReadDir(Path("tiny"))
	require.NoError(t, err)
	var dirs []string
	for _, e := range entries {
		if _, err := os.Stat(Path("tiny", e.Name(), "golden.json")); err == nil {
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
	g.Prompts = map[string]Set{}
	for key, raw := range all {
		if name, ok := strings.CutPrefix(key, "prompt:"); ok {
			var s Set
			require.NoError(t, json.Unmarshal(raw, &s))
			g.Prompts[name] = s
		}
	}
	return g
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

// Devices are the selectors that tests run on: the reference, the CPU and a software Vulkan device.
var Devices = []string{"reference", "cpu", "vulkan:llvmpipe"}

// Device skips the test if there is no such device.
func Device(t testing.TB, selector string) string {
	t.Helper()
	if !strings.HasPrefix(selector, "vulkan") {
		return selector
	}
	devices, err := cgo.Devices()
	require.NoError(t, err)
	for _, d := range devices {
		if d.Usable && d.Kind == cgo.Software {
			return selector
		}
	}
	Missing(t, "there is no software Vulkan device (Mesa's lavapipe)")
	return ""
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
