package loader

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// archDirs are the small models of every architecture, by name.
func archDirs(t testing.TB) map[string]string {
	root := filepath.Join("..", "testdata", "arch")
	golden, err := filepath.Glob(filepath.Join(root, "*", "golden.json"))
	require.NoError(t, err)
	require.NotEmpty(t, golden, "%s holds no models", root)
	dirs := make(map[string]string)
	for _, path := range golden {
		dir := filepath.Dir(path)
		dirs[filepath.Base(dir)] = dir
	}
	return dirs
}

func readGolden(t testing.TB, dir string, v any) {
	data, err := os.ReadFile(filepath.Join(dir, "golden.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, v))
}

type goldenIDs struct {
	Prompt string    `json:"prompt"`
	IDs    [][]int32 `json:"ids"`
}

// TestArchIDs compares the token ids of every tokenizer family, and of every
// route, with those of sentence-transformers.
func TestArchIDs(t *testing.T) {
	for name, dir := range archDirs(t) {
		t.Run(name, func(t *testing.T) {
			var sections map[string]json.RawMessage
			readGolden(t, dir, &sections)
			m, err := Open(dir)
			require.NoError(t, err)
			defer m.Close()
			if m.Kind == KindCrossEncoder || m.Kind == KindMultiVector {
				t.Skip("compared in a test of its own")
			}
			var texts []string
			require.NoError(t, json.Unmarshal(sections["texts"], &texts))
			compare := func(task string, want goldenIDs) {
				route, err := m.Route(task)
				require.NoError(t, err)
				tok, err := OpenTokenizer(route)
				require.NoError(t, err)
				defer tok.Close()
				require.Len(t, want.IDs, len(texts))
				for i, text := range texts {
					e, err := tok.Encode(t.Context(), want.Prompt+text)
					require.NoError(t, err)
					if route.MaxSeqLength > 0 {
						e, err = tok.Truncate(e, route.MaxSeqLength)
						require.NoError(t, err)
					}
					assert.Equal(t, want.IDs[i], append([]int32{}, e.IDs...), "%s: %.60q", task, text)
				}
			}
			whole := goldenIDs{Prompt: m.Prompts[m.DefaultPrompt]}
			readGolden(t, dir, &whole)
			compare("", whole)
			for key, raw := range sections {
				var g goldenIDs
				if json.Unmarshal(raw, &g) == nil && g.IDs != nil && key != "raw" {
					compare(key, g)
				}
			}
		})
	}
}
