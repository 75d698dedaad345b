package vkbert

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/vkbert/vkbert/bert"
	"github.com/vkbert/vkbert/loader"
)

// Tokens is a text as the model sees it: with its prompt and special tokens, cut off at the model's limit.
type Tokens struct {
	IDs    []int32  `json:"ids"`
	Tokens []string `json:"tokens"`
}

// Tokenize returns the tokens of a text with the prompt of this name ("" for the model's default prompt).
func (m *Model) Tokenize(text, promptName string) (Tokens, error) {
	p := m.defaultPrompt()
	if promptName != "" {
		var ok bool
		if p, ok = m.prompts[promptName]; !ok {
			return Tokens{}, fmt.Errorf("%w: the model has no prompt %q; it has %s", ErrInput, promptName, m.promptNames())
		}
	}
	return m.tokens(text, p)
}

// CountTokens returns how many tokens a text has with the model's default prompt and special tokens, before it is cut off.
func (m *Model) CountTokens(text string) (int, error) {
	if m.tokenizer == nil {
		return 0, errNoTokenizer
	}
	enc, err := m.tokenizer.Encode(m.defaultPrompt().text + text)
	return len(enc.IDs), err
}

var errNoTokenizer = fmt.Errorf("%w: a random model has no tokenizer; use EmbedTokens", ErrInput)

func (m *Model) promptNames() string {
	if len(m.prompts) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(m.prompts)), ", ")
}

func (m *Model) encode(text string, p prompt) (loader.Encoding, error) {
	if m.tokenizer == nil {
		return loader.Encoding{}, errNoTokenizer
	}
	enc, err := m.tokenizer.Encode(p.text + text)
	if err != nil {
		return enc, err
	}
	if len(enc.IDs) > m.maxTokens && !m.truncate {
		return enc, fmt.Errorf("%w: %d tokens, and the model takes %d (truncation is off)", ErrInput, len(enc.IDs), m.maxTokens)
	}
	return m.tokenizer.Truncate(enc, m.maxTokens)
}

// sequences tokenizes the texts, on all processors where there are many. When ctx ends it returns at once: the texts at hand, of which one may take seconds
// if it is megabytes long, are finished behind it and dropped.
func (m *Model) sequences(ctx context.Context, texts []string, p prompt) ([]bert.Sequence, error) {
	const each = 16 // texts that make another goroutine worth while
	work := &tokenizing{model: m, ctx: ctx, texts: texts, prompt: p, seqs: make([]bert.Sequence, len(texts)), done: make(chan error, 1)}
	work.left.Store(int64(min(runtime.GOMAXPROCS(0), (len(texts)+each-1)/each)))
	for range work.left.Load() {
		m.calls.fork()
		go work.run()
	}
	select {
	case err := <-work.done:
		return work.seqs, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// tokenizing is the work of one call, shared by some goroutines.
type tokenizing struct {
	model  *Model
	ctx    context.Context
	texts  []string
	prompt prompt
	seqs   []bert.Sequence
	next   atomic.Int64 // text
	left   atomic.Int64 // goroutines at work

	mutex sync.Mutex
	err   error // of the first text that failed
	at    int
	done  chan error
}

func (w *tokenizing) run() {
	defer w.model.calls.leave()
	for i := int(w.next.Add(1)) - 1; i < len(w.texts) && w.ctx.Err() == nil; i = int(w.next.Add(1)) - 1 {
		enc, err := w.model.encode(w.texts[i], w.prompt)
		if err != nil {
			w.fail(i, fmt.Errorf("text %d: %w", i, err))
			break
		}
		w.seqs[i] = bert.Sequence{IDs: enc.IDs, TypeIDs: enc.TypeIDs, PoolStart: w.prompt.tokens}
	}
	if w.left.Add(-1) == 0 {
		if w.err == nil {
			w.err = w.ctx.Err()
		}
		w.done <- w.err
	}
}

// fail keeps the error of the first text in order, and ends the work of the others.
func (w *tokenizing) fail(i int, err error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.err == nil || i < w.at {
		w.err, w.at = err, i
	}
	w.next.Store(int64(len(w.texts)))
}
