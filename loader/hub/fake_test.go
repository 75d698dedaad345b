package hub

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	testID     = "org/tiny-model"
	testCommit = "1111111111111111111111111111111111111111"
	testToken  = "hf_secret"
)

// fakeHub speaks the part of the Hub's API that is used: the list of files, resolve, and storage on another host for large files.
type fakeHub struct {
	*httptest.Server
	storage *httptest.Server
	files   map[string]string
	private bool                                                                // wants testToken
	refuse  func(w http.ResponseWriter)                                         // instead of the list of files
	edit    func(list map[string]any)                                           // of what is listed
	send    func(w http.ResponseWriter, r *http.Request, name, contents string) // instead of a file from storage

	mutex    sync.Mutex
	requests []string // METHOD PATH of what was asked, with its range
	leaked   []string // tokens that storage saw
}

func isLarge(name string) bool { return strings.HasSuffix(name, ".safetensors") }

func gitHash(s string) string {
	return fmt.Sprintf("%x", sha1.Sum([]byte(fmt.Sprintf("blob %d\x00%s", len(s), s))))
}

func etag(name, contents string) string {
	if isLarge(name) {
		return fmt.Sprintf("%x", sha256.Sum256([]byte(contents)))
	}
	return gitHash(contents)
}

func newFakeHub(t *testing.T) *fakeHub {
	h := &fakeHub{files: map[string]string{
		".gitattributes":                    "*.safetensors filter=lfs",
		"README.md":                         "---\nlicense: mit\n---",
		"config.json":                       `{"model_type":"bert"}`,
		"config_sentence_transformers.json": `{}`,
		"sentence_bert_config.json":         `{"max_seq_length":256}`,
		"modules.json":                      `[{"idx":0,"path":"","type":"x.Transformer"},{"idx":1,"path":"1_Pooling","type":"x.Pooling"},{"idx":2,"path":"2_Dense","type":"x.Dense"},{"idx":3,"path":"3_Normalize"}]`,
		"1_Pooling/config.json":             `{"pooling_mode_mean_tokens":true}`,
		"2_Dense/config.json":               `{"in_features":2}`,
		"2_Dense/model.safetensors":         "dense weights",
		"2_Dense/pytorch_model.bin":         "pickle",
		"tokenizer.json":                    `{"model":{}}`,
		"tokenizer_config.json":             `{}`,
		"vocab.txt":                         "[PAD]\n[UNK]",
		"model.safetensors":                 strings.Repeat("the weights of the model ", 40_000),
		"pytorch_model.bin":                 "pickle",
		"tf_model.h5":                       "h5",
		"train_script.py":                   "import torch",
		"data_config.json":                  "[]",
		"onnx/model.onnx":                   "onnx",
		"onnx/tokenizer.json":               "{}",
		"openvino/openvino_model.xml":       "<xml/>",
	}}
	h.storage = httptest.NewServer(http.HandlerFunc(h.store))
	h.Server = httptest.NewServer(http.HandlerFunc(h.serve))
	t.Cleanup(h.storage.Close)
	t.Cleanup(h.Close)
	return h
}

func (h *fakeHub) note(r *http.Request) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.requests = append(h.requests, strings.TrimSpace(r.Method+" "+r.URL.EscapedPath()+" "+r.Header.Get("Range")))
}

func (h *fakeHub) serve(w http.ResponseWriter, r *http.Request) {
	h.note(r)
	fail := func(status int, code string) {
		w.Header().Set("X-Error-Code", code)
		w.WriteHeader(status)
	}
	if h.private && r.Header.Get("Authorization") != "Bearer "+testToken {
		fail(http.StatusUnauthorized, "RepoNotFound")
		return
	}
	path, api := strings.CutPrefix(r.URL.EscapedPath(), "/api/models/")
	if !api {
		if name, ok := strings.CutPrefix(r.URL.Path, "/"+testID+"/resolve/"+testCommit+"/"); ok && h.files[name] != "" {
			if isLarge(name) {
				http.Redirect(w, r, h.storage.URL+"/signed/"+name+"?signature=s3cr3t", http.StatusFound)
			} else {
				fmt.Fprint(w, h.files[name])
			}
			return
		}
		fail(http.StatusNotFound, "EntryNotFound")
		return
	}
	id, revision, _ := strings.Cut(path, "/revision/")
	switch {
	case h.refuse != nil:
		h.refuse(w)
	case id != testID:
		fail(http.StatusUnauthorized, "RepoNotFound")
	case revision != "main" && revision != "refs%2Fpr%2F1" && revision != testCommit:
		fail(http.StatusNotFound, "RevisionNotFound")
	case r.URL.RawQuery != "blobs=true":
		fail(http.StatusBadRequest, "")
	default:
		json.NewEncoder(w).Encode(h.list())
	}
}

func (h *fakeHub) list() map[string]any {
	siblings := []map[string]any{}
	for name, contents := range h.files {
		s := map[string]any{"rfilename": name, "size": len(contents), "blobId": gitHash(contents)}
		if isLarge(name) {
			s["lfs"] = map[string]any{"sha256": etag(name, contents), "size": len(contents), "pointerSize": 134}
		}
		siblings = append(siblings, s)
	}
	list := map[string]any{"id": testID, "sha": testCommit, "private": h.private, "siblings": siblings}
	if h.edit != nil {
		h.edit(list)
	}
	return list
}

func (h *fakeHub) store(w http.ResponseWriter, r *http.Request) {
	h.note(r)
	if token := r.Header.Get("Authorization"); token != "" {
		h.mutex.Lock()
		h.leaked = append(h.leaked, token)
		h.mutex.Unlock()
	}
	name := strings.TrimPrefix(r.URL.Path, "/signed/")
	if h.send != nil {
		h.send(w, r, name, h.files[name])
		return
	}
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(h.files[name]))
}

func (h *fakeHub) options(t *testing.T) Options {
	return Options{CacheDir: t.TempDir(), Endpoint: h.URL, pause: time.Millisecond, stall: 10 * time.Second}
}

func (h *fakeHub) asked(part string) int {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	n := 0
	for _, r := range h.requests {
		if strings.Contains(r, part) {
			n++
		}
	}
	return n
}

func (h *fakeHub) noLeak(t *testing.T) {
	t.Helper()
	h.mutex.Lock()
	defer h.mutex.Unlock()
	assert.Empty(t, h.leaked, "storage on another host saw the token")
	require.NotEmpty(t, h.requests)
}
