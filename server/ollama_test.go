package server

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
)

func TestOllamaEmbed(t *testing.T) {
	s := start(t, Options{}, model("raw", "tiny", "mean"), model("rerank", "arch", "cross_bert"))
	m := open(t, "tiny", "mean")
	want, err := m.EmbedBatch(t.Context(), []string{"the cat", "dog", ""})
	require.NoError(t, err)
	for _, v := range want {
		vkbert.Normalize(v)
	}
	got := keys(t, s.post("/api/embed", `{"model":"raw:latest","input":["the cat","dog",""],"truncate":true,"options":{"num_ctx":8},"keep_alive":"5m"}`).good(t),
		"model", "embeddings", "total_duration", "load_duration", "prompt_eval_count")
	nearAll(t, want, matrix(t, got["embeddings"]))
	assert.Equal(t, "raw:latest", got["model"])
	assert.Positive(t, got["total_duration"])
	assert.GreaterOrEqual(t, got["prompt_eval_count"], 7.0)
	nearAll(t, want[:1], matrix(t, s.post("/api/embed", `{"model":"raw","input":"the cat"}`).good(t).(map[string]any)["embeddings"]))
	short := matrix(t, s.post("/api/embed", `{"model":"raw","input":"the cat","dimensions":4}`).good(t).(map[string]any)["embeddings"])
	near(t, vkbert.Normalize(append([]float32{}, want[0][:4]...)), short[0])
	for _, body := range []string{`{"model":"raw","input":""}`, `{"model":"raw","input":[]}`, `{"model":"raw"}`} {
		assert.Equal(t, []any{}, s.post("/api/embed", body).good(t).(map[string]any)["embeddings"], body)
	}
	one := keys(t, s.post("/api/embeddings", `{"model":"raw","prompt":"the cat"}`).good(t), "embedding")
	near(t, want[0], floats(t, one["embedding"]))
	assert.Equal(t, []any{}, s.post("/api/embeddings", `{"model":"raw"}`).good(t).(map[string]any)["embedding"])

	for _, c := range []struct {
		body   string
		status int
	}{
		{`{"model":"llama3","input":"a"}`, 404},
		{`{"input":"a"}`, 400},
		{`{"model":"rerank","input":"a"}`, 400},
		{`{"model":"raw","input":[1]}`, 400},
		{`{"model":"raw","input":"a","keep_alive":"soon"}`, 400},
		{`{"model":"raw","input":"a","dimensions":-3}`, 422},
		{`{"model":"raw","input":"a","dimensions":3000}`, 422},
		{`{"model":"raw","input":"` + longText + `","truncate":false}`, 400},
		{`{`, 400},
	} {
		a := s.post("/api/embed", c.body)
		s.bad(c.status, a, c.body[:min(80, len(c.body))])
		assert.NotEmpty(t, keys(t, decode(t, a.body), "error")["error"])
	}
	s.bad(400, s.post("/api/chat", `{"model":"raw","messages":[]}`), "chat")
	s.bad(400, s.post("/api/generate", `{"model":"raw","prompt":"a"}`), "generate")
	s.bad(404, s.post("/api/nothing", `{}`), "path")
}

func TestOllamaModels(t *testing.T) {
	s := start(t, Options{}, model("raw", "tiny", "mean"), model("rerank:1", "arch", "cross_bert"))
	details := []string{"parent_model", "format", "family", "families", "parameter_size", "quantization_level"}
	list := keys(t, s.do("GET", "/api/tags", "").good(t), "models")["models"].([]any)
	require.Len(t, list, 2)
	for i, name := range []string{"raw:latest", "rerank:1"} {
		one := keys(t, list[i], "name", "model", "modified_at", "size", "digest", "details")
		assert.Equal(t, name, one["name"])
		assert.Len(t, one["digest"], 64)
		assert.Greater(t, one["size"], 50_000.0)
		d := keys(t, one["details"], details...)
		assert.Equal(t, "bert", d["family"])
		assert.Equal(t, "F32", d["quantization_level"])
		_, err := time.Parse(time.RFC3339, one["modified_at"].(string))
		require.NoError(t, err)
	}
	list = keys(t, s.do("GET", "/api/ps", "").good(t), "models")["models"].([]any)
	require.Len(t, list, 2)
	one := keys(t, list[0], "name", "model", "size", "digest", "details", "expires_at", "size_vram", "context_length")
	assert.InDelta(t, 0, one["size_vram"], 0)
	assert.Positive(t, one["size"])

	show := keys(t, s.post("/api/show", `{"model":"raw"}`).good(t), "modelfile", "parameters", "template", "details", "model_info", "capabilities", "modified_at")
	assert.Equal(t, []any{"embedding"}, show["capabilities"])
	info := show["model_info"].(map[string]any)
	assert.Equal(t, "bert", info["general.architecture"])
	assert.InDelta(t, open(t, "tiny", "mean").Dimensions(), info["bert.embedding_length"], 0)
	assert.Equal(t, []any{}, s.post("/api/show", `{"name":"rerank:1"}`).good(t).(map[string]any)["capabilities"])
	s.bad(404, s.post("/api/show", `{"model":"none"}`), "none")
	assert.NotEmpty(t, keys(t, s.do("GET", "/api/version", "").good(t), "version")["version"])
}

// TestKeepAlive: a model goes away when it is told to or was idle, and comes back when it is asked for.
func TestKeepAlive(t *testing.T) {
	s := start(t, Options{}, model("raw", "tiny", "mean"))
	loaded := func() int { return strings.Count(s.do("GET", "/api/ps", "").body, `"digest"`) }
	first := s.post("/api/embed", `{"model":"raw","input":"the cat"}`).good(t).(map[string]any)
	assert.InDelta(t, 0, first["load_duration"], 0)
	assert.Equal(t, 1, loaded())
	s.post("/api/embed", `{"model":"raw","input":"the cat","keep_alive":0}`).good(t)
	assert.Equal(t, 0, loaded())
	assert.Equal(t, 200, s.do("GET", "/health", "").status, "that is not an illness")
	assert.Contains(t, s.do("GET", "/api/status", "").body, `"state":"unloaded"`)

	again := s.post("/api/embed", `{"model":"raw","input":"the cat","keep_alive":"20ms"}`).good(t).(map[string]any)
	assert.Positive(t, again["load_duration"])
	assert.Equal(t, first["embeddings"], again["embeddings"])
	require.Eventually(t, func() bool { return loaded() == 0 }, 5*time.Second, 5*time.Millisecond)

	assert.Equal(t, "load", s.post("/api/generate", `{"model":"raw","keep_alive":-1}`).good(t).(map[string]any)["done_reason"])
	assert.Equal(t, 1, loaded())
	assert.Equal(t, "unload", s.post("/api/generate", `{"model":"raw","keep_alive":0}`).good(t).(map[string]any)["done_reason"])
	assert.Equal(t, 0, loaded())
	var m served
	m.stats()
	assert.GreaterOrEqual(t, s.models[0].stats().Sequences, uint64(2), "counts go on")
}

// TestShortKeepAlive: a model stays loaded for those who waited for it, however short its keep-alive is.
func TestShortKeepAlive(t *testing.T) {
	s := start(t, Options{KeepAlive: time.Nanosecond}, model("raw", "tiny", "mean"))
	m := s.models[0]
	const clients = 8
	var wait sync.WaitGroup
	for range clients {
		wait.Add(1)
		go func() {
			defer wait.Done()
			a := s.post("/embed", `{"inputs":"a"}`)
			assert.Equal(t, 200, a.status, a.body)
		}()
	}
	wait.Wait()
	loads := func() int { m.mutex.Lock(); defer m.mutex.Unlock(); return m.loads }
	assert.LessOrEqual(t, loads(), 1+clients, "one for Load, one for each request")
	unloaded := func() bool { return m.look() == nil }
	require.Eventually(t, unloaded, 5*time.Second, time.Millisecond)
	before := loads()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := m.acquire(ctx) // gives up
	require.ErrorIs(t, err, context.Canceled)
	require.Eventually(t, func() bool { return loads() == before+1 && unloaded() }, 5*time.Second, time.Millisecond, "a load that nobody waits for starts the clock")
}

func TestWeaviate(t *testing.T) {
	s := start(t, Options{}, model("raw", "tiny", "mean"), model("rerank", "arch", "cross_bert"), model("prompts", "tiny", "prompts"))
	m, p := open(t, "tiny", "mean"), open(t, "tiny", "prompts")
	want, err := m.Embed(t.Context(), "the cat")
	require.NoError(t, err)
	for _, path := range []string{"/vectors", "/vectors/"} {
		got := keys(t, s.post(path, `{"text":"the cat","config":{"pooling_strategy":"masked_mean"}}`).good(t), "text", "vector", "dim")
		assert.Equal(t, "the cat", got["text"])
		assert.InDelta(t, len(want), got["dim"], 0)
		near(t, want, floats(t, got["vector"]))
	}
	query, err := p.EmbedQuery(t.Context(), "the cat")
	require.NoError(t, err)
	near(t, query, floats(t, s.post("/vectors", `{"text":"the cat","model":"prompts","config":{"task_type":"query"}}`).good(t).(map[string]any)["vector"]))
	document, err := p.EmbedDocuments(t.Context(), []string{"the cat"})
	require.NoError(t, err)
	near(t, document[0], floats(t, s.post("/vectors", `{"text":"the cat","model":"prompts","config":{"task_type":"passage"}}`).good(t).(map[string]any)["vector"]))
	assert.InDelta(t, 6, s.post("/vectors", `{"text":"the cat","config":{"dimensions":6}}`).good(t).(map[string]any)["dim"], 0)
	for _, path := range []string{"/.well-known/ready", "/.well-known/live"} {
		a := s.do("GET", path, "")
		assert.Equal(t, 204, a.status)
		assert.Empty(t, a.body)
	}
	assert.Equal(t, "bert", s.do("GET", "/meta", "").good(t).(map[string]any)["model_type"])
	for body, status := range map[string]int{
		`{}`: 422, `{"text":7}`: 422, `{`: 400, `{"text":"a","model":"x"}`: 404, `{"text":"a","model":"rerank"}`: 422,
		`{"text":"a","config":{"task_type":"dance"}}`: 422, `{"text":"a","config":{"dimensions":-1}}`: 422, `{"text":"a","config":{"dimensions":5000}}`: 422,
	} {
		a := s.post("/vectors", body)
		s.bad(status, a, body)
		keys(t, decode(t, a.body), "error")
	}
}
