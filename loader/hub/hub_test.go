package hub

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var wanted = []string{
	"1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors", "README.md", "config.json", "config_sentence_transformers.json",
	"model.safetensors", "modules.json", "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt",
}

// tree lists the files below a folder, links followed.
func tree(t *testing.T, dir string) []string {
	var names []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	}))
	slices.Sort(names)
	return names
}

// nothingVisible says that a cache holds no snapshot, and nothing half-written but, where may be, under its own name.
func nothingVisible(t *testing.T, cacheDir string, partly ...string) {
	t.Helper()
	var incomplete []string
	for _, name := range tree(t, cacheDir) {
		assert.Contains(t, name, "/blobs/")
		if strings.Contains(name, "incomplete") {
			incomplete = append(incomplete, strings.TrimSuffix(filepath.Base(name), ".vkbert.incomplete"))
		}
	}
	assert.Equal(t, partly, incomplete)
}

func TestDownload(t *testing.T) {
	h := newFakeHub(t)
	h.private = true
	o := h.options(t)
	o.Token = testToken
	var last, total int64
	o.Progress = func(done, all int64) {
		assert.GreaterOrEqual(t, done, last)
		last, total = done, all
	}
	dir, err := Download(t.Context(), testID, o)
	require.NoError(t, err)
	root := filepath.Join(o.CacheDir, "models--org--tiny-model")
	assert.Equal(t, filepath.Join(root, "snapshots", testCommit), dir)
	assert.Equal(t, wanted, tree(t, dir))
	for _, name := range wanted {
		data, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.True(t, h.files[name] == string(data), name)
		link, err := os.Readlink(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, strings.Repeat("../", 2+strings.Count(name, "/"))+"blobs/"+etag(name, h.files[name]), link)
	}
	ref, err := os.ReadFile(filepath.Join(root, "refs", "main"))
	require.NoError(t, err)
	assert.Equal(t, testCommit, string(ref))
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	assert.Len(t, entries, 3, "blobs, refs, snapshots and nothing else")
	assert.Greater(t, total, int64(len(h.files["model.safetensors"])))
	assert.Equal(t, total, last)
	h.noLeak(t)

	t.Run("again", func(t *testing.T) {
		before := len(h.requests)
		again, err := Download(t.Context(), testID, o)
		require.NoError(t, err)
		assert.Equal(t, dir, again)
		assert.Equal(t, before+1, len(h.requests), "the list of files and nothing else")
	})
	t.Run("what is missing or damaged", func(t *testing.T) {
		require.NoError(t, os.Remove(filepath.Join(dir, "vocab.txt")))
		require.NoError(t, os.Remove(filepath.Join(dir, "model.safetensors")))
		require.NoError(t, os.WriteFile(filepath.Join(root, "blobs", etag("config.json", h.files["config.json"])), nil, 0o666))
		last = 0
		again, err := Download(t.Context(), testID, o)
		require.NoError(t, err)
		assert.Equal(t, dir, again)
		assert.Equal(t, wanted, tree(t, dir))
		data, err := os.ReadFile(filepath.Join(dir, "config.json"))
		require.NoError(t, err)
		assert.Equal(t, h.files["config.json"], string(data))
	})
}

func TestRevision(t *testing.T) {
	for revision, ref := range map[string]string{"refs/pr/1": "refs/refs/pr/1", testCommit: "", "": "refs/main"} {
		t.Run(revision, func(t *testing.T) {
			h := newFakeHub(t)
			o := h.options(t)
			o.Revision = revision
			dir, err := Download(t.Context(), testID, o)
			require.NoError(t, err)
			assert.Equal(t, testCommit, filepath.Base(dir))
			root := filepath.Dir(filepath.Dir(dir))
			if ref == "" {
				assert.NoDirExists(t, filepath.Join(root, "refs"))
			} else {
				assert.FileExists(t, filepath.Join(root, ref))
			}
		})
	}
}

func TestRefused(t *testing.T) {
	status := func(code int, name string) func(*fakeHub, *Options) {
		return func(h *fakeHub, _ *Options) {
			h.refuse = func(w http.ResponseWriter) {
				w.Header().Set("X-Error-Code", name)
				w.WriteHeader(code)
			}
		}
	}
	listed := func(key string, value any) func(*fakeHub, *Options) {
		return func(h *fakeHub, _ *Options) {
			h.edit = func(list map[string]any) {
				for _, s := range list["siblings"].([]map[string]any) {
					if s["rfilename"] == "config.json" {
						s[key] = value
					}
				}
			}
		}
	}
	for _, c := range []struct {
		name, id string
		change   func(*fakeHub, *Options)
		kind     error
		says     string
	}{
		{"missing model", "org/other", nil, ErrNotFound, "HF_TOKEN"},
		{"wrong token", testID, func(h *fakeHub, o *Options) { h.private = true; o.Token = "hf_old" }, ErrDenied, "HF_TOKEN"},
		{"no token", testID, func(h *fakeHub, _ *Options) { h.private = true }, ErrNotFound, "HF_TOKEN"},
		{"gated", testID, status(403, "GatedRepo"), ErrDenied, "accept its terms"},
		{"forbidden", testID, status(403, ""), ErrDenied, "403"},
		{"missing revision", testID, func(_ *fakeHub, o *Options) { o.Revision = "v9" }, ErrNotFound, "revision"},
		{"404", testID, status(404, ""), ErrNotFound, "404"},
		{"500", testID, status(500, ""), ErrUnreachable, "try again later"},
		{"429", testID, status(429, ""), ErrUnreachable, "try again later"},
		{"teapot", testID, status(418, ""), ErrUnreachable, "418"},
		{"not a list", testID, func(h *fakeHub, _ *Options) { h.refuse = func(w http.ResponseWriter) { fmt.Fprint(w, "<html>") } }, ErrDamaged, "list of files"},
		{"endless list", testID, func(h *fakeHub, _ *Options) {
			h.refuse = func(w http.ResponseWriter) { io.CopyN(w, zeros{}, maxList+1000) }
		}, ErrDamaged, "over"},
		{"no commit", testID, func(h *fakeHub, _ *Options) { h.edit = func(l map[string]any) { l["sha"] = "../../x" } }, ErrDamaged, "commit"},
		{"path out of the folder", testID, listed("rfilename", "../../.bashrc"), ErrDamaged, "bashrc"},
		{"path of Windows", testID, listed("rfilename", `..\config.json`), ErrDamaged, "leads out"},
		{"drive", testID, listed("rfilename", `C:config.json`), ErrDamaged, "leads out"},
		{"no size", testID, listed("size", nil), ErrDamaged, "config.json"},
		{"no hash", testID, listed("blobId", "../x"), ErrDamaged, "config.json"},
		{"wrong hash", testID, listed("blobId", gitHash("other")), ErrDamaged, "hash"},
		{"wrong size", testID, listed("size", 3), ErrDamaged, "more than"},
		{"no safetensors", testID, func(h *fakeHub, _ *Options) {
			delete(h.files, "model.safetensors")
			delete(h.files, "2_Dense/model.safetensors")
		}, ErrUnsupported, "save_pretrained"},
		{"broken modules.json", testID, func(h *fakeHub, _ *Options) { h.files["modules.json"] = "{" }, ErrUnsupported, "modules.json"},
		{"id with a path", "../../etc", nil, ErrName, "want an id"},
		{"id with three parts", "a/b/c", nil, ErrName, "want an id"},
		{"empty id", "", nil, ErrName, "want an id"},
		{"revision with a path", testID, func(_ *fakeHub, o *Options) { o.Revision = "../x" }, ErrName, "revision"},
		{"endpoint", testID, func(_ *fakeHub, o *Options) { o.Endpoint = "ftp://x" }, ErrName, "HF_ENDPOINT"},
		{"nobody listens", testID, func(_ *fakeHub, o *Options) { o.Endpoint = "http://127.0.0.1:1" }, ErrUnreachable, "check the network"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newFakeHub(t)
			o := h.options(t)
			if c.change != nil {
				c.change(h, &o)
			}
			dir, err := Download(t.Context(), c.id, o)
			require.ErrorIs(t, err, c.kind)
			assert.ErrorContains(t, err, c.says)
			assert.NotContains(t, err.Error(), "\n")
			assert.NotContains(t, err.Error(), "hf_")
			assert.Empty(t, dir)
			nothingVisible(t, o.CacheDir)
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// cut sends the first n bytes of what is asked for and drops the connection.
func cut(w http.ResponseWriter, r *http.Request, contents string, n int) {
	var from int
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(contents)-1, len(contents)))
		w.Header().Set("Content-Length", fmt.Sprint(len(contents)-from))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.Header().Set("Content-Length", fmt.Sprint(len(contents)))
	}
	io.WriteString(w, contents[from:min(from+n, len(contents))])
	if from+n < len(contents) {
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

func TestBrokenTransfer(t *testing.T) {
	type send = func(w http.ResponseWriter, r *http.Request, name, contents string)
	whole := func(w http.ResponseWriter, contents string) { io.WriteString(w, contents) }
	weights := []string{etag("model.safetensors", newFakeHub(t).files["model.safetensors"])}
	for _, c := range []struct {
		name  string
		send  func() send
		kind  error // nil: it succeeds
		says  string
		keeps []string // what has arrived
	}{
		{"cut again and again, taken up", func() send {
			return func(w http.ResponseWriter, r *http.Request, _, contents string) { cut(w, r, contents, 300_000) }
		}, nil, "", nil},
		{"cut, and the server knows no ranges", func() send {
			calls := 0
			return func(w http.ResponseWriter, r *http.Request, _, contents string) {
				if calls++; calls == 1 {
					r.Header.Del("Range")
					cut(w, r, contents, len(contents)/2)
				}
				whole(w, contents)
			}
		}, nil, "", nil},
		{"always cut at the same place", func() send {
			return func(w http.ResponseWriter, r *http.Request, _, contents string) {
				r.Header.Del("Range")
				cut(w, r, contents, len(contents)/2)
			}
		}, ErrUnreachable, "unexpected EOF", weights},
		{"ends early without a word", func() send {
			return func(w http.ResponseWriter, _ *http.Request, _, contents string) { whole(w, contents[:len(contents)-1]) }
		}, ErrUnreachable, "the file ends after", weights},
		{"another range", func() send {
			calls := 0
			return func(w http.ResponseWriter, r *http.Request, _, contents string) {
				if calls++; calls == 1 {
					cut(w, r, contents, 5)
				}
				w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(contents)-1, len(contents)))
				w.WriteHeader(http.StatusPartialContent)
				whole(w, contents)
			}
		}, ErrDamaged, "range", nil},
		{"endless", func() send {
			return func(w http.ResponseWriter, _ *http.Request, _, _ string) { io.Copy(w, zeros{}) }
		}, ErrDamaged, "more than", nil},
		{"one bit", func() send {
			return func(w http.ResponseWriter, _ *http.Request, _, contents string) {
				whole(w, contents[:len(contents)-1]+string(contents[len(contents)-1]^1))
			}
		}, ErrDamaged, "hash", nil},
		{"storage refuses", func() send {
			return func(w http.ResponseWriter, _ *http.Request, _, _ string) { w.WriteHeader(http.StatusForbidden) }
		}, ErrDenied, "403", nil},
		{"stalls", func() send {
			return func(w http.ResponseWriter, r *http.Request, _, contents string) {
				w.Header().Set("Content-Length", fmt.Sprint(len(contents)))
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			}
		}, ErrUnreachable, "no data for too long", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newFakeHub(t)
			delete(h.files, "2_Dense/model.safetensors") // one large file
			delete(h.files, "2_Dense/pytorch_model.bin")
			h.send = c.send()
			o := h.options(t)
			o.Token = testToken
			o.stall = 200 * time.Millisecond
			dir, err := Download(t.Context(), testID, o)
			h.noLeak(t)
			if c.kind == nil {
				require.NoError(t, err)
				data, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
				require.NoError(t, err)
				assert.True(t, h.files["model.safetensors"] == string(data))
				return
			}
			require.ErrorIs(t, err, c.kind)
			assert.ErrorContains(t, err, c.says)
			assert.NotContains(t, err.Error(), "s3cr3t", "the signature of a URL")
			nothingVisible(t, o.CacheDir, c.keeps...)
		})
	}
}

func TestCancelled(t *testing.T) {
	h := newFakeHub(t)
	ctx, cancel := context.WithCancel(t.Context())
	h.send = func(w http.ResponseWriter, r *http.Request, _, contents string) {
		io.WriteString(w, contents[:5])
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	}
	o := h.options(t)
	start := time.Now()
	_, err := Download(ctx, testID, o)
	require.ErrorIs(t, err, context.Canceled)
	assert.Less(t, time.Since(start), 5*time.Second)
	for _, name := range tree(t, o.CacheDir) {
		assert.Contains(t, name, "/blobs/")
	}

	h.send = nil
	_, err = Download(t.Context(), testID, o)
	require.NoError(t, err)
	assert.Equal(t, 1, h.asked("/resolve/"+testCommit+"/config.json"), "what was complete is not downloaded again")
}

func TestUnwritableCache(t *testing.T) {
	h := newFakeHub(t)
	o := h.options(t)
	o.CacheDir = filepath.Join(o.CacheDir, "file")
	require.NoError(t, os.WriteFile(o.CacheDir, nil, 0o666))
	_, err := Download(t.Context(), testID, o)
	require.ErrorContains(t, err, o.CacheDir)
}

func TestEnvironment(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, "token")
	require.NoError(t, os.WriteFile(file, []byte("from-file\n"), 0o600))
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_ENDPOINT", "XDG_CACHE_HOME"} {
		t.Setenv(name, "")
	}
	t.Setenv("HF_HOME", home)
	token := func() string {
		o, err := Environment()
		require.NoError(t, err)
		return o.Token
	}
	assert.Equal(t, "from-file", token())
	t.Setenv("HUGGING_FACE_HUB_TOKEN", "legacy")
	assert.Equal(t, "legacy", token())
	t.Setenv("HF_TOKEN", " hf_x\n")
	assert.Equal(t, "hf_x", token())
	t.Setenv("HF_ENDPOINT", "https://mirror.example")
	o, err := Environment()
	require.NoError(t, err)
	assert.Equal(t, "https://mirror.example", o.Endpoint)

	t.Setenv("HF_TOKEN", "")
	t.Setenv("HUGGING_FACE_HUB_TOKEN", "")
	t.Setenv("HF_HOME", t.TempDir())
	assert.Empty(t, token())
	t.Setenv("HF_TOKEN_PATH", file)
	assert.Equal(t, "from-file", token())
	require.NoError(t, os.WriteFile(file, []byte("two\nlines"), 0o600))
	_, err = Environment()
	require.ErrorContains(t, err, file)
	if runtime.GOOS != "windows" {
		t.Setenv("HF_TOKEN_PATH", home) // a folder
		_, err = Environment()
		require.Error(t, err)
	}
}
