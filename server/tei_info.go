package server

import (
	"cmp"
	"strconv"

	"github.com/vkbert/vkbert"
)

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
