package vkbert

import "context"

// EmbedQueries is [Model.EmbedQuery] for any number of texts at once.
func (m *Model) EmbedQueries(ctx context.Context, texts []string) ([][]float32, error) {
	return m.embed(ctx, texts, m.forQueries())
}

// TokenizeQuery returns the tokens of a text as [Model.EmbedQuery] sees it.
func (m *Model) TokenizeQuery(text string) (Tokens, error) { return m.tokensOf(text, m.forQueries()) }

// TokenizeDocument returns the tokens of a text as [Model.EmbedDocuments] sees it.
func (m *Model) TokenizeDocument(text string) (Tokens, error) {
	return m.tokensOf(text, m.forDocuments())
}

func (m *Model) tokensOf(text string, w way) (Tokens, error) {
	to, err := m.to(w.route)
	if err != nil {
		return Tokens{}, err
	}
	return to.tokens(text, w.prompt)
}

func (m *Model) tokens(text string, p prompt) (Tokens, error) {
	enc, err := m.encode(context.Background(), text, p)
	if err != nil {
		return Tokens{}, err
	}
	ids := append([]int32{}, enc.IDs...) // no tokens are an empty list, not none
	return Tokens{IDs: ids, Tokens: m.tokenizer.Tokens(ids)}, nil
}
