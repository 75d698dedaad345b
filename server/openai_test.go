package server

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/internal/testmodel"
)

func TestOpenAIEmbeddings(t *testing.T) {
	s := start(t, Options{}, model("tiny", "tiny", "normalize"))
	m := open(t, "tiny", "normalize")
	texts := []string{"the cat", "who is the dog?", "naïve <b>&\u2028"}
	want, err := m.EmbedBatch(t.Context(), texts)
	require.NoError(t, err)
	tokens := 0
	var ids [][]int32
	for _, text := range texts {
		one, err := m.TokenizeWith(text)
		require.NoError(t, err)
		tokens += len(one.IDs)
		ids = append(ids, one.IDs)
	}
	for name, request := range map[string]map[string]any{
		"texts":     {"model": "tiny", "input": texts},
		"float":     {"model": "tiny", "input": texts, "encoding_format": "float", "user": "somebody"},
		"null":      {"model": "tiny", "input": texts, "encoding_format": nil, "dimensions": nil, "user": nil},
		"base64":    {"model": "tiny", "input": texts, "encoding_format": "base64"},
		"token ids": {"model": "tiny:latest", "input": ids},
	} {
		t.Run(name, func(t *testing.T) {
			got := keys(t, s.post("/v1/embeddings", marshal(t, request)).good(t), "object", "data", "model", "usage")
			assert.Equal(t, "list", got["object"])
			assert.Equal(t, request["model"], got["model"])
			assert.Equal(t, map[string]any{"prompt_tokens": float64(tokens), "total_tokens": float64(tokens)}, got["usage"])
			require.Len(t, got["data"], len(texts))
			for i, v := range got["data"].([]any) {
				one := keys(t, v, "object", "index", "embedding")
				assert.Equal(t, "embedding", one["object"])
				assert.InDelta(t, i, one["index"], 0)
				if text, ok := one["embedding"].(string); ok {
					assert.Equal(t, "base64", name)
					near(t, want[i], fromBase64(t, text))
				} else {
					near(t, want[i], floats(t, one["embedding"]))
				}
			}
		})
	}
	one := s.post("/v1/embeddings", `{"model":"tiny","input":"the cat"}`).good(t).(map[string]any)["data"].([]any)
	require.Len(t, one, 1)
	near(t, want[0], floats(t, one[0].(map[string]any)["embedding"]))
	one = s.post("/v1/embeddings", marshal(t, map[string]any{"model": "tiny", "input": ids[0]})).good(t).(map[string]any)["data"].([]any)
	near(t, want[0], floats(t, one[0].(map[string]any)["embedding"]))

	short := s.post("/v1/embeddings", `{"model":"tiny","input":"the cat","dimensions":7}`).good(t).(map[string]any)["data"].([]any)
	near(t, vkbert.Normalize(append([]float32{}, want[0][:7]...)), floats(t, short[0].(map[string]any)["embedding"]))
}

func fromBase64(t *testing.T, s string) []float32 {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(s)
	require.NoError(t, err)
	v := make([]float32, len(data)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return v
}

// TestOpenAILarge: a response over the buffer goes out in parts, and is the same.
func TestOpenAILarge(t *testing.T) {
	s := start(t, Options{}, model("tiny", "tiny", "normalize"))
	texts := make([]string, 500)
	for i := range texts {
		texts[i] = "the cat and the dog"[:i%19+1]
	}
	want, err := open(t, "tiny", "normalize").EmbedBatch(t.Context(), texts)
	require.NoError(t, err)
	for _, format := range []string{"float", "base64"} {
		data := s.post("/v1/embeddings", marshal(t, map[string]any{"model": "tiny", "input": texts, "encoding_format": format})).good(t).(map[string]any)["data"].([]any)
		require.Len(t, data, len(texts))
		for i, v := range data {
			if format == "float" {
				near(t, want[i], floats(t, v.(map[string]any)["embedding"]))
			} else {
				near(t, want[i], fromBase64(t, v.(map[string]any)["embedding"].(string)))
			}
		}
	}
}

func TestOpenAIErrors(t *testing.T) {
	s := start(t, Options{}, model("tiny", "tiny", "normalize"), model("rerank", "arch", "cross_bert"))
	strict := start(t, Options{NoTruncation: true}, model("tiny", "tiny", "normalize"))
	for _, c := range []struct {
		body, param, code string
		status            int
	}{
		{`{`, "", "", 400},
		{``, "", "", 400},
		{`[]`, "", "", 400},
		{`{"model":"tiny"}`, "input", "", 400},
		{`{"input":"a"}`, "model", "", 400},
		{`{"model":7,"input":"a"}`, "model", "", 400},
		{`{"model":"tiny","input":""}`, "input", "", 400},
		{`{"model":"tiny","input":[]}`, "input", "", 400},
		{`{"model":"tiny","input":[[]]}`, "input", "", 400},
		{`{"model":"tiny","input":["a",""]}`, "input", "", 400},
		{`{"model":"tiny","input":["a",1]}`, "input", "", 400},
		{`{"model":"tiny","input":[1.5]}`, "input", "", 400},
		{`{"model":"tiny","input":[999999]}`, "", "", 400},
		{`{"model":"tiny","input":[-1]}`, "", "", 400},
		{`{"model":"tiny","input":{}}`, "input", "", 400},
		{`{"model":"tiny","input":"a","encoding_format":"hex"}`, "encoding_format", "", 400},
		{`{"model":"tiny","input":"a","dimensions":-1}`, "dimensions", "", 422},
		{`{"model":"tiny","input":"a","dimensions":0}`, "dimensions", "", 422},
		{`{"model":"tiny","input":"a","dimensions":1.5}`, "dimensions", "", 422},
		{`{"model":"tiny","input":"a","dimensions":100000}`, "dimensions", "", 422},
		{`{"model":"tiny","input":"a","dimensions":99999999999999999999}`, "dimensions", "", 422},
		{`{"model":"tiny","input":"a","dimensions":"7"}`, "dimensions", "", 400},
		{`{"model":"gpt","input":"a"}`, "model", "model_not_found", 404},
		{`{"model":"rerank","input":"a"}`, "model", "", 400},
	} {
		s.bad(c.status, openaiError(t, s.post("/v1/embeddings", c.body), c.param, c.code), c.body)
	}
	long := marshal(t, map[string]any{"model": "tiny", "input": "cat" + longText})
	s.bad(400, openaiError(t, strict.post("/v1/embeddings", long), "", "context_length_exceeded"), "long")
	s.post("/v1/embeddings", long).good(t)
	ids := `{"model":"tiny","input":[5` + strings.Repeat(",5", 40) + `]}` // one more than it has positions
	s.bad(400, openaiError(t, strict.post("/v1/embeddings", ids), "", "context_length_exceeded"), "long ids")
	s.post("/v1/embeddings", ids).good(t)
	s.bad(404, openaiError(t, s.do("GET", "/v1/models/gpt", ""), "model", "model_not_found"), "model")
	s.bad(404, openaiError(t, s.do("GET", "/v1/models/", ""), "model", "model_not_found"), "no model")
	s.bad(404, openaiError(t, s.do("GET", "/v1/nothing", ""), "", ""), "path")
	a := s.do("PUT", "/v1/embeddings", "")
	s.bad(405, openaiError(t, a, "", ""), "method")
	assert.Equal(t, "POST", a.header.Get("Allow"))
}

var longText = func() string {
	s := ""
	for range 2000 {
		s += " cat"
	}
	return s
}()

// openaiError checks the four keys of an error.
func openaiError(t *testing.T, a answer, param, code string) answer {
	t.Helper()
	e := keys(t, keys(t, decode(t, a.body), "error")["error"], "message", "type", "param", "code")
	assert.NotEmpty(t, e["message"])
	assert.NotEmpty(t, e["type"])
	for key, want := range map[string]string{"param": param, "code": code} {
		if want == "" {
			assert.Nil(t, e[key], "%s: %s", key, a.body)
		} else {
			assert.Equal(t, want, e[key], a.body)
		}
	}
	return a
}

// bad checks a status.
func (s *testServer) bad(status int, a answer, what string) {
	s.t.Helper()
	assert.Equal(s.t, status, a.status, "%s: %s", what, a.body)
	assert.Equal(s.t, "application/json", a.header.Get("Content-Type"))
}

func TestOpenAIModels(t *testing.T) {
	s := start(t, Options{}, model("tiny", "tiny", "normalize"), Model{Path: testmodel.Path("tiny", "mean"), Options: cpu()})
	list := keys(t, s.do("GET", "/v1/models", "").good(t), "object", "data")
	assert.Equal(t, "list", list["object"])
	require.Len(t, list["data"], 2)
	for i, id := range []string{"tiny", testmodel.Path("tiny", "mean")} {
		m := keys(t, list["data"].([]any)[i], "id", "object", "created", "owned_by")
		assert.Equal(t, id, m["id"])
		assert.Equal(t, "model", m["object"])
		assert.Equal(t, "vkbert", m["owned_by"])
		assert.InDelta(t, s.started.Unix(), m["created"], 0)
	}
	assert.Equal(t, list["data"].([]any)[0], s.do("GET", "/v1/models/tiny", "").good(t))
}

// TestOpenAIModelPaths: every id in the list can be asked for, paths too, with their slashes as they are or escaped.
func TestOpenAIModelPaths(t *testing.T) {
	relative := testmodel.Path("tiny", "mean") // it begins with ".."
	absolute, err := filepath.Abs(relative)
	require.NoError(t, err)
	s := start(t, Options{CORSOrigins: []string{"*"}}, Model{Path: absolute, Options: cpu()}, Model{Path: relative, Options: cpu()})
	for _, m := range s.do("GET", "/v1/models", "").good(t).(map[string]any)["data"].([]any) {
		id := m.(map[string]any)["id"].(string)
		for _, path := range []string{id, strings.TrimPrefix(id, "/"), url.PathEscape(id), strings.ReplaceAll(id, "/", "%2F")} {
			assert.Equal(t, m, s.do("GET", "/v1/models/"+path, "").good(t), path)
		}
		s.bad(405, openaiError(t, s.post("/v1/models/"+id, ""), "", ""), "method")
		assert.Equal(t, 204, s.do("OPTIONS", "/v1/models/"+id, "").status)
	}
	s.bad(404, openaiError(t, s.do("GET", "/v1/models//none/../"+absolute, ""), "model", "model_not_found"), "no model")
}

func TestOpenAIRerank(t *testing.T) {
	s := start(t, Options{}, model("rerank", "arch", "cross_bert"), model("tiny", "tiny", "normalize"))
	r, err := vkbert.OpenReranker(t.Context(), testmodel.Path("arch", "cross_bert"), cpu()...)
	require.NoError(t, err)
	defer r.Close()
	documents := []string{"the dog", "the cat", "house"}
	want, err := r.Rerank(t.Context(), "cat", documents)
	require.NoError(t, err)
	for _, body := range []string{
		`{"model":"rerank","query":"cat","documents":["the dog","the cat","house"]}`,
		`{"query":"cat","documents":[{"text":"the dog"},"the cat","house"],"top_n":2}`,
		`{"model":"rerank","query":"cat","documents":["the dog","the cat","house"],"return_documents":false,"top_n":9}`,
	} {
		got := keys(t, s.post("/v1/rerank", body).good(t), "id", "model", "results", "usage")
		assert.Equal(t, "rerank", got["model"])
		keys(t, got["usage"], "prompt_tokens", "total_tokens")
		results := got["results"].([]any)
		for i, v := range results {
			one := v.(map[string]any)
			assert.InDelta(t, want[i].Index, one["index"], 0)
			assert.InDelta(t, want[i].Score, one["relevance_score"], 1e-5)
			if document, ok := one["document"]; ok {
				assert.Equal(t, map[string]any{"text": documents[want[i].Index]}, document)
			}
		}
	}
	for body, status := range map[string]int{
		`{"model":"tiny","query":"a","documents":["b"]}`:             400,
		`{"model":"rerank","documents":["b"]}`:                       400,
		`{"model":"rerank","query":"a","documents":[]}`:              400,
		`{"model":"rerank","query":"a","documents":[7]}`:             400,
		`{"model":"rerank","query":"a","documents":["b"],"top_n":0}`: 400,
		`{"model":"no","query":"a","documents":["b"]}`:               404,
	} {
		a := s.post("/v1/rerank", body)
		assert.Equal(t, status, a.status, body)
		keys(t, keys(t, decode(t, a.body), "error")["error"], "message", "type", "param", "code")
	}
}
