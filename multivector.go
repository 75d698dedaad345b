package vkbert

import (
	"context"
	"fmt"
	"slices"

	"github.com/vkbert/vkbert/loader"
)

// MultiVectorModel is an open model that makes a vector for each token of a text, for late interaction (sentence-transformers' MultiVectorEncoder, PyLate,
// ColBERT). All methods are safe for any number of goroutines; what they ask for at the same time shares batches.
type MultiVectorModel struct{ kind }

// OpenMultiVector is [Open] for a multi-vector model, one of Stanford's ColBERT too.
func OpenMultiVector(ctx context.Context, model string, opts ...Option) (*MultiVectorModel, error) {
	m, err := openKind(ctx, model, loader.KindMultiVector, opts)
	if err != nil {
		return nil, err
	}
	return &MultiVectorModel{kind{m}}, nil
}

// MaxSim is the score of a query and a document of multi-vector models: over the vectors of the query, the sum of the greatest dot product with one of the
// document (Khattab & Zaharia 2020, arXiv:2004.12832). A document without vectors scores 0. It panics if the lengths of vectors differ.
func MaxSim(query, document [][]float32) float32 {
	var sum float64
	for _, q := range query {
		var best float32
		for i, d := range document {
			if dot := Dot(q, d); i == 0 || dot > best {
				best = dot
			}
		}
		sum += float64(best)
	}
	return float32(sum)
}

// Dimensions is the length of a vector.
func (v *MultiVectorModel) Dimensions() int { return v.m.dims }

// EmbedMulti returns the vectors of each text, [len(texts)][vectors][Dimensions], with the model's default prompt and the tokens that documents keep, but not their
// limit. Most models mean their texts to go through [MultiVectorModel.EmbedMultiQueries] and [MultiVectorModel.EmbedMultiDocuments]. No texts are an error
// ([ErrInput]).
func (v *MultiVectorModel) EmbedMulti(ctx context.Context, texts []string) ([][][]float32, error) {
	return v.m.embedMulti(ctx, texts, "", way{prompt: v.m.defaultPrompt()})
}

// EmbedMultiQueries is EmbedMulti for queries: with the prompt "query", cut off at the length of queries and, where the model does so, filled up to it with mask
// tokens, which have vectors too.
func (v *MultiVectorModel) EmbedMultiQueries(ctx context.Context, texts []string) ([][][]float32, error) {
	return v.m.embedMulti(ctx, texts, "query", v.m.forQueries())
}

// EmbedMultiDocuments is EmbedMulti for documents: with the prompt "document", cut off at the length of documents, without the vectors of tokens that the model
// leaves out (punctuation, usually).
func (v *MultiVectorModel) EmbedMultiDocuments(ctx context.Context, texts []string) ([][][]float32, error) {
	return v.m.embedMulti(ctx, texts, "document", v.m.forDocuments())
}

// TokenizeQuery returns the tokens of a text as EmbedMultiQueries sees it.
func (v *MultiVectorModel) TokenizeQuery(text string) (Tokens, error) {
	return v.m.tokenSet(text, "query", v.m.forQueries())
}

// TokenizeDocument returns the tokens of a text as EmbedMultiDocuments sees it, those without a vector too.
func (v *MultiVectorModel) TokenizeDocument(text string) (Tokens, error) {
	return v.m.tokenSet(text, "document", v.m.forDocuments())
}

func (m *Model) tokenSet(text, task string, w way) (Tokens, error) {
	to, err := m.to(w.route)
	if err != nil {
		return Tokens{}, err
	}
	set, err := to.encodeTask(context.Background(), text, task, w.prompt, TruncateAsOpened, 0)
	return Tokens{IDs: set.IDs, Tokens: to.tokenizer.Tokens(set.IDs)}, err
}

// encodeTask tokenizes a text for a task; index is its number in the call.
func (m *Model) encodeTask(ctx context.Context, text, task string, p prompt, cut Truncation, index int) (loader.TokenSet, error) {
	if cut == TruncateNone || cut == TruncateAsOpened && !m.truncate {
		enc, err := m.tokenizer.Encode(ctx, p.text+text)
		if err != nil {
			return loader.TokenSet{}, err
		}
		if limit := m.files.MultiVector.Limit(task, m.files.MaxSeqLength); limit > 0 && len(enc.IDs) > limit {
			return loader.TokenSet{}, &TooLongError{Text: index, Tokens: len(enc.IDs), Limit: limit}
		}
	}
	return m.tokenizer.EncodeTask(ctx, m.files, p.text+text, task)
}

func (m *Model) prepareMulti(ctx context.Context, texts []string, task string, w way, cut Truncation) (*Prepared, error) {
	to, w, err := m.enterRoute(w)
	if err != nil {
		return nil, err
	}
	defer to.calls.leave()
	return to.tokenSets(ctx, texts, task, w, cut)
}

func (m *Model) embedMulti(ctx context.Context, texts []string, task string, w way) ([][][]float32, error) {
	to, w, err := m.enterRoute(w)
	if err != nil {
		return nil, err
	}
	defer to.calls.leave()
	p, err := to.tokenSets(ctx, texts, task, w, TruncateAsOpened)
	if err != nil {
		return nil, err
	}
	return to.multi(ctx, p)
}

// tokenSets tokenizes texts for a task, within a call of m.
func (m *Model) tokenSets(ctx context.Context, texts []string, task string, w way, cut Truncation) (*Prepared, error) {
	if len(texts) == 0 {
		return nil, fmt.Errorf("%w: no texts", ErrInput)
	}
	texts = slices.Clone(texts) // as Model.vectors does it
	sets := make([]loader.TokenSet, len(texts))
	p, err := m.tokenizeAll(ctx, len(texts), func(i int) (loader.Encoding, error) {
		set, err := m.encodeTask(ctx, texts[i], task, w.prompt, cut, i)
		sets[i] = set
		return loader.Encoding{IDs: set.IDs, TypeIDs: set.TypeIDs}, err
	})
	if err != nil {
		return nil, err
	}
	p.sets, p.task = sets, task
	return p, nil
}

// multi makes the vectors of what m has prepared, within a call of it.
func (m *Model) multi(ctx context.Context, p *Prepared) ([][][]float32, error) {
	var rows [][]float32
	var err error
	if p.task == "query" {
		attended := make([][]bool, len(p.sets))
		for i, s := range p.sets {
			attended[i] = s.Attended
		}
		rows, err = m.encoder.EmbedAttended(ctx, p.seqs, attended)
	} else {
		rows, err = m.encoder.Embed(ctx, p.seqs)
	}
	if err != nil {
		return nil, err
	}
	vectors := make([][][]float32, len(rows))
	width := m.encoder.Info().Dimensions
	for i, flat := range rows {
		vectors[i] = make([][]float32, 0, len(p.sets[i].Kept))
		for j, kept := range p.sets[i].Kept {
			if kept {
				vectors[i] = append(vectors[i], m.finish(flat[j*width:(j+1)*width]))
			}
		}
	}
	return vectors, nil
}
