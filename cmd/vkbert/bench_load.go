package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/vkbert/vkbert"
)

// A load is the work of one run: count texts, of which embed does those from one to before another in a call. repeated is a load of n texts, the same ones in turn.
type load struct {
	count    int
	longest  int // tokens of a text; 0 where that is not known
	embed    func(ctx context.Context, m *vkbert.Model, from, to int) error
	repeated func(n int) load
}

// inTurn is n elements: list, again and again.
func inTurn[T any](list []T, n int) []T { return slices.Repeat(list, n/len(list)+1)[:n] }

// textLoad is the texts of --texts.
func (f *benchFlags) textLoad(cmd *cobra.Command) (load, error) {
	t, err := f.input.open(cmd, nil)
	if err != nil {
		return load{}, err
	}
	defer t.Close()
	var list []string
	for c := range t.chunks(cmd.Context()) {
		if c.err != nil {
			return load{}, c.err
		}
		list = append(list, c.texts...)
	}
	if err := cmd.Context().Err(); err != nil {
		return load{}, err
	}
	if f.limit > 0 {
		list = list[:min(len(list), f.limit)]
	}
	if len(list) == 0 {
		return load{}, fmt.Errorf("no texts in %s", t.name)
	}
	return ofTexts(list), nil
}

func ofTexts(list []string) load {
	return load{
		count: len(list),
		embed: func(ctx context.Context, m *vkbert.Model, from, to int) error {
			_, err := m.EmbedBatch(ctx, list[from:to])
			return err
		},
		repeated: func(n int) load { return ofTexts(inTurn(list, n)) },
	}
}

// lengthLoad is random token ids, as many a text as the lines of --lengths say.
func (f *benchFlags) lengthLoad(cmd *cobra.Command) (load, error) {
	lengths, err := readLengths(cmd, f.lengths)
	if err != nil {
		return load{}, err
	}
	if f.limit > 0 {
		lengths = lengths[:min(len(lengths), f.limit)]
	}
	return idLoad(lengths), nil
}

// idLoad is sequences of random token ids of these lengths.
func idLoad(lengths []int) load {
	var once sync.Once
	var ids [][]int32
	return load{
		count: len(lengths), longest: slices.Max(lengths),
		embed: func(ctx context.Context, m *vkbert.Model, from, to int) error {
			once.Do(func() { ids = randomIDs(lengths, m.Info().Vocabulary) })
			_, err := m.EmbedTokens(ctx, ids[from:to])
			return err
		},
		repeated: func(n int) load { return idLoad(inTurn(lengths, n)) },
	}
}

// keepBusy makes one call with the whole load after another until stop, which returns what went wrong. It returns when the first has batches on the device.
func (l load) keepBusy(ctx context.Context, m *vkbert.Model) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	before := m.Stats().Batches
	go func() {
		var err error
		for err == nil && ctx.Err() == nil {
			err = l.embed(ctx, m, 0, l.count)
		}
		done <- err
	}()
	for len(done) == 0 && m.Stats().Batches < before+2 {
		time.Sleep(time.Millisecond)
	}
	return func() error {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}
}

func randomIDs(lengths []int, vocabulary int) [][]int32 {
	random := rand.New(rand.NewPCG(1, 2))
	ids := make([][]int32, len(lengths))
	for i, n := range lengths {
		ids[i] = make([]int32, n)
		for j := range ids[i] {
			ids[i][j] = random.Int32N(int32(vocabulary))
		}
	}
	return ids
}

// readLengths reads a number of tokens a line.
func readLengths(cmd *cobra.Command, path string) ([]int, error) {
	t, err := (&inputFlags{path: path, flag: "texts", format: newChoice("text")}).open(cmd, nil)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	var lengths []int
	for {
		line, err := t.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		n, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%s: line %d: want a number of tokens, got %.40q", t.name, len(lengths)+1, line)
		}
		lengths = append(lengths, n)
	}
	if len(lengths) == 0 {
		return nil, fmt.Errorf("no lengths in %s", t.name)
	}
	return lengths, nil
}

// run does the load once: callers goroutines take perCall texts a call, in order, until none are left. It returns how long all of it took, and each call.
func (l load) run(ctx context.Context, m *vkbert.Model, callers, perCall int) (took time.Duration, calls []time.Duration, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	calls = make([]time.Duration, (l.count+perCall-1)/perCall)
	var next atomic.Int64
	var all sync.WaitGroup
	work := func() {
		for i := int(next.Add(1)) - 1; i < len(calls) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
			start := time.Now()
			if err := l.embed(ctx, m, i*perCall, min(l.count, (i+1)*perCall)); err != nil {
				cancel(err)
			}
			calls[i] = time.Since(start)
		}
	}
	// What came before takes some 10 µs where a CPU wakes up, and is no part of a query.
	begin := time.Now()
	for range min(callers, len(calls)) - 1 { // this goroutine is one of them
		all.Add(1)
		go func() {
			defer all.Done()
			work()
		}()
	}
	work()
	all.Wait()
	return time.Since(begin), calls, context.Cause(ctx)
}
