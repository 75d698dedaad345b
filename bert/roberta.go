package bert

import (
	"fmt"

	"github.com/vkbert/vkbert/loader"
)

// RoBERTa (Liu et al. 2019, arXiv:1907.11692) and those that took its code over: BERT with one type row, and positions that start behind the padding
// index (transformers/models/roberta/modeling_roberta.py).
var (
	robertaArchitecture    = robertaLike("roberta")
	xlmRobertaArchitecture = robertaLike("xlm-roberta")
	camembertArchitecture  = robertaLike("camembert")
)

func robertaLike(modelType string) architecture {
	return architecture{
		name:      modelType,
		modelType: modelType,
		prefixes:  []string{"", "roberta.", "camembert.", "model.", "0.auto_model."},
		probe:     "embeddings.word_embeddings.weight",
		layers:    "encoder.layer.",
		build:     buildRoberta,
	}
}

func buildRoberta(b *builder, c *loader.Config) (encoder, error) {
	f := c.Fields()
	s := readShape(f, usualNames, 1e-12)
	types := uint32(f.IntOr("type_vocab_size", 2, 1, 1<<10))
	pad := int32(f.IntOr("pad_token_id", 1, 0, 1<<20))
	act := choice(c, f, "hidden_act", "gelu", activations)
	only(c, f, "position_embedding_type", "absolute")
	off(c, f, "is_decoder", "add_cross_attention")
	if err := s.finish(c, f); err != nil {
		return encoder{}, err
	}
	if int(s.positions) <= int(pad)+1 {
		return encoder{}, c.Errorf("max_position_embeddings", "want more than pad_token_id + 1 = %d, got %d", pad+1, s.positions)
	}
	x := bertEmbeddings(b, s, s.hidden, types)
	for i := range s.layers {
		x = bertLayer(b, s, x, fmt.Sprintf("encoder.layer.%d.", i), bertNames, plainAttention(s.allHeads(), invSqrt(s.hidden/s.heads)), act)
	}
	e := s.encoder(x, s.positions-uint32(pad)-1)
	e.positions = positionsBehind(pad)
	return e, nil
}

// positionsBehind counts from pad + 1, and gives a padding token in the text the position pad
// (transformers, create_position_ids_from_input_ids).
func positionsBehind(pad int32) func(ids, positions []int32) {
	return func(ids, positions []int32) {
		next := pad + 1
		for i, id := range ids {
			if id == pad {
				positions[i] = pad
				continue
			}
			positions[i] = next
			next++
		}
	}
}
