package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/internal/testmodel"
)

func TestVerify(t *testing.T) {
	for name, sets := range map[string][]string{
		"mean":            {"texts", "raw"},
		"prompts":         {"texts", "document", "prompt:joined", "prompt:sort", "query", "raw"},
		"prompts_passage": {"texts", "document", "query", "raw"},
		"truncate_dim":    {"texts", "raw"},
	} {
		t.Run(name, func(t *testing.T) {
			out := good(t, "", "verify", "-m", tiny(name), "--device", "cpu", filepath.Join(tiny(name), "golden.json"))
			assert.Contains(t, out, name+" on ")
			for _, set := range sets {
				assert.Regexp(t, `(?m)^`+regexp.QuoteMeta(set)+` +\d+ +equal +\d`, out)
			}
			assert.Regexp(t, `verified: \d+ vectors within 1e-05\n\z`, out)
		})
	}
}

func TestVerifyReal(t *testing.T) {
	dir := testmodel.MiniLM(t)
	golden := "minilm.json"
	info, err := os.Stat(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	if info.Size() < 60<<20 { // weights in f16
		golden = "minilm-f16w.json"
	}
	good(t, "", "verify", "-m", dir, "--device", "cpu", "--tolerance", "2e-6", testmodel.Path("golden", golden))
}

// edited is a golden file with a change.
func edited(t *testing.T, change func(g map[string]any)) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(tiny("prompts"), "golden.json"))
	require.NoError(t, err)
	var g map[string]any
	require.NoError(t, json.Unmarshal(data, &g))
	change(g)
	data, err = json.Marshal(g)
	require.NoError(t, err)
	return write(t, "golden.json", string(data))
}

func TestNotVerified(t *testing.T) {
	row := func(set any, key string, i int) []any { return set.(map[string]any)[key].([]any)[i].([]any) }
	add := func(v []any, i int, x float64) { v[i] = v[i].(float64) + x }
	for name, c := range map[string]struct {
		change func(g map[string]any)
		says   string
		table  string // "" if it does not come to that
	}{
		"a component":         {func(g map[string]any) { add(row(g, "vectors", 3), 59, 1e-4) }, `times the tolerance of 1e-05, the worst is text 3, "to on`, `equal +0\.0001 +\S+ +text 3, "to on be had we said up so her no now on…"`},
		"an id":               {func(g map[string]any) { add(row(g, "ids", 8), 2, 1) }, `texts: 1 of 17 have other token ids, the first is text 8, "the dog sat by`, `1 differ`},
		"an id more":          {func(g map[string]any) { g["ids"].([]any)[2] = append(row(g, "ids", 2), 3.0) }, `texts: 1 of 17 have other`, `1 differ`},
		"a prompt":            {func(g map[string]any) { add(row(g["prompt:sort"], "vectors", 0), 0, -0.1) }, `prompt:sort: `, `prompt:sort +17 +equal +0\.1 `},
		"a query":             {func(g map[string]any) { add(row(g["query"], "ids", 0), 1, 1) }, `query: 1 of 17`, `1 differ`},
		"raw":                 {func(g map[string]any) { add(row(g["raw"], "vectors", 3), 7, 1) }, `raw: `, `number 3, of 40 ids`},
		"another prompt":      {func(g map[string]any) { g["document"] = g["query"] }, `document: 17 of 17`, `17 differ`},
		"unknown prompt":      {func(g map[string]any) { g["prompt:other"] = g["query"] }, `prompt:other: text 0: invalid input: the model has no prompt "other"`, ``},
		"no texts":            {func(g map[string]any) { delete(g, "texts") }, `0 texts, 17 ids and 17 vectors`, ``},
		"no vectors":          {func(g map[string]any) { g["vectors"] = []any{} }, `17 texts, 17 ids and 0 vectors`, ``},
		"fewer ids":           {func(g map[string]any) { g["ids"] = g["ids"].([]any)[:3] }, `17 texts, 3 ids and 17 vectors`, ``},
		"dimensions":          {func(g map[string]any) { g["vectors"].([]any)[5] = row(g, "vectors", 5)[:59] }, `vector 5 has 59 dimensions, the model has 60`, ``},
		"ids of text":         {func(g map[string]any) { g["ids"] = "x" }, `golden.json: json`, ``},
		"set of another kind": {func(g map[string]any) { g["query"] = 5 }, `"query": json`, ``},
	} {
		t.Run(name, func(t *testing.T) {
			o := vkb(t, "", "verify", "-m", tiny("prompts"), "--device", "cpu", edited(t, c.change))
			o.bad(t, exitFailed, c.says)
			assert.NotContains(t, o.out, "verified")
			if c.table != "" {
				assert.Regexp(t, c.table, o.out)
			}
		})
	}
	o := vkb(t, "", "verify", "-m", tiny("mean"), "--device", "cpu", "--tolerance", "1e-12", filepath.Join(tiny("mean"), "golden.json"))
	o.bad(t, exitFailed, "times the tolerance of 1e-12")
	vkb(t, "", "verify", "-m", tiny("mean"), write(t, "golden.json", "[")).bad(t, exitFailed, "golden.json: unexpected end")
	vkb(t, "", "verify", "-m", tiny("mean"), t.TempDir()).bad(t, exitFailed, "is a directory")
}

// TestVerifyExtraKeys: keys for readers do not matter, nor does their type.
func TestVerifyExtraKeys(t *testing.T) {
	path := edited(t, func(g map[string]any) { g["note"], g["more"], g["prompt"] = 5, []any{"x"}, "y" })
	assert.Equal(t, 1, strings.Count(good(t, "", "verify", "-m", tiny("prompts"), "--device", "cpu", path), "verified: 89 "))
}
