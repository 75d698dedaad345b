package server

import (
	"net/http"
	"slices"
	"strings"
)

// modelsPath is what ids of models come behind.
const modelsPath = "/v1/models/"

// route sets the table of paths up.
func (s *Server) route() {
	s.mux, s.methods = http.NewServeMux(), map[string][]string{}
	add := func(method string, a api, flags string, handle func(*call) error, paths ...string) {
		for _, path := range paths {
			e := endpoint{path: path, api: a, work: strings.Contains(flags, "work"), open: strings.Contains(flags, "open"), handle: handle}
			s.mux.HandleFunc(method+" "+path, s.answer(e))
			s.methods[path] = append(s.methods[path], method)
		}
	}
	add("POST", openai, "work", (*call).openaiEmbeddings, "/v1/embeddings", "/embeddings")
	add("POST", openai, "work", (*call).openaiRerank, "/v1/rerank")
	add("GET", openai, "", (*call).openaiModels, "/v1/models")
	add("GET", openai, "", (*call).openaiModel, modelsPath+"{id...}")

	add("POST", tei, "work", (*call).teiAny, "/{$}", "/invocations")
	add("POST", tei, "work", reads((*call).teiEmbed), "/embed")
	add("POST", tei, "work", reads((*call).teiEmbedAll), "/embed_all")
	add("POST", tei, "work", reads((*call).teiEmbedSparse), "/embed_sparse")
	add("POST", tei, "work", reads((*call).teiRerank), "/rerank")
	add("POST", tei, "work", reads((*call).teiPredict), "/predict")
	add("POST", tei, "work", reads((*call).teiSimilarity), "/similarity")
	add("POST", tei, "work", (*call).teiTokenize, "/tokenize")
	add("POST", tei, "work", (*call).teiDecode, "/decode")
	add("GET", tei, "", (*call).teiInfo, "/info")
	add("GET", tei, "open", (*call).health, "/health", "/ping")
	add("GET", tei, "", func(c *call) error { c.Server.metrics.handler.ServeHTTP(c.w, c.r); return nil }, "/metrics")

	add("POST", ollama, "work", (*call).ollamaEmbed, "/api/embed")
	add("POST", ollama, "work", (*call).ollamaEmbeddings, "/api/embeddings")
	add("POST", ollama, "work", (*call).ollamaGenerate, "/api/generate")
	add("POST", ollama, "work", (*call).ollamaChat, "/api/chat")
	add("POST", ollama, "", (*call).ollamaShow, "/api/show")
	add("GET", ollama, "", (*call).ollamaTags, "/api/tags")
	add("GET", ollama, "", (*call).ollamaPs, "/api/ps")
	add("GET", ollama, "", (*call).ollamaVersion, "/api/version")
	add("GET", ollama, "", (*call).status, "/api/status")

	add("POST", weaviate, "work", (*call).weaviateVectors, "/vectors", "/vectors/")
	add("GET", weaviate, "open", (*call).weaviateReady, "/.well-known/ready")
	add("GET", weaviate, "open", (*call).weaviateLive, "/.well-known/live")
	add("GET", weaviate, "", (*call).weaviateMeta, "/meta")

	add("GET", tei, "open", (*call).page, "/{$}", "/page/")
	for path := range s.methods {
		if len(s.options.CORSOrigins) > 0 {
			s.mux.HandleFunc("OPTIONS "+path, s.answer(endpoint{path: path, api: formOf(path), open: true, handle: (*call).preflight}))
		}
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.answer(endpoint{path: "(none)", api: formOf(r.URL.Path), handle: (*call).lost})(w, r)
	})
}

// reads is a handler that takes its request from the body.
func reads[T any](handle func(*call, T) error) func(*call) error {
	return func(c *call) error {
		var q T
		if err := c.body(&q); err != nil {
			return err
		}
		return handle(c, q)
	}
}

// formOf is the form of errors at a path.
func formOf(path string) api {
	switch {
	case strings.HasPrefix(path, "/v1/"), path == "/embeddings":
		return openai
	case strings.HasPrefix(path, "/api/"):
		return ollama
	case strings.HasPrefix(path, "/vectors"), strings.HasPrefix(path, "/.well-known/"), path == "/meta":
		return weaviate
	}
	return tei
}

// lost answers what no route does: another method of a path that there is, or nothing.
func (c *call) lost() error {
	var allowed []string
	for _, method := range []string{"GET", "POST"} {
		r := c.r.Clone(c.ctx)
		r.Method = method
		if _, pattern := c.mux.Handler(r); pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		return failf(noRoute, "", "no such path: %.200s", c.r.URL.Path)
	}
	if slices.Contains(allowed, "GET") {
		allowed = append(allowed, "HEAD")
	}
	c.w.Header().Set("Allow", strings.Join(allowed, ", "))
	return failf(noMethod, "", "%.20s is not allowed here: want %s", c.r.Method, strings.Join(allowed, ", "))
}

// page is what people see.
func (c *call) page() error {
	if c.options.Page != nil {
		c.options.Page.ServeHTTP(c.w, c.r)
		return nil
	}
	if c.r.URL.Path != "/" {
		return failf(noRoute, "", "no such path: %.200s", c.r.URL.Path)
	}
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := c.w.Write([]byte("vkbert is running\n"))
	return err
}
