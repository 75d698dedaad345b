package hub

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// oneLarge is a hub whose only large file is the model's weights.
func oneLarge(t *testing.T) *fakeHub {
	h := newFakeHub(t)
	delete(h.files, "2_Dense/model.safetensors")
	delete(h.files, "2_Dense/pytorch_model.bin")
	return h
}

// A download that failed is taken up by a later one, where the system has locks.
func TestResume(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no locks: a download starts again")
	}
	h := oneLarge(t)
	o := h.options(t)
	o.Token = testToken
	half := len(h.files["model.safetensors"]) / 2
	part := filepath.Join(o.CacheDir, "models--org--tiny-model", "blobs", etag("model.safetensors", h.files["model.safetensors"])+".vkbert.incomplete")
	breakOff := func() {
		h.send = func(w http.ResponseWriter, r *http.Request, _, contents string) {
			r.Header.Del("Range")
			cut(w, r, contents, half)
		}
		_, err := Download(t.Context(), testID, o)
		require.ErrorIs(t, err, ErrUnreachable)
		require.FileExists(t, part)
		h.send = nil
	}
	whole := func() {
		dir, err := Download(t.Context(), testID, o)
		require.NoError(t, err)
		data, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
		require.NoError(t, err)
		require.True(t, h.files["model.safetensors"] == string(data))
		require.NoFileExists(t, part)
		h.noLeak(t)
		require.NoError(t, os.RemoveAll(o.CacheDir))
	}
	t.Run("the rest is asked for", func(t *testing.T) {
		breakOff()
		info, err := os.Stat(part)
		require.NoError(t, err)
		var first int64 = -1
		o.Progress = func(done, total int64) {
			if first < 0 && done > 0 {
				first = done
			}
			assert.LessOrEqual(t, done, total)
		}
		before := h.asked("bytes=")
		whole()
		assert.Equal(t, before+2, h.asked("bytes="), "the request and its redirection")
		assert.GreaterOrEqual(t, first, info.Size(), "what is there counts as done")
		o.Progress = nil
	})
	t.Run("the part is something else", func(t *testing.T) {
		breakOff()
		require.NoError(t, os.WriteFile(part, []byte(strings.Repeat("x", half)), 0o666))
		whole()
	})
	t.Run("the part is longer", func(t *testing.T) {
		breakOff()
		require.NoError(t, os.WriteFile(part, []byte(strings.Repeat("x", 2*half+9)), 0o666))
		whole()
	})
	t.Run("the part is whole", func(t *testing.T) {
		breakOff()
		require.NoError(t, os.WriteFile(part, []byte(h.files["model.safetensors"]), 0o666))
		before := h.asked("/signed/")
		whole()
		assert.Equal(t, before, h.asked("/signed/"), "it comes from nowhere")
	})
	t.Run("the rest is damaged", func(t *testing.T) {
		breakOff()
		h.send = func(w http.ResponseWriter, r *http.Request, _, contents string) {
			cut(w, r, contents[:half]+strings.Repeat("y", len(contents)-half), len(contents))
		}
		_, err := Download(t.Context(), testID, o)
		require.ErrorIs(t, err, ErrDamaged)
		nothingVisible(t, o.CacheDir)
		h.send = nil
		whole()
	})
	t.Run("another process has it", func(t *testing.T) {
		breakOff()
		other, err := os.OpenFile(part, os.O_RDWR, 0)
		require.NoError(t, err)
		require.True(t, lock(other))
		_, err = Download(t.Context(), testID, o)
		require.NoError(t, err)
		info, err := other.Stat()
		require.NoError(t, err)
		assert.EqualValues(t, half, info.Size(), "left alone")
		require.NoError(t, other.Close())
		require.NoError(t, os.RemoveAll(o.CacheDir))
	})
}

func TestManyAtOnce(t *testing.T) {
	h := newFakeHub(t)
	o := h.options(t)
	var group sync.WaitGroup
	for range 8 {
		group.Add(1)
		go func() {
			defer group.Done()
			dir, err := Download(t.Context(), testID, o)
			if assert.NoError(t, err) {
				data, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
				assert.NoError(t, err)
				assert.True(t, h.files["model.safetensors"] == string(data))
			}
		}()
	}
	group.Wait()
	for _, name := range tree(t, o.CacheDir) {
		assert.NotContains(t, name, "incomplete")
	}
}

func TestOffline(t *testing.T) {
	h := oneLarge(t)
	o := h.options(t)
	o.Offline = true
	_, err := Download(t.Context(), testID, o)
	require.ErrorIs(t, err, ErrOffline)
	assert.ErrorContains(t, err, "HF_HUB_OFFLINE")
	assert.NoDirExists(t, filepath.Join(o.CacheDir, "models--org--tiny-model"), "nothing is made")

	o.Offline, o.Revision = false, "refs/pr/1"
	dir, err := Download(t.Context(), testID, o)
	require.NoError(t, err)
	before := len(h.requests)
	o.Offline = true
	for _, revision := range []string{"refs/pr/1", testCommit} {
		o.Revision = revision
		again, err := Download(t.Context(), testID, o)
		require.NoError(t, err)
		assert.Equal(t, dir, again)
	}
	o.Revision = "main" // was never asked for
	_, err = Download(t.Context(), testID, o)
	require.ErrorIs(t, err, ErrOffline)
	assert.Len(t, h.requests, before, "no connection")
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(filepath.Dir(dir)), "refs", "main"), []byte("../../../x"), 0o666))
	_, err = Download(t.Context(), testID, o)
	require.ErrorIs(t, err, ErrOffline)

	for _, name := range []string{"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"} {
		for value, want := range map[string]bool{"1": true, "True": true, "ON": true, "yes": true, "0": false, "": false, "no": false} {
			t.Setenv("HF_HUB_OFFLINE", "")
			t.Setenv("TRANSFORMERS_OFFLINE", "")
			t.Setenv(name, value)
			o, err := Environment()
			require.NoError(t, err)
			assert.Equal(t, want, o.Offline, "%s=%s", name, value)
		}
	}
}

// What each kind of model is made of, and nothing else.
func TestNeededFiles(t *testing.T) {
	base := []string{"config.json", "tokenizer.json", "model.safetensors"}
	shards := map[string]string{"model.safetensors": "", "model.safetensors.index.json": `{"weight_map":{"a":"part-b.safetensors","b":"part-a.safetensors","c":"part-a.safetensors"}}`,
		"part-a.safetensors": "a", "part-b.safetensors": "b", "part-c.safetensors": "c"}
	for _, c := range []struct {
		name  string
		files map[string]string // "" takes one of the usual away
		want  []string          // nil: refused with says
		says  string
	}{
		{"cross-encoder", map[string]string{"config.json": `{"architectures":["BertForSequenceClassification"]}`, "CECorrelationEvaluator_results.csv": "x"}, base, ""},
		{"SPLADE", map[string]string{"modules.json": `[{"path":""},{"path":"1_SpladePooling"}]`, "1_SpladePooling/config.json": "{}"},
			append([]string{"modules.json", "1_SpladePooling/config.json"}, base...), ""},
		{"static", map[string]string{"modules.json": `[{"path":"0_StaticEmbedding","type":"x.StaticEmbedding"}]`, "0_StaticEmbedding/model.safetensors": "w", "0_StaticEmbedding/tokenizer.json": "{}",
			"model.safetensors": "", "tokenizer.json": "", "config.json": ""}, []string{"modules.json", "0_StaticEmbedding/model.safetensors", "0_StaticEmbedding/tokenizer.json"}, ""},
		{"Stanford ColBERT", map[string]string{"artifact.metadata": "{}"}, append([]string{"artifact.metadata"}, base...), ""},
		{"PyLate", map[string]string{"modules.json": `[{"path":""},{"path":"1_Dense"}]`, "1_Dense/config.json": "{}", "1_Dense/model.safetensors": "w"},
			append([]string{"modules.json", "1_Dense/config.json", "1_Dense/model.safetensors"}, base...), ""},
		{"Router", map[string]string{"modules.json": `[{"path":"","type":"sentence_transformers.models.Router"},{"path":"9_Normalize"}]`,
			"router_config.json": `{"types":{"query_0_StaticEmbedding":"x","document_0_Transformer":"y","document_1_Pooling":"z"}}`, "query_0_StaticEmbedding/model.safetensors": "q",
			"query_0_StaticEmbedding/tokenizer.json": "{}", "document_0_Transformer/model.safetensors": "d", "document_0_Transformer/config.json": "{}", "document_1_Pooling/config.json": "{}",
			"other/config.json": "{}", "model.safetensors": "", "tokenizer.json": "", "config.json": ""},
			[]string{"modules.json", "router_config.json", "query_0_StaticEmbedding/model.safetensors", "query_0_StaticEmbedding/tokenizer.json", "document_0_Transformer/model.safetensors",
				"document_0_Transformer/config.json", "document_1_Pooling/config.json"}, ""},
		{"Asym in a folder", map[string]string{"modules.json": `[{"path":""},{"path":"2_Asym","type":"sentence_transformers.models.Asym"}]`,
			"2_Asym/config.json": `{"types":{"query_0_Dense":"x"}}`, "2_Asym/query_0_Dense/config.json": "{}", "2_Asym/query_0_Dense/model.safetensors": "q"},
			append([]string{"modules.json", "2_Asym/config.json", "2_Asym/query_0_Dense/config.json", "2_Asym/query_0_Dense/model.safetensors"}, base...), ""},
		{"shards of any name", shards, []string{"config.json", "tokenizer.json", "model.safetensors.index.json", "part-a.safetensors", "part-b.safetensors"}, ""},
		{"one file and shards", map[string]string{"model.safetensors.index.json": `{"weight_map":{"a":"model-00001-of-00001.safetensors"}}`, "model-00001-of-00001.safetensors": "x"}, base, ""},
		{"an adapter", map[string]string{"adapter_config.json": "{}"}, append([]string{"adapter_config.json"}, base...), ""},
		{"a missing shard", map[string]string{"model.safetensors": "", "model.safetensors.index.json": `{"weight_map":{"a":"gone.safetensors"}}`}, nil, "gone.safetensors"},
		{"a shard elsewhere", map[string]string{"model.safetensors": "", "model.safetensors.index.json": `{"weight_map":{"a":"../x.safetensors"}}`}, nil, "../x.safetensors"},
		{"a module in PyTorch's format", map[string]string{"modules.json": `[{"path":""},{"path":"2_Dense"}]`, "2_Dense/pytorch_model.bin": "x"}, nil, "2_Dense/pytorch_model.bin"},
		{"a broken index", map[string]string{"model.safetensors": "", "model.safetensors.index.json": `[]`}, nil, "index.json"},
		{"a broken router", map[string]string{"modules.json": `[{"path":"","type":"x.Router"}]`, "router_config.json": `{"types":[]}`}, nil, "router_config.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newFakeHub(t)
			h.files = map[string]string{"config.json": "{}", "tokenizer.json": "{ }", "model.safetensors": "weights", "rust_model.ot": "x", "openvino/model.bin": "y", "img.png": "z"}
			for name, contents := range c.files {
				if h.files[name] = contents; contents == "" {
					delete(h.files, name)
				}
			}
			o := h.options(t)
			dir, err := Download(t.Context(), testID, o)
			if c.want == nil {
				require.ErrorIs(t, err, ErrUnsupported)
				require.ErrorContains(t, err, c.says)
				nothingVisible(t, o.CacheDir)
				return
			}
			require.NoError(t, err)
			assert.ElementsMatch(t, c.want, tree(t, dir))
		})
	}
}

// Storage that sends on to another host again and again gets the token no more than the first.
func TestRedirects(t *testing.T) {
	h := oneLarge(t)
	h.private = true
	o := h.options(t)
	o.Token = testToken
	h.send = func(w http.ResponseWriter, r *http.Request, name, contents string) {
		if !strings.Contains(r.URL.RawQuery, "hop") {
			http.Redirect(w, r, r.URL.Path+"?hop", http.StatusTemporaryRedirect)
			return
		}
		io.WriteString(w, contents)
	}
	_, err := Download(t.Context(), testID, o)
	require.NoError(t, err)
	h.noLeak(t)

	h.send = func(w http.ResponseWriter, r *http.Request, _, _ string) { // round in circles
		http.Redirect(w, r, r.URL.Path+"?hop", http.StatusFound)
	}
	o.CacheDir = t.TempDir()
	_, err = Download(t.Context(), testID, o)
	require.ErrorIs(t, err, ErrUnreachable)
	assert.ErrorContains(t, err, "redirects")
	h.noLeak(t)
	nothingVisible(t, o.CacheDir)
}
