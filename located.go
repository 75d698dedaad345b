package vkbert

import (
	"context"
	"fmt"

	"github.com/vkbert/vkbert/loader"
)

// LocatedToken is a token with its place in the text.
type LocatedToken struct {
	ID          int32
	Token       string // as the vocabulary spells it
	Special     bool   // put around the text; it has no place
	Start, Stop int    // the token is of the code points Start to Stop of the text
}

// Locate tokenizes a text as the tokenizer alone does, without a prompt and uncut, and says where each token comes from. special puts the special tokens around it.
// The end of ctx ends its waiting for other long texts.
func (m *Model) Locate(ctx context.Context, text string, special bool) ([]LocatedToken, error) {
	t, leave, err := m.withTokenizer()
	if err != nil {
		return nil, err
	}
	defer leave()
	found, err := t.Locate(ctx, text, special)
	if err != nil {
		return nil, err
	}
	tokens := make([]LocatedToken, len(found))
	for i, f := range found {
		tokens[i] = LocatedToken{ID: f.ID, Token: t.Tokens([]int32{f.ID})[0], Special: f.Special, Start: f.Start, Stop: f.Stop}
	}
	return tokens, nil
}

// Decode turns token ids into a text, as the tokenizer's decoder does it; skipSpecial leaves out special tokens. Ids that the model does not have are an [ErrInput].
func (m *Model) Decode(ids []int32, skipSpecial bool) (string, error) {
	t, leave, err := m.withTokenizer()
	if err != nil {
		return "", err
	}
	defer leave()
	for _, id := range ids {
		if n := m.info().Vocabulary; id < 0 || int(id) >= max(n, t.VocabSize()) {
			return "", fmt.Errorf("%w: token id %d, want 0 to %d", ErrInput, id, n-1)
		}
	}
	return t.Decode(ids, skipSpecial)
}

func (m *Model) withTokenizer() (*loader.Tokenizer, func(), error) {
	to, err := m.to("")
	if err != nil {
		return nil, nil, err
	}
	if to.tokenizer == nil {
		return nil, nil, errNoTokenizer
	}
	return to.tokenizer, to.calls.leave, to.calls.enter()
}

// Locate tokenizes a text and says where each token comes from; see [Model.Locate].
func (k kind) Locate(ctx context.Context, text string, special bool) ([]LocatedToken, error) {
	return k.m.Locate(ctx, text, special)
}

// Decode turns token ids into a text; see [Model.Decode].
func (k kind) Decode(ids []int32, skipSpecial bool) (string, error) {
	return k.m.Decode(ids, skipSpecial)
}
