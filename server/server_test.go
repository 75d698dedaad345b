package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/internal/testmodel"
)

func TestMain(m *testing.M) {
	os.Setenv("VKBERT_CACHE", "off")
	goleak.VerifyTestMain(m)
}

// cpu is how the tests open models.
func cpu() []vkbert.Option { return []vkbert.Option{vkbert.WithDevice("cpu")} }

func model(name string, path ...string) Model {
	return Model{Name: name, Path: testmodel.Path(path...), Options: cpu()}
}

// all is a model of each kind.
func all() []Model {
	return []Model{
		model("tiny", "tiny", "normalize"), model("raw", "tiny", "mean"), model("prompts", "tiny", "prompts"),
		model("rerank", "arch", "cross_bert"), model("classes", "arch", "cross_roberta"), model("sparse", "arch", "splade"), model("colbert", "arch", "colbert"),
	}
}

// a is a server under test, with the models of all.
type testServer struct {
	*Server
	t *testing.T
}

func start(t *testing.T, o Options, models ...Model) *testServer {
	t.Helper()
	if models == nil {
		models = all()
	}
	s, err := New(models, o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	require.NoError(t, s.Load(t.Context()))
	return &testServer{s, t}
}

// answer is a response.
type answer struct {
	status int
	header http.Header
	body   string
}

func (s *testServer) do(method, path, body string, header ...string) answer {
	return s.doContext(s.t.Context(), method, path, strings.NewReader(body), header...)
}

func (s *testServer) doContext(ctx context.Context, method, path string, body io.Reader, header ...string) answer {
	r := httptest.NewRequestWithContext(ctx, method, path, body)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

func (s *testServer) post(path, body string) answer { return s.do("POST", path, body) }

// good is the JSON of a response that succeeded.
func (a answer) good(t *testing.T) any {
	t.Helper()
	require.Equal(t, http.StatusOK, a.status, a.body)
	assert.Equal(t, "application/json", a.header.Get("Content-Type"))
	return decode(t, a.body)
}

func decode(t *testing.T, body string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(body))
	var v any
	require.NoError(t, d.Decode(&v), "%.200s", body)
	_, err := d.Token()
	require.ErrorIs(t, err, io.EOF)
	return v
}

// floats turns decoded JSON into vectors.
func floats(t *testing.T, v any) []float32 {
	t.Helper()
	list, ok := v.([]any)
	require.True(t, ok, "%v", v)
	out := make([]float32, len(list))
	for i, x := range list {
		out[i] = float32(x.(float64))
	}
	return out
}

func matrix(t *testing.T, v any) [][]float32 {
	t.Helper()
	out := [][]float32{}
	for _, row := range v.([]any) {
		out = append(out, floats(t, row))
	}
	return out
}

func near(t *testing.T, want, got []float32) {
	t.Helper()
	difference, largest := testmodel.MaxDifference(t, want, got)
	assert.LessOrEqual(t, difference, 1e-5*max(1, largest))
}

func nearAll(t *testing.T, want, got [][]float32) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		near(t, want[i], got[i])
	}
}

// open opens a model of testdata by itself, for the vectors that a server must give.
func open(t *testing.T, path ...string) *vkbert.Model {
	t.Helper()
	m, err := vkbert.Open(t.Context(), testmodel.Path(path...), cpu()...)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

// keys are the fields of an object, so that none is missing and none is too many.
func keys(t *testing.T, v any, want ...string) map[string]any {
	t.Helper()
	object, ok := v.(map[string]any)
	require.True(t, ok, "%v", v)
	got := []string{}
	for k := range object {
		got = append(got, k)
	}
	require.ElementsMatch(t, want, got)
	return object
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, json.NewEncoder(&b).Encode(v))
	return b.String()
}
