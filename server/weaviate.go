package server

import "net/http"

// Weaviate's text2vec-transformers module: https://github.com/weaviate/t2v-transformers-models.

func (c *call) weaviateVectors() error {
	var q struct {
		Text   *string `json:"text"`
		Model  string  `json:"model"` // of several; not Weaviate's
		Config *struct {
			Pooling    *string `json:"pooling_strategy"` // sentence-transformers models keep their own there too
			Task       *string `json:"task_type"`
			Dimensions count   `json:"dimensions"`
		} `json:"config"`
	}
	if err := c.body(&q); err != nil {
		return err
	}
	if q.Text == nil {
		return failf(invalid, "text", "`text`: want a string")
	}
	w := wish{cut: c.cutByDefault()}
	if q.Config != nil {
		w.dimensions, w.normalize = q.Config.Dimensions, q.Config.Dimensions > 0
		if task := q.Config.Task; task != nil {
			switch *task {
			case "query":
				w.task = "query"
			case "passage", "document":
				w.task = "document"
			case "":
			default:
				return failf(invalid, "task_type", "`task_type`: want query or passage")
			}
		}
	}
	u, err := c.use(q.Model, denseFirst...)
	if err != nil {
		return err
	}
	defer u.finish()
	vectors, err := u.vectors(input{texts: []string{*q.Text}}, w)
	if err != nil {
		return err
	}
	o := c.output().raw(`{"text":`).value(*q.Text).raw(`,"vector":`).vector(vectors[0])
	return o.raw(`,"dim":`).int(len(vectors[0])).raw("}\n").end()
}

func (c *call) weaviateLive() error {
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *call) weaviateReady() error {
	if state := c.overall(c.check(c.ctx)); state != stateReady {
		return failf(unhealthy, "", "not ready: %s", state)
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *call) weaviateMeta() error {
	m, err := c.find("", denseFirst...)
	if err != nil {
		return err
	}
	out := map[string]any{"model_name": m.Name, "version": c.options.Version}
	if e := m.look(); e != nil {
		info := e.Info()
		out["model_type"], out["dimensions"], out["max_tokens"], out["dtype"] = info.Architecture, e.dimensions(), info.MaxTokens, info.DType
		out["pooling"], out["vocab_size"], out["hidden_size"], out["num_hidden_layers"], out["num_attention_heads"] = info.Pooling, info.Vocabulary, info.Hidden, info.Layers, info.Heads
	}
	return c.reply(out)
}
