package recipes

import (
	"context"
	"fmt"

	sqlite_vec "github.com/asg017/sqlite-vec-go-bindings/ncruces" // SQLite with the extension, without cgo
	"github.com/ncruces/go-sqlite3"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/vkbert/vkbert"
)

// The build of SQLite that comes with the bindings uses atomic instructions, which the runtime has to be told before a database is opened.
func init() {
	sqlite3.RuntimeConfig = wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2 | experimental.CoreFeaturesThreads)
}

// AddToSQLite makes a table for the model's vectors and adds texts.
func AddToSQLite(ctx context.Context, db *sqlite3.Conn, m *vkbert.Model, texts []string) error {
	err := db.Exec(fmt.Sprintf("CREATE VIRTUAL TABLE items USING vec0(embedding float[%d] distance_metric=cosine, +text text)", m.Dimensions()))
	if err != nil {
		return err
	}
	vectors, err := m.EmbedDocuments(ctx, texts)
	if err != nil {
		return err
	}
	insert, _, err := db.Prepare("INSERT INTO items(embedding, text) VALUES (?, ?)")
	if err != nil {
		return err
	}
	defer insert.Close()
	for i, v := range vectors {
		blob, err := sqlite_vec.SerializeFloat32(v)
		if err != nil {
			return err
		}
		if err := insert.BindBlob(1, blob); err != nil {
			return err
		}
		if err := insert.BindText(2, texts[i]); err != nil {
			return err
		}
		insert.Step()
		if err := insert.Reset(); err != nil {
			return err
		}
	}
	return nil
}

// SearchSQLite returns the texts nearest to a query.
func SearchSQLite(ctx context.Context, db *sqlite3.Conn, m *vkbert.Model, query string, limit int) ([]string, error) {
	v, err := m.EmbedQuery(ctx, query)
	if err != nil {
		return nil, err
	}
	blob, err := sqlite_vec.SerializeFloat32(v)
	if err != nil {
		return nil, err
	}
	search, _, err := db.Prepare("SELECT text FROM items WHERE embedding MATCH ? AND k = ? ORDER BY distance")
	if err != nil {
		return nil, err
	}
	defer search.Close()
	if err := search.BindBlob(1, blob); err != nil {
		return nil, err
	}
	if err := search.BindInt(2, limit); err != nil {
		return nil, err
	}
	var texts []string
	for search.Step() {
		texts = append(texts, search.ColumnText(0))
	}
	return texts, search.Err()
}
