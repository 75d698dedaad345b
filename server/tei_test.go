package server

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/internal/testmodel"
)

// teiError checks the two keys of an error.
func teiError(t *testing.T, a answer, kind string) answer {
	t.Helper()
	e := keys(t, decode(t, a.body), "error", "error_type")
	assert.NotEmpty(t, e["error"])
	assert.Equal(t, kind, e["error_type"], a.body)
	return a
}

func TestTEIEmbed(t *testing.T) {
	s := start(t, Options{}, model("raw", "tiny", "mean"), model("prompts", "tiny", "prompts"))
	m := open(t, "tiny", "mean")
	raw, err := m.EmbedBatch(t.Context(), []string{"the cat", "dog"})
	require.NoError(t, err)
	unit := [][]float32{}
	for _, v := range raw {
		unit = append(unit, vkbert.Normalize(slices.Clone(v)))
	}
	ids, err := m.TokenizeWith("the cat")
	require.NoError(t, err)
	a := s.post("/embed", `{"inputs":["the cat","dog"]}`)
	nearAll(t, unit, matrix(t, a.good(t)))
	assert.Equal(t, "10", a.header.Get("X-Compute-Characters"))
	assert.Equal(t, strconv.Itoa(len(ids.IDs)+3), a.header.Get("X-Compute-Tokens"))
	assert.Equal(t, "cpu", a.header.Get("X-Compute-Type"))
	nearAll(t, raw, matrix(t, s.post("/embed", `{"inputs":["the cat","dog"],"normalize":false,"truncate":true}`).good(t)))
	nearAll(t, unit[:1], matrix(t, s.post("/embed", `{"inputs":"the cat"}`).good(t)))
	nearAll(t, unit[:1], matrix(t, s.post("/embed", marshal(t, map[string]any{"inputs": ids.IDs})).good(t)))
	nearAll(t, [][]float32{vkbert.Normalize(slices.Clone(raw[0][:5]))}, matrix(t, s.post("/embed", `{"inputs":"the cat","dimensions":5}`).good(t)))
	nearAll(t, unit, matrix(t, s.post("/", `{"inputs":["the cat","dog"]}`).good(t)))
	nearAll(t, unit, matrix(t, s.post("/invocations", `{"inputs":["the cat","dog"]}`).good(t)))

	p := open(t, "tiny", "prompts")
	for name := range p.Info().Prompts {
		want, err := p.EmbedWithPrompt(t.Context(), name, []string{"the cat"})
		require.NoError(t, err)
		nearAll(t, want, matrix(t, s.post("/embed", marshal(t, map[string]any{"inputs": "the cat", "model": "prompts", "prompt_name": name, "normalize": false})).good(t)))
	}

	cats, err := m.Embed(t.Context(), longText)
	require.NoError(t, err)
	near(t, cats, matrix(t, s.post("/embed", marshal(t, map[string]any{"inputs": "dog " + longText, "truncation_direction": "left", "normalize": false})).good(t))[0])
	s.bad(413, teiError(t, s.post("/embed", marshal(t, map[string]any{"inputs": longText, "truncate": false})), "Validation"), "too long")

	for _, c := range []struct {
		body, kind string
		status     int
	}{
		{`{"inputs":[]}`, "Empty", 400},
		{`{"inputs":""}`, "Empty", 400},
		{`{"inputs":["a",""]}`, "Empty", 400},
		{`{}`, "Validation", 422},
		{`{"inputs":7}`, "Validation", 422},
		{`{"inputs":"a","normalize":"yes"}`, "Validation", 422},
		{`{"inputs":"a","prompt_name":"none such"}`, "Validation", 422},
		{`{"inputs":"a","truncation_direction":"up"}`, "Validation", 422},
		{`{"inputs":"a","dimensions":-1}`, "Validation", 422},
		{`{"inputs":"a","dimensions":4096}`, "Validation", 422},
		{`{"inputs":[99999999]}`, "Validation", 422},
		{`{"inputs":`, "Validation", 400},
		{`{"inputs":"a","model":"none"}`, "Validation", 404},
	} {
		s.bad(c.status, teiError(t, s.post("/embed", c.body), c.kind), c.body)
	}
	s.bad(404, teiError(t, s.post("/none", "{}"), "Validation"), "path")
	s.bad(405, teiError(t, s.do("GET", "/embed", ""), "Validation"), "method")
}

// TestTEILongIDs: token ids have the limit of texts, here 24 of 40 positions, and are cut off or refused as texts are.
func TestTEILongIDs(t *testing.T) {
	s := start(t, Options{}, model("old", "tiny", "old"))
	m := open(t, "tiny", "old")
	ids := []int32{2}
	for i := range int32(50) {
		ids = append(ids, 100+i)
	}
	const limit = 24
	require.Equal(t, limit, m.Info().MaxTokens)
	want, err := m.EmbedTokens(t.Context(), [][]int32{ids[:limit], ids[len(ids)-limit:], ids[:5]})
	require.NoError(t, err)
	post := func(path string, list []int32, more string) answer {
		return s.post(path, `{"inputs":`+marshal(t, [][]int32{list, ids[:5]})+more+`}`)
	}
	for more, cut := range map[string][]float32{
		"":                                want[0],
		`,"truncate":true`:                want[0],
		`,"truncation_direction":"right"`: want[0],
		`,"truncate":true,"truncation_direction":"left"`: want[1],
	} {
		for _, n := range []int{30, 51} { // within the positions, and over them
			list := ids[:n]
			if strings.Contains(more, "left") {
				list = ids[len(ids)-n:]
			}
			nearAll(t, [][]float32{cut, want[2]}, matrix(t, post("/embed", list, `,"normalize":false`+more).good(t)))
		}
		require.Len(t, post("/embed_all", ids, more).good(t).([]any)[0], limit)
	}
	text := s.post("/embed", marshal(t, map[string]any{"inputs": longText, "truncate": false}))
	s.bad(413, teiError(t, text, "Validation"), "text")
	for _, path := range []string{"/embed", "/embed_all"} {
		for _, n := range []int{30, 51} {
			a := post(path, ids[:n], `,"truncate":false`)
			s.bad(413, teiError(t, a, "Validation"), path)
			assert.Contains(t, a.body, "input 0 has "+strconv.Itoa(n)+" tokens, and the model takes 24")
		}
	}
}

func TestTEIEmbedAll(t *testing.T) {
	s := start(t, Options{}, model("raw", "tiny", "mean"), model("colbert", "arch", "colbert"), model("rerank", "arch", "cross_bert"))
	m := open(t, "tiny", "mean")
	texts := []string{"the cat", "house of the dog"}
	p, err := m.Prepare(t.Context(), texts, vkbert.TruncateEnd)
	require.NoError(t, err)
	want, err := m.TokenVectors(t.Context(), p)
	require.NoError(t, err)
	got := s.post("/embed_all", marshal(t, map[string]any{"inputs": texts})).good(t).([]any)
	require.Len(t, got, 2)
	for i := range texts {
		nearAll(t, want[i], matrix(t, got[i]))
	}
	c, err := vkbert.OpenMultiVector(t.Context(), testmodel.Path("arch", "colbert"), cpu()...)
	require.NoError(t, err)
	defer c.Close()
	for prompt, embed := range map[string]func([]string) ([][][]float32, error){
		"":      func(s []string) ([][][]float32, error) { return c.EmbedMultiDocuments(t.Context(), s) },
		"query": func(s []string) ([][][]float32, error) { return c.EmbedMultiQueries(t.Context(), s) },
	} {
		want, err := embed(texts)
		require.NoError(t, err)
		got := s.post("/embed_all", marshal(t, map[string]any{"inputs": texts, "model": "colbert", "prompt_name": prompt})).good(t).([]any)
		for i := range texts {
			nearAll(t, want[i], matrix(t, got[i]))
		}
	}
	for _, name := range []string{"raw", "colbert"} {
		s.bad(422, teiError(t, s.post("/embed_all", `{"inputs":"a","dimensions":2,"model":"`+name+`"}`), "Validation"), "dimensions")
	}
	s.post("/embed_all", `{"inputs":"a","dimensions":null}`).good(t)
	s.bad(424, teiError(t, s.post("/embed_all", `{"inputs":"a","model":"rerank"}`), "Backend"), "reranker")
	s.bad(424, teiError(t, s.post("/embed", `{"inputs":"a","model":"colbert"}`), "Backend"), "colbert")
}

func TestTEIEmbedSparse(t *testing.T) {
	s := start(t, Options{}, model("raw", "tiny", "mean"), model("sparse", "arch", "splade"))
	m, err := vkbert.OpenSparse(t.Context(), testmodel.Path("arch", "splade"), cpu()...)
	require.NoError(t, err)
	defer m.Close()
	want, err := m.EmbedSparse(t.Context(), []string{"the cat", "dog"})
	require.NoError(t, err)
	got := s.post("/embed_sparse", `{"inputs":["the cat","dog"]}`).good(t).([]any)
	require.Len(t, got, 2)
	for i, v := range want {
		require.Len(t, got[i], len(v.Indices))
		for j, x := range got[i].([]any) {
			one := keys(t, x, "index", "value")
			assert.InDelta(t, v.Indices[j], one["index"], 0)
			assert.InDelta(t, v.Values[j], one["value"], 1e-5)
		}
	}
	assert.Equal(t, any(got), s.post("/", `{"model":"sparse","inputs":["the cat","dog"]}`).good(t))
	s.bad(422, teiError(t, s.post("/embed_sparse", `{"inputs":"a","dimensions":2}`), "Validation"), "dimensions")
	s.bad(424, teiError(t, s.post("/embed_sparse", `{"inputs":"a","model":"raw"}`), "Backend"), "dense")
}

func TestTEIRerank(t *testing.T) {
	s := start(t, Options{}, model("raw", "tiny", "mean"), model("rerank", "arch", "cross_bert"), model("classes", "arch", "cross_roberta"))
	r, err := vkbert.OpenReranker(t.Context(), testmodel.Path("arch", "cross_bert"), cpu()...)
	require.NoError(t, err)
	defer r.Close()
	texts := []string{"the dog", "the cat", "house"}
	logits, err := r.Logits(t.Context(), []vkbert.Pair{{"cat", texts[0]}, {"cat", texts[1]}, {"cat", texts[2]}})
	require.NoError(t, err)
	for _, path := range []string{"/rerank", "/"} {
		for _, raw := range []bool{true, false} {
			got := s.post(path, marshal(t, map[string]any{"query": "cat", "texts": texts, "raw_scores": raw, "return_text": raw})).good(t).([]any)
			require.Len(t, got, 3)
			last := math.Inf(1)
			for _, v := range got {
				fields := []string{"index", "score"}
				if raw {
					fields = append(fields, "text")
				}
				one := keys(t, v, fields...)
				i := int(one["index"].(float64))
				want := logits[i][0]
				if raw {
					assert.Equal(t, texts[i], one["text"])
				} else {
					want = sigmoid(want)
				}
				assert.InDelta(t, want, one["score"], 1e-5)
				assert.LessOrEqual(t, one["score"], last)
				last = one["score"].(float64)
			}
		}
	}
	s.bad(424, teiError(t, s.post("/rerank", `{"query":"a","texts":["b"],"model":"raw"}`), "Backend"), "dense")
	s.bad(400, teiError(t, s.post("/rerank", `{"query":"a","texts":[]}`), "Empty"), "none")
	s.bad(422, teiError(t, s.post("/rerank", `{"texts":["a"]}`), "Validation"), "no query")
	s.bad(422, teiError(t, s.post("/rerank", `{"query":"a","texts":[1]}`), "Validation"), "numbers")
}

func TestTEIPredict(t *testing.T) {
	path := []string{"arch", "cross_deberta"}
	r, err := vkbert.OpenReranker(t.Context(), testmodel.Path(path...), cpu()...)
	require.NoError(t, err)
	defer r.Close()
	s := start(t, Options{}, model("classes", path...), model("raw", "tiny", "mean"))
	pair, err := r.Logits(t.Context(), []vkbert.Pair{{"the cat", "the dog"}})
	require.NoError(t, err)
	check := func(v any, want []float32) {
		t.Helper()
		list := v.([]any)
		require.Len(t, list, r.Labels())
		sum, last := 0.0, math.Inf(1)
		for _, x := range list {
			one := keys(t, x, "score", "label")
			sum += one["score"].(float64)
			assert.LessOrEqual(t, one["score"], last)
			last = one["score"].(float64)
			if want != nil {
				i := slices.Index(r.Info().Labels, one["label"].(string))
				require.GreaterOrEqual(t, i, 0, "%v of %v", one["label"], r.Info().Labels)
				assert.InDelta(t, want[i], one["score"], 1e-5)
			}
		}
		if r.Labels() > 1 {
			assert.InDelta(t, 1, sum, 1e-4)
		}
	}
	expected := slices.Clone(pair[0])
	if len(expected) > 1 {
		softmax(expected)
	} else {
		expected[0] = sigmoid(expected[0])
	}
	check(s.post("/predict", `{"inputs":["the cat","the dog"]}`).good(t), expected)
	check(s.post("/predict", `{"inputs":"the cat"}`).good(t), nil)
	check(s.post("/", `{"inputs":"the cat"}`).good(t), nil)
	batch := s.post("/predict", `{"inputs":[["the cat"],["the cat","the dog"],["x"]]}`).good(t).([]any)
	require.Len(t, batch, 3)
	check(batch[0], nil)
	check(batch[1], expected)
	s.bad(424, teiError(t, s.post("/predict", `{"inputs":"a","model":"raw"}`), "Backend"), "dense")
	for _, body := range []string{`{"inputs":["a","b","c"]}`, `{"inputs":[[]]}`, `{"inputs":[["a","b","c"]]}`, `{"inputs":7}`, `{"inputs":[7]}`} {
		s.bad(422, teiError(t, s.post("/predict", body), "Validation"), body)
	}
	s.bad(400, teiError(t, s.post("/predict", `{}`), "Empty"), "none")
}

// TestPredictSingle: one text is not a pair with an empty one.
func TestPredictSingle(t *testing.T) {
	r, err := vkbert.OpenReranker(t.Context(), testmodel.Path("arch", "cross_bert"), cpu()...)
	require.NoError(t, err)
	defer r.Close()
	p, err := r.PrepareTexts(t.Context(), []string{"the cat"}, vkbert.TruncateEnd)
	require.NoError(t, err)
	pair, err := r.Tokenize(vkbert.Pair{"the cat", ""})
	require.NoError(t, err)
	assert.Equal(t, len(pair.IDs)-1, p.Tokens(), "without the separator of the second")
}

func TestTEISimilarity(t *testing.T) {
	s := start(t, Options{}, model("raw", "tiny", "mean"))
	m := open(t, "tiny", "mean")
	v, err := m.EmbedBatch(t.Context(), []string{"the cat", "dog", "cat"})
	require.NoError(t, err)
	want := []float32{vkbert.Cosine(v[0], v[1]), vkbert.Cosine(v[0], v[2])}
	for _, path := range []string{"/similarity", "/"} {
		near(t, want, floats(t, s.post(path, `{"inputs":{"source_sentence":"the cat","sentences":["dog","cat"]}}`).good(t)))
	}
	s.bad(400, teiError(t, s.post("/similarity", `{"inputs":{"source_sentence":"a","sentences":[]}}`), "Empty"), "none")
	s.bad(422, teiError(t, s.post("/similarity", `{"inputs":{"sentences":["a"]}}`), "Validation"), "no source")
	s.bad(422, teiError(t, s.post("/similarity", `{"inputs":"a"}`), "Validation"), "a text")
}

func TestTEITokenize(t *testing.T) {
	s := start(t, Options{}, model("raw", "tiny", "mean"))
	assert.JSONEq(t, `[[{"id":2,"text":"[CLS]","special":true,"start":null,"stop":null},
		{"id":142,"text":"The","special":false,"start":0,"stop":3},{"id":241,"text":"cat","special":false,"start":4,"stop":7},
		{"id":3,"text":"[SEP]","special":true,"start":null,"stop":null}]]`, s.post("/tokenize", `{"inputs":"The cat"}`).body)
	assert.JSONEq(t, `[[{"id":241,"text":"cat","special":false,"start":0,"stop":3}],[{"id":242,"text":"dog","special":false,"start":2,"stop":5}]]`,
		s.post("/tokenize", `{"inputs":["cat","\u00a0\u2028dog"],"add_special_tokens":false}`).body)
	s.bad(400, teiError(t, s.post("/tokenize", `{"inputs":[]}`), "Empty"), "none")
	s.bad(422, teiError(t, s.post("/tokenize", `{"inputs":[1]}`), "Validation"), "ids")

	assert.JSONEq(t, `["the cat"]`, s.post("/decode", `{"ids":[2,142,241,3]}`).body)
	assert.JSONEq(t, `["the cat","dog"]`, s.post("/decode", `{"ids":[[2,142,241,3],[242]]}`).body)
	assert.JSONEq(t, `["[CLS] the cat [SEP]"]`, s.post("/decode", `{"ids":[2,142,241,3],"skip_special_tokens":false}`).body)
	s.bad(422, teiError(t, s.post("/decode", `{"ids":[-1]}`), "Validation"), "negative")
	s.bad(422, teiError(t, s.post("/decode", `{"ids":"a"}`), "Validation"), "text")
	s.bad(400, teiError(t, s.post("/decode", `{"ids":[]}`), "Empty"), "none")
}

func TestTEIInfo(t *testing.T) {
	s := start(t, Options{Version: "v9"})
	info := keys(t, s.do("GET", "/info", "").good(t), "model_id", "model_sha", "model_dtype", "model_type", "max_concurrent_requests", "max_input_length", "max_batch_tokens",
		"max_batch_requests", "max_client_batch_size", "auto_truncate", "tokenization_workers", "version", "sha", "docker_label")
	assert.Equal(t, testmodel.Path("tiny", "normalize"), info["model_id"])
	assert.Equal(t, "float32", info["model_dtype"])
	assert.Equal(t, "v9", info["version"])
	assert.InDelta(t, 512, info["max_concurrent_requests"], 0)
	assert.InDelta(t, 2048, info["max_client_batch_size"], 0)
	assert.Equal(t, true, info["auto_truncate"])
	assert.Equal(t, map[string]any{"embedding": map[string]any{"pooling": "mean"}}, info["model_type"])
	kind := func(name string) map[string]any {
		return s.do("GET", "/info?model="+name, "").good(t).(map[string]any)["model_type"].(map[string]any)
	}
	assert.Equal(t, map[string]any{"id2label": map[string]any{"0": "LABEL_0"}, "label2id": map[string]any{"LABEL_0": 0.0}}, kind("rerank")["reranker"])
	assert.Equal(t, map[string]any{"pooling": "splade"}, kind("sparse")["embedding"])
	assert.Equal(t, 404, s.do("GET", "/info?model=none", "").status)
}
