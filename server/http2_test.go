package server

import (
	"context"
	"crypto/tls"
	"io"
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
)

// TestHTTP2Shutdown: callers who share one connection get whole answers until the end begins, then whole answers, a 503, or no connection any more.
func TestHTTP2Shutdown(t *testing.T) {
	s := start(t, Options{}, model("tiny", "tiny", "normalize"))
	certified := httptest.NewUnstartedServer(nil) // for its certificate and a client that trusts it
	certified.EnableHTTP2 = true
	certified.StartTLS()
	certified.Close()
	client := certified.Client()
	defer client.CloseIdleConnections()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- s.Serve(ctx, tls.NewListener(plain, certified.TLS))
	}()

	var callers sync.WaitGroup
	var answered atomic.Int64
	for range 8 {
		callers.Add(1)
		go func() {
			defer callers.Done()
			for {
				r, err := client.Post("https://"+plain.Addr().String()+"/embed", "application/json", strings.NewReader(`{"inputs":["the cat","dog"]}`))
				if err != nil {
					assert.True(t, s.draining.Load(), "%v", err)
					return
				}
				_, err = io.Copy(io.Discard, r.Body)
				r.Body.Close()
				assert.NoError(t, err, "a response that began is whole")
				assert.Equal(t, 2, r.ProtoMajor)
				switch r.StatusCode {
				case http.StatusOK:
					answered.Add(1)
				case http.StatusServiceUnavailable:
					assert.True(t, s.draining.Load())
					return
				default:
					assert.Fail(t, r.Status)
					return
				}
			}
		}()
	}
	require.Eventually(t, func() bool { return answered.Load() > 40 }, patience, time.Millisecond)
	stop()
	require.NoError(t, <-ended)
	callers.Wait()
	assert.Zero(t, s.working.now())
}
