package vkbert_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/bert"
	"github.com/vkbert/vkbert/internal/testmodel"
	"github.com/vkbert/vkbert/loader"
	"github.com/vkbert/vkbert/loader/convert"
)

// notPacked are directories that packing refuses, and why.
var notPacked = map[string]string{
	"static":               "no transformer",
	"static_model2vec":     "no transformer",
	"static_model2vec_f16": "no transformer",
}

// everything is what a directory makes of a few texts, whatever its kind.
func everything(t *testing.T, dir string, kind loader.Kind) string {
	ctx := context.Background()
	texts := []string{"", "the sun and the moon", "Ein längerer Satz, 日本語 and numbers 12345: " + strings.Repeat("ab ", 30)}
	made := []any{}
	add := func(v any, err error) {
		require.NoError(t, err)
		made = append(made, v)
	}
	on := []vkbert.Option{vkbert.WithDevice("cpu")}
	switch kind {
	case loader.KindCrossEncoder:
		m, err := vkbert.OpenReranker(ctx, dir, on...)
		require.NoError(t, err)
		defer m.Close()
		add(m.Logits(ctx, []vkbert.Pair{{"a sun", "the sun"}, {"a", texts[2]}}))
	case loader.KindSparse:
		m, err := vkbert.OpenSparse(ctx, dir, on...)
		require.NoError(t, err)
		defer m.Close()
		add(m.EmbedSparseQueries(ctx, texts))
		add(m.EmbedSparseDocuments(ctx, texts))
	case loader.KindMultiVector:
		m, err := vkbert.OpenMultiVector(ctx, dir, on...)
		require.NoError(t, err)
		defer m.Close()
		add(m.EmbedMultiQueries(ctx, texts))
		add(m.EmbedMultiDocuments(ctx, texts))
	default:
		m, err := vkbert.Open(ctx, dir, on...)
		require.NoError(t, err)
		defer m.Close()
		add(m.EmbedQueries(ctx, texts))
		add(m.EmbedDocuments(ctx, texts))
	}
	data, err := json.Marshal(made)
	require.NoError(t, err)
	return string(data)
}

// A packed directory gives the same bits as the one that it was made of.
func TestPacked(t *testing.T) {
	dirs := map[string]string{}
	for _, name := range testmodel.Tiny(t) {
		dirs["tiny/"+name] = testmodel.Path("tiny", name)
	}
	for _, name := range testmodel.Arch(t) {
		dirs[name] = testmodel.Path("arch", name)
	}
	for name, dir := range dirs {
		t.Run(name, func(t *testing.T) {
			m, err := loader.Open(dir)
			require.NoError(t, err)
			kind, err := m.Kind, bert.Check(m)
			require.NoError(t, m.Close())
			if err != nil {
				t.Skip("refused, packed or not")
			}
			packed := filepath.Join(t.TempDir(), filepath.Base(name))
			err = convert.Convert(t.Context(), dir, packed, convert.Options{Finish: bert.Pack})
			if why, refused := notPacked[name]; refused {
				require.ErrorIs(t, err, loader.ErrUnsupported)
				require.ErrorContains(t, err, why)
				assert.NoDirExists(t, packed)
				return
			}
			require.NoError(t, err)
			assert.True(t, everything(t, dir, kind) == everything(t, packed, kind), "other vectors")
		})
	}
}

func TestPackedRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "packed")
	require.NoError(t, convert.Convert(t.Context(), testmodel.Path("tiny", "mean"), dir, convert.Options{Finish: bert.Pack}))
	path := filepath.Join(dir, "model.safetensors")
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	edit := func(old, now string) {
		require.Len(t, now, len(old))
		require.Contains(t, string(good), old)
		require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(good), old, now, 1)), 0o644))
	}
	open := func() error {
		m, err := vkbert.Open(t.Context(), dir, vkbert.WithDevice("cpu"))
		if err == nil {
			m.Close()
		}
		return err
	}
	edit("rows-v1", "rows-v9")
	err = open()
	require.ErrorIs(t, err, vkbert.ErrUnsupported)
	for _, says := range []string{path, "rows-v9", "rows-v1", "vkbert convert --packed"} {
		require.ErrorContains(t, err, says)
	}
	edit("layer.0.attention.self.key.weight, ", "layer.0.attention.self.kez.weight, ") // put together otherwise
	require.ErrorContains(t, open(), "layer.0.attention.self.key.weight")
	edit(`"format":"vkbert"`, `"format":"pt"    `)
	require.ErrorIs(t, open(), vkbert.ErrBadTensor)
	edit("rows-v1", "rows-v1")
	require.NoError(t, open())
	err = convert.Convert(t.Context(), dir, filepath.Join(t.TempDir(), "again"), convert.Options{})
	require.ErrorIs(t, err, loader.ErrUnsupported)
	require.ErrorContains(t, err, "packed already")
}

// BenchmarkOpenPacked is BenchmarkOpen of the same model, packed.
func BenchmarkOpenPacked(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "packed")
	require.NoError(b, convert.Convert(b.Context(), testmodel.MiniLM(b), dir, convert.Options{Finish: bert.Pack}))
	benchmarkOpen(b, dir)
}
