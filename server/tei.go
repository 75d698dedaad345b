package server

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"math"
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
	h.Set("X-Compute-Type", "gpu+optimized")
	if m, err := c.find(c.model); err == nil {
		if e := m.look(); e != nil && e.Info().Device.Kind.String() == "CPU" {
			h.Set("X-Compute-Type", "cpu")
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
		embed := u.multi.EmbedMultiDocuments
		switch q.Prompt {
		case "query":
			embed = u.multi.EmbedMultiQueries
		case "", "document":
		default:
			return nil, failf(invalid, "prompt_name", "`prompt_name`: want query or document")
		}
		c.inputs += q.Inputs.len()
		err = c.timed("embed", &c.compute, func(ctx context.Context) (err error) {
			lists, err = embed(ctx, q.Inputs.texts)
			return err
		})
		for _, list := range lists {
			c.tokens += len(list)
		}
		return lists, err
	case u.dense == nil:
		return nil, failf(incapable, "model", "model %q does not make embeddings: it is a %s model", u.served.Name, kindNames[u.kind])
	}
	var p *vkbert.Prepared
	err = c.timed("tokenize", &c.prepare, func(ctx context.Context) (err error) {
		var opts []vkbert.EmbedOption
		if q.Prompt != "" {
			opts = append(opts, vkbert.WithPrompt(q.Prompt))
		}
		if q.Inputs.ids != nil {
			p, err = u.dense.PrepareTokens(q.Inputs.ids)
		} else {
			p, err = u.dense.Prepare(ctx, q.Inputs.texts, cut, opts...)
		}
		return err
	})
	if err == nil {
		err = u.take(p)
	}
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
	var p *vkbert.Prepared
	err = c.timed("tokenize", &c.prepare, func(ctx context.Context) (err error) {
		switch q.Prompt {
		case "":
			p, err = u.sparse.Prepare(ctx, q.Inputs.texts, cut)
		case "query":
			p, err = u.sparse.PrepareQueries(ctx, q.Inputs.texts, cut)
		case "document":
			p, err = u.sparse.PrepareDocuments(ctx, q.Inputs.texts, cut)
		default:
			err = failf(invalid, "prompt_name", "`prompt_name`: want query or document")
		}
		return err
	})
	if err == nil {
		err = u.take(p)
	}
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

type teiRerankRequest struct {
	Query  *string  `json:"query"`
	Texts  []string `json:"texts"`
	Model  string   `json:"model"`
	Raw    bool     `json:"raw_scores"`
	Return bool     `json:"return_text"`
	teiTruncation
}

type teiRank struct {
	Index int     `json:"index"`
	Text  *string `json:"text,omitempty"`
	Score float32 `json:"score"`
}

func (c *call) teiRerank(q teiRerankRequest) error {
	if q.Query == nil {
		return failf(invalid, "query", "`query`: want a string")
	}
	if len(q.Texts) == 0 {
		return failf(empty, "texts", "`texts` cannot be empty")
	}
	cut, err := q.cut(c)
	if err != nil {
		return err
	}
	u, err := c.use(q.Model, rerankFirst...)
	if err != nil {
		return err
	}
	defer u.finish()
	if err := u.ranker(); err != nil {
		return err
	}
	scores, err := u.pairs(queryPairs(*q.Query, q.Texts), cut, true)
	if err != nil {
		return err
	}
	ranks := make([]teiRank, len(scores))
	for i, s := range scores {
		ranks[i] = teiRank{Index: i, Score: s[0]}
		if !q.Raw {
			ranks[i].Score = sigmoid(s[0])
		}
		if q.Return {
			ranks[i].Text = &q.Texts[i]
		}
	}
	slices.SortStableFunc(ranks, func(a, b teiRank) int { return cmp.Compare(b.Score, a.Score) })
	c.teiHeaders(characters(q.Texts) + len(q.Texts)*utf8.RuneCountInString(*q.Query))
	return c.reply(ranks)
}

func sigmoid(x float32) float32 { return float32(1 / (1 + math.Exp(-float64(x)))) }

// softmax is taken in place.
func softmax(row []float32) {
	greatest := slices.Max(row)
	sum := 0.0
	for _, x := range row {
		sum += math.Exp(float64(x - greatest))
	}
	for i, x := range row {
		row[i] = float32(math.Exp(float64(x-greatest)) / sum)
	}
}

// predictInputs is a text, a pair of texts, or a list of lists of one or two.
type predictInputs struct {
	list   [][]string
	single bool
}

// UnmarshalJSON takes the three forms.
func (p *predictInputs) UnmarshalJSON(data []byte) error {
	var t texts
	if err := t.UnmarshalJSON(data); err == nil && t.given {
		p.list, p.single = [][]string{t.list}, true
		return p.check()
	}
	if data[0] != '[' || json.Unmarshal(data, &p.list) != nil {
		return failf(invalid, "inputs", "%s", predictForms)
	}
	return p.check()
}

const predictForms = "`inputs`: want a string, a pair of strings [string, string] or a batch of mixed strings and pairs [[string], [string, string], ...]"

func (p *predictInputs) check() error {
	for _, one := range p.list {
		if len(one) != 1 && len(one) != 2 {
			return failf(invalid, "inputs", "%s", predictForms)
		}
	}
	return nil
}

type teiPredictRequest struct {
	Inputs predictInputs `json:"inputs"`
	Model  string        `json:"model"`
	Raw    bool          `json:"raw_scores"`
	teiTruncation
}

type teiPrediction struct {
	Score float32 `json:"score"`
	Label string  `json:"label"`
}

func (c *call) teiPredict(q teiPredictRequest) error {
	if len(q.Inputs.list) == 0 {
		return failf(empty, "inputs", "`inputs` cannot be empty")
	}
	cut, err := q.cut(c)
	if err != nil {
		return err
	}
	u, err := c.use(q.Model, rerankFirst...)
	if err != nil {
		return err
	}
	defer u.finish()
	if u.reranker == nil {
		return failf(incapable, "model", "model %q is not a classifier model: it is a %s model", u.served.Name, kindNames[u.kind])
	}
	// Texts and pairs are tokenized differently, so each go together.
	var single []string
	var pairs []vkbert.Pair
	count := 0
	for _, one := range q.Inputs.list {
		count += characters(one)
		if len(one) == 1 {
			single = append(single, one[0])
		} else {
			pairs = append(pairs, vkbert.Pair{one[0], one[1]})
		}
	}
	var ofSingle, ofPairs [][]float32
	if len(single) > 0 {
		ofSingle, err = u.singles(single, cut, true)
	}
	if len(pairs) > 0 && err == nil {
		ofPairs, err = u.pairs(pairs, cut, true)
	}
	if err != nil {
		return err
	}
	labels := u.Info().Labels
	all := make([][]teiPrediction, len(q.Inputs.list))
	for i, one := range q.Inputs.list {
		var row []float32
		if len(one) == 1 {
			row, ofSingle = ofSingle[0], ofSingle[1:]
		} else {
			row, ofPairs = ofPairs[0], ofPairs[1:]
		}
		all[i] = predictions(row, labels, q.Raw)
	}
	c.teiHeaders(count)
	if q.Inputs.single {
		return c.reply(all[0])
	}
	return c.reply(all)
}

// predictions are labels with their scores, best first: after a sigmoid where there is one, else a softmax.
func predictions(row []float32, labels []string, raw bool) []teiPrediction {
	switch {
	case raw:
	case len(row) == 1:
		row[0] = sigmoid(row[0])
	default:
		softmax(row)
	}
	out := make([]teiPrediction, len(row))
	for i, score := range row {
		out[i] = teiPrediction{score, labelName(labels, i)}
	}
	slices.SortStableFunc(out, func(a, b teiPrediction) int { return cmp.Compare(b.Score, a.Score) })
	return out
}

// labelName is the configuration's name of a label, or transformers' own.
func labelName(labels []string, i int) string {
	if i < len(labels) {
		return labels[i]
	}
	return "LABEL_" + strconv.Itoa(i)
}

type teiSimilarityRequest struct {
	Inputs struct {
		Source    *string  `json:"source_sentence"`
		Sentences []string `json:"sentences"`
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

type teiToken struct {
	ID      int32  `json:"id"`
	Text    string `json:"text"`
	Special bool   `json:"special"`
	Start   *int   `json:"start"`
	Stop    *int   `json:"stop"`
}

func (c *call) teiTokenize() error {
	var q struct {
		Inputs  texts  `json:"inputs"`
		Special *bool  `json:"add_special_tokens"`
		Prompt  string `json:"prompt_name"`
		Model   string `json:"model"`
	}
	if err := c.body(&q); err != nil {
		return err
	}
	if !q.Inputs.given {
		return failf(invalid, "inputs", "`inputs`: want a string or a list of strings")
	}
	if len(q.Inputs.list) == 0 {
		return failf(empty, "inputs", "`inputs` cannot be empty")
	}
	u, err := c.use(q.Model)
	if err != nil {
		return err
	}
	defer u.finish()
	prompt := ""
	if q.Prompt != "" {
		var ok bool
		if prompt, ok = u.Info().Prompts[q.Prompt]; !ok {
			return failf(invalid, "prompt_name", "default prompt name %.100q not found in the model's prompts", q.Prompt)
		}
	}
	o := c.output().raw("[")
	for i, text := range q.Inputs.list {
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		text = prompt + text
		tokens, err := u.Locate(text, q.Special == nil || *q.Special)
		if err != nil {
			return err
		}
		c.inputs++
		c.tokens += len(tokens)
		if i > 0 {
			o.raw(",")
		}
		o.raw("[")
		points := []rune(text)
		for j := range tokens {
			t := &tokens[j]
			one := teiToken{ID: t.ID, Text: t.Token, Special: t.Special}
			if !t.Special {
				one.Text, one.Start, one.Stop = string(points[t.Start:t.Stop]), &t.Start, &t.Stop
			}
			if j > 0 {
				o.raw(",")
			}
			o.value(one)
		}
		o.raw("]")
	}
	return o.raw("]").end()
}

func (c *call) teiDecode() error {
	var q struct {
		IDs   input  `json:"ids"`
		Skip  *bool  `json:"skip_special_tokens"`
		Model string `json:"model"`
	}
	if err := c.body(&q); err != nil {
		return err
	}
	switch {
	case !q.IDs.given || q.IDs.texts != nil:
		return failf(invalid, "ids", "`ids`: want a list of token ids or a list of such lists")
	case q.IDs.len() == 0:
		return failf(empty, "ids", "`ids` cannot be empty")
	}
	u, err := c.use(q.Model)
	if err != nil {
		return err
	}
	defer u.finish()
	out := make([]string, len(q.IDs.ids))
	for i, ids := range q.IDs.ids {
		if out[i], err = u.Decode(ids, q.Skip == nil || *q.Skip); err != nil {
			return err
		}
	}
	return c.reply(out)
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

// teiInfo is GET /info, of the first model or of the one that ?model= names.
func (c *call) teiInfo() error {
	m, err := c.find(c.r.URL.Query().Get("model"))
	if err != nil {
		return err
	}
	e, _, err := m.acquire(c.ctx)
	if err != nil {
		return err
	}
	defer m.release(nil)
	info := e.Info()
	return c.reply(struct {
		ModelID        string         `json:"model_id"`
		ModelSHA       *string        `json:"model_sha"`
		DType          string         `json:"model_dtype"`
		Type           map[string]any `json:"model_type"`
		MaxConcurrent  int            `json:"max_concurrent_requests"`
		MaxInputLength int            `json:"max_input_length"`
		MaxBatchTokens int            `json:"max_batch_tokens"`
		MaxBatch       *int           `json:"max_batch_requests"`
		MaxClientBatch int            `json:"max_client_batch_size"`
		AutoTruncate   bool           `json:"auto_truncate"`
		Workers        int            `json:"tokenization_workers"`
		Version        string         `json:"version"`
		SHA            *string        `json:"sha"`
		Docker         *string        `json:"docker_label"`
	}{
		ModelID: m.Path, DType: map[string]string{"f32": "float32", "f16": "float16", "int8": "int8"}[info.DType], Type: modelType(e, info),
		MaxConcurrent: c.options.MaxConcurrent, MaxInputLength: info.MaxTokens, MaxBatchTokens: info.MaxBatchTokens, MaxClientBatch: c.options.MaxInputs,
		AutoTruncate: !c.options.NoTruncation, Workers: workers(), Version: c.options.Version,
	})
}

func modelType(e *engine, info vkbert.Info) map[string]any {
	switch {
	case e.reranker != nil:
		byID, byLabel := map[string]string{}, map[string]int{}
		for i := range e.reranker.Labels() {
			label := labelName(info.Labels, i)
			byID[strconv.Itoa(i)], byLabel[label] = label, i
		}
		name := "classifier"
		if e.reranker.Labels() == 1 {
			name = "reranker"
		}
		return map[string]any{name: map[string]any{"id2label": byID, "label2id": byLabel}}
	case e.sparse != nil:
		return map[string]any{"embedding": map[string]string{"pooling": "splade"}}
	case len(info.Pooling) > 0:
		pooling := map[string]string{"lasttoken": "last_token"}[info.Pooling[0]]
		return map[string]any{"embedding": map[string]string{"pooling": cmp.Or(pooling, info.Pooling[0])}}
	}
	return map[string]any{"embedding": map[string]string{"pooling": "none"}}
}
