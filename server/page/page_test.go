package page

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func get(method, path string, header ...string) *httptest.ResponseRecorder {
	w, r := httptest.NewRecorder(), httptest.NewRequest(method, path, nil)
	if len(header) == 2 {
		r.Header.Set(header[0], header[1])
	}
	Handler().ServeHTTP(w, r)
	return w
}

func TestHandler(t *testing.T) {
	w := get(http.MethodGet, "/")
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "text/html; charset=utf-8", w.Header().Get("Content-Type"))
	assert.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
	assert.Contains(t, w.Body.String(), "<title>vkbert</title>")
	assert.Equal(t, http.StatusNotModified, get(http.MethodGet, "/", "If-None-Match", w.Header().Get("ETag")).Code)
	assert.Empty(t, get(http.MethodHead, "/").Body.String())
	assert.Equal(t, http.StatusMethodNotAllowed, get(http.MethodPost, "/").Code)
	for _, path := range []string{"/page/", "/page/index.html", "/page/../page.go", "/page/none.js", "/files/app.js"} {
		assert.Equal(t, http.StatusNotFound, get(http.MethodGet, path).Code, path)
	}
	assert.Equal(t, "text/javascript; charset=utf-8", get(http.MethodGet, "/page/app.js").Header().Get("Content-Type"))
	assert.Equal(t, "image/svg+xml", get(http.MethodGet, "/page/icon.svg").Header().Get("Content-Type"))
}

// Every file that another names is there, and none is named that lies elsewhere.
func TestFilesAreComplete(t *testing.T) {
	named := regexp.MustCompile(`(?:src|href)="([^"#]+)"|from "\./([^"]+)"|url\(([^)]+)\)`)
	elsewhere := regexp.MustCompile(`https?://|//[a-z]+\.`)
	entries, err := fs.ReadDir(files, "files")
	require.NoError(t, err)
	for _, entry := range entries {
		data, err := fs.ReadFile(files, "files/"+entry.Name())
		require.NoError(t, err)
		for _, match := range named.FindAllStringSubmatch(string(data), -1) {
			path := match[1] + match[3]
			if match[2] != "" {
				path = "/page/" + match[2]
			}
			if path != "/health" && path != "/metrics" { // the server's
				assert.Equal(t, http.StatusOK, get(http.MethodGet, path).Code, "%s in %s", path, entry.Name())
			}
		}
		for _, address := range elsewhere.FindAllString(string(regexp.MustCompile(`"?http://www\.w3\.org/2000/svg"?`).ReplaceAll(data, nil)), -1) {
			t.Errorf("%s names %s", entry.Name(), address)
		}
	}
}
