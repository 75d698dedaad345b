package vkbert

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/vkbert/vkbert/bert"
	"github.com/vkbert/vkbert/loader"
)

// kind is what models have in common that are no embedding models of one vector a text.
type kind struct{ m *Model }

// ModelName is the model's Hugging Face id, or the name of its directory.
func (k kind) ModelName() string { return k.m.ModelName() }

// Info says what was opened and what memory it takes.
func (k kind) Info() Info { return k.m.Info() }

// Stats says what the model has done since it was opened.
func (k kind) Stats() Stats { return k.m.Stats() }

// HealthCheck makes the output of a fixed text on the device and compares it with the one made when the model was opened.
func (k kind) HealthCheck(ctx context.Context) error { return k.m.HealthCheck(ctx) }

// Close lets the calls under way finish and releases the device. Calls that come later fail with [ErrClosed]. It may be called again.
func (k kind) Close() error { return k.m.Close() }

// Reranker is an open cross-encoder: a model that reads two texts at once and scores them (sentence-transformers' CrossEncoder; a *ForSequenceClassification of
// transformers). All methods are safe for any number of goroutines; what they ask for at the same time shares batches.
type Reranker struct{ kind }

// OpenReranker is [Open] for a cross-encoder.
func OpenReranker(ctx context.Context, model string, opts ...Option) (*Reranker, error) {
	m, err := openKind(ctx, model, loader.KindCrossEncoder, opts)
	if err != nil {
		return nil, err
	}
	return &Reranker{kind{m}}, nil
}

// Pair is two texts that are scored together, for example a query and a document, or a premise and a hypothesis.
type Pair [2]string

// Labels is the number of scores that a pair has.
func (r *Reranker) Labels() int { return r.m.files.CrossEncoder.Labels }

// Rerank scores the documents by their relevance to the query, and returns all of them, best first; equal scores stay in the order of the documents. A score is
// what CrossEncoder.rank returns: after the activation that the model names, a sigmoid by default. A model with several labels does not rank: it is an
// [ErrInput], and [Reranker.Score] has its scores. So are no documents.
func (r *Reranker) Rerank(ctx context.Context, query string, documents []string) ([]Match, error) {
	if n := r.Labels(); n != 1 {
		return nil, fmt.Errorf("%w: the model has %d labels, and ranking takes one score; Score returns them all", ErrInput, n)
	}
	pairs := make([]Pair, len(documents))
	for i, d := range documents {
		pairs[i] = Pair{query, d}
	}
	scores, err := r.Score(ctx, pairs)
	if err != nil {
		return nil, err
	}
	matches := make([]Match, len(scores))
	for i, s := range scores {
		matches[i] = Match{Index: i, Score: s[0]}
	}
	slices.SortStableFunc(matches, func(a, b Match) int { return cmp.Compare(b.Score, a.Score) })
	return matches, nil
}

// Score returns the scores of each pair, [len(pairs)][Labels], in order: the logits after the activation that the model names, by default a sigmoid for one
// label and none for several (CrossEncoder.predict). Info().Labels names them. No pairs are an error ([ErrInput]).
func (r *Reranker) Score(ctx context.Context, pairs []Pair) ([][]float32, error) {
	scores, err := r.Logits(ctx, pairs)
	if err != nil {
		return nil, err
	}
	r.activate(scores)
	return scores, nil
}

// activate applies the model's activation to logits, in place.
func (r *Reranker) activate(scores [][]float32) {
	activate := scoreActivations[r.m.files.CrossEncoder.Activation]
	for _, row := range scores {
		for i, x := range row {
			row[i] = float32(activate(float64(x)))
		}
	}
}

var scoreActivations = map[loader.Activation]func(float64) float64{
	loader.Identity: func(x float64) float64 { return x },
	loader.Sigmoid:  func(x float64) float64 { return 1 / (1 + math.Exp(-x)) },
	loader.Tanh:     math.Tanh,
	loader.ReLU:     func(x float64) float64 { return max(x, 0) },
}

// Logits is [Reranker.Score] without the activation.
func (r *Reranker) Logits(ctx context.Context, pairs []Pair) ([][]float32, error) {
	if len(pairs) == 0 {
		return nil, fmt.Errorf("%w: no pairs", ErrInput)
	}
	m := r.m
	if err := m.calls.enter(); err != nil {
		return nil, err
	}
	defer m.calls.leave()
	pairs = slices.Clone(pairs) // as Model.vectors does it
	seqs := make([]bert.Sequence, len(pairs))
	err := m.parallel(ctx, len(pairs), func(i int) error {
		enc, err := r.encode(ctx, pairs[i])
		seqs[i] = bert.Sequence{IDs: enc.IDs, TypeIDs: enc.TypeIDs}
		return err
	})
	if err != nil {
		return nil, err
	}
	return m.encoder.Embed(ctx, seqs)
}

// Tokenize returns the tokens of a pair as the model sees it: both texts, with special tokens between and around them, cut off at the model's limit, the longer
// one first.
func (r *Reranker) Tokenize(pair Pair) (Tokens, error) {
	if err := r.m.calls.enter(); err != nil {
		return Tokens{}, err
	}
	defer r.m.calls.leave()
	enc, err := r.encode(context.Background(), pair)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{IDs: enc.IDs, Tokens: r.m.tokenizer.Tokens(enc.IDs)}, nil
}

func (r *Reranker) encode(ctx context.Context, pair Pair) (loader.Encoding, error) {
	m := r.m
	limit := m.maxTokens
	if !m.truncate {
		limit = 0
	}
	enc, err := m.tokenizer.EncodePair(ctx, m.defaultPrompt().text+pair[0], pair[1], limit)
	if err == nil && len(enc.IDs) > m.maxTokens {
		err = fmt.Errorf("%w: %d tokens, and the model takes %d (truncation is off)", ErrInput, len(enc.IDs), m.maxTokens)
	}
	return enc, err
}
