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
	enc, err := m.encode(text, p)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{IDs: enc.IDs, Tokens: m.tokenizer.Tokens(enc.IDs)}, nil
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

// sequences tokenizes the texts, on all processors where there are many.
func (m *Model) sequences(ctx context.Context, texts []string, p prompt) ([]bert.Sequence, error) {
	const each = 16 // texts that make a goroutine worth while
	seqs := make([]bert.Sequence, len(texts))
	errs := make([]error, len(texts))
	one := func(i int) {
		if errs[i] = ctx.Err(); errs[i] != nil {
			return
		}
		enc, err := m.encode(texts[i], p)
		if err != nil {
			errs[i] = fmt.Errorf("text %d: %w", i, err)
			return
		}
		seqs[i] = bert.Sequence{IDs: enc.IDs, TypeIDs: enc.TypeIDs, PoolStart: p.tokens}
	}
	workers := min(runtime.GOMAXPROCS(0), (len(texts)+each-1)/each)
	if workers <= 1 {
		for i := range texts {
			if one(i); errs[i] != nil {
				return nil, errs[i]
			}
		}
		return seqs, nil
	}
	var next atomic.Int64
	var failed atomic.Bool
	var group sync.WaitGroup
	for range workers {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := int(next.Add(1)) - 1; i < len(texts) && !failed.Load(); i = int(next.Add(1)) - 1 {
				if one(i); errs[i] != nil {
					failed.Store(true)
				}
			}
		}()
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return seqs, nil
}
