package vkbert

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

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
	enc, err := m.tokenizer.Encode(context.Background(), m.defaultPrompt().text+text)
	return len(enc.IDs), err
}

var errNoTokenizer = fmt.Errorf("%w: a random model has no tokenizer; use EmbedTokens", ErrInput)

func (m *Model) promptNames() string {
	if len(m.prompts) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(m.prompts)), ", ")
}

func (m *Model) encode(ctx context.Context, text string, p prompt) (loader.Encoding, error) {
	if m.tokenizer == nil {
		return loader.Encoding{}, errNoTokenizer
	}
	enc, err := m.tokenizer.Encode(ctx, p.text+text)
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
	texts = slices.Clone(texts) // as Model.vectors does it
	seqs := make([]bert.Sequence, len(texts))
	err := m.parallel(ctx, len(texts), func(i int) error {
		enc, err := m.encode(ctx, texts[i], p)
		seqs[i] = bert.Sequence{IDs: enc.IDs, TypeIDs: enc.TypeIDs, PoolStart: p.tokens}
		return err
	})
	if err != nil {
		return nil, err
	}
	return seqs, nil
}
