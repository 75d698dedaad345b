package index

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// Query says what to look for.
type Query struct {
	Text     string
	Top      int                              // results at most; 0 is all
	MinScore float64                          // and above; used if HasMin
	HasMin   bool                             //
	Below    []string                         // in these folders and files alone; none: everywhere
	Score    func(query, v []float32) float64 // of two vectors; more is more similar
}

// Result is a chunk, and how similar it is to the query.
type Result struct {
	File  string  `json:"file"` // absolute
	Score float64 `json:"score"`
	Chunk
	Changed bool `json:"changed,omitempty"` // the file is not as it was when it was indexed
}

// hit is a chunk before it is read.
type hit struct {
	key   []byte
	score float64
}

// Search returns the chunks most similar to the query, best first. Of chunks of a file that overlap, it returns the best.
func (x *Index) Search(ctx context.Context, q Query) ([]Result, error) {
	if strings.TrimSpace(q.Text) == "" {
		return nil, fmt.Errorf("%w: the query is empty", ErrInput)
	}
	var folders []string
	for _, folder := range q.Below {
		abs, err := filepath.Abs(folder)
		if err != nil {
			return nil, err
		}
		if real, err := filepath.EvalSymlinks(abs); err == nil {
			abs = real
		}
		folders = append(folders, abs)
	}
	query, err := x.model.EmbedQuery(ctx, q.Text)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	var results []Result
	err = transact(x.path, false, func(tx *bolt.Tx) error {
		meta, err := metaOf(tx, x.path)
		if err != nil {
			return err
		}
		if !slices.Equal(meta.Probe, x.meta.Probe) {
			return fmt.Errorf("%s: %w: it was made anew", x.path, ErrBusy)
		}
		files, err := decodeAll[file](tx, filesBucket)
		if err != nil {
			return err
		}
		paths := map[uint64]string{}
		for path, f := range files {
			if len(folders) == 0 || slices.ContainsFunc(folders, func(folder string) bool { return below(path, folder) }) {
				paths[f.ID] = path
			}
		}
		hits, err := scan(ctx, tx, q, query, paths)
		if err != nil {
			return fmt.Errorf("%s: %w", x.path, err)
		}
		results, err = pick(tx, q.Top, hits, paths)
		if err != nil {
			return fmt.Errorf("%s: %w", x.path, err)
		}
		for i, r := range results {
			f := files[r.File]
			info, err := os.Stat(r.File)
			results[i].Changed = err != nil || info.Size() != f.Size || !info.ModTime().Equal(f.Time)
		}
		return nil
	})
	return results, err
}

// scan compares the query with the vectors of the files, and returns them best first.
func scan(ctx context.Context, tx *bolt.Tx, q Query, query []float32, paths map[uint64]string) ([]hit, error) {
	var hits []hit
	v := make([]float32, len(query))
	c := tx.Bucket(vectorsBucket).Cursor()
	n := 0
	for key, value := c.First(); key != nil; key, value = c.Next() {
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if len(key) != 12 {
			return nil, fmt.Errorf("%w: vector %x", ErrDamaged, key)
		}
		if _, ok := paths[keyFile(key)]; !ok {
			continue
		}
		if err := readVector(v, value); err != nil {
			return nil, fmt.Errorf("%w: %x: %w", ErrDamaged, key, err)
		}
		if score := q.Score(query, v); !q.HasMin || score >= q.MinScore {
			hits = append(hits, hit{key, score}) // the key stays valid while the transaction lasts
		}
	}
	slices.SortFunc(hits, func(a, b hit) int { return cmp.Or(cmp.Compare(b.score, a.score), bytes.Compare(a.key, b.key)) })
	return hits, nil
}

// pick reads the best chunks, without those that overlap a better one.
func pick(tx *bolt.Tx, top int, hits []hit, paths map[uint64]string) ([]Result, error) {
	var results []Result
	for _, h := range hits {
		if top > 0 && len(results) == top {
			break
		}
		r := Result{File: paths[keyFile(h.key)], Score: h.score}
		if err := json.Unmarshal(tx.Bucket(chunksBucket).Get(h.key), &r.Chunk); err != nil {
			return nil, fmt.Errorf("%w: chunk %x: %w", ErrDamaged, h.key, err)
		}
		if !slices.ContainsFunc(results, func(o Result) bool { return o.File == r.File && o.Start < r.End && r.Start < o.End }) {
			results = append(results, r)
		}
	}
	return results, nil
}
