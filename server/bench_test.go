package server

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/internal/testmodel"
)

// BenchmarkServer compares HTTP on the loopback with calls of the library, one text each of MiniLM: one caller at a time, and 64. The clients share the processors.
func BenchmarkServer(b *testing.B) {
	dir := testmodel.MiniLM(b)
	const text = "The quick brown fox jumps over the lazy dog near the river bank."
	m, err := vkbert.Open(b.Context(), dir, cpu()...)
	require.NoError(b, err)
	defer m.Close()
	s, err := New([]Model{{Name: "m", Path: dir, Options: cpu()}}, Options{})
	require.NoError(b, err)
	defer s.Close()
	require.NoError(b, s.Load(b.Context()))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	defer func() { cancel(); <-done }()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	calls := map[string]func() error{
		"library": func() error { _, err := m.Embed(b.Context(), text); return err },
		"http": func() error {
			r, err := client.Post("http://"+l.Addr().String()+"/v1/embeddings", "application/json", strings.NewReader(`{"model":"m","input":"`+text+`"}`))
			if err != nil {
				return err
			}
			defer r.Body.Close()
			_, err = io.Copy(io.Discard, r.Body)
			return err
		},
	}
	for _, clients := range []struct {
		name  string
		count int
	}{{"idle", 1}, {"clients64", 64}} {
		for _, kind := range []string{"library", "http"} {
			b.Run(clients.name+"/"+kind, func(b *testing.B) {
				var wait sync.WaitGroup
				for c := range clients.count {
					wait.Add(1)
					go func() {
						defer wait.Done()
						for i := c; i < b.N; i += clients.count {
							if err := calls[kind](); err != nil {
								b.Error(err)
							}
						}
					}()
				}
				wait.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "texts/s")
			})
		}
	}
}
