package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// dial connects to a server for a test that must not take longer than patience.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	return c
}

const patience = 20 * time.Second

// dribble writes text a byte at a time, which keeps the connection busy, until the server closes it.
func dribble(c net.Conn, text string) {
	for i := range len(text) {
		if _, err := c.Write([]byte{text[i]}); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestSlowClients: one that sends slowly or not at all loses its connection, however busy it looks, and its place with it.
func TestSlowClients(t *testing.T) {
	s := start(t, Options{ReadHeaderTimeout: 100 * time.Millisecond, ReadTimeout: 200 * time.Millisecond, IdleTimeout: 100 * time.Millisecond, MaxConcurrent: 1}, model("tiny", "tiny", "normalize"))
	addr, _ := s.listen()
	long := strings.Repeat("x", 1000)
	const head = "POST /embed HTTP/1.1\r\nHost: x\r\n"
	const body = `{"inputs":"the cat"}`
	for name, c := range map[string]struct {
		sent, slowly string
		status       int // of the response that comes before the end; 0: none does
	}{
		"nothing":       {"", "", 0},
		"half a header": {head, "", 0},
		"a slow header": {head, "X-Slow: " + long, 0},
		"half a body":   {head + "Content-Length: 100\r\n\r\n{", "", 504},
		"a slow body":   {head + "Content-Length: 10000\r\n\r\n" + `{"inputs":"`, long, 504},
		"slow chunks":   {head + "Transfer-Encoding: chunked\r\n\r\n", strings.Repeat("1\r\n \r\n", 200), 504},
		"no next call":  {head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body), "", 200},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, addr)
			fmt.Fprint(conn, c.sent)
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				dribble(conn, c.slowly)
			}()
			all := bufio.NewReader(conn)
			if c.status != 0 {
				r, err := http.ReadResponse(all, nil)
				require.NoError(t, err)
				text, err := io.ReadAll(r.Body)
				require.NoError(t, err)
				assert.Equal(t, c.status, r.StatusCode, string(text))
				if c.status != 200 {
					teiError(t, answer{r.StatusCode, r.Header, string(text)}, "Backend")
				}
			}
			rest, err := io.ReadAll(all)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server left it open") // it may have reset the connection
			assert.Empty(t, rest)
			conn.Close()
			<-sent
			require.Eventually(t, func() bool { return s.working.now() == 0 }, patience, time.Millisecond)
			s.post("/embed", body).good(t)
		})
	}
}

// TestSlowReader: a client that does not take its response is cut off in the middle of it, and its place is free again.
func TestSlowReader(t *testing.T) {
	s := start(t, Options{ReadTimeout: 500 * time.Millisecond, RequestTimeout: 3 * time.Second, WriteTimeout: 100 * time.Millisecond, MaxConcurrent: 1}, model("tiny", "tiny", "normalize"))
	addr, _ := s.listen()
	conn := dial(t, addr)
	// 40 tokens a text, 60 numbers a token: 25 MB, more than the buffers of two sockets.
	text := `"` + strings.Repeat("cat ", 38) + `"`
	body := `{"inputs":[` + text + strings.Repeat(","+text, 999) + `]}`
	fmt.Fprintf(conn, "POST /embed_all HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.Equal(t, 200, r.StatusCode)
	require.Equal(t, 1, s.working.now())
	require.Eventually(t, func() bool { return s.working.now() == 0 }, patience, 10*time.Millisecond)
	_, err = io.Copy(io.Discard, r.Body)
	require.Error(t, err, "it is not whole")
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server left it open")
	s.post("/embed", `{"inputs":"the cat"}`).good(t)
}

// TestRequestTimeout: a request that takes too long is told so in its interface's form.
func TestRequestTimeout(t *testing.T) {
	s := start(t, Options{RequestTimeout: time.Nanosecond}, model("tiny", "tiny", "normalize"), model("rerank", "arch", "cross_bert"))
	s.bad(504, openaiError(t, s.post("/v1/embeddings", `{"model":"tiny","input":"a"}`), "", "timeout"), "embeddings")
	s.bad(504, openaiError(t, s.post("/v1/rerank", `{"query":"a","documents":["b"]}`), "", "timeout"), "rerank")
	for _, path := range []string{"/embed", "/embed_all"} {
		s.bad(504, teiError(t, s.post(path, `{"inputs":"a"}`), "Backend"), path)
	}
	for path, body := range map[string]string{"/api/embed": `{"model":"tiny","input":"a"}`, "/vectors": `{"text":"a"}`} {
		a := s.post(path, body)
		s.bad(504, a, path)
		keys(t, decode(t, a.body), "error")
	}
	assert.Zero(t, s.working.now())
}
