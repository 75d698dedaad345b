package main

import (
	"bufio"
	"bytes"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// served is "vkbert serve" as a process that answers.
type served struct {
	cmd      *exec.Cmd
	messages *bytes.Buffer // to be read after its end alone
	address  string
}

// serveProcess starts a server on a free port with these variables of the environment, and waits until it is ready.
func serveProcess(t *testing.T, environment []string, args ...string) *served {
	t.Helper()
	cmd, messages := process(t, append([]string{"serve", "--device", "cpu", "--addr", "127.0.0.1:0"}, args...)...)
	cmd.Env = append(cmd.Env, environment...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		cmd.Wait() // before which messages is still written to
		require.NoError(t, err, messages.String())
	}
	return &served{cmd, messages, strings.TrimSpace(address)}
}

// post returns the status of a request.
func (s *served) post(t *testing.T, path, body string, header ...string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.address+path, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	response.Body.Close()
	return response.StatusCode
}

// ends checks that SIGTERM ends the server well.
func (s *served) ends(t *testing.T) {
	t.Helper()
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	err := s.cmd.Wait()
	require.NoError(t, err, "exit status 0: %s", s.messages)
}

// TestServe: the address is printed when it can be asked, and SIGTERM ends it well.
func TestServe(t *testing.T) {
	s := serveProcess(t, nil, "-m", tiny("normalize")+"=tiny", "-m", tiny("mean")+"@cpu", "--api-key-file", write(t, "keys", "one\n\ntwo\n"))
	for key, status := range map[string]int{"two": 200, "three": 401} {
		assert.Equal(t, status, s.post(t, "/v1/embeddings", `{"model":"tiny","input":"a private text"}`, "Authorization", "Bearer "+key))
	}
	s.ends(t)
	assert.Contains(t, s.messages.String(), "route=/v1/embeddings status=200 model=tiny texts=1")
	assert.NotContains(t, s.messages.String(), "private text")
}

func TestServeFails(t *testing.T) {
	vkb(t, "", "serve", "-m", "/nonexistent", "--addr", "127.0.0.1:0", "--log-level", "error").fails(t)
	vkb(t, "", "serve", "-m", tiny("mean"), "--addr", "256.0.0.1:0").bad(t, exitFailed, "256.0.0.1")
	vkb(t, "", "serve", "-m", tiny("mean"), "--api-key-file", "/nonexistent").bad(t, exitFailed, "no such file")
	vkb(t, "", "serve", "-m", tiny("mean"), "--api-key-file", write(t, "keys", "\n")).bad(t, exitFailed, "no API key")
	vkb(t, "", "serve", "-m", tiny("mean")+"=a", "-m", tiny("cls")+"=a").bad(t, exitUsage, "two models")
}

// fails checks the status and the last line, before which the log may have said something.
func (o outcome) fails(t *testing.T) {
	t.Helper()
	assert.Equal(t, exitFailed, o.status)
	lines := strings.Split(strings.TrimSpace(o.err), "\n")
	assert.Regexp(t, `\Avkbert: `, lines[len(lines)-1])
}
