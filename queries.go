package vkbert

import "context"

// EmbedQueries is [Model.EmbedQuery] for any number of texts at once.
func (m *Model) EmbedQueries(ctx context.Context, texts []string) ([][]float32, error) {
	return m.embed(ctx, texts, m.prompts["query"])
}

// TokenizeQuery returns the tokens of a text as [Model.EmbedQuery] sees it.
func (m *Model) TokenizeQuery(text string) (Tokens, error) { return m.tokens(text, m.prompts["query"]) }

// TokenizeDocument returns the tokens of a text as [Model.EmbedDocuments] sees it.
func (m *Model) TokenizeDocument(text string) (Tokens, error) {
	return m.tokens(text, m.prompts["document"])
}

func (m *Model) tokens(text string, p prompt) (Tokens, error) {
	enc, err := m.encode(text, p)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{IDs: enc.IDs, Tokens: m.tokenizer.Tokens(enc.IDs)}, nil
}
