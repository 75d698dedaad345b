package loader

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// slowLibrary counts the bytes of text that are in it at a time.
type slowLibrary struct {
	brokenLibrary
	inside, most atomic.Int64
}

func (l *slowLibrary) encode(text string, types bool) ([]uint32, []uint32) {
	now := l.inside.Add(int64(len(text)))
	defer l.inside.Add(-int64(len(text)))
	for most := l.most.Load(); now > most && !l.most.CompareAndSwap(most, now); most = l.most.Load() {
	}
	time.Sleep(time.Millisecond)
	return l.brokenLibrary.encode(text, types)
}

func (l *slowLibrary) encodeOffsets(text string, _ bool) ([]uint32, [][2]int) {
	ids, _ := l.encode(text, false)
	return ids, make([][2]int, len(ids))
}

func TestTextsInTheLibraryAreBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		bytes, least, most int
	}{
		"short texts never wait":       {shortText, 2 * shortText, 16 * shortText},
		"few medium texts at a time":   {mediumText, 2 * mediumText, mediumRoom},
		"long texts one after another": {mediumText + 1, mediumText + 1, mediumText + 1},
	} {
		t.Run(name, func(t *testing.T) {
			lib := &slowLibrary{brokenLibrary: brokenLibrary{[]uint32{1}, []uint32{0}}}
			tok := &Tokenizer{lib: lib, spec: &tokenizerSpec{}}
			text := strings.Repeat("a", tt.bytes)
			var all sync.WaitGroup
			for i := range 16 {
				all.Add(1)
				go func() {
					defer all.Done()
					var err error
					if i%2 == 0 {
						_, err = tok.Encode(t.Context(), text)
					} else {
						_, err = tok.Locate(t.Context(), text, false)
					}
					assert.NoError(t, err)
				}()
			}
			all.Wait()
			assert.GreaterOrEqual(t, int(lib.most.Load()), tt.least)
			assert.LessOrEqual(t, int(lib.most.Load()), tt.most)
		})
	}
}

func TestTextsWaitForTheirLikeAlone(t *testing.T) {
	const long = mediumText + 1
	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan error)
	nothing := func() {}
	require.NoError(t, inLibrary(t.Context(), long, func() {
		assert.NoError(t, inLibrary(t.Context(), shortText, nothing))
		assert.NoError(t, inLibrary(t.Context(), mediumText, nothing))
		go func() { waited <- inLibrary(ctx, long, nothing) }()
		cancel()
		assert.ErrorIs(t, <-waited, context.Canceled)
	}))
	require.NoError(t, inLibrary(t.Context(), long, nothing), "nothing was kept")
}

func TestMediumTextsThatGaveUpKeepNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan error)
	nothing := func() {}
	require.NoError(t, take(t.Context(), mediumBusy, mediumUnits-1))
	for range 2 { // one that waits for room, and one for its turn
		go func() { waited <- inLibrary(ctx, mediumText, nothing) }()
	}
	cancel()
	require.ErrorIs(t, <-waited, context.Canceled)
	require.ErrorIs(t, <-waited, context.Canceled)
	release(mediumBusy, mediumUnits-1)
	assert.Empty(t, mediumBusy)
	assert.NoError(t, inLibrary(t.Context(), mediumText, nothing))
}
