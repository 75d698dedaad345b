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

func TestModels(t *testing.T) {
	t.Setenv("HF_HUB_CACHE", t.TempDir())
	t.Setenv("SENTENCE_TRANSFORMERS_HOME", t.TempDir())
	root := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(root, "mean"), os.DirFS(tiny("mean"))))
	require.NoError(t, os.WriteFile(filepath.Join(root, "mean", "README.md"), []byte("---\nlicense: apache-2.0\n---\n"), 0o644))
	require.NoError(t, os.CopyFS(filepath.Join(root, "bad\x1bname"), os.DirFS(tiny("mean"))))
	require.NoError(t, os.Remove(filepath.Join(root, "bad\x1bname", "1_Pooling", "config.json")))

	lines := strings.Split(good(t, "", "models", root), "\n")
	require.Len(t, lines, 4, lines)
	assert.Equal(t, []string{"MODEL", "KIND", "ARCHITECTURE", "DIMENSIONS", "DTYPE", "SIZE", "LICENCE"}, strings.Fields(lines[0]))
	assert.Equal(t, filepath.Join(root, "mean"), strings.Fields(lines[1])[0])
	assert.Equal(t, []string{"SentenceTransformer", "bert", "60", "f32"}, strings.Fields(lines[1])[1:5])
	assert.True(t, strings.HasSuffix(lines[1], "apache-2.0"), lines[1])
	assert.Contains(t, lines[2], "not usable: ")
	assert.Contains(t, lines[2], filepath.Join("1_Pooling", "config.json"))
	assert.NotContains(t, lines[2], "\x1b")

	var reports []foundReport
	require.NoError(t, json.Unmarshal([]byte(good(t, "", "models", "--json", root)), &reports))
	require.Len(t, reports, 2)
	assert.False(t, reports[0].Usable)
	assert.NotEmpty(t, reports[0].Reason)
	assert.True(t, reports[1].Usable)
	assert.Equal(t, "apache-2.0", reports[1].Licence)
	assert.Positive(t, reports[1].WeightBytes)

	o := vkb(t, "", "models")
	assert.Equal(t, exitDone, o.status)
	assert.Empty(t, o.out)
	assert.Contains(t, o.err, "vkbert download")
	assert.Equal(t, "[]\n", vkb(t, "", "models", "--json").out)
	vkb(t, "", "models", filepath.Join(root, "none")).bad(t, exitFailed, "none")
}

// Every directory that the tests embed with is found usable.
func TestModelsOfEveryArchitecture(t *testing.T) {
	t.Setenv("HF_HUB_CACHE", t.TempDir())
	t.Setenv("SENTENCE_TRANSFORMERS_HOME", t.TempDir())
	var reports []foundReport
	require.NoError(t, json.Unmarshal([]byte(good(t, "", "models", "--json", testmodel.Path("tiny"), testmodel.Path("arch"))), &reports))
	usable := map[string]bool{}
	for _, r := range reports {
		if usable[r.Model] = r.Usable; r.Usable {
			assert.Positive(t, r.Dimensions, r.Model)
			assert.NotEmpty(t, r.Kind, r.Model)
			assert.NotEmpty(t, r.DType, r.Model)
			continue
		}
		assert.NotEmpty(t, r.Reason, r.Model)
	}
	for _, name := range testmodel.Tiny(t) {
		assert.True(t, usable[tiny(name)], name)
	}
}

// info opens a model as what it is for.
func TestInfoOfEveryKind(t *testing.T) {
	for name, kind := range map[string]string{"cross_bert": "CrossEncoder", "splade": "SparseEncoder", "splade_routed": "SparseEncoder", "colbert": "MultiVectorEncoder", "router": "SentenceTransformer", "static": "SentenceTransformer"} {
		out := good(t, "", "info", "--device", "cpu", "-m", testmodel.Path("arch", name))
		assert.Regexp(t, `(?m)^kind +`+kind+`$`, out)
	}
}
