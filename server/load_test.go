package server

import (
	"strings"
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
