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
	s := start(t, Options{ReadHeaderTimeout: 500 * time.Millisecond, ReadTimeout: 800 * time.Millisecond, IdleTimeout: 500 * time.Millisecond}, model("tiny", "tiny", "normalize"))
	addr, _ := s.listen()
	long := strings.Repeat("x", 2000) // 20 s
	const head = "POST /embed HTTP/1.1\r\nHost: x\r\n"
	const body = `{"inputs":"the cat"}`
	t.Run("clients", func(t *testing.T) { // ends when all have
		for name, c := range map[string]struct {
			sent, slowly string
			status       int // of the response that comes before the end
		}{
			"nothing":       {"", "", 0},
			"half a header": {head, "", 0},
			"a slow header": {head, "X-Slow: " + long, 0},
			"half a body":   {head + "Content-Length: 100\r\n\r\n{", "", 504},
			"a slow body":   {head + "Content-Length: 10000\r\n\r\n" + `{"inputs":"`, long, 504},
			"slow chunks":   {head + "Transfer-Encoding: chunked\r\n\r\n", strings.Repeat("1\r\n \r\n", 400), 504},
			"no next call":  {head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body), "", 200},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				conn := dial(t, addr)
				fmt.Fprint(conn, c.sent)
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					dribble(conn, c.slowly)
				}()
				from := bufio.NewReader(conn)
				if c.status != 0 {
					r, err := http.ReadResponse(from, nil)
					require.NoError(t, err)
					text, err := io.ReadAll(r.Body)
					require.NoError(t, err)
					assert.Equal(t, c.status, r.StatusCode, string(text))
					if c.status != 200 {
						teiError(t, answer{r.StatusCode, r.Header, string(text)}, "Backend")
					}
				}
				rest, err := io.ReadAll(from)
				require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server left it open") // it may have reset the connection
				assert.Regexp(t, `\A(HTTP/1\.1 400 [^\x00]*)?\z`, string(rest))               // what net/http says of half a line
				conn.Close()
				<-sent
			})
		}
	})
	require.Eventually(t, func() bool { return s.working.now() == 0 }, patience, time.Millisecond)
	s.post("/embed", body).good(t)
}

// TestSlowReader: a client that does not take its response is cut off in the middle of it.
func TestSlowReader(t *testing.T) {
	ended := make(chan error, 1)
	endless := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var err error
		for part := make([]byte, 64<<10); err == nil; {
			_, err = w.Write(part)
		}
		ended <- err
	})
	s := start(t, Options{ReadTimeout: 200 * time.Millisecond, RequestTimeout: 200 * time.Millisecond, WriteTimeout: 200 * time.Millisecond, Page: endless}, model("tiny", "tiny", "normalize"))
	addr, _ := s.listen()
	conn := dial(t, addr)
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case err := <-ended:
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	case <-time.After(patience):
		require.Fail(t, "it still waits for the client")
	}
	_, err := io.Copy(io.Discard, conn) // what lies in buffers
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server left it open")
}

// TestSilentEnd: a connection on which nothing was asked yet neither holds up the end of the server for long nor makes it a failure.
func TestSilentEnd(t *testing.T) {
	s := start(t, Options{ShutdownTimeout: lingerTime + time.Second}, model("tiny", "tiny", "normalize"))
	addr, stop := s.listen()
	silent := dial(t, addr)
	fmt.Fprint(dial(t, addr), "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, stop())
	_, err := silent.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "it was closed")
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
