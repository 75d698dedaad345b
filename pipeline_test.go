package vkbert_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/internal/testmodel"
)

// manyTexts have lengths of all kinds.
func manyTexts(n int) []string {
	words := strings.Fields("the cat sat on a mat and had been so we said up no her now")
	random := rand.New(rand.NewPCG(1, 2))
	texts := make([]string, n)
	for i := range texts {
		var b strings.Builder
		for range random.IntN(12) {
			b.WriteString(words[random.IntN(len(words))] + " ")
		}
		texts[i] = b.String() + strconv.Itoa(i%10)
	}
	return texts
}

// TestManyTexts: the pipeline of a large call gives each text its own vector, in order, and so does EmbedSeq.
func TestManyTexts(t *testing.T) {
	ctx := context.Background()
	m := openTiny(t, "prompts", vkbert.WithMaxBatchTokens(100))
	texts := manyTexts(3000)
	together, err := m.EmbedBatch(ctx, texts)
	require.NoError(t, err)
	require.Len(t, together, len(texts))
	i := 0
	for v, err := range m.EmbedSeq(ctx, func(yield func(string) bool) {
		for _, text := range texts {
			if !yield(text) {
				return
			}
		}
	}) {
		require.NoError(t, err)
		require.InDeltaSlice(t, together[i], v, 1e-5)
		i++
	}
	assert.Equal(t, len(texts), i)
	for i := 0; i < len(texts); i += 97 {
		alone, err := m.Embed(ctx, texts[i])
		require.NoError(t, err)
		require.InDeltaSlice(t, alone, together[i], 1e-5, "text %d: %q", i, texts[i])
	}
	s := m.Stats()
	assert.Positive(t, s.Tokenizing)
	assert.Positive(t, s.Computing)
	assert.Zero(t, s.Waiting+s.QueuedTokens)
}

func TestManyTextsWithABadOne(t *testing.T) {
	ctx := context.Background()
	m := openTiny(t, "mean", vkbert.WithTruncation(false))
	texts := manyTexts(2000)
	long := strings.Repeat("the cat ", 100)
	texts[1500], texts[1301] = long, long
	for range 5 {
		_, err := m.EmbedBatch(ctx, texts)
		require.ErrorIs(t, err, vkbert.ErrInput)
		require.ErrorContains(t, err, "text 1301:", "the first in order")
	}
	count := 0
	var last error
	for v, err := range m.EmbedSeq(ctx, func(yield func(string) bool) {
		for _, text := range texts {
			if !yield(text) {
				return
			}
		}
	}) {
		if last = err; err == nil {
			require.NotEmpty(t, v)
			count++
		}
	}
	require.ErrorIs(t, last, vkbert.ErrInput)
	assert.Less(t, count, 1302)
	_, err := m.Embed(ctx, texts[0])
	require.NoError(t, err)
}

// TestEmbedSeqIsLazy: it reads some way ahead and no further, and an early end stops all that it started.
func TestEmbedSeqIsLazy(t *testing.T) {
	m := openTiny(t, "mean")
	before := runtime.NumGoroutine()
	read := 0
	for _, err := range m.EmbedSeq(context.Background(), func(yield func(string) bool) {
		for ; yield("the cat"); read++ {
		}
	}) {
		require.NoError(t, err)
		break
	}
	assert.LessOrEqual(t, read, 4096)
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	assert.LessOrEqual(t, runtime.NumGoroutine(), before)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, err := range m.EmbedSeq(ctx, func(yield func(string) bool) { yield("the cat") }) {
		require.ErrorIs(t, err, context.Canceled)
	}
	for range m.EmbedSeq(context.Background(), func(func(string) bool) {}) {
		t.Fatal("no texts have no vectors")
	}
}

// TestAllocations: a text costs its vector, and a call two allocations more.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	ctx := context.Background()
	m := openTiny(t, "mean")
	one := testing.AllocsPerRun(50, func() {
		_, err := m.Embed(ctx, "the cat sat on the mat")
		require.NoError(t, err)
	})
	assert.LessOrEqual(t, one, 4.0)
	texts := manyTexts(1024)
	many := testing.AllocsPerRun(10, func() {
		_, err := m.EmbedBatch(ctx, texts)
		require.NoError(t, err)
	})
	assert.LessOrEqual(t, many/float64(len(texts)), 1.5)
	t.Logf("%.0f allocations for a text alone, %.3f a text in a call of %d", one, many/float64(len(texts)), len(texts))
}

// TestMixOfCalls: 64 goroutines embed, cancel and at last close.
func TestMixOfCalls(t *testing.T) {
	for _, procs := range []int{1, runtime.GOMAXPROCS(0)} {
		t.Run(fmt.Sprintf("GOMAXPROCS=%d", procs), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			m := openTiny(t, "mean", vkbert.WithMaxBatchTokens(64))
			texts := manyTexts(300)
			want, err := m.EmbedBatch(context.Background(), texts)
			require.NoError(t, err)
			var all sync.WaitGroup
			var good atomic.Int32
			for g := range 64 {
				all.Add(1)
				go func() {
					defer all.Done()
					random := rand.New(rand.NewPCG(uint64(g), 3))
					for {
						ctx, cancel := context.WithCancel(context.Background())
						if random.IntN(3) == 0 {
							time.AfterFunc(time.Duration(random.IntN(500))*time.Microsecond, cancel)
						}
						from := random.IntN(len(texts))
						to := from + 1 + random.IntN(min(len(texts)-from, 1+random.IntN(200)))
						vectors, err := m.EmbedBatch(ctx, texts[from:to])
						cancel()
						switch {
						case err == nil:
							good.Add(1)
							for i, v := range vectors {
								if d := vkbert.Cosine(v, want[from+i]); d < 0.9999 {
									t.Errorf("text %d: cosine %g with the vector that it had alone", from+i, d)
								}
							}
						case errors.Is(err, vkbert.ErrClosed):
							return
						case ctx.Err() == nil:
							t.Error(err)
							return
						}
					}
				}()
			}
			for deadline := time.Now().Add(20 * time.Second); good.Load() < 200 && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			require.NoError(t, m.Close())
			all.Wait()
			assert.GreaterOrEqual(t, good.Load(), int32(200))
		})
	}
}

// TestSoak runs for VKBERT_SOAK (10m) and watches the memory: calls of all sizes, cancelled ones, and a sequence.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("VKBERT_SOAK"))
	if err != nil {
		t.Skip("VKBERT_SOAK says how long: 10m")
	}
	m := openTiny(t, "mean")
	texts := manyTexts(500)
	end := time.Now().Add(length)
	var all sync.WaitGroup
	for g := range 16 {
		all.Add(1)
		go func() {
			defer all.Done()
			random := rand.New(rand.NewPCG(uint64(g), 4))
			for time.Now().Before(end) {
				ctx, cancel := context.WithCancel(context.Background())
				if random.IntN(4) == 0 {
					time.AfterFunc(time.Duration(random.IntN(1000))*time.Microsecond, cancel)
				}
				from := random.IntN(len(texts))
				m.EmbedBatch(ctx, texts[from:from+1+random.IntN(len(texts)-from)])
				cancel()
			}
		}()
	}
	go func() {
		for _, err := range m.EmbedSeq(context.Background(), func(yield func(string) bool) {
			for i := 0; time.Now().Before(end) && yield(texts[i%len(texts)]); i++ {
			}
		}) {
			assert.NoError(t, err)
		}
	}()
	var least, most uint64
	for tick := 0; time.Now().Before(end); tick++ {
		time.Sleep(length / 40)
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		if t.Logf("%s: heap %d KB, resident %d KB, %d goroutines, %+v", time.Until(end).Round(time.Second), s.HeapAlloc>>10, residentKB(), runtime.NumGoroutine(), m.Stats()); tick < 4 {
			continue // warming up
		}
		if now := residentKB(); least == 0 {
			least, most = now, now
		} else {
			least, most = min(least, now), max(most, now)
		}
	}
	all.Wait()
	assert.Less(t, most-least, least/10+8<<10, "resident memory went from %d to %d KB", least, most)
}

// residentKB is the process's resident memory, 0 where there is no /proc.
func residentKB() uint64 {
	data, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			return n
		}
	}
	return 0
}

// A prompt counts as a part of every text: tokenizing ends with the context.
func TestCancelledWithAPrompt(t *testing.T) {
	m, err := vkbert.Open(context.Background(), testmodel.Path("arch", "roberta"), vkbert.WithDevice("cpu"))
	require.NoError(t, err)
	defer m.Close()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	prompt := strings.Repeat("represent this sentence for searching passages ", 20_000)
	go func() {
		_, err := m.EmbedWith(ctx, []string{"a"}, vkbert.WithPromptText(prompt))
		ended <- err
	}()
	time.Sleep(5 * time.Millisecond)
	cancel()
	start := time.Now()
	require.ErrorIs(t, <-ended, context.Canceled)
	late := time.Since(start)
	_, err = m.EmbedWith(context.Background(), []string{"a"}, vkbert.WithPromptText(prompt))
	require.NoError(t, err)
	assert.Less(t, late, (time.Since(start)-late)/4, "a fraction of what the prompt takes")
}

// The caller's slice is not read when a cancelled call has returned. (The race detector sees it.)
func TestSliceAfterACancelledCall(t *testing.T) {
	m, err := vkbert.Open(context.Background(), testmodel.Path("arch", "roberta"), vkbert.WithDevice("cpu"))
	require.NoError(t, err)
	defer m.Close()
	texts := make([]string, 256)
	for i := range texts {
		texts[i] = strings.Repeat("the cat sat on a mat ", 150)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(5*time.Millisecond, cancel)
	_, err = m.EmbedBatch(ctx, texts)
	require.ErrorIs(t, err, context.Canceled)
	for i := range texts {
		texts[i] = "something else"
	}
}
