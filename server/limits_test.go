package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/vkbert/vkbert"
)

// listen serves on the loopback until the test ends, or stop is called.
func (s *testServer) listen() (addr string, stop func() error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	s.t.Cleanup(func() { stop() })
	return l.Addr().String(), stop
}

// TestLongBody: a body of unknown length is cut off at the limit.
func TestLongBody(t *testing.T) {
	s := start(t, Options{})
	for _, r := range inputRoutes {
		request := r.with(`"a"`)
		a := s.doContext(t.Context(), "POST", r.path, io.MultiReader(strings.NewReader(request[:len(request)-1]), strings.NewReader(strings.Repeat(" ", 3<<20)+"}")))
		assert.Equal(t, 413, a.status, r.path)
		formed(t, r.path, a)
		s.doContext(t.Context(), "POST", r.path, io.MultiReader(strings.NewReader(request))).good(t)
		assert.Zero(t, s.buffered.Load())
	}
}

// TestUnknownLength: bodies of unknown length hold what has come of them, not what may come.
func TestUnknownLength(t *testing.T) {
	s := start(t, Options{MaxBodyBytes: 1 << 20, MaxBufferedBytes: 256 << 10}, model("tiny", "tiny", "normalize"))
	const request = `{"inputs":"the cat"}`
	var sent []*io.PipeWriter
	var wait sync.WaitGroup
	for range 3 {
		from, to := io.Pipe()
		t.Cleanup(func() { to.Close() })
		sent = append(sent, to)
		wait.Add(1)
		go func() {
			defer wait.Done()
			a := s.doContext(context.Background(), "POST", "/embed", io.MultiReader(strings.NewReader(request[:1]), from))
			assert.Equal(t, 200, a.status, a.body)
		}()
	}
	require.Eventually(t, func() bool { return s.buffered.Load() == 3 }, 5*time.Second, time.Millisecond)
	s.post("/embed", request).good(t)
	s.doContext(t.Context(), "POST", "/embed", io.MultiReader(strings.NewReader(request))).good(t)
	a := s.doContext(t.Context(), "POST", "/embed", io.MultiReader(strings.NewReader(`{"inputs":"`+strings.Repeat("a", 300<<10)+`"}`)))
	s.bad(413, teiError(t, a, "Validation"), "over all that may be buffered")
	s.buffered.Add(255 << 10) // others hold that
	a = s.doContext(t.Context(), "POST", "/embed", io.MultiReader(strings.NewReader(`{"inputs":"`+strings.Repeat("a", 2<<10)+`"}`)))
	s.bad(429, teiError(t, a, "Overloaded"), "beside others")
	s.buffered.Add(-255 << 10)
	for _, to := range sent {
		_, err := to.Write([]byte(request[1:]))
		require.NoError(t, err)
		to.Close()
	}
	wait.Wait()
	assert.Zero(t, s.buffered.Load())
	for body, buffered := range map[int64]int64{0: 256 << 20, -1: 256 << 20, 300e6: 600e6, math.MaxInt64: math.MaxInt64 - 1} {
		assert.Equal(t, buffered, Options{MaxBodyBytes: body}.withDefaults().MaxBufferedBytes, body)
	}
}

// TestSlowHeaders: a client that never ends its header loses its connection.
func TestSlowHeaders(t *testing.T) {
	s := start(t, Options{ReadHeaderTimeout: 100 * time.Millisecond, ReadTimeout: 200 * time.Millisecond}, model("tiny", "tiny", "normalize"))
	addr, _ := s.listen()
	for _, sent := range []string{"POST /embed HT", "POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"} {
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		fmt.Fprint(c, sent)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
		_, err = io.Copy(io.Discard, c)
		require.NoError(t, err, "it was closed")
		c.Close()
	}
}

func TestKeysAndOrigins(t *testing.T) {
	s := start(t, Options{APIKeys: []string{"secret", "other"}, CORSOrigins: []string{"https://app.example"}}, model("tiny", "tiny", "normalize"))
	const body = `{"model":"tiny","input":"a"}`
	for _, header := range []string{"", "Bearer wrong", "secret", "Bearer ", "Basic secret", "bearer SECRET", "bearersecret", " secret"} {
		a := s.do("POST", "/v1/embeddings", body, "Authorization", header)
		s.bad(401, openaiError(t, a, "", "invalid_api_key"), header)
	}
	for _, key := range []string{"secret", "other"} {
		for _, scheme := range []string{"Bearer ", "bearer ", "BEARER "} {
			s.do("POST", "/v1/embeddings", body, "Authorization", scheme+key).good(t)
		}
	}
	for path, status := range map[string]int{"/health": 200, "/ping": 200, "/.well-known/ready": 204, "/": 200, "/info": 401, "/metrics": 401, "/api/status": 401, "/v1/models": 401, "/nothing": 401} {
		assert.Equal(t, status, s.do("GET", path, "").status, path)
	}
	a := s.do("OPTIONS", "/v1/embeddings", "", "Origin", "https://app.example", "Access-Control-Request-Method", "POST")
	assert.Equal(t, 204, a.status)
	assert.Equal(t, "https://app.example", a.header.Get("Access-Control-Allow-Origin"))
	assert.Contains(t, a.header.Get("Access-Control-Allow-Headers"), "Authorization")
	assert.Empty(t, s.do("GET", "/health", "", "Origin", "https://evil.example").header.Get("Access-Control-Allow-Origin"))
	open := start(t, Options{}, model("tiny", "tiny", "normalize"))
	assert.Empty(t, open.do("GET", "/health", "", "Origin", "https://app.example").header.Get("Access-Control-Allow-Origin"))
}

// TestLimits: what is over a limit is refused in time, and what is within it is not.
func TestLimits(t *testing.T) {
	s := start(t, Options{MaxInputs: 2, MaxTokens: 20, MaxConcurrent: 1}, model("tiny", "tiny", "normalize"))
	s.post("/v1/embeddings", `{"model":"tiny","input":["a","b"]}`).good(t)
	s.bad(413, s.post("/v1/embeddings", `{"model":"tiny","input":["a","b","c"]}`), "inputs")
	s.bad(413, s.post("/v1/embeddings", `{"model":"tiny","input":"`+longText+`"}`), "tokens")
	require.True(t, s.working.enter(1)) // a request is at work
	a := s.post("/v1/embeddings", `{"model":"tiny","input":"a"}`)
	s.bad(429, openaiError(t, a, "", "rate_limit_exceeded"), "concurrent")
	assert.Equal(t, "1", a.header.Get("Retry-After"))
	s.bad(429, teiError(t, s.post("/embed", `{"inputs":"a"}`), "Overloaded"), "concurrent")
	assert.Equal(t, 200, s.do("GET", "/health", "").status)
	s.working.leave()
	s.post("/v1/embeddings", `{"model":"tiny","input":"a"}`).good(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.Panics(t, func() { s.doContext(ctx, "POST", "/embed", strings.NewReader(`{"inputs":"a"}`)) }, "the connection is given up")
	assert.Zero(t, s.working.now())
}

// TestCompressed: a body that is compressed, which the server does not read, is told apart from one that is no JSON.
func TestCompressed(t *testing.T) {
	s := start(t, Options{}, model("tiny", "tiny", "normalize"))
	s.do("POST", "/embed", `{"inputs":"a"}`, "Content-Encoding", "identity").good(t)
	a := s.do("POST", "/embed", "\x1f\x8b\x08", "Content-Encoding", "gzip")
	assert.Equal(t, http.StatusUnsupportedMediaType, a.status)
	assert.Contains(t, a.body, "Content-Encoding")
}

// TestBurst: of requests that come at the same time as many are taken as there is room for; those that are refused do not count meanwhile.
func TestBurst(t *testing.T) {
	s := start(t, Options{MaxQueuedTokens: 1000, MaxBufferedBytes: 1000}, model("tiny", "tiny", "normalize"))
	var taken, held atomic.Int64
	var ready, done sync.WaitGroup
	begin := make(chan struct{})
	for range 50 {
		c := &call{Server: s.Server, w: &recorder{ResponseWriter: httptest.NewRecorder()}, ctx: t.Context(), span: trace.SpanFromContext(t.Context())}
		u, err := c.use("")
		require.NoError(t, err)
		ready.Add(1)
		done.Add(1)
		go func() {
			defer done.Done()
			ready.Done()
			<-begin
			if u.take(200) == nil {
				taken.Add(1)
			}
			if c.hold(100) == nil {
				held.Add(1)
			}
		}()
		t.Cleanup(func() { c.letGo(c.held); u.finish() })
	}
	ready.Wait()
	close(begin)
	done.Wait()
	assert.EqualValues(t, 5, taken.Load())
	assert.EqualValues(t, 1000, s.models[0].tokens.Load())
	assert.EqualValues(t, 10, held.Load())
}

// TestQueueLimits: what would wait for too many tokens or too long is refused, with the time after which there will be room. Short requests wait for short ones.
func TestQueueLimits(t *testing.T) {
	for name, o := range map[string]Options{"tokens": {MaxQueuedTokens: 1000}, "time": {MaxQueueTime: time.Nanosecond}} {
		t.Run(name, func(t *testing.T) {
			m := model("tiny", "tiny", "normalize")
			m.Options = append(m.Options, vkbert.WithMaxBatchTokens(200))
			s := start(t, o, m)
			short := func() answer { return s.post("/embed", `{"inputs":"a"}`) }
			long := func() answer { return s.post("/embed", `{"inputs":["a"`+strings.Repeat(`,"a"`, 49)+`]}`) }
			long().good(t) // now its speed is known
			one := s.models[0]
			one.tokens.Add(1000) // a long request is at work
			s.bad(429, teiError(t, long(), "Overloaded"), "behind a long one")
			short().good(t)
			one.short.Add(1000)
			s.bad(429, teiError(t, short(), "Overloaded"), "behind short ones")
			assert.Equal(t, "1", short().header.Get("Retry-After"))
			one.tokens.Add(-1000)
			one.short.Add(-1000)
			long().good(t) // alone: it would never be its turn
			short().good(t)
			assert.Zero(t, one.tokens.Load())
			assert.Zero(t, one.short.Load())
		})
	}
	assert.Zero(t, howLong(1000, 0), "nothing is known")
	assert.Equal(t, 2*time.Second, howLong(1000, 500))
	f := &failure{class: overloaded, retry: 2100 * time.Millisecond}
	w := httptest.NewRecorder()
	c := &call{Server: start(t, Options{}, model("tiny", "tiny", "normalize")).Server, w: &recorder{ResponseWriter: w}, span: trace.SpanFromContext(t.Context())}
	c.fail(f)
	assert.Equal(t, "3", w.Header().Get("Retry-After"))
	assert.Equal(t, 30*time.Second, Options{}.withDefaults().MaxQueueTime)
	assert.Equal(t, 5*time.Second, Options{RequestTimeout: 10 * time.Second}.withDefaults().MaxQueueTime)
	assert.Equal(t, 30*time.Second, Options{RequestTimeout: -1}.withDefaults().MaxQueueTime)
}

// TestShutdown: under load, every accepted request finishes, and new ones get a 503.
func TestShutdown(t *testing.T) {
	s := start(t, Options{}, model("tiny", "tiny", "normalize"))
	addr, stop := s.listen()
	client := &http.Client{}
	defer client.CloseIdleConnections()
	var wait sync.WaitGroup
	var mutex sync.Mutex
	status := map[int]int{}
	begun := make(chan struct{}, 1000)
	end := make(chan struct{})
	for range 16 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for {
				select {
				case <-end:
					return
				default:
				}
				r, err := client.Post("http://"+addr+"/embed", "application/json", strings.NewReader(`{"inputs":["the cat","dog"]}`))
				if err != nil {
					return // it listens no more
				}
				_, err = io.Copy(io.Discard, r.Body)
				r.Body.Close()
				assert.NoError(t, err, "a response that began is whole")
				mutex.Lock()
				status[r.StatusCode]++
				mutex.Unlock()
				select {
				case begun <- struct{}{}:
				default:
				}
			}
		}()
	}
	for range 50 {
		<-begun
	}
	// A request whose body is not all there when the end comes is one of the accepted.
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	body := `{"inputs":"the cat"}`
	fmt.Fprintf(c, "POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:5])
	require.Eventually(t, func() bool { return s.buffered.Load() >= int64(len(body)) && s.working.now() > 0 }, 5*time.Second, time.Millisecond)
	time.Sleep(20 * time.Millisecond)
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	require.Eventually(t, s.draining.Load, 5*time.Second, time.Millisecond)
	r, err := http.Post("http://"+addr+"/embed", "application/json", strings.NewReader(body))
	require.NoError(t, err)
	r.Body.Close()
	assert.Equal(t, 503, r.StatusCode)
	assert.Equal(t, "1", r.Header.Get("Retry-After"))
	fmt.Fprint(c, body[5:])
	late, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	assert.Equal(t, 200, late.StatusCode)
	late.Body.Close()
	require.NoError(t, <-ended)
	close(end)
	wait.Wait()
	assert.Positive(t, status[200])
	for code := range status {
		assert.Contains(t, []int{200, 503}, code)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestStatusAndMetrics(t *testing.T) {
	s := start(t, Options{Version: "v9"})
	s.post("/v1/embeddings", `{"model":"tiny","input":["the cat"]}`).good(t)
	s.post("/v1/embeddings", `{"model":"none","input":["the cat"]}`)
	status := keys(t, s.do("GET", "/api/status", "").good(t), "version", "state", "started", "uptime_seconds", "models", "requests", "limits")
	assert.Equal(t, "ready", status["state"])
	require.Len(t, status["models"], len(all()))
	first := status["models"].([]any)[0].(map[string]any)
	assert.Equal(t, "embedding", first["kind"])
	assert.Equal(t, "cpu", first["device_kind"])
	assert.InDelta(t, 2, status["requests"].(map[string]any)["total"], 0)
	metrics := s.do("GET", "/metrics", "").body
	for _, line := range []string{`vkbert_http_requests_total{code="200",model="tiny",route="/v1/embeddings"} 1`, `vkbert_http_requests_total{code="404",model="",route="/v1/embeddings"} 1`,
		`vkbert_build_info{version="v9"} 1`, `vkbert_model_state{model="sparse",state="ready"} 1`, `vkbert_texts_total{model="tiny"}`, `vkbert_device_memory_bytes{device=`} {
		assert.Contains(t, metrics, line)
	}
}
