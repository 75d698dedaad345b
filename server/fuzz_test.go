package server

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/internal/testmodel"
)

// FuzzRequest sends bodies to every route that takes one: each answer is JSON with a status that the interface has, and none is the server's fault.
func FuzzRequest(f *testing.F) {
	paths := []string{"/v1/embeddings", "/v1/rerank", "/embed", "/embed_all", "/embed_sparse", "/rerank", "/predict", "/similarity", "/tokenize", "/decode", "/",
		"/api/embed", "/api/embeddings", "/api/generate", "/api/chat", "/api/show", "/vectors"}
	for _, body := range []string{
		`{"model":"tiny","input":["a","b"],"dimensions":3,"encoding_format":"base64"}`, `{"model":"tiny","input":[[2,3],[2]]}`, `{"query":"a","documents":["b",{"text":"c"}],"top_n":1}`,
		`{"inputs":"a","truncate":true,"truncation_direction":"left","normalize":false}`, `{"query":"a","texts":["b"],"raw_scores":true}`, `{"inputs":[["a"],["a","b"]]}`,
		`{"inputs":{"source_sentence":"a","sentences":["b"]}}`, `{"inputs":["a"],"add_special_tokens":false}`, `{"ids":[[2,142],[3]],"skip_special_tokens":false}`,
		`{"model":"tiny","input":"a","keep_alive":"5m","truncate":false}`, `{"model":"tiny","prompt":"","keep_alive":-1}`, `{"text":"a","config":{"task_type":"query","dimensions":2}}`, `[`, `{"inputs":[1,"a",[]]}`, `null`,
	} {
		for i := range paths {
			f.Add(uint8(i), body)
		}
	}
	s, err := New([]Model{{Name: "tiny", Path: testmodel.Path("tiny", "normalize"), Options: cpu()}, {Name: "rerank", Path: testmodel.Path("arch", "cross_bert"), Options: cpu()},
		{Name: "sparse", Path: testmodel.Path("arch", "splade"), Options: cpu()}}, Options{MaxTokens: 10_000, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	require.NoError(f, err)
	f.Cleanup(func() { s.Close() })
	require.NoError(f, s.Load(f.Context()))
	f.Fuzz(func(t *testing.T, at uint8, body string) {
		path := paths[int(at)%len(paths)]
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
		decode(t, w.Body.String())
		assert.Contains(t, []int{200, 400, 404, 413, 422, 424}, w.Code, w.Body.String())
	})
}
