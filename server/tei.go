package server

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/vkbert/vkbert"
)

// The interface of Text Embeddings Inference: https://huggingface.github.io/text-embeddings-inference. Where several models are served, "model" in a request, which
// is an addition, chooses one; else it is the first that can do what the route does.

var (
	denseFirst  = []vkbert.Kind{vkbert.KindEmbedding}
	rerankFirst = []vkbert.Kind{vkbert.KindReranker}
	sparseFirst = []vkbert.Kind{vkbert.KindSparse}
	tokensFirst = []vkbert.Kind{vkbert.KindEmbedding, vkbert.KindMultiVector}
)

// teiTruncation is what requests say of texts that are too long.
type teiTruncation struct {
	Truncate  *bool  `json:"truncate"`
	Direction string `json:"truncation_direction"`
}

func (t teiTruncation) cut(c *call) (vkbert.Truncation, error) {
	cut := vkbert.TruncateEnd
	switch t.Direction {
	case "right", "Right", "":
		if t.Direction == "" {
			cut = vkbert.TruncateAsOpened
		}
	case "left", "Left":
		cut = vkbert.TruncateStart
	default:
		return 0, failf(invalid, "truncation_direction", "`truncation_direction`: want left or right")
	}
	if t.Truncate == nil && c.options.NoTruncation || t.Truncate != nil && !*t.Truncate {
		return vkbert.TruncateNone, nil
	}
	if t.Truncate != nil && cut == vkbert.TruncateAsOpened {
		cut = vkbert.TruncateEnd // models may be opened without truncation
	}
	return cut, nil
}

// checkInputs refuses what TEI does.
func checkInputs(in input) error {
	if !in.given {
		return failf(invalid, "inputs", "`inputs`: want %s", inputForms)
	}
	if in.len() == 0 || slices.Contains(in.texts, "") || slices.ContainsFunc(in.ids, func(ids []int32) bool { return len(ids) == 0 }) {
		return failf(empty, "inputs", "`inputs` cannot be empty")
	}
	return nil
}

// noDimensions refuses what only pooled vectors can do: be cut.
func noDimensions(q teiEmbedRequest) error {
	if q.Dimensions > 0 {
		return failf(dimensions, "dimensions", "`dimensions`: token vectors and sparse vectors are never cut; /embed takes it")
	}
	return nil
}

type teiEmbedRequest struct {
	Inputs     input  `json:"inputs"`
	Model      string `json:"model"`
	Prompt     string `json:"prompt_name"`
	Normalize  *bool  `json:"normalize"`
	Dimensions count  `json:"dimensions"`
	teiTruncation
}

// teiUse checks what the routes that embed have in common and takes the model; the caller finishes with it.
func (c *call) teiUse(q teiEmbedRequest, kinds []vkbert.Kind) (*use, vkbert.Truncation, error) {
	if err := checkInputs(q.Inputs); err != nil {
		return nil, 0, err
	}
	cut, err := q.cut(c)
	if err != nil {
		return nil, 0, err
	}
	u, err := c.use(q.Model, kinds...)
	return u, cut, err
}

func (c *call) teiEmbed(q teiEmbedRequest) error {
	u, cut, err := c.teiUse(q, denseFirst)
	if err != nil {
		return err
	}
	defer u.finish()
	vectors, err := u.vectors(q.Inputs, wish{cut: cut, prompt: q.Prompt, dimensions: q.Dimensions, normalize: q.Normalize == nil || *q.Normalize})
	if err != nil {
		return err
	}
	c.teiHeaders(characters(q.Inputs.texts))
	return c.output().vectors(vectors).end()
}

// teiHeaders tell what the request took, in milliseconds.
func (c *call) teiHeaders(characters int) {
	h := c.w.Header()
	ms := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	h.Set("X-Compute-Type", "cpu")
	if m, err := c.find(c.model); err == nil {
		if e := m.look(); e != nil && onGPU(e.Info()) {
			h.Set("X-Compute-Type", "gpu+optimized")
		}
	}
	h.Set("X-Compute-Time", ms(c.prepare+c.compute))
	h.Set("X-Compute-Characters", strconv.Itoa(characters))
	h.Set("X-Compute-Tokens", strconv.Itoa(c.tokens))
	h.Set("X-Total-Time", ms(time.Since(c.start)))
	h.Set("X-Tokenization-Time", ms(c.prepare))
	h.Set("X-Inference-Time", ms(c.compute))
}

func characters(texts []string) int {
	n := 0
	for _, t := range texts {
		n += utf8.RuneCountInString(t)
	}
	return n
}

func (c *call) teiEmbedAll(q teiEmbedRequest) error {
	if err := noDimensions(q); err != nil {
		return err
	}
	u, cut, err := c.teiUse(q, tokensFirst)
	if err != nil {
		return err
	}
	defer u.finish()
	lists, err := u.tokenVectors(q, cut)
	if err != nil {
		return err
	}
	c.teiHeaders(characters(q.Inputs.texts))
	o := c.output().raw("[")
	for i, vectors := range lists {
		if i > 0 {
			o.raw(",")
		}
		o.vectors(vectors)
	}
	return o.raw("]").end()
}

// tokenVectors is a vector of each token: of an embedding model before pooling, of a multi-vector model as it makes them for documents, or with the prompt "query" for
// queries.
func (u *use) tokenVectors(q teiEmbedRequest, cut vkbert.Truncation) (lists [][][]float32, err error) {
	c := u.call
	switch {
	case u.multi != nil:
		if q.Inputs.ids != nil {
			return nil, failf(incapable, "inputs", "a multi-vector model takes no token ids")
		}
		prepare := u.multi.PrepareDocuments
		switch q.Prompt {
		case "query":
			prepare = u.multi.PrepareQueries
		case "", "document":
		default:
			return nil, failf(invalid, "prompt_name", "`prompt_name`: want query or document")
		}
		p, err := u.prepared(func(ctx context.Context) (*vkbert.Prepared, error) { return prepare(ctx, q.Inputs.texts, cut) }, u.dimensions(), eachToken)
		if err != nil {
			return nil, err
		}
		err = c.timed("embed", &c.compute, func(ctx context.Context) (err error) {
			lists, err = u.multi.EmbedPrepared(ctx, p)
			return err
		})
		return lists, err
	case u.dense == nil:
		return nil, failf(incapable, "model", "model %q does not make embeddings: it is a %s model", u.served.Name, kindNames[u.kind])
	}
	p, err := u.prepared(func(ctx context.Context) (*vkbert.Prepared, error) {
		if q.Inputs.ids != nil {
			return u.prepareTokens(q.Inputs.ids, cut)
		}
		var opts []vkbert.EmbedOption
		if q.Prompt != "" {
			opts = append(opts, vkbert.WithPrompt(q.Prompt))
		}
		return u.dense.Prepare(ctx, q.Inputs.texts, cut, opts...)
	}, u.Info().Hidden, eachToken)
	if err != nil {
		return nil, err
	}
	err = c.timed("embed", &c.compute, func(ctx context.Context) (err error) {
		lists, err = u.dense.TokenVectors(ctx, p)
		return err
	})
	return lists, err
}

func (c *call) teiEmbedSparse(q teiEmbedRequest) error {
	if err := noDimensions(q); err != nil {
		return err
	}
	u, cut, err := c.teiUse(q, sparseFirst)
	if err != nil {
		return err
	}
	defer u.finish()
	switch {
	case u.sparse == nil:
		return failf(incapable, "model", "model %q is not a sparse (SPLADE) model: it is a %s model", u.served.Name, kindNames[u.kind])
	case q.Inputs.ids != nil:
		return failf(incapable, "inputs", "a sparse model takes no token ids")
	}
	p, err := u.prepared(func(ctx context.Context) (*vkbert.Prepared, error) {
		switch q.Prompt {
		case "":
			return u.sparse.Prepare(ctx, q.Inputs.texts, cut)
		case "query":
			return u.sparse.PrepareQueries(ctx, q.Inputs.texts, cut)
		case "document":
			return u.sparse.PrepareDocuments(ctx, q.Inputs.texts, cut)
		}
		return nil, failf(invalid, "prompt_name", "`prompt_name`: want query or document")
	}, u.dimensions(), eachText)
	if err != nil {
		return err
	}
	var vectors []vkbert.SparseVector
	err = c.timed("embed", &c.compute, func(ctx context.Context) (err error) {
		vectors, err = u.sparse.EmbedPrepared(ctx, p)
		return err
	})
	if err != nil {
		return err
	}
	c.teiHeaders(characters(q.Inputs.texts))
	o := c.output().raw("[")
	for i, v := range vectors {
		if i > 0 {
			o.raw(",")
		}
		o.raw("[")
		for j, index := range v.Indices {
			if j > 0 {
				o.raw(",")
			}
			o.raw(`{"index":`).int(int(index)).raw(`,"value":`).float(v.Values[j]).raw("}")
			o.flush()
		}
		o.raw("]")
	}
	return o.raw("]").end()
}

type teiSimilarityRequest struct {
	Inputs struct {
		Source    *string  `json:"source_sentence"`
		Sentences textList `json:"sentences"`
	} `json:"inputs"`
	Model      string `json:"model"`
	Parameters struct {
		Prompt string `json:"prompt_name"`
		teiTruncation
	} `json:"parameters"`
}

func (c *call) teiSimilarity(q teiSimilarityRequest) error {
	switch {
	case q.Inputs.Source == nil:
		return failf(invalid, "inputs.source_sentence", "`inputs.source_sentence`: want a string")
	case len(q.Inputs.Sentences) == 0:
		return failf(empty, "inputs.sentences", "`inputs.sentences` cannot be empty")
	}
	cut, err := q.Parameters.cut(c)
	if err != nil {
		return err
	}
	u, err := c.use(q.Model, denseFirst...)
	if err != nil {
		return err
	}
	defer u.finish()
	all := append([]string{*q.Inputs.Source}, q.Inputs.Sentences...)
	vectors, err := u.vectors(input{texts: all}, wish{cut: cut, prompt: q.Parameters.Prompt})
	if err != nil {
		return err
	}
	scores := make([]float32, len(vectors)-1)
	for i, v := range vectors[1:] {
		scores[i] = vkbert.Cosine(vectors[0], v)
	}
	c.teiHeaders(characters(all))
	return c.output().vector(scores).end()
}

// teiAny is what the Inference API posts to the root: the request's fields, or the first model, say which route is meant.
func (c *call) teiAny() error {
	var raw json.RawMessage
	if err := c.body(&raw); err != nil {
		return err
	}
	var q struct {
		Query  json.RawMessage `json:"query"`
		Inputs json.RawMessage `json:"inputs"`
		Model  string          `json:"model"`
	}
	if err := decodeJSON(raw, &q); err != nil {
		return err
	}
	m, err := c.find(q.Model)
	if err != nil {
		return err
	}
	m.mutex.Lock()
	kind := m.kind
	m.mutex.Unlock()
	switch {
	case q.Query != nil:
		return decodeThen(raw, c.teiRerank)
	case bytes.HasPrefix(bytes.TrimSpace(q.Inputs), []byte("{")):
		return decodeThen(raw, c.teiSimilarity)
	case kind == vkbert.KindReranker:
		return decodeThen(raw, c.teiPredict)
	case kind == vkbert.KindSparse:
		return decodeThen(raw, c.teiEmbedSparse)
	}
	return decodeThen(raw, c.teiEmbed)
}

func decodeThen[T any](raw []byte, do func(T) error) error {
	var q T
	if err := decodeJSON(raw, &q); err != nil {
		return err
	}
	return do(q)
}
