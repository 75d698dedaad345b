package server

import (
	"context"

	"github.com/vkbert/vkbert"
)

// wish is how vectors are wanted.
type wish struct {
	cut        vkbert.Truncation
	prompt     string // its name; "" is the model's default
	task       string // "query", "document" or ""
	dimensions count  // 0: as the model has them
	normalize  bool
}

// vectors makes a vector of each of the texts.
func (u *use) vectors(in input, w wish) ([][]float32, error) {
	c, m := u.call, u.dense
	if m == nil {
		return nil, failf(incapable, "model", "model %q does not make embeddings: it is a %s model", u.served.Name, kindNames[u.kind])
	}
	if n := m.Dimensions(); int(w.dimensions) > n {
		return nil, failf(dimensions, "dimensions", "`dimensions`: want at most %d, got %d", n, w.dimensions)
	}
	p, err := u.prepared(func(ctx context.Context) (*vkbert.Prepared, error) {
		switch {
		case in.ids != nil:
			return u.prepareTokens(in.ids, w.cut)
		case w.task == "query":
			return m.PrepareQueries(ctx, in.texts, w.cut)
		case w.task == "document":
			return m.PrepareDocuments(ctx, in.texts, w.cut)
		case w.prompt != "":
			return m.Prepare(ctx, in.texts, w.cut, vkbert.WithPrompt(w.prompt))
		}
		return m.Prepare(ctx, in.texts, w.cut)
	}, m.Dimensions(), eachText)
	if err != nil {
		return nil, err
	}
	var vectors [][]float32
	err = c.timed("embed", &c.compute, func(ctx context.Context) (err error) {
		vectors, err = m.EmbedPrepared(ctx, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, v := range vectors {
		if w.dimensions > 0 {
			v = v[:w.dimensions]
		}
		if w.normalize && (w.dimensions > 0 || !u.unit) {
			vkbert.Normalize(v)
		}
		vectors[i] = v
	}
	return vectors, nil
}

// prepareTokens holds token ids to the limit of texts, which may be lower than the number of positions. As in TEI, what is over is cut off as it is, special tokens with
// it: which ones there are is the caller's choice. Where the request names no side it is the end.
func (u *use) prepareTokens(ids [][]int32, cut vkbert.Truncation) (*vkbert.Prepared, error) {
	limit := u.Info().MaxTokens
	for i, list := range ids {
		switch extra := len(list) - limit; {
		case extra <= 0:
		case cut == vkbert.TruncateNone:
			return nil, &vkbert.TooLongError{Text: i, Tokens: len(list), Limit: limit}
		case cut == vkbert.TruncateStart:
			ids[i] = list[extra:]
		default:
			ids[i] = list[:limit]
		}
	}
	return u.dense.PrepareTokens(ids)
}

// pairs are scored by a reranker, before its activation if raw.
func (u *use) pairs(pairs []vkbert.Pair, cut vkbert.Truncation, raw bool) ([][]float32, error) {
	return u.scores(raw, func(ctx context.Context) (*vkbert.Prepared, error) { return u.reranker.PreparePairs(ctx, pairs, cut) })
}

// singles are scored by a classifier.
func (u *use) singles(texts []string, cut vkbert.Truncation, raw bool) ([][]float32, error) {
	return u.scores(raw, func(ctx context.Context) (*vkbert.Prepared, error) { return u.reranker.PrepareTexts(ctx, texts, cut) })
}

func (u *use) scores(raw bool, prepare func(ctx context.Context) (*vkbert.Prepared, error)) (scores [][]float32, err error) {
	c := u.call
	p, err := u.prepared(prepare, u.reranker.Labels(), eachText)
	if err != nil {
		return nil, err
	}
	err = c.timed("score", &c.compute, func(ctx context.Context) (err error) {
		if raw {
			scores, err = u.reranker.LogitsPrepared(ctx, p)
		} else {
			scores, err = u.reranker.ScorePrepared(ctx, p)
		}
		return err
	})
	return scores, err
}

// ranker says whether the model can rank.
func (u *use) ranker() error {
	if u.reranker == nil {
		return failf(incapable, "model", "model %q is not a re-ranker model: it is a %s model", u.served.Name, kindNames[u.kind])
	}
	if n := u.reranker.Labels(); n != 1 {
		return failf(incapable, "model", "model %q is not a re-ranker model: it has %d labels, and ranking takes one score", u.served.Name, n)
	}
	return nil
}

func queryPairs(query string, texts []string) []vkbert.Pair {
	pairs := make([]vkbert.Pair, len(texts))
	for i, t := range texts {
		pairs[i] = vkbert.Pair{query, t}
	}
	return pairs
}
