package server

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/internal/testmodel"
)

// serve opens a model of a directory in a server that listens on the loopback, and returns it and what posts a text over connections that stay open.
func serve(b *testing.B, dir string) (*vkbert.Model, func(text string) error) {
	s, err := New([]Model{{Name: "m", Path: dir, Options: cpu()}}, Options{})
	require.NoError(b, err)
	require.NoError(b, s.Load(b.Context()))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	b.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		<-done
		s.Close()
	})
	client := &http.Client{Transport: transport}
	return s.models[0].look().dense, func(text string) error {
		r, err := client.Post("http://"+l.Addr().String()+"/v1/embeddings", "application/json", strings.NewReader(`{"model":"m","input":"`+text+`"}`))
		if err != nil {
			return err
		}
		defer r.Body.Close()
		_, err = io.Copy(io.Discard, r.Body)
		return err
	}
}

const benchText = "The quick brown fox jumps over the lazy dog near the river bank." // 16 tokens

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// BenchmarkThroughput is 64 callers with one text each of MiniLM, over HTTP on the loopback and of the library, which take turns of half a second, of the same open model.
// The clients share the processors. The metrics are medians of the turns; -benchtime 10x is ten turns of each.
func BenchmarkThroughput(b *testing.B) {
	m, post := serve(b, testmodel.MiniLM(b))
	turn := func(call func() error) float64 {
		var wait sync.WaitGroup
		var count atomic.Int64
		start := time.Now()
		for range 64 {
			wait.Add(1)
			go func() {
				defer wait.Done()
				for time.Since(start) < time.Second/2 {
					if err := call(); err != nil {
						b.Error(err)
						return
					}
					count.Add(1)
				}
			}()
		}
		wait.Wait()
		return float64(count.Load()) / time.Since(start).Seconds()
	}
	library := func() error { _, err := m.Embed(b.Context(), benchText); return err }
	over := func() error { return post(benchText) }
	turn(library) // by which the model learns its batch size
	turn(over)
	var ofLibrary, ofHTTP, ratio []float64
	for range b.N {
		ofLibrary, ofHTTP = append(ofLibrary, turn(library)), append(ofHTTP, turn(over))
		ratio = append(ratio, ofHTTP[len(ofHTTP)-1]/ofLibrary[len(ofLibrary)-1])
	}
	b.ReportMetric(median(ofLibrary), "library-texts/s")
	b.ReportMetric(median(ofHTTP), "http-texts/s")
	b.ReportMetric(median(ratio), "ratio")
}

// BenchmarkAddedLatency is what HTTP adds for one client that has the server to itself: the same text by turns from the library and over HTTP, of the same open model. The
// metrics are medians.
func BenchmarkAddedLatency(b *testing.B) {
	for name, dir := range map[string]func() string{
		"tiny":   func() string { return testmodel.Path("tiny", "normalize") },
		"minilm": func() string { return testmodel.MiniLM(b) },
	} {
		b.Run(name, func(b *testing.B) {
			m, post := serve(b, dir())
			calls := [2]func() error{
				func() error { _, err := m.Embed(b.Context(), benchText); return err },
				func() error { return post(benchText) },
			}
			var took [2][]float64 // µs
			for range b.N {
				for i, call := range calls {
					start := time.Now()
					require.NoError(b, call())
					took[i] = append(took[i], time.Since(start).Seconds()*1e6)
				}
			}
			library, over := median(took[0]), median(took[1])
			b.ReportMetric(library, "library-µs")
			b.ReportMetric(over, "http-µs")
			b.ReportMetric(over-library, "added-µs")
		})
	}
}
