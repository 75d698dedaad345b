package server

import (
	"cmp"
	"slices"

	"github.com/vkbert/vkbert"
)

// OpenAI's interface: https://platform.openai.com/docs/api-reference/embeddings and …/models; /v1/rerank is as Jina and vLLM have it.

func (c *call) openaiEmbeddings() error {
	var q struct {
		Input      input   `json:"input"`
		Model      string  `json:"model"`
		Format     *string `json:"encoding_format"`
		Dimensions count   `json:"dimensions"`
		User       any     `json:"user"`
	}
	if err := c.body(&q); err != nil {
		return err
	}
	base64 := false
	switch {
	case q.Model == "":
		return failf(invalid, "model", "you must provide a model parameter")
	case !q.Input.given:
		return failf(invalid, "input", "`input`: want %s", inputForms)
	case q.Input.len() == 0:
		return failf(empty, "input", "`input` is an empty list")
	case q.Format == nil || *q.Format == "float":
	case *q.Format == "base64":
		base64 = true
	default:
		return failf(invalid, "encoding_format", "`encoding_format`: want float or base64")
	}
	if i := slices.Index(q.Input.texts, ""); i >= 0 {
		return failf(empty, "input", "`input`: text %d is empty", i)
	}
	for i, ids := range q.Input.ids {
		if len(ids) == 0 {
			return failf(empty, "input", "`input`: list %d of token ids is empty", i)
		}
	}
	u, err := c.use(q.Model)
	if err != nil {
		return err
	}
	defer u.finish()
	vectors, err := u.vectors(q.Input, wish{dimensions: q.Dimensions, normalize: true, cut: c.cutByDefault()})
	if err != nil {
		return err
	}
	o := c.output().raw(`{"object":"list","data":[`)
	for i, v := range vectors {
		if i > 0 {
			o.raw(",")
		}
		o.raw(`{"object":"embedding","index":`).int(i).raw(`,"embedding":`)
		if base64 {
			o.base64(v)
		} else {
			o.vector(v)
		}
		o.raw("}")
	}
	o.raw(`],"model":`).value(q.Model)
	return o.raw(`,"usage":{"prompt_tokens":`).int(c.tokens).raw(`,"total_tokens":`).int(c.tokens).raw("}}\n").end()
}

// cutByDefault is what becomes of texts that are too long, where the request has no say.
func (c *call) cutByDefault() vkbert.Truncation {
	if c.options.NoTruncation {
		return vkbert.TruncateNone
	}
	return vkbert.TruncateAsOpened
}

// openaiModel is a model in a list of them.
type openaiModel struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

func (c *call) openaiModelOf(m *served) openaiModel {
	return openaiModel{m.Name, "model", c.started.Unix(), "vkbert"}
}

func (c *call) openaiModels() error {
	list := struct {
		Object string        `json:"object"`
		Data   []openaiModel `json:"data"`
	}{Object: "list"}
	for _, m := range c.models {
		list.Data = append(list.Data, c.openaiModelOf(m))
	}
	return c.reply(list)
}

func (c *call) openaiModel() error {
	id := c.r.PathValue("id")
	if id == "" { // which find takes for the first model
		return failf(noModel, "model", "no model is named: want %sID", modelsPath)
	}
	m, err := c.find(id)
	if other, ok := c.byName["/"+id]; err != nil && ok { // proxies make one slash of two
		m, err = other, nil
	}
	if err != nil {
		return err
	}
	return c.reply(c.openaiModelOf(m))
}

// rankedDocument is one of /v1/rerank's results.
type rankedDocument struct {
	Index    int           `json:"index"`
	Score    float32       `json:"relevance_score"`
	Document *documentText `json:"document,omitempty"`
}

type documentText struct {
	Text string `json:"text"`
}

func (c *call) openaiRerank() error {
	var q struct {
		Model     string     `json:"model"`
		Query     *string    `json:"query"`
		Documents []document `json:"documents"`
		TopN      *int       `json:"top_n"`
		Return    *bool      `json:"return_documents"`
	}
	if err := c.body(&q); err != nil {
		return err
	}
	switch {
	case q.Query == nil:
		return failf(invalid, "query", "`query`: want a string")
	case len(q.Documents) == 0:
		return failf(empty, "documents", "`documents`: want a list of strings that is not empty")
	case q.TopN != nil && *q.TopN < 1:
		return failf(invalid, "top_n", "`top_n`: want 1 or more")
	}
	u, err := c.use(q.Model, vkbert.KindReranker)
	if err != nil {
		return err
	}
	defer u.finish()
	if err := u.ranker(); err != nil {
		return err
	}
	list := make([]string, len(q.Documents))
	for i, d := range q.Documents {
		list[i] = string(d)
	}
	scores, err := u.pairs(queryPairs(*q.Query, list), c.cutByDefault(), false)
	if err != nil {
		return err
	}
	results := make([]rankedDocument, len(list))
	for i, s := range scores {
		results[i] = rankedDocument{Index: i, Score: s[0]}
		if q.Return == nil || *q.Return {
			results[i].Document = &documentText{list[i]}
		}
	}
	slices.SortStableFunc(results, func(a, b rankedDocument) int { return cmp.Compare(b.Score, a.Score) })
	if q.TopN != nil {
		results = results[:min(*q.TopN, len(results))]
	}
	return c.reply(struct {
		ID      string           `json:"id"`
		Model   string           `json:"model"`
		Results []rankedDocument `json:"results"`
		Usage   struct {
			Prompt int `json:"prompt_tokens"`
			Total  int `json:"total_tokens"`
		} `json:"usage"`
	}{ID: "rerank-" + c.id, Model: cmp.Or(q.Model, u.served.Name), Results: results, Usage: struct {
		Prompt int `json:"prompt_tokens"`
		Total  int `json:"total_tokens"`
	}{c.tokens, c.tokens}})
}
