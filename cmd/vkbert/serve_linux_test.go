package main

import (
	"bufio"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestServe: the address is printed when it can be asked, and SIGTERM ends it well.
func TestServe(t *testing.T) {
	cmd, messages := process(t, "serve", "-m", tiny("normalize")+"=tiny", "-m", tiny("mean")+"@cpu", "--device", "cpu", "--addr", "127.0.0.1:0", "--api-key-file", write(t, "keys", "one\n\ntwo\n"))
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		cmd.Wait() // before which messages is still written to
		require.NoError(t, err, messages.String())
	}
	post := func(key string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, strings.TrimSpace(address)+"/v1/embeddings", strings.NewReader(`{"model":"tiny","input":"a private text"}`))
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+key)
		response, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		response.Body.Close()
		return response.StatusCode
	}
	assert.Equal(t, 200, post("two"))
	assert.Equal(t, 401, post("three"))
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait(), "exit status 0")
	assert.Contains(t, messages.String(), "route=/v1/embeddings status=200 model=tiny texts=1")
	assert.NotContains(t, messages.String(), "private text")
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
