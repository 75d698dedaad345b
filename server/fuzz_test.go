package server

import (
	"encoding/json"
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

// The routes that take a body, of each interface: every answer to any body is JSON with a status that the interface has, and none is the server's fault.

func FuzzOpenAI(f *testing.F) {
	fuzzRoutes(f, []string{"/v1/embeddings", "/v1/rerank"},
		`{"model":"tiny","input":["a","b"],"dimensions":3,"encoding_format":"base64"}`, `{"model":"tiny","input":[[2,3],[2]]}`, `{"query":"a","documents":["b",{"text":"c"}],"top_n":1}`)
}

func FuzzTEI(f *testing.F) {
	fuzzRoutes(f, []string{"/embed", "/embed_all", "/embed_sparse", "/rerank", "/predict", "/similarity", "/tokenize", "/decode", "/"},
		`{"inputs":"a","truncate":true,"truncation_direction":"left","normalize":false}`, `{"query":"a","texts":["b"],"raw_scores":true}`, `{"inputs":[["a"],["a","b"]]}`,
		`{"inputs":{"source_sentence":"a","sentences":["b"]}}`, `{"inputs":["a"],"add_special_tokens":false}`, `{"ids":[[2,142],[3]],"skip_special_tokens":false}`, `{"inputs":[1,"a",[]]}`)
}

func FuzzOllama(f *testing.F) {
	fuzzRoutes(f, []string{"/api/embed", "/api/embeddings", "/api/generate", "/api/chat", "/api/show"},
		`{"model":"tiny","input":"a","keep_alive":"5m","truncate":false}`, `{"model":"tiny","prompt":"","keep_alive":-1}`, `{"model":"tiny","prompt":"a","keep_alive":1e300}`)
}

func FuzzWeaviate(f *testing.F) {
	fuzzRoutes(f, []string{"/vectors"}, `{"text":"a","config":{"task_type":"query","dimensions":2}}`, `{"text":"a","config":{"pooling_strategy":null}}`)
}

func fuzzRoutes(f *testing.F, paths []string, bodies ...string) {
	for i := range paths {
		for _, body := range append(bodies, `[`, `null`, `{"model":"none"}`) {
			f.Add(uint8(i), body)
		}
	}
	s, err := New([]Model{{Name: "tiny", Path: testmodel.Path("tiny", "normalize"), Options: cpu()}, {Name: "rerank", Path: testmodel.Path("arch", "cross_bert"), Options: cpu()},
		{Name: "sparse", Path: testmodel.Path("arch", "splade"), Options: cpu()}, {Name: "colbert", Path: testmodel.Path("arch", "colbert"), Options: cpu()}},
		Options{MaxTokens: 10_000, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	require.NoError(f, err)
	f.Cleanup(func() { s.Close() })
	require.NoError(f, s.Load(f.Context()))
	f.Fuzz(func(t *testing.T, at uint8, body string) {
		path := paths[int(at)%len(paths)]
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
		decode(t, w.Body.String())
		assert.Contains(t, []int{200, 400, 404, 413, 422, 424}, w.Code, w.Body.String())
		assert.Zero(t, s.buffered.Load())
		assert.Zero(t, s.working.now())
	})
}

// FuzzFields: the types that read a field of several forms. What they take is JSON, an error is the client's, and the guard lets pass what it must: nothing that they take is
// refused by it for anything but its size.
func FuzzFields(f *testing.F) {
	for _, field := range []string{`"a"`, `["a","b"]`, `[1,2]`, `[[1],[2,3]]`, `[]`, `null`, `-1`, `1e99`, `"5m"`, `{"text":"a"}`, `[["a"],["a","b"]]`, `"\ud800"`, ` [ ] `} {
		f.Add(field)
	}
	f.Fuzz(func(t *testing.T, field string) {
		for _, v := range []any{new(input), new(idLists), new(texts), new(count), new(document), new(keepAlive), new(predictInputs)} {
			err := decodeJSON([]byte(field), v)
			if err != nil {
				assert.Less(t, failureOf(err).class, noModel, field)
				continue
			}
			require.True(t, json.Valid([]byte(field)), field)
			g := guard{inputs: -1}
			if err := g.write([]byte(field)); err != nil {
				assert.Contains(t, []class{malformed, tooLarge}, failureOf(err).class, field)
				assert.Regexp(t, "deep|more than", err.Error())
			} else {
				assert.Empty(t, g.open, field)
			}
		}
	})
}
