package vkbert

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vkbert/vkbert/bert"
	"github.com/vkbert/vkbert/loader"
)

// Prepared is texts as a model sees them: tokenized, with prompts and special tokens, cut off. It is for programs that count or limit tokens before the device works
// on them, such as servers; the others call the Embed methods, which do both. It belongs to the model that made it and may be used any number of times.
type Prepared struct {
	model  *Model
	seqs   []bert.Sequence
	sets   []loader.TokenSet // of a multi-vector model: which tokens are attended to and keep their vectors
	task   string
	tokens int
}

// Tokens is how many tokens the texts have together.
func (p *Prepared) Tokens() int { return p.tokens }

// Texts is how many texts there are.
func (p *Prepared) Texts() int { return len(p.seqs) }

// Truncation says what becomes of a text that is longer than the model's limit.
type Truncation int

// The ways to truncate.
const (
	TruncateAsOpened Truncation = iota // as the model was opened: WithTruncation, and the side that its files say
	TruncateEnd                        // drop the end
	TruncateStart                      // drop the beginning
	TruncateNone                       // refuse the text with a TooLongError
)

// TooLongError is an [ErrInput]: a text has more tokens than the model takes, and truncation is off.
type TooLongError struct {
	Text          int // its index
	Tokens, Limit int
}

// Error is the message.
func (e *TooLongError) Error() string {
	return fmt.Sprintf("text %d: %v: %d tokens, and the model takes %d (truncation is off)", e.Text, ErrInput, e.Tokens, e.Limit)
}

// Unwrap is ErrInput.
func (e *TooLongError) Unwrap() error { return ErrInput }

// Prepare tokenizes texts for [Model.EmbedPrepared], as [Model.EmbedWith] does with the same options.
func (m *Model) Prepare(ctx context.Context, texts []string, cut Truncation, opts ...EmbedOption) (*Prepared, error) {
	w, err := m.wayOf(opts)
	if err != nil {
		return nil, err
	}
	return m.prepare(ctx, texts, cut, w)
}

// PrepareQueries is Prepare as [Model.EmbedQueries] does it.
func (m *Model) PrepareQueries(ctx context.Context, texts []string, cut Truncation) (*Prepared, error) {
	return m.prepare(ctx, texts, cut, m.forQueries())
}

// PrepareDocuments is Prepare as [Model.EmbedDocuments] does it.
func (m *Model) PrepareDocuments(ctx context.Context, texts []string, cut Truncation) (*Prepared, error) {
	return m.prepare(ctx, texts, cut, m.forDocuments())
}

// PrepareTokens is for callers that tokenize themselves; the lists are as for [Model.EmbedTokens].
func (m *Model) PrepareTokens(ids [][]int32) (*Prepared, error) {
	to, _, err := m.enterRoute(way{})
	if err != nil {
		return nil, err
	}
	defer to.calls.leave()
	if len(ids) == 0 {
		return nil, fmt.Errorf("%w: no texts", ErrInput)
	}
	p := &Prepared{model: to, seqs: make([]bert.Sequence, len(ids))}
	for i, list := range ids {
		p.seqs[i] = bert.Sequence{IDs: slices.Clone(list)}
		p.tokens += len(list)
	}
	return p, nil
}

// EmbedPrepared returns a vector for each of the texts that this model has prepared, in order.
func (m *Model) EmbedPrepared(ctx context.Context, p *Prepared) ([][]float32, error) {
	to, err := m.enterFor(p)
	if err != nil {
		return nil, err
	}
	defer to.calls.leave()
	return to.run(ctx, p.seqs, p.task)
}

// TokenVectors returns what the transformer makes of each token of the texts, before pooling: [texts][tokens][Info().Hidden], special tokens included
// (token_embeddings of sentence-transformers). The prompt's tokens are among them. A task's adapters are not used.
func (m *Model) TokenVectors(ctx context.Context, p *Prepared) ([][][]float32, error) {
	to, err := m.enterFor(p)
	if err != nil {
		return nil, err
	}
	defer to.calls.leave()
	rows, err := to.encoder.EmbedTokenVectors(ctx, p.seqs)
	if err != nil {
		return nil, err
	}
	width := to.encoder.Info().Hidden
	vectors := make([][][]float32, len(rows))
	for i, flat := range rows {
		vectors[i] = make([][]float32, len(flat)/width)
		for j := range vectors[i] {
			vectors[i][j] = flat[j*width : (j+1)*width : (j+1)*width]
		}
	}
	return vectors, nil
}

// enterFor begins a call with what was prepared; the model that is returned does it, and leaves the call.
func (m *Model) enterFor(p *Prepared) (*Model, error) {
	if p == nil {
		return nil, fmt.Errorf("%w: no prepared texts", ErrInput)
	}
	if err := m.owns(p.model); err != nil {
		return nil, err
	}
	return p.model, p.model.calls.enter()
}

// enterRoute begins a call along a route; the model that is returned does it, and leaves the call. The way is that model's then: its tokenizer may be another, and
// so the tokens of the prompt.
func (m *Model) enterRoute(w way) (*Model, way, error) {
	to, err := m.to(w.route)
	if err == nil {
		err = to.calls.enter()
	}
	if err != nil || to == m {
		return to, w, err
	}
	if w.prompt, err = to.fit(w.prompt); err != nil {
		to.calls.leave()
	}
	return to, w, err
}

// fit is another route's prompt as this model tokenizes it.
func (m *Model) fit(p prompt) (prompt, error) {
	for _, own := range m.prompts {
		if own.text == p.text {
			return own, nil
		}
	}
	return m.newPrompt(p.text)
}

func (m *Model) owns(of *Model) error {
	if of == m {
		return nil
	}
	for _, r := range m.routes {
		if r.model == of {
			return nil
		}
	}
	return fmt.Errorf("%w: the texts were prepared by another model", ErrInput)
}

func (m *Model) prepare(ctx context.Context, texts []string, cut Truncation, w way) (*Prepared, error) {
	if len(texts) == 0 {
		return nil, fmt.Errorf("%w: no texts", ErrInput)
	}
	to, w, err := m.enterRoute(w)
	if err != nil {
		return nil, err
	}
	defer to.calls.leave()
	texts = slices.Clone(texts) // as Model.vectors does it
	p, err := to.tokenizeAll(ctx, len(texts), func(i int) (loader.Encoding, error) { return to.encodeCut(ctx, texts[i], w.prompt, cut, i) })
	if err != nil {
		return nil, err
	}
	p.task = w.task
	for i := range p.seqs {
		p.seqs[i].PoolStart = w.prompt.tokens
	}
	return p, nil
}

// tokenizeAll makes sequences of n texts, within a call of m.
func (m *Model) tokenizeAll(ctx context.Context, n int, encode func(i int) (loader.Encoding, error)) (*Prepared, error) {
	start := time.Now()
	p := &Prepared{model: m, seqs: make([]bert.Sequence, n)}
	one := func(i int) error {
		enc, err := encode(i)
		p.seqs[i] = bert.Sequence{IDs: enc.IDs, TypeIDs: enc.TypeIDs}
		return err
	}
	var err error
	if n == 1 && m.tokenizer != nil && m.tokenizer.Native() {
		err = one(0) // fast enough for this goroutine
	} else {
		err = m.parallel(ctx, n, one)
	}
	if err != nil {
		return nil, err
	}
	for _, s := range p.seqs {
		p.tokens += len(s.IDs)
	}
	m.tokenizing.Add(int64(time.Since(start)))
	return p, nil
}

// encodeCut is encode with a truncation of the call.
func (m *Model) encodeCut(ctx context.Context, text string, p prompt, cut Truncation, index int) (loader.Encoding, error) {
	if m.tokenizer == nil {
		return loader.Encoding{}, errNoTokenizer
	}
	if cut == TruncateAsOpened {
		if !m.truncate {
			cut = TruncateNone
		} else if !m.tokenizer.TruncatesStart() {
			cut = TruncateEnd
		} else {
			cut = TruncateStart
		}
	}
	if p.text != "" {
		text = p.text + text
	}
	if cut == TruncateEnd && !m.tokenizer.TruncatesStart() { // cheaper for long texts
		ids, types, err := m.tokenizer.Append(ctx, nil, text, m.maxTokens)
		return loader.Encoding{IDs: ids, TypeIDs: types}, err
	}
	enc, err := m.tokenizer.Encode(ctx, text)
	if err != nil || len(enc.IDs) <= m.maxTokens {
		return enc, err
	}
	if cut == TruncateNone {
		return enc, &TooLongError{Text: index, Tokens: len(enc.IDs), Limit: m.maxTokens}
	}
	return m.tokenizer.TruncateSide(enc, m.maxTokens, cut == TruncateStart)
}

// PrepareTexts tokenizes single texts, for models that classify them.
func (r *Reranker) PrepareTexts(ctx context.Context, texts []string, cut Truncation) (*Prepared, error) {
	return r.m.prepare(ctx, texts, cut, way{prompt: r.m.defaultPrompt()})
}

// PreparePairs tokenizes pairs of texts for [Reranker.LogitsPrepared], as [Reranker.Score] does. Of a pair that is too long the longer text is cut off, always on
// the side that the model's files say.
func (r *Reranker) PreparePairs(ctx context.Context, pairs []Pair, cut Truncation) (*Prepared, error) {
	if len(pairs) == 0 {
		return nil, fmt.Errorf("%w: no pairs", ErrInput)
	}
	m := r.m
	limit := m.maxTokens
	if cut == TruncateNone || cut == TruncateAsOpened && !m.truncate {
		limit = 0
	}
	if err := m.calls.enter(); err != nil {
		return nil, err
	}
	defer m.calls.leave()
	first := m.defaultPrompt().text
	pairs = slices.Clone(pairs) // as Model.vectors does it
	return m.tokenizeAll(ctx, len(pairs), func(i int) (loader.Encoding, error) {
		enc, err := m.tokenizer.EncodePair(ctx, first+pairs[i][0], pairs[i][1], limit)
		if err == nil && len(enc.IDs) > m.maxTokens {
			err = &TooLongError{Text: i, Tokens: len(enc.IDs), Limit: m.maxTokens}
		}
		return enc, err
	})
}

// LogitsPrepared is [Reranker.Logits] of what was prepared.
func (r *Reranker) LogitsPrepared(ctx context.Context, p *Prepared) ([][]float32, error) {
	to, err := r.m.enterFor(p)
	if err != nil {
		return nil, err
	}
	defer to.calls.leave()
	return to.encoder.Embed(ctx, p.seqs)
}

// ScorePrepared is [Reranker.Score] of what was prepared.
func (r *Reranker) ScorePrepared(ctx context.Context, p *Prepared) ([][]float32, error) {
	scores, err := r.LogitsPrepared(ctx, p)
	if err == nil {
		r.activate(scores)
	}
	return scores, err
}

// Prepare tokenizes texts for [SparseModel.EmbedPrepared], as [SparseModel.EmbedSparse] does.
func (s *SparseModel) Prepare(ctx context.Context, texts []string, cut Truncation) (*Prepared, error) {
	return s.m.prepare(ctx, texts, cut, way{prompt: s.m.defaultPrompt()})
}

// PrepareQueries is Prepare as [SparseModel.EmbedSparseQueries] does it.
func (s *SparseModel) PrepareQueries(ctx context.Context, texts []string, cut Truncation) (*Prepared, error) {
	return s.m.prepare(ctx, texts, cut, s.m.forQueries())
}

// PrepareDocuments is Prepare as [SparseModel.EmbedSparseDocuments] does it.
func (s *SparseModel) PrepareDocuments(ctx context.Context, texts []string, cut Truncation) (*Prepared, error) {
	return s.m.prepare(ctx, texts, cut, s.m.forDocuments())
}

// EmbedPrepared returns a sparse vector for each of the texts, in order.
func (s *SparseModel) EmbedPrepared(ctx context.Context, p *Prepared) ([]SparseVector, error) {
	to, err := s.m.enterFor(p)
	if err != nil {
		return nil, err
	}
	defer to.calls.leave()
	return to.sparse(ctx, p.seqs)
}

// PrepareQueries tokenizes texts for [MultiVectorModel.EmbedPrepared], as [MultiVectorModel.EmbedMultiQueries] does; the tokens that they are filled up with count. What
// is too long is cut off at its end, unless cut is TruncateNone.
func (v *MultiVectorModel) PrepareQueries(ctx context.Context, texts []string, cut Truncation) (*Prepared, error) {
	return v.m.prepareMulti(ctx, texts, "query", v.m.forQueries(), cut)
}

// PrepareDocuments is PrepareQueries for documents, as [MultiVectorModel.EmbedMultiDocuments] does it.
func (v *MultiVectorModel) PrepareDocuments(ctx context.Context, texts []string, cut Truncation) (*Prepared, error) {
	return v.m.prepareMulti(ctx, texts, "document", v.m.forDocuments(), cut)
}

// EmbedPrepared returns the vectors of each of the texts, in order, [texts][vectors][Dimensions].
func (v *MultiVectorModel) EmbedPrepared(ctx context.Context, p *Prepared) ([][][]float32, error) {
	to, err := v.m.enterFor(p)
	if err != nil {
		return nil, err
	}
	defer to.calls.leave()
	return to.multi(ctx, p)
}
