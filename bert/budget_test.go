package bert

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// learn feeds a budget full batches of a device with this time for a batch, until it has decided.
func learn(t *testing.T, b *budget, batch func(tokens int) time.Duration) int {
	for range 100 {
		tokens := b.target(b.most)
		if b.observe(tokens, batch(tokens)) {
			b.file().store(b.path)
			assert.Equal(t, b.chosen, b.tokens())
			return b.chosen
		}
	}
	t.Fatal("no decision")
	return 0
}

func TestBudget(t *testing.T) {
	for name, c := range map[string]struct {
		fixed, each time.Duration // of a batch, and of a token
		want        int
	}{
		"a fast card":        {200 * time.Microsecond, 100 * time.Nanosecond, 16384},
		"no overhead":        {0, 200 * time.Microsecond, 128},
		"overhead":           {time.Millisecond, 40 * time.Microsecond, 512},
		"at most 50 ms":      {10 * time.Millisecond, 100 * time.Microsecond, 256},
		"not even the least": {time.Second, time.Millisecond, 128},
	} {
		t.Run(name, func(t *testing.T) {
			batch := func(tokens int) time.Duration { return c.fixed + c.each*time.Duration(tokens) }
			assert.Equal(t, c.want, learn(t, newBudget(16384, false, "", ""), batch))
		})
	}
	assert.Equal(t, 300, newBudget(300, true, "", "").target(1<<20), "what was asked for")
	b := newBudget(16384, false, "", "")
	assert.Equal(t, 16384, b.target(100))
	b.observe(16, time.Second)
	assert.Equal(t, 16384, b.target(100), "a cold start of a few tokens says nothing")
	b.observe(200, 40*time.Millisecond)
	assert.Equal(t, 128, b.target(100), "no more than 50 ms, by what is known")
	assert.Equal(t, 128, b.target(1<<20))
	b.observe(500, 500*time.Millisecond)
	assert.Equal(t, 512, b.target(1<<20), "sequences longer than the size that is tried")
}

func TestBudgetIsKept(t *testing.T) {
	dir := t.TempDir()
	batch := func(tokens int) time.Duration { return time.Millisecond + 40*time.Microsecond*time.Duration(tokens) }
	require.Equal(t, 512, learn(t, newBudget(4096, false, dir, "device"), batch))
	assert.Equal(t, 512, newBudget(4096, false, dir, "device").chosen)
	assert.Zero(t, newBudget(4096, false, dir, "another").chosen)
	assert.Zero(t, newBudget(256, false, dir, "device").chosen, "more than a batch holds now")
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	data, err := os.ReadFile(files[0])
	require.NoError(t, err)
	for _, damaged := range [][]byte{nil, data[:20], append([]byte("x"), data...), []byte(`{"key":"device","tokens":300,"sha256":"00"}`)} {
		require.NoError(t, os.WriteFile(files[0], damaged, 0o600))
		assert.Zero(t, newBudget(4096, false, dir, "device").chosen)
	}
	require.Equal(t, 512, learn(t, newBudget(4096, false, filepath.Join(dir, "none"), "device"), batch), "a folder that cannot be written to")
}

// TestBudgetRecovers: a size that the time limited, on a machine that was busy, is measured again when that is over.
func TestBudgetRecovers(t *testing.T) {
	b := newBudget(4096, false, "", "")
	require.Equal(t, 128, learn(t, b, func(tokens int) time.Duration { return time.Duration(tokens) * time.Millisecond / 3 }))
	idle := func(tokens int) time.Duration { return time.Millisecond + 10*time.Microsecond*time.Duration(tokens) }
	for range 50 {
		if b.observe(128, idle(128)); b.chosen == 0 {
			break
		}
	}
	assert.Equal(t, 2048, learn(t, b, idle))
}

// TestBudgetPassesBy: a size that no texts add up to is not tried for ever.
func TestBudgetPassesBy(t *testing.T) {
	b := newBudget(1024, false, "", "")
	for range 200 {
		tokens := b.target(b.most) / 90 * 90 // texts of 90 tokens
		b.observe(tokens, 10*time.Millisecond+10*time.Microsecond*time.Duration(tokens))
	}
	assert.Equal(t, 1024, b.tokens())
	assert.Equal(t, 1024, b.target(b.most))
}
