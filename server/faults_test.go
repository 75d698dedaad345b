package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/internal/testmodel"
)

// inputRoute is a route that takes texts: a request with %s where a text, or JSON in its place, goes.
type inputRoute struct{ path, request string }

// inputRoutes are those of all interfaces, with the models of all.
var inputRoutes = []inputRoute{
	{"/v1/embeddings", `{"model":"tiny","input":%s}`},
	{"/embeddings", `{"model":"tiny","input":%s}`},
	{"/v1/rerank", `{"model":"rerank","query":"a","documents":[%s]}`},
	{"/embed", `{"inputs":%s}`},
	{"/embed_all", `{"inputs":%s}`},
	{"/embed_sparse", `{"inputs":%s}`},
	{"/rerank", `{"query":"a","texts":[%s]}`},
	{"/predict", `{"inputs":%s}`},
	{"/similarity", `{"inputs":{"source_sentence":"a","sentences":[%s]}}`},
	{"/tokenize", `{"inputs":%s}`},
	{"/", `{"inputs":%s}`},
	{"/invocations", `{"inputs":%s}`},
	{"/api/embed", `{"model":"tiny","input":%s}`},
	{"/api/embeddings", `{"model":"tiny","prompt":%s}`},
	{"/vectors", `{"text":%s}`},
}

func (r inputRoute) with(text string) string { return fmt.Sprintf(r.request, text) }

// formed checks that an error has the form of its interface.
func formed(t *testing.T, path string, a answer) {
	t.Helper()
	assert.Equal(t, "application/json", a.header.Get("Content-Type"), path)
	body := decode(t, a.body)
	switch formOf(path) {
	case openai:
		e := keys(t, keys(t, body, "error")["error"], "message", "type", "param", "code")
		assert.NotEmpty(t, e["message"])
	case tei:
		e := keys(t, body, "error", "error_type")
		assert.NotEmpty(t, e["error"])
	default:
		assert.NotEmpty(t, keys(t, body, "error")["error"])
	}
}

// TestFaultRows: what clients do wrong, at every route that takes texts, gets its status in the interface's form, and the next good call works.
func TestFaultRows(t *testing.T) {
	s := start(t, Options{})
	big := `"` + strings.Repeat("a", 3<<20) + `"`
	many := `"a"` + strings.Repeat(`,"a"`, 99_999)
	for _, r := range inputRoutes {
		t.Run(r.path, func(t *testing.T) {
			list := many
			if !strings.Contains(r.request, "[%s]") {
				list = "[" + many + "]"
			}
			for _, bad := range []struct {
				what, text string
				status     int
			}{
				{"3 MB", big, 413},
				{"100,000 inputs", list, 413},
				{"nested lists", strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000), 400},
				{"nested objects", strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000), 400},
				{"not closed", strings.Repeat("[", 7), 400},
				{"closed twice", `"a"}}`, 400},
				{"invalid UTF-8", "\"\xff\xfe\"", 400},
				{"half a character", "\"\xe2\x82\"", 400},
				{"a surrogate in UTF-8", "\"\xed\xa0\x80\"", 400},
				{"a raw control character", "\"\x01\"", 400},
			} {
				a := s.post(r.path, r.with(bad.text))
				assert.Equal(t, bad.status, a.status, "%s: %.200s", bad.what, a.body)
				formed(t, r.path, a)
				s.post(r.path, r.with(`"a"`)).good(t)
			}
		})
	}
	assert.Zero(t, s.buffered.Load(), "all bytes were given back")
	assert.Zero(t, s.working.now())
}

// TestFaultDimensions: numbers of dimensions that no model has, where there is such a field.
func TestFaultDimensions(t *testing.T) {
	s := start(t, Options{}, model("tiny", "tiny", "normalize"))
	for path, request := range map[string]string{
		"/v1/embeddings": `{"model":"tiny","input":"a","dimensions":%s}`,
		"/embed":         `{"inputs":"a","dimensions":%s}`,
		"/":              `{"inputs":"a","dimensions":%s}`,
		"/api/embed":     `{"model":"tiny","input":"a","dimensions":%s}`,
		"/vectors":       `{"text":"a","config":{"dimensions":%s}}`,
	} {
		for _, n := range []string{"-1", "0", "4096", "2147483648", "-9223372036854775809", "1e300", "1.5"} {
			a := s.post(path, fmt.Sprintf(request, n))
			assert.Equal(t, 422, a.status, "%s %s: %s", path, n, a.body)
			formed(t, path, a)
			s.post(path, fmt.Sprintf(request, "2")).good(t)
		}
	}
}

// TestFaultModels: a model that is not served, at every route that names one.
func TestFaultModels(t *testing.T) {
	s := start(t, Options{}, model("tiny", "tiny", "normalize"), model("rerank", "arch", "cross_bert"), model("sparse", "arch", "splade"))
	for _, r := range inputRoutes {
		request := strings.NewReplacer(`"model":"tiny",`, "", `"model":"rerank",`, "").Replace(r.with(`"a"`))
		a := s.post(r.path, `{"model":"gpt-7",`+request[1:])
		assert.Equal(t, 404, a.status, "%s: %s", r.path, a.body)
		formed(t, r.path, a)
		assert.Contains(t, a.body, "gpt-7")
		s.post(r.path, r.with(`"a"`)).good(t)
	}
	for _, path := range []string{"/decode", "/api/show", "/api/generate", "/api/chat"} {
		a := s.post(path, `{"model":"gpt-7","ids":[1]}`)
		assert.Equal(t, 404, a.status, "%s: %s", path, a.body)
		formed(t, path, a)
	}
	for _, path := range []string{"/v1/models/gpt-7", "/info?model=gpt-7"} {
		a := s.do("GET", path, "")
		assert.Equal(t, 404, a.status, path)
		formed(t, path, a)
	}
	openaiError(t, s.post("/v1/embeddings", `{"model":"gpt-7","input":"a"}`), "model", "model_not_found")
}

// TestDeadline: a request that takes too long is told so, in the interface's form, and what it had waiting is gone.
func TestDeadline(t *testing.T) {
	s := start(t, Options{RequestTimeout: time.Nanosecond, MaxQueueTime: -1})
	for _, r := range inputRoutes {
		a := s.post(r.path, r.with(`"a"`))
		assert.Equal(t, http.StatusGatewayTimeout, a.status, "%s: %s", r.path, a.body)
		formed(t, r.path, a)
	}
	for _, m := range s.models {
		assert.Zero(t, m.tokens.Load())
		assert.Zero(t, m.stats().Waiting)
	}
}

// TestFieldNames: an error names the field as JSON has it.
func TestFieldNames(t *testing.T) {
	s := start(t, Options{}, model("tiny", "tiny", "normalize"))
	for body, field := range map[string]string{`{"inputs":"a","truncate":7}`: "`truncate`", `{"inputs":"a","model":7}`: "`model`"} {
		assert.Contains(t, s.post("/embed", body).body, field)
	}
	assert.Contains(t, s.post("/api/embed", `{"model":7}`).body, "`model`")
	assert.Contains(t, s.post("/similarity", `{"inputs":{"source_sentence":7}}`).body, "`inputs.source_sentence`")
}

// TestFieldTypes: what is wanted of a field and what came are said in JSON's words, not in Go's.
func TestFieldTypes(t *testing.T) {
	s := start(t, Options{})
	for _, c := range []struct{ path, request, message string }{
		{"/similarity", `{"inputs":5}`, "`inputs`: want an object, got a number"},
		{"/similarity", `{"inputs":{"source_sentence":"a","sentences":["b"]},"parameters":true}`, "`parameters`: want an object, got true or false"},
		{"/similarity", `{"inputs":{"source_sentence":"a","sentences":{}}}`, "`inputs.sentences`: want a list of strings, got an object"},
		{"/vectors", `{"text":"a","config":[]}`, "`config`: want an object, got a list"},
		{"/vectors", `{"text":["a"]}`, "`text`: want a string, got a list"},
		{"/rerank", `{"query":"a","texts":5}`, "`texts`: want a list of strings, got a number"},
		{"/rerank", `{"query":"a","texts":["b"],"raw_scores":"no"}`, "`raw_scores`: want true or false, got a string"},
		{"/v1/rerank", `{"query":"a","documents":"b"}`, "`documents`: want a list of strings, got a string"},
		{"/v1/rerank", `{"query":"a","documents":["b"],"top_n":"1"}`, "`top_n`: want a whole number, got a string"},
		{"/v1/rerank", `{"query":"a","documents":["b"],"top_n":1.5}`, "`top_n`: want a whole number, got a number with a fraction or an exponent"},
		{"/embed", `{"inputs":5}`, "`inputs`: want " + inputForms + ", got a number"},
		{"/embed", `{"inputs":["a",1]}`, "`inputs`: want " + inputForms + ", got a list with a number in it"},
		{"/embed", `{"inputs":[[1],[1.5]]}`, "`inputs`: want " + inputForms + ", got a list with a number with a fraction or an exponent in it"},
		{"/embed", `{"inputs":"a","dimensions":"2"}`, "`dimensions`: want a whole number, got a string"},
		{"/v1/embeddings", `{"model":"tiny","input":{}}`, "`input`: want " + inputForms + ", got an object"},
		{"/api/embed", `{"model":"tiny","input":5}`, "`input`: want a string or a list of strings, got a number"},
		{"/tokenize", `{"inputs":["a",true]}`, "`inputs`: want a string or a list of strings, got a list with true or false in it"},
		{"/decode", `{"ids":7592}`, "`ids`: want a list of token ids or a list of such lists, got a number"},
		{"/decode", `{"ids":"a"}`, "`ids`: want a list of token ids or a list of such lists, got a string"},
		{"/decode", `{"ids":["a"]}`, "`ids`: want a list of token ids or a list of such lists, got a list with a string in it"},
		{"/decode", `{"ids":[[1],"a"]}`, "`ids`: want a list of token ids or a list of such lists, got a list with a string in it"},
		{"/v1/rerank", `[]`, "want a JSON object, got a list"},
	} {
		a := s.post(c.path, c.request)
		assert.GreaterOrEqual(t, a.status, 400)
		formed(t, c.path, a)
		assert.Contains(t, a.body, `"`+c.message+`"`, "%s %s", c.path, c.request)
	}
}

// TestNullElements: null in a list is not taken for an empty text or for token 0: the error names it.
func TestNullElements(t *testing.T) {
	s := start(t, Options{})
	for _, c := range []struct {
		path, request, element string
		status                 int
	}{
		{"/v1/embeddings", `{"model":"tiny","input":[null]}`, "input.0", 400},
		{"/v1/embeddings", `{"model":"tiny","input":[null,null]}`, "input.0", 400},
		{"/v1/embeddings", `{"model":"tiny","input":[[2,3],[4,null]]}`, "input.1.1", 400},
		{"/v1/embeddings", `{"model":"tiny","input":[[2,3],null]}`, "input.1", 400},
		{"/v1/embeddings", `{"model":"tiny","input":["null",null]}`, "input.1", 400},
		{"/embed", `{"inputs":[null]}`, "inputs.0", 422},
		{"/embed_all", `{"inputs":[2,null]}`, "inputs.1", 422},
		{"/embed_sparse", `{"inputs":["a",null]}`, "inputs.1", 422},
		{"/similarity", `{"inputs":{"source_sentence":"a","sentences":["b",null]}}`, "inputs.sentences.1", 422},
		{"/", `{"inputs":{"source_sentence":"a","sentences":[null]}}`, "inputs.sentences.0", 422},
		{"/rerank", `{"query":"a","texts":["b",null]}`, "texts.1", 422},
		{"/predict", `{"inputs":["a",null]}`, "inputs.1", 422},
		{"/predict", `{"inputs":[["a"],["b",null]]}`, "inputs.1.1", 422},
		{"/predict", `{"inputs":[["a"],null]}`, "inputs.1", 422},
		{"/tokenize", `{"inputs":["a",null]}`, "inputs.1", 422},
		{"/decode", `{"ids":[null]}`, "ids.0", 422},
		{"/decode", `{"ids":[[2],[null]]}`, "ids.1.0", 422},
		{"/api/embed", `{"model":"tiny","input":["a",null]}`, "input.1", 400},
	} {
		a := s.post(c.path, c.request)
		assert.Equal(t, c.status, a.status, "%s %s: %s", c.path, c.request, a.body)
		assert.Contains(t, a.body, "`"+c.element+"`: want a value, got null", "%s %s", c.path, c.request)
		formed(t, c.path, a)
	}
	for _, r := range inputRoutes {
		s.post(r.path, r.with(`"null, [null]"`)).good(t)
	}
	s.bad(400, s.post("/v1/rerank", `{"model":"rerank","query":"a","documents":["b",null]}`), "documents")
}

// TestTokenLimits: of every route that has tokens.
func TestTokenLimits(t *testing.T) {
	s := start(t, Options{MaxTokens: 20})
	hundred := `"` + strings.Repeat("cat ", 100) + `"`
	for _, r := range append(inputRoutes, inputRoute{"/embed_all", `{"model":"colbert","inputs":%s}`}, inputRoute{"/embed_all", `{"model":"colbert","prompt_name":"query","inputs":[%s,"a","b","c"]}`}) {
		a := s.post(r.path, r.with(hundred))
		assert.Equal(t, 413, a.status, "%s: %.200s", r.path, a.body)
		formed(t, r.path, a)
		if !strings.Contains(r.request, `"query"`) || !strings.Contains(r.request, "colbert") { // which are filled up
			s.post(r.path, r.with(`"a"`)).good(t)
		}
	}
	fives := func(n int) string { return "[" + strings.Repeat("5,", n-1) + "5]" }
	s.bad(413, s.post("/decode", `{"ids":`+fives(21)+`}`), "decode")
	s.bad(413, s.post("/decode", `{"ids":[`+fives(10)+","+fives(11)+`]}`), "decode lists")
	s.post("/decode", `{"ids":[`+fives(10)+","+fives(10)+`]}`).good(t)
}

// TestBufferedBytes: bodies and results count until their request has ended.
func TestBufferedBytes(t *testing.T) {
	s := start(t, Options{MaxBufferedBytes: 10_000}, model("tiny", "tiny", "normalize"))
	width := int64(s.models[0].look().dimensions())
	a := s.post("/embed_all", `{"inputs":"`+strings.Repeat("cat ", 100)+`"}`) // a vector a token
	s.bad(413, teiError(t, a, "Validation"), "alone")
	assert.Contains(t, a.body, "10000")
	s.buffered.Add(10_000 - 4*width) // others hold that
	a = s.post("/embed", `{"inputs":"cat"}`)
	s.bad(429, teiError(t, a, "Overloaded"), "beside others")
	assert.Equal(t, "1", a.header.Get("Retry-After"))
	s.buffered.Add(4*width - 10_000)
	assert.Zero(t, s.buffered.Load())
	s.post("/embed", `{"inputs":"cat"}`).good(t)
	var held int64
	c := &call{Server: s.Server}
	require.NoError(t, c.hold(9_000))
	held = s.buffered.Load()
	c.letGo(c.held)
	assert.EqualValues(t, 9_000, held)
	assert.Zero(t, s.buffered.Load())
}

// TestComputeType: software Vulkan is no GPU, and neither is the reference.
func TestComputeType(t *testing.T) {
	for _, device := range testmodel.Devices() {
		t.Run(device, func(t *testing.T) {
			s := start(t, Options{}, Model{Name: "m", Path: testmodel.Path("tiny", "mean"), Options: []vkbert.Option{vkbert.WithDevice(testmodel.Device(t, device))}})
			want := "gpu+optimized"
			switch s.models[0].look().Info().Device.Kind.String() {
			case "CPU", "reference", "software":
				want = "cpu"
			}
			a := s.post("/embed", `{"inputs":"a"}`)
			require.Equal(t, http.StatusOK, a.status)
			assert.Equal(t, want, a.header.Get("X-Compute-Type"))
		})
	}
}
