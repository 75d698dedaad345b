package vkbert

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vkbert/vkbert/bert"
)

const (
	chunkTexts  = 64       // that a goroutine tokenizes at a time
	inlineBytes = 16 << 10 // of texts that are tokenized by the caller's goroutine: less than 10 ms, after which a context that has ended is looked at
	slowBytes   = 2 << 10  // the same for the tokenizer library
)

// chunk is tokenized texts and the memory that they lie in, which is used again.
type chunk struct {
	ids  []int32
	seqs []bert.Sequence
}

var chunks = sync.Pool{New: func() any { return new(chunk) }}

func (c *chunk) free() {
	clear(c.seqs)
	chunks.Put(c)
}

// tokenize fills a chunk; first is the number of the first text in its call. On an error it returns the number of the text too.
func (m *Model) tokenize(ctx context.Context, c *chunk, texts []string, first int, p prompt) (int, error) {
	start := time.Now()
	defer func() { m.tokenizing.Add(int64(time.Since(start))) }()
	if m.tokenizer == nil {
		return first, errNoTokenizer
	}
	limit := 0
	if m.truncate {
		limit = m.maxTokens
	}
	c.ids, c.seqs = c.ids[:0], c.seqs[:0]
	for i, text := range texts {
		if err := ctx.Err(); err != nil {
			return first + i, err
		}
		if p.text != "" {
			text = p.text + text
		}
		from := len(c.ids)
		ids, types, err := m.tokenizer.Append(ctx, c.ids, text, limit)
		if n := len(ids) - from; err == nil && n > m.maxTokens {
			err = fmt.Errorf("%w: %d tokens, and the model takes %d (truncation is off)", ErrInput, n, m.maxTokens)
		}
		if err != nil {
			return first + i, fmt.Errorf("text %d: %w", first+i, err)
		}
		c.ids = ids // the array may be another than that of the sequences before
		c.seqs = append(c.seqs, bert.Sequence{IDs: ids[from:len(ids):len(ids)], TypeIDs: types, PoolStart: p.tokens})
	}
	return 0, nil
}

// vectors is what the encoder makes of the texts. Many are tokenized on all processors while the device works on the first.
func (m *Model) vectors(ctx context.Context, texts []string, w way) ([][]float32, error) {
	if m.inline(texts, w.prompt) {
		c := chunks.Get().(*chunk)
		defer c.free()
		if _, err := m.tokenize(ctx, c, texts, 0, w.prompt); err != nil {
			return nil, err
		}
		return m.encoder.EmbedTask(ctx, w.task, c.seqs)
	}
	call, err := m.encoder.Begin(ctx, w.task, len(texts))
	if err != nil {
		return nil, err
	}
	texts = slices.Clone(texts) // which the caller may use again when the call is cancelled, while they are read
	p := &pipeline{model: m, ctx: ctx, call: call, texts: texts, prompt: w.prompt, at: len(texts)}
	workers := min(runtime.GOMAXPROCS(0), (len(texts)+chunkTexts-1)/chunkTexts)
	p.left.Store(int64(workers))
	for range workers {
		m.calls.fork()
		go p.run()
	}
	return call.Wait()
}

// inline says whether tokenizing takes too little time to share it out.
func (m *Model) inline(texts []string, p prompt) bool {
	room := inlineBytes
	if m.tokenizer != nil && !m.tokenizer.Native() {
		room = slowBytes
	}
	for _, text := range texts {
		if room -= len(p.text) + len(text) + 1; room < 0 {
			return false
		}
	}
	return true
}

// pipeline hands the texts of one call in, chunk by chunk. After the context has ended it goes on behind the call for as long as the chunks at hand take.
type pipeline struct {
	model  *Model
	ctx    context.Context
	call   *bert.Call
	texts  []string
	prompt prompt
	next   atomic.Int64 // text
	left   atomic.Int64 // goroutines at work

	mutex sync.Mutex
	err   error // of the first text that failed
	at    int
}

func (p *pipeline) run() {
	defer p.model.calls.leave()
	for p.ctx.Err() == nil {
		first := int(p.next.Add(chunkTexts)) - chunkTexts
		if first >= len(p.texts) {
			break
		}
		c := chunks.Get().(*chunk)
		if at, err := p.model.tokenize(p.ctx, c, p.texts[first:min(first+chunkTexts, len(p.texts))], first, p.prompt); err != nil {
			c.free()
			p.fail(at, err)
			break
		}
		if p.call.Add(first, c.seqs, c.free) != nil {
			break // the call has the error
		}
		runtime.Gosched() // the goroutines of the device come first
	}
	if p.left.Add(-1) == 0 && p.err != nil {
		p.call.Fail(p.err)
	}
}

// fail keeps the error of the first text in order, and ends the work of the others.
func (p *pipeline) fail(at int, err error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if at < p.at {
		p.err, p.at = err, at
	}
	p.next.Store(int64(len(p.texts)))
}

// EmbedSeq returns a vector for each text, in order, in constant memory however many there are. It reads some thousand texts ahead of the vectors that it has
// returned, and keeps the device busy meanwhile. After an error, which comes in place of a vector, it ends. The model's default prompt is used, as by [Model.Embed].
func (m *Model) EmbedSeq(ctx context.Context, texts iter.Seq[string]) iter.Seq2[[]float32, error] {
	const (
		most  = 256       // texts of a call
		bytes = 128 << 10 // or their bytes, if they get there first
		ahead = 8         // calls
	)
	type result struct {
		vectors [][]float32
		err     error
	}
	return func(yield func([]float32, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var calls []chan result
		count := 0 // of vectors that were returned
		finish := func() bool {
			r := <-calls[0]
			calls = calls[1:]
			if r.err != nil {
				if count > 0 {
					r.err = fmt.Errorf("counted from text %d on: %w", count, r.err)
				}
				yield(nil, r.err)
				return false
			}
			for i, v := range r.vectors {
				r.vectors[i] = nil
				if count++; !yield(v, nil) {
					return false
				}
			}
			return true
		}
		var part []string
		size := 0
		start := func() {
			list, done := part, make(chan result, 1)
			part, size = nil, 0
			calls = append(calls, done)
			go func() {
				vectors, err := m.EmbedBatch(ctx, list)
				done <- result{vectors, err}
			}()
		}
		for text := range texts {
			part = append(part, text)
			if size += len(text); len(part) < most && size < bytes {
				continue
			}
			if start(); len(calls) == ahead && !finish() {
				return
			}
		}
		if len(part) > 0 {
			start()
		}
		for len(calls) > 0 {
			if !finish() {
				return
			}
		}
	}
}
