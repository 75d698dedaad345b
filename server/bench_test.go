package server

import (
	"bytes"
	"context"
	"fmt"
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

// serve opens a model of a directory in a server that listens on the loopback, and returns it, what posts a text over connections that stay open, and the address.
func serve(b *testing.B, dir string) (m *vkbert.Model, post func(text string) error, addr string) {
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
	addr = l.Addr().String()
	post = func(text string) error {
		r, err := client.Post("http://"+addr+"/v1/embeddings", "application/json", strings.NewReader(`{"model":"m","input":"`+text+`"}`))
		if err != nil {
			return err
		}
		defer r.Body.Close()
		_, err = io.Copy(io.Discard, r.Body)
		return err
	}
	return s.models[0].look().dense, post, addr
}

// socket posts over a bare connection, which costs a client next to nothing.
func socket(b *testing.B, addr string) func(text string) error {
	c, err := net.Dial("tcp", addr)
	require.NoError(b, err)
	b.Cleanup(func() { c.Close() })
	answer := make([]byte, 64<<10)
	return func(text string) error {
		body := `{"model":"m","input":"` + text + `"}`
		_, err := fmt.Fprintf(c, "POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		for n := 0; err == nil && !bytes.HasSuffix(answer[:n], []byte("}}\n")); {
			var more int
			more, err = c.Read(answer[n:])
			n += more
		}
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
	m, post, _ := serve(b, testmodel.MiniLM(b))
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

// BenchmarkAddedLatency is what HTTP adds for one client that has the server to itself: the same text by turns from the library, over HTTP with Go's client, and over a
// bare socket, of the same open model. The metrics are medians.
func BenchmarkAddedLatency(b *testing.B) {
	for name, dir := range map[string]func() string{
		"tiny":   func() string { return testmodel.Path("tiny", "normalize") },
		"minilm": func() string { return testmodel.MiniLM(b) },
	} {
		b.Run(name, func(b *testing.B) {
			m, post, addr := serve(b, dir())
			bare := socket(b, addr)
			calls := [3]func() error{
				func() error { _, err := m.Embed(b.Context(), benchText); return err },
				func() error { return post(benchText) },
				func() error { return bare(benchText) },
			}
			var took [3][]float64 // µs
			for range b.N {
				for i, call := range calls {
					start := time.Now()
					require.NoError(b, call())
					took[i] = append(took[i], time.Since(start).Seconds()*1e6)
				}
			}
			library, over, least := median(took[0]), median(took[1]), median(took[2])
			b.ReportMetric(library, "library-µs")
			b.ReportMetric(over, "http-µs")
			b.ReportMetric(over-library, "added-µs")
			b.ReportMetric(least-library, "added-to-socket-µs")
		})
	}
}
