package main

import (
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// newHub serves a folder as the model org/tiny. loader/hub tests what can go wrong; here it is enough that the parts fit.
func newHub(t *testing.T, dir string) *httptest.Server {
	const commit = "0123456789012345678901234567890123456789"
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case r.Header.Get("Authorization") != "Bearer hf_test":
			w.WriteHeader(http.StatusUnauthorized)
		case path == "/api/models/org/tiny/revision/main" || path == "/api/models/org/tiny/revision/v1":
			siblings := []map[string]any{}
			assert.NoError(t, filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				data, err := os.ReadFile(file)
				name, _ := filepath.Rel(dir, file)
				git := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(data)), data...))
				siblings = append(siblings, map[string]any{"rfilename": filepath.ToSlash(name), "size": len(data), "blobId": fmt.Sprintf("%x", git)})
				return err
			}))
			assert.NoError(t, json.NewEncoder(w).Encode(map[string]any{"sha": commit, "siblings": siblings}))
		case strings.HasPrefix(path, "/org/tiny/resolve/"+commit+"/"):
			http.ServeFile(w, r, filepath.Join(dir, strings.TrimPrefix(path, "/org/tiny/resolve/"+commit+"/")))
		default:
			w.Header().Set("X-Error-Code", "RepoNotFound")
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(hub.Close)
	return hub
}

func TestDownload(t *testing.T) {
	hub := newHub(t, tiny("sharded"))
	cache := t.TempDir()
	t.Setenv("HF_HUB_CACHE", cache)
	t.Setenv("HF_ENDPOINT", hub.URL)
	t.Setenv("HF_TOKEN", "hf_test")
	dir := strings.TrimSuffix(good(t, "", "download", "org/tiny"), "\n")
	assert.Equal(t, filepath.Join(cache, "models--org--tiny", "snapshots"), filepath.Dir(dir))
	assert.NoFileExists(t, filepath.Join(dir, "golden.json"), "not a file of a model")

	golden := filepath.Join(tiny("sharded"), "golden.json")
	for _, model := range []string{"org/tiny", dir, filepath.Join(dir, "model.safetensors.index.json")} {
		assert.Contains(t, good(t, "", "verify", "-m", model, "--device", "cpu", golden), "org/tiny on ", model)
	}
	assert.Equal(t, dir+"\n", good(t, "", "download", "org/tiny@v1"))
	assert.Equal(t, dir+"\n", good(t, "", "download", "org/tiny", "--revision", "v1"))

	vkb(t, "", "download", "org/other").bad(t, exitFailed, "no such model")
	vkb(t, "", "download", "../x").bad(t, exitFailed, "want an id")
	t.Setenv("HF_ENDPOINT", "http://127.0.0.1:1")
	vkb(t, "", "download", "org/tiny").bad(t, exitFailed, "the Hub cannot be reached: 127.0.0.1:1")
	t.Setenv("HF_TOKEN", "")
	t.Setenv("HF_ENDPOINT", hub.URL)
	vkb(t, "", "download", "org/tiny").bad(t, exitFailed, "HF_TOKEN")
}
