package bert

import (
	"context"
	"fmt"

	"github.com/vkbert/vkbert/loader"
)

// tokenVectors names the program whose output is what the transformer makes of each token, before pooling. It shares the weights of the base, and is made when it
// is first asked for.
const tokenVectors = "token vectors"

// addTokenVectors makes that program of the ops so far, which end with the transformer's.
func (p *planned) addTokenVectors() {
	whole := p.program()
	whole.output = p.encoder.output
	p.variants[tokenVectors] = whole
}

// EmbedTokenVectors returns the transformer's output for each sequence, [len(seqs)][tokens·Info().Hidden]: what sentence-transformers calls token embeddings. Only
// models that make one vector of a text have it; of others it is a [loader.ErrUnsupported].
func (e *Encoder) EmbedTokenVectors(ctx context.Context, seqs []Sequence) ([][]float32, error) {
	if _, ok := e.arch.variants[tokenVectors]; !ok {
		return nil, fmt.Errorf("%w: vectors of tokens, by a model that does not pool them", loader.ErrUnsupported)
	}
	return e.embed(ctx, tokenVectors, seqs, 0)
}
