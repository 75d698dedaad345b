// Package page is the page that a server shows at /: what is loaded and on what device, the load at this moment, and a playground. Its files are embedded and
// ask nobody but the server that they come from.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed files
var files embed.FS

// policy lets the page load its own files and talk to its own server: nothing inline, nothing from elsewhere, no frame around it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

type asset struct {
	name string
	data []byte
	etag string
	kind string
}

// Handler answers GET and HEAD of / and of what lies below /page/. It has no state and needs no key: the page asks for one where the server wants it.
func Handler() http.Handler {
	assets := map[string]asset{}
	entries, err := fs.ReadDir(files, "files")
	if err != nil {
		panic(err) // they are embedded
	}
	for _, entry := range entries {
		name := entry.Name()
		data, err := fs.ReadFile(files, path.Join("files", name))
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(data)
		a := asset{name: name, data: data, etag: `"` + hex.EncodeToString(sum[:12]) + `"`, kind: kindOf(name)}
		if name == "index.html" {
			assets["/"] = a
		} else {
			assets["/page/"+name] = a
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := assets[r.URL.Path]
		switch {
		case !ok:
			http.NotFound(w, r)
			return
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		h := w.Header()
		h.Set("Content-Type", a.kind)
		h.Set("Content-Security-Policy", policy)
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache") // ask again, by the ETag
		h.Set("ETag", a.etag)
		http.ServeContent(w, r, a.name, time.Time{}, bytes.NewReader(a.data))
	})
}

// kindOf is not left to the machine's own table of types, which may say otherwise.
func kindOf(name string) string {
	switch ext := path.Ext(name); ext {
	case ".html":
		return "text/html; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	default:
		return strings.TrimSpace(mime.TypeByExtension(ext))
	}
}
