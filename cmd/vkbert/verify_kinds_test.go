package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/internal/testmodel"
)

// The golden files of rerankers, sparse and multi-vector models are verified like those of embedding models.
func TestVerifyKinds(t *testing.T) {
	for name, want := range map[string]struct{ sets, change string }{
		"cross_roberta":    {"logits scores", "scores"},
		"splade":           {"texts", "sparse"},
		"splade_routed":    {"document query texts", "sparse"},
		"colbert":          {"document query", "query"},
		"colbert_stanford": {"document query", "document"},
		"router":           {"document query texts", "vectors"},
		"static":           {"texts", "vectors"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := testmodel.Path("arch", name)
			out := good(t, "", "verify", "--device", "cpu", "-m", dir, filepath.Join(dir, "golden.json"))
			for _, set := range strings.Fields(want.sets) {
				assert.Regexp(t, `(?m)^`+set+` +\d+ +equal `, out)
			}
			assert.Contains(t, out, "\nverified: ")

			data, err := os.ReadFile(filepath.Join(dir, "golden.json"))
			require.NoError(t, err)
			var golden map[string]any
			require.NoError(t, json.Unmarshal(data, &golden))
			require.True(t, nudge(golden[want.change]))
			data, err = json.Marshal(golden)
			require.NoError(t, err)
			o := vkb(t, "", "verify", "--device", "cpu", "-m", dir, write(t, "golden.json", string(data)))
			o.bad(t, exitFailed, "times the tolerance")
		})
	}
	colbert := testmodel.Path("arch", "colbert")
	vkb(t, "", "verify", "-m", colbert, filepath.Join(tiny("mean"), "golden.json")).bad(t, exitFailed, "MultiVector")
	for _, bad := range []string{`{"pairs":[["a","b"]]}`, `{"sparse":[{"indices":[9999999],"values":[1]}],"texts":["a"],"ids":[[1]]}`, `[]`, `{"sparse":[{"indices":[1],"values":[]}]}`} {
		dir := testmodel.Path("arch", map[bool]string{true: "cross_bert", false: "splade"}[strings.Contains(bad, "pairs")])
		vkb(t, "", "verify", "-m", dir, write(t, "golden.json", bad)).bad(t, exitFailed, "golden.json")
	}
}

// nudge changes the first number that is no id, and says whether there is one.
func nudge(v any) bool {
	switch v := v.(type) {
	case []any:
		for i := range v {
			if x, ok := v[i].(float64); ok {
				v[i] = x + 0.5
				return true
			}
			if nudge(v[i]) {
				return true
			}
		}
	case map[string]any:
		for _, key := range []string{"vectors", "values"} {
			if nudge(v[key]) {
				return true
			}
		}
	}
	return false
}

func TestMakeGolden(t *testing.T) {
	script := good(t, "", "verify", "--make-golden")
	for _, class := range []string{"SentenceTransformer", "CrossEncoder", "SparseEncoder", "MultiVectorEncoder"} {
		assert.Contains(t, script, class)
	}
	vkb(t, "", "verify", "--make-golden", "-m", "x").bad(t, exitUsage, "make-golden")
	vkb(t, "", "verify", "--make-golden", "more").bad(t, exitUsage, "unknown command")
	vkb(t, "", "verify", "golden.json").bad(t, exitUsage, `"model"`)
}
