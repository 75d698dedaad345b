package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
)

// TestHugeRequest: requests of one text are answered while one of 50,000 is at work, each after a few batches, not after all of them.
func TestHugeRequest(t *testing.T) {
	const texts, batchTokens = 50_000, 1024
	m := model("tiny", "tiny", "normalize")
	m.Options = append(m.Options, vkbert.WithMaxBatchTokens(batchTokens))
	s := start(t, Options{MaxInputs: texts}, m)
	stats := func() vkbert.Stats { return s.models[0].stats() }
	huge := make(chan answer, 1)
	go func() {
		huge <- s.post("/embed", `{"inputs":["the cat and the dog"`+strings.Repeat(`,"the cat and the dog"`, texts-1)+`]}`)
	}()
	require.Eventually(t, func() bool { return stats().Sequences > texts/20 }, 20*time.Second, 100*time.Microsecond)
	first := stats()
	small := uint64(0)
	for stats().Sequences < texts*9/10 {
		s.post("/embed", `{"inputs":"dog"}`).good(t)
		small++
	}
	batches := stats().Batches - first.Batches
	t.Logf("%d small requests in %d batches of the huge one", small, batches)
	assert.Greater(t, batches, uint64(50), "the huge one was long at work")
	assert.Greater(t, small, batches/8, "a small one waits for a few batches")
	a := <-huge
	assert.Equal(t, 200, a.status)
	assert.Equal(t, texts, strings.Count(a.body, "[")-1)
}

// TestMixedLoad: clients of all routes at once, some of which go away, over limits that are soon reached, while a model is unloaded and loaded again. Under the race detector
// it finds races, and whatever happens, everything that was counted is given back.
func TestMixedLoad(t *testing.T) {
	s := start(t, Options{MaxConcurrent: 12, MaxQueuedTokens: 100, MaxBufferedBytes: 64 << 10})
	addr, _ := s.listen()
	routes := append(inputRoutes, inputRoute{"/api/embed", `{"model":"tiny","input":%s,"keep_alive":0}`}, inputRoute{"/embed_all", `{"model":"colbert","inputs":%s}`})
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	client := &http.Client{Transport: transport}
	var wait sync.WaitGroup
	var mutex sync.Mutex
	count := map[int]int{} // by status; 0: gone away
	for c := range 24 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			random := rand.New(rand.NewPCG(1, uint64(c)))
			for range 40 {
				r := routes[random.IntN(len(routes))]
				text := `"` + strings.Repeat("the cat ", 1+random.IntN(8)) + `"`
				ctx, cancel := context.WithCancel(context.Background())
				if random.IntN(8) == 0 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(random.IntN(3000))*time.Microsecond)
				}
				status, err := post(ctx, client, "http://"+addr+r.path, r.with(text))
				if err != nil {
					assert.True(t, errors.Is(err, ctx.Err()) && ctx.Err() != nil, "%v", err)
				} else {
					assert.Contains(t, []int{200, 429}, status, r.path)
				}
				mutex.Lock()
				count[status]++
				mutex.Unlock()
				cancel()
			}
		}()
	}
	wait.Wait()
	transport.CloseIdleConnections()
	t.Log(fmt.Sprint(count))
	assert.Positive(t, count[200])
	assert.Positive(t, count[429])
	for what, left := range map[string]func() int64{
		"requests": func() int64 { return int64(s.working.now()) },
		"bytes":    s.buffered.Load,
		"tokens":   func() int64 { return sum(s, func(m *served) int64 { return m.tokens.Load() + m.short.Load() }) },
		"calls":    func() int64 { return sum(s, func(m *served) int64 { return int64(m.stats().Waiting) }) },
	} {
		assert.Eventually(t, func() bool { return left() == 0 }, 10*time.Second, time.Millisecond, what) // those that went away end a little later
	}
	s.post("/embed", `{"inputs":"a"}`).good(t)
}

func post(ctx context.Context, client *http.Client, url, body string) (int, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	r, err := client.Do(q)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	if _, err = io.Copy(io.Discard, r.Body); err != nil {
		return 0, err
	}
	return r.StatusCode, nil
}

func sum(s *testServer, of func(*served) int64) (n int64) {
	for _, m := range s.models {
		n += of(m)
	}
	return n
}
