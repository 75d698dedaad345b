package recipes

import (
	"os"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
)

// docs/recipes.md has this code, to the letter.
func TestDocument(t *testing.T) {
	document, err := os.ReadFile("../../docs/recipes.md")
	require.NoError(t, err)
	for _, name := range []string{"pgvector.go", "qdrant.go", "sqlitevec.go"} {
		code, err := os.ReadFile(name)
		require.NoError(t, err)
		_, code2, _ := strings.Cut(string(code), "package recipes\n\n")
		assert.Contains(t, string(document), "```go\n"+code2+"```\n", name)
	}
}

func TestSQLite(t *testing.T) {
	m, err := vkbert.Open(t.Context(), "../../testdata/tiny/normalize", vkbert.WithDevice("cpu"))
	require.NoError(t, err)
	defer m.Close()
	db, err := sqlite3.Open(":memory:")
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, AddToSQLite(t.Context(), db, m, []string{"the cat sat", "a dog ran", "the cat sat on it"}))
	found, err := SearchSQLite(t.Context(), db, m, "a dog ran", 2)
	require.NoError(t, err)
	require.Len(t, found, 2)
	assert.Equal(t, "a dog ran", found[0])
}
