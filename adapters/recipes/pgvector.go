package recipes

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/pgvector/pgvector-go"
	pgxvector "github.com/pgvector/pgvector-go/pgx"

	"github.com/vkbert/vkbert"
)

// AddToPostgres makes a table for the model's vectors and adds texts.
func AddToPostgres(ctx context.Context, db *pgx.Conn, m *vkbert.Model, texts []string) error {
	if _, err := db.Exec(ctx, "CREATE EXTENSION IF NOT EXISTS vector"); err != nil {
		return err
	}
	if err := pgxvector.RegisterTypes(ctx, db); err != nil {
		return err
	}
	// all-MiniLM-L6-v2 has 384 dimensions; m.Dimensions() says how many a model has.
	_, err := db.Exec(ctx, "CREATE TABLE IF NOT EXISTS items (id bigserial PRIMARY KEY, text text, embedding vector(384))")
	if err != nil {
		return err
	}
	vectors, err := m.EmbedDocuments(ctx, texts)
	if err != nil {
		return err
	}
	_, err = db.CopyFrom(ctx, pgx.Identifier{"items"}, []string{"text", "embedding"}, pgx.CopyFromSlice(len(texts), func(i int) ([]any, error) {
		return []any{texts[i], pgvector.NewVector(vectors[i])}, nil
	}))
	return err
}

// SearchPostgres returns the texts nearest to a query; <=> is the cosine distance.
func SearchPostgres(ctx context.Context, db *pgx.Conn, m *vkbert.Model, query string, limit int) ([]string, error) {
	v, err := m.EmbedQuery(ctx, query)
	if err != nil {
		return nil, err
	}
	rows, err := db.Query(ctx, "SELECT text FROM items ORDER BY embedding <=> $1 LIMIT $2", pgvector.NewVector(v), limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
