package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/vkbert/vkbert"
)

// A call is a request that is being answered.
type call struct {
	*Server
	w   *recorder
	r   *http.Request
	ctx context.Context // ends with the client's connection, the deadline or the server
	endpoint
	id      string
	start   time.Time
	model   string // its name, once it is known
	inputs  int
	tokens  int
	held    int64         // bytes that are counted as buffered
	prepare time.Duration // tokenizing
	compute time.Duration // waiting for the device, and its work
	span    trace.Span
}

// An endpoint is what is known of a route.
type endpoint struct {
	path   string
	api    api
	work   bool // takes part in the limits, and is counted
	open   bool // needs no API key
	handle func(*call) error
}

// recorder knows what was written.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

var tracing propagation.TraceContext

// answer makes a handler of an endpoint.
func (s *Server) answer(e endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{Server: s, w: &recorder{ResponseWriter: w}, r: r, endpoint: e, id: requestID(r), start: time.Now()}
		c.w.Header().Set("X-Request-Id", c.id)
		ctx, span := s.tracer.Start(tracing.Extract(r.Context(), propagation.HeaderCarrier(r.Header)), r.Method+" "+e.path, trace.WithSpanKind(trace.SpanKindServer))
		c.ctx, c.span = ctx, span
		defer c.finish()
		err := c.admit()
		if err == nil && c.work {
			defer c.working.leave()
			var cancel context.CancelFunc
			if c.options.RequestTimeout > 0 {
				c.ctx, cancel = context.WithTimeout(c.ctx, c.options.RequestTimeout)
			} else {
				c.ctx, cancel = context.WithCancel(c.ctx)
			}
			defer cancel()
			defer context.AfterFunc(c.life, cancel)()
		}
		if err == nil {
			err = c.handle(c)
		}
		if err != nil {
			c.fail(failureOf(err))
		}
	}
}

// admit keeps out those without a key, and what there is no room for. Where it does not fail, work of the endpoint was counted.
func (c *call) admit() error {
	c.cors()
	if !c.open && !c.allowed() {
		c.w.Header().Set("WWW-Authenticate", "Bearer")
		return failf(noKey, "", "no API key, or not one of this server's: want the header \"Authorization: Bearer KEY\"")
	}
	if !c.work {
		return nil
	}
	if c.draining.Load() {
		c.w.Header().Set("Connection", "close")
		return failf(unhealthy, "", "the server is shutting down")
	}
	if !c.working.enter(c.options.MaxConcurrent) {
		return failf(overloaded, "", "model is overloaded: %d requests are at work", c.options.MaxConcurrent)
	}
	if c.draining.Load() { // it began just now, and may not have seen this one
		c.working.leave()
		c.w.Header().Set("Connection", "close")
		return failf(unhealthy, "", "the server is shutting down")
	}
	return nil
}

func (c *call) allowed() bool {
	if len(c.keys) == 0 {
		return true
	}
	scheme, key, ok := strings.Cut(c.r.Header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(key)) // of one length, so that comparing takes the same time for all
	match := 0
	for _, k := range c.keys {
		match |= subtle.ConstantTimeCompare(sum[:], k[:])
	}
	return ok && strings.EqualFold(scheme, "Bearer") && match == 1 // RFC 9110, section 11.1: schemes are case-insensitive
}

// cors sets what lets pages of other origins read the response.
func (c *call) cors() {
	if len(c.options.CORSOrigins) == 0 {
		return
	}
	h := c.w.Header()
	h.Add("Vary", "Origin")
	origin := c.r.Header.Get("Origin")
	switch {
	case origin == "":
	case slices.Contains(c.options.CORSOrigins, "*"):
		h.Set("Access-Control-Allow-Origin", "*")
	case slices.Contains(c.options.CORSOrigins, origin):
		h.Set("Access-Control-Allow-Origin", origin)
	default:
		return
	}
	h.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After")
}

// preflight answers what browsers ask before a request of another origin.
func (c *call) preflight() error {
	h := c.w.Header()
	if h.Get("Access-Control-Allow-Origin") != "" {
		h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS")
		h.Add("Vary", "Access-Control-Request-Headers")
		h.Set("Access-Control-Allow-Headers", allowedHeaders(c.r.Header.Values("Access-Control-Request-Headers")))
		h.Set("Access-Control-Max-Age", "600")
	}
	h.Set("Allow", strings.Join(c.methods[c.path], ", "))
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// allowedHeaders are those that pages may send: what they ask for, since clients add some of their own (openai's are called X-Stainless-…) and none means anything here
// but Authorization, which must be named. Cookies are not among them.
func allowedHeaders(asked []string) string {
	allowed := []string{"Authorization", "Content-Type", "X-Request-Id"}
	for name := range strings.SplitSeq(strings.Join(asked, ","), ",") {
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		if plain(name) && len(allowed) < 64 && !slices.Contains(allowed, name) {
			allowed = append(allowed, name)
		}
	}
	return strings.Join(allowed, ", ")
}

// body reads the request's JSON into v.
func (c *call) body(v any) error {
	if encoding := c.r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return failf(encoded, "", "Content-Encoding %q: want identity, a body that is not compressed", encoding)
	}
	size := c.r.ContentLength
	limit := c.options.MaxBodyBytes
	if limit >= 0 && size > limit {
		c.w.Header().Set("Connection", "close") // it is not read
		return failf(tooLarge, "", "the body is larger than %d bytes", limit)
	}
	if size < 0 {
		c.r.Body = counted{c.r.Body, c}
	} else if err := c.hold(size); err != nil {
		return err
	}
	return decodeBody(c.w, c.r, limit, c.options.MaxInputs, v)
}

// A counted body is one of unknown length: its bytes are held as they come, so that those who send few keep nobody else out.
type counted struct {
	io.ReadCloser
	call *call
}

func (b counted) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if full := b.call.hold(int64(n)); full != nil {
		return 0, full
	}
	return n, err
}

// hold counts bytes that the request keeps until it ends, and says whether there is room for them.
func (c *call) hold(bytes int64) error {
	limit := c.options.MaxBufferedBytes
	if over(c.held+bytes, limit) {
		return failf(tooLarge, "", "the request and its result take %d bytes, want at most %d", c.held+bytes, limit)
	}
	for before := c.buffered.Load(); !over(before+bytes, limit); before = c.buffered.Load() {
		if c.buffered.CompareAndSwap(before, before+bytes) {
			c.held += bytes
			return nil
		}
	}
	return failf(overloaded, "", "model is overloaded: the requests at work have too many bytes")
}

func (c *call) letGo(bytes int64) {
	c.held -= bytes
	c.buffered.Add(-bytes)
}

// use opens the model that the request names, "" for the first of a kind, for the time of the request. finish must be called.
func (c *call) use(name string, kinds ...vkbert.Kind) (*use, error) {
	m, err := c.find(name, kinds...)
	if err != nil {
		return nil, err
	}
	c.model = m.Name
	e, took, err := m.acquire(c.ctx)
	if err != nil {
		return nil, err
	}
	if err := e.Health(); err != nil {
		m.release(nil)
		return nil, &failure{class: unhealthy, message: "model is not ready: its device was lost", cause: err}
	}
	return &use{engine: e, served: m, loading: took, call: c}, nil
}

// A use is a model in a request's hands.
type use struct {
	*engine
	served  *served
	call    *call
	loading time.Duration
	keep    *time.Duration
	tokens  int64
	short   int64 // of them, those that count as short
}

func (u *use) finish() {
	u.served.tokens.Add(-u.tokens)
	u.served.short.Add(-u.short)
	u.served.release(u.keep)
}

// what results have a row for
type rowsOf bool

const (
	eachText  rowsOf = false
	eachToken rowsOf = true
)

// prepared tokenizes and says whether there is room for the tokens, and for results of so many numbers a text or a token.
func (u *use) prepared(prepare func(context.Context) (*vkbert.Prepared, error), width int, each rowsOf) (p *vkbert.Prepared, err error) {
	c := u.call
	err = c.timed("tokenize", &c.prepare, func(ctx context.Context) (err error) {
		p, err = prepare(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.inputs += p.Texts()
	rows := p.Texts()
	if each == eachToken {
		rows = p.Tokens()
	}
	if err = u.take(p.Tokens()); err == nil {
		err = c.hold(4 * int64(rows) * int64(width))
	}
	return p, err
}

// take counts tokens of the request, if there is room for them: those of a request that is refused keep no other out. A short request does not wait for the long
// ones, so those do not count for it.
func (u *use) take(tokens int) error {
	c, n := u.call, int64(tokens)
	if err := c.count(tokens); err != nil {
		return err
	}
	stats := u.served.stats()
	short := tokens <= stats.BatchTokens/4
	u.served.taking.Lock()
	defer u.served.taking.Unlock()
	ahead := u.served.tokens.Load() - u.tokens
	if short {
		ahead = u.served.short.Load() - u.short
	}
	if err := c.room(ahead, n, stats.Speed); err != nil {
		return err
	}
	u.served.tokens.Add(n)
	u.tokens += n
	if short {
		u.served.short.Add(n)
		u.short += n
	}
	return nil
}

// room says whether tokens may wait behind so many others, of which the device does so many a second. Alone they always may: it would never be their turn.
func (c *call) room(ahead, tokens int64, speed float64) error {
	if ahead == 0 {
		return nil
	}
	if over(ahead+tokens, int64(c.options.MaxQueuedTokens)) {
		return failf(overloaded, "", "model is overloaded: %d tokens wait", ahead)
	}
	if wait := howLong(ahead+tokens, speed); over(wait, c.options.MaxQueueTime) {
		f := failf(overloaded, "", "model is overloaded: what waits takes about %.0f seconds", wait.Seconds())
		f.retry = wait - c.options.MaxQueueTime
		return f
	}
	return nil
}

// howLong is what tokens take at so many a second, 0 if that is not known.
func howLong(tokens int64, speed float64) time.Duration {
	if speed <= 0 {
		return 0
	}
	return time.Duration(float64(tokens) / speed * float64(time.Second))
}

// count counts tokens, also of what no device works on.
func (c *call) count(tokens int) error {
	if c.tokens += tokens; over(c.tokens, c.options.MaxTokens) {
		return failf(tooLarge, "", "%d tokens, want at most %d in a request", c.tokens, c.options.MaxTokens)
	}
	return nil
}

// timed measures tokenizing or computing, and makes a span of it.
func (c *call) timed(name string, total *time.Duration, do func(ctx context.Context) error) error {
	ctx := c.ctx
	if c.span.IsRecording() {
		var span trace.Span
		ctx, span = c.tracer.Start(ctx, name)
		defer span.End()
	}
	start := time.Now()
	err := do(ctx)
	*total += time.Since(start)
	return err
}

// reply sends a value as JSON.
func (c *call) reply(v any) error { return c.replyStatus(http.StatusOK, v) }

func (c *call) replyStatus(status int, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(data)))
	c.w.WriteHeader(status)
	c.w.Write(data) //nolint:errcheck // the client is told nothing more
	return nil
}

// output begins a response of JSON.
func (c *call) output() *output {
	c.w.Header().Set("Content-Type", "application/json")
	return newOutput(c.w)
}

func (c *call) fail(f *failure) {
	if c.work {
		c.metrics.failed(c, f)
	}
	if f.cause != nil && f.class >= unhealthy && f.class != gone {
		c.log.Warn("request failed", "id", c.id, "route", c.path, "model", c.model, "error", f.cause)
	}
	if f.class >= unhealthy {
		c.span.SetStatus(codes.Error, "")
	}
	if c.w.status != 0 {
		panic(http.ErrAbortHandler) // too late for a status: the client sees a response that is cut off
	}
	if f.class == gone {
		c.w.status = c.api.status(f)
		panic(http.ErrAbortHandler)
	}
	if f.class == overloaded || f.class == unhealthy {
		c.w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(f.retry.Seconds())))))
	}
	c.w.Header().Del("Content-Length")
	c.replyStatus(c.api.status(f), c.api.body(f)) //nolint:errcheck // it is made of strings
}

// finish is the end of every call, also of one that panics.
func (c *call) finish() {
	p := recover()
	if p != nil && p != http.ErrAbortHandler { //nolint:errorlint // it is compared as net/http does
		c.log.Error("panic", "id", c.id, "route", c.path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		if c.w.status == 0 {
			f := failf(failed, "", "internal error")
			c.replyStatus(c.api.status(f), c.api.body(f)) //nolint:errcheck // it is made of strings
			p = nil
		} else {
			p = http.ErrAbortHandler
		}
	}
	c.letGo(c.held)
	took := time.Since(c.start)
	if c.work {
		c.metrics.done(c, took)
	}
	if c.span.IsRecording() {
		c.span.SetAttributes(attribute.String("http.request.method", c.r.Method), attribute.String("http.route", c.path), attribute.Int("http.response.status_code", c.w.status),
			attribute.String("vkbert.model", c.model), attribute.Int("vkbert.texts", c.inputs), attribute.Int("vkbert.tokens", c.tokens))
	}
	c.span.End()
	level := slog.LevelInfo
	if !c.work {
		level = slog.LevelDebug
	}
	if c.log.Enabled(c.ctx, level) {
		c.log.LogAttrs(c.ctx, level, "request", slog.String("id", c.id), slog.String("method", c.r.Method), slog.String("route", c.path), slog.Int("status", c.w.status),
			slog.String("model", c.model), slog.Int("texts", c.inputs), slog.Int("tokens", c.tokens), slog.Int("bytes", c.w.bytes), slog.Duration("took", took), slog.String("from", c.r.RemoteAddr))
	}
	if p != nil {
		panic(p)
	}
}

// requestID is the client's, if it sent one that can stand in a log, else a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	if len(id) <= 128 && plain(id) {
		return id
	}
	const digits = "0123456789abcdef"
	var out [16]byte
	for i, n := 0, rand.Uint64(); i < len(out); i, n = i+1, n>>4 {
		out[i] = digits[n&15]
	}
	return string(out[:])
}

// plain says whether a text is of letters, digits and a few signs alone, and not empty.
func plain(s string) bool {
	return s != "" && strings.IndexFunc(s, func(c rune) bool {
		return c != '-' && c != '_' && c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	}) < 0
}
