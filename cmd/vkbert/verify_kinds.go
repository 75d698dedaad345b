package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vkbert/vkbert"
)

// goldenFile is a golden file of any kind of model. Its keys say which.
type goldenFile struct {
	path string
	keys map[string]json.RawMessage
	golden
	Pairs  []vkbert.Pair         `json:"pairs"`  // of a reranker
	Scores [][]float32           `json:"scores"` // of the pairs
	Logits [][]float32           `json:"logits"` // before the activation
	Sparse []vkbert.SparseVector `json:"sparse"` // of a sparse model
}

func readGolden(path string) (*goldenFile, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := &goldenFile{path: path}
	if err := json.Unmarshal(data, &f.keys); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := json.Unmarshal(data, f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// opened is a model of any kind.
type opened interface {
	Info() vkbert.Info
	Close() error
}

// open opens the model as what the file is for, and returns its sets.
func (f *goldenFile) open(cmd *cobra.Command, model *modelFlags) (sets []goldenSet, m opened, err error) {
	if strings.HasPrefix(model.model, "random:") {
		return nil, nil, usagef("-m %s: random weights come without a tokenizer and are for bench and info alone", model.model)
	}
	options, err := model.options(cmd)
	if err != nil {
		return nil, nil, err
	}
	ctx := cmd.Context()
	switch {
	case f.Pairs != nil:
		var r *vkbert.Reranker
		if r, err = vkbert.OpenReranker(ctx, model.model, options...); err == nil {
			m, sets = r, f.reranking(r)
		}
	case f.keys["sparse"] != nil:
		var s *vkbert.SparseModel
		if s, err = vkbert.OpenSparse(ctx, model.model, options...); err == nil {
			m = s
			sets, err = f.sparse(s)
		}
	case f.keys["vectors"] == nil && f.keys["query"] != nil:
		var v *vkbert.MultiVectorModel
		if v, err = vkbert.OpenMultiVector(ctx, model.model, options...); err == nil {
			m = v
			sets, err = f.multi(v)
		}
	default:
		var e *vkbert.Model
		if e, err = vkbert.Open(ctx, model.model, options...); err == nil {
			m = e
			sets, err = readEmbedding(f.keys, f.golden, e)
		}
	}
	if m == nil {
		return nil, nil, err
	}
	for i := range sets {
		if e := sets[i].check(0); e != nil && err == nil {
			err = fmt.Errorf("%q: %w", sets[i].name, e)
		}
	}
	if err != nil {
		m.Close()
		return nil, nil, fmt.Errorf("%s: %w", f.path, err)
	}
	slices.SortStableFunc(sets[min(1, len(sets)):], func(a, b goldenSet) int { return strings.Compare(a.name, b.name) })
	return sets, m, nil
}

// reranking are the scores of pairs, and what they are before the activation.
func (f *goldenFile) reranking(r *vkbert.Reranker) []goldenSet {
	names := make([]string, len(f.Pairs))
	for i, pair := range f.Pairs {
		names[i] = pair[0] + " | " + pair[1]
	}
	tokenize := func(i int) (vkbert.Tokens, error) { return r.Tokenize(f.Pairs[i]) }
	sets := []goldenSet{{"scores", golden{names, f.IDs, f.Scores}, tokenize, func(ctx context.Context) ([][]float32, error) { return r.Score(ctx, f.Pairs) }}}
	if f.Logits != nil {
		sets = append(sets, goldenSet{"logits", golden{names, f.IDs, f.Logits}, tokenize, func(ctx context.Context) ([][]float32, error) { return r.Logits(ctx, f.Pairs) }})
	}
	return sets
}

// sparse are sparse vectors, which are compared written out in full.
func (f *goldenFile) sparse(s *vkbert.SparseModel) ([]goldenSet, error) {
	full := func(rows []vkbert.SparseVector) ([][]float32, error) {
		all := make([][]float32, len(rows))
		for i, row := range rows {
			all[i] = make([]float32, s.Dimensions())
			if len(row.Indices) != len(row.Values) {
				return nil, fmt.Errorf("vector %d: %d indices and %d values", i, len(row.Indices), len(row.Values))
			}
			for j, at := range row.Indices {
				if at < 0 || int(at) >= len(all[i]) {
					return nil, fmt.Errorf("vector %d has the index %d, the model has %d dimensions", i, at, len(all[i]))
				}
				all[i][at] = row.Values[j]
			}
		}
		return all, nil
	}
	var sets []goldenSet
	for _, key := range []string{"", "query", "document"} {
		var part struct {
			IDs    [][]int32
			Sparse []vkbert.SparseVector
		}
		embed, tokenize, name := s.EmbedSparse, s.TokenizeDocument, key
		switch {
		case key == "":
			name, part.IDs, part.Sparse = "texts", f.IDs, f.Sparse
		case f.keys[key] == nil:
			continue
		default:
			if err := json.Unmarshal(f.keys[key], &part); err != nil {
				return nil, fmt.Errorf("%q: %w", key, err)
			}
		}
		switch key {
		case "query":
			embed, tokenize = s.EmbedSparseQueries, s.TokenizeQuery
		case "document":
			embed = s.EmbedSparseDocuments
		}
		want, err := full(part.Sparse)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		sets = append(sets, goldenSet{name, golden{f.Texts, part.IDs, want},
			func(i int) (vkbert.Tokens, error) { return tokenize(f.Texts[i]) },
			func(ctx context.Context) ([][]float32, error) {
				rows, err := embed(ctx, f.Texts)
				if err != nil {
					return nil, err
				}
				return full(rows)
			}})
	}
	return sets, nil
}

// multi are the vectors of tokens, one after the other.
func (f *goldenFile) multi(v *vkbert.MultiVectorModel) ([]goldenSet, error) {
	flat := func(texts [][][]float32) [][]float32 {
		all := make([][]float32, len(texts))
		for i, tokens := range texts {
			all[i] = slices.Concat(tokens...)
		}
		return all
	}
	var sets []goldenSet
	for _, part := range []struct {
		key      string
		embed    func(context.Context, []string) ([][][]float32, error)
		tokenize func(string) (vkbert.Tokens, error)
	}{{"query", v.EmbedMultiQueries, v.TokenizeQuery}, {"document", v.EmbedMultiDocuments, v.TokenizeDocument}} {
		if f.keys[part.key] == nil {
			continue
		}
		var want struct {
			IDs     [][]int32
			Vectors [][][]float32
		}
		if err := json.Unmarshal(f.keys[part.key], &want); err != nil {
			return nil, fmt.Errorf("%q: %w", part.key, err)
		}
		sets = append(sets, goldenSet{part.key, golden{f.Texts, want.IDs, flat(want.Vectors)},
			func(i int) (vkbert.Tokens, error) { return part.tokenize(f.Texts[i]) },
			func(ctx context.Context) ([][]float32, error) {
				texts, err := part.embed(ctx, f.Texts)
				return flat(texts), err
			}})
	}
	return sets, nil
}
