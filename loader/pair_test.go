package loader

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// goldenPairs are ids and type ids that transformers gives; arch_ids.py makes
// them.
type goldenPairs struct {
	Texts  []string    `json:"texts"`
	Pairs  [][2]string `json:"pairs"`
	Limits []int       `json:"limits"`
	Models map[string]struct {
		IDs   [][]int32    `json:"ids"`
		Right [][2][]int32 `json:"right"`
		Left  [][2][]int32 `json:"left"`
	} `json:"models"`
}

func TestArchPairs(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "arch_ids.json"))
	require.NoError(t, err)
	var golden goldenPairs
	require.NoError(t, json.Unmarshal(data, &golden))
	dirs := archDirs(t)
	for name, want := range golden.Models {
		t.Run(name, func(t *testing.T) {
			m, err := Open(dirs[name])
			require.NoError(t, err)
			defer m.Close()
			tok, err := OpenTokenizer(m)
			require.NoError(t, err)
			defer tok.Close()
			for i, text := range golden.Texts {
				assert.Equal(t, want.IDs[i], encode(t, tok, text), "%q", text)
			}
			for side, rows := range map[bool][][2][]int32{false: want.Right, true: want.Left} {
				tok.fromLeft = side
				for i, pair := range golden.Pairs {
					for j, limit := range golden.Limits {
						row := rows[i*len(golden.Limits)+j]
						e, err := tok.EncodePair(t.Context(), pair[0], pair[1], limit)
						require.NoError(t, err)
						assert.Equal(t, row[0], e.IDs, "%q, limit %d, from the left %t", pair, limit, side)
						assert.Equal(t, row[1], e.TypeIDs, "%q, limit %d, from the left %t: types", pair, limit, side)
					}
				}
			}
		})
	}
}
