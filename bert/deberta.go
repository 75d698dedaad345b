package bert

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// DeBERTa v2 and v3 (He et al. 2020, arXiv:2006.03654; 2021, arXiv:2111.09543): BERT whose scores have two more parts, of content with relative position
// (transformers/models/deberta_v2/modeling_deberta_v2.py). The projected position rows depend on weights alone, so they are made when the model is loaded: a
// row for each distance.
var debertaArchitecture = architecture{
	name:      "deberta-v2",
	modelType: "deberta-v2",
	prefixes:  []string{"", "deberta.", "model.", "0.auto_model."},
	probe:     "embeddings.word_embeddings.weight",
	layers:    "encoder.layer.",
	build:     buildDeBERTa,
}

var debertaNames = layerNames{"attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj", "attention.output.dense", "attention.output.LayerNorm",
	"intermediate.dense", "output.dense", "output.LayerNorm"}

// relative is how DeBERTa's configuration describes relative positions.
type relative struct {
	buckets, greatest, span int
	toPosition, toContent   bool // c2p, p2c
	shared, normed          bool
	reach                   int // distances that can occur
}

func buildDeBERTa(b *builder, c *loader.Config) (encoder, error) {
	f := c.Fields()
	s := readShape(f, usualNames, 1e-7)
	width := uint32(f.IntOr("embedding_size", int(max(s.hidden, 1)), 1, 1<<16))
	types := uint32(f.IntOr("type_vocab_size", 0, 0, 1<<10))
	act := choice(c, f, "hidden_act", "gelu", activations)
	biased := f.BoolOr("position_biased_input", true)
	f.Ignore("pos_att_type", "pooler_hidden_act", "pooler_hidden_size", "relative_attention", "max_relative_positions", "position_buckets", "norm_rel_ebd", "share_att_key")
	taps := f.IntOr("conv_kernel_size", 0, 0, 31)
	convAct := choice(c, f, "conv_act", "tanh", activations)
	if groups := f.IntOr("conv_groups", 1, 1, 1<<16); groups != 1 && taps > 0 {
		f.Fail(c.Unsupported("conv_groups", "got %d; supported: 1", groups))
	}
	if taps%2 == 0 && taps > 0 {
		f.Fail(c.Unsupported("conv_kernel_size", "got %d; supported: odd numbers", taps))
	}
	if size := f.IntOr("attention_head_size", 0, 0, 1<<10); size > 0 && uint32(size)*s.heads != s.hidden {
		f.Fail(c.Unsupported("attention_head_size", "got %d; supported: hidden_size / num_attention_heads", size))
	}
	r, err := readRelative(c, f, s)
	if err != nil {
		return encoder{}, err
	}
	if err := s.finish(c, f); err != nil {
		return encoder{}, err
	}
	parts := 1
	for _, on := range []bool{r.toPosition, r.toContent} {
		if on {
			parts++
		}
	}
	if values := uint64(parts-1) * uint64(s.layers) * uint64(2*r.reach+1) * uint64(s.hidden); values > positionFloats {
		return encoder{}, c.Unsupported("max_position_embeddings", "got %d, for which the rows of relative positions would take %d values in %d layers; supported: at most %d values",
			s.positions, values, s.layers, positionFloats)
	}

	position, kind := none, none
	if biased {
		position = b.table("embeddings.position_embeddings.weight", s.positions, width)
	}
	if types > 0 {
		kind = b.table("embeddings.token_type_embeddings.weight", types, width)
	}
	word := b.table("embeddings.word_embeddings.weight", s.vocab, width)
	norm := b.layerNorm("embeddings.LayerNorm", s.hidden, s.eps)
	var x value
	if width == s.hidden {
		x = b.embed(word, position, kind, norm)
	} else {
		x = b.linear(b.embed(word, position, kind, noNorm), b.linears(s.hidden, width, false, "embeddings.embed_proj").normed(norm))
	}
	embeddings := x
	for i := range s.layers {
		at := fmt.Sprintf("encoder.layer.%d.", i)
		attention := plainAttention(s.allHeads(), invSqrt(s.hidden/s.heads*uint32(parts)))
		if r.toPosition {
			attention.positionKeys = b.positionRows(s, r, at+"attention.self.", "key_proj", "pos_key_proj")
		}
		if r.toContent {
			attention.positionQueries = b.positionRows(s, r, at+"attention.self.", "query_proj", "pos_query_proj")
		}
		x = bertLayer(b, s, x, at, debertaNames, attention, act)
		if i == 0 && taps > 0 { // v2's larger models: a convolution over the embeddings beside the first layer
			conv := newShifter(b, s.allHeads(), s.vocab, s.positions).convolve(embeddings, "encoder.conv.conv", taps, convAct)
			x = b.addNorm(conv, x, b.layerNorm("encoder.conv.LayerNorm", s.hidden, s.eps))
		}
	}
	return s.encoder(x, s.positions), nil
}

var noNorm norm

func readRelative(c *loader.Config, f *loader.Fields, s shape) (relative, error) {
	r := relative{
		buckets:  f.IntOr("position_buckets", -1, -1, 1<<16),
		greatest: f.IntOr("max_relative_positions", -1, -1, 1<<16),
		shared:   f.BoolOr("share_att_key", false),
		normed:   strings.Contains(f.StringOr("norm_rel_ebd", "none"), "layer_norm"),
		reach:    int(s.positions) - 1,
	}
	if !f.BoolOr("relative_attention", false) || f.Err() != nil {
		return relative{}, f.Err()
	}
	if r.greatest < 1 {
		r.greatest = int(s.positions)
	}
	r.span = r.greatest
	if r.buckets > 0 {
		r.span = r.buckets
	}
	kinds, err := c.Strings("pos_att_type")
	if err != nil {
		joined, err := c.StringOr("pos_att_type", "")
		if err != nil {
			return relative{}, err
		}
		kinds = strings.Split(joined, "|")
	}
	for _, kind := range kinds {
		if !slices.Contains([]string{"c2p", "p2c", ""}, strings.ToLower(strings.TrimSpace(kind))) {
			return relative{}, c.Unsupported("pos_att_type", "got %q; supported: c2p, p2c", kind)
		}
	}
	r.toPosition, r.toContent = slices.Contains(kinds, "c2p"), slices.Contains(kinds, "p2c")
	return r, nil
}

// bucket of query − key: exact up to half of the buckets, then logarithmic; in f32, as make_log_bucket_position does it.
func (r relative) bucket(distance int) int {
	if r.buckets <= 0 {
		return distance
	}
	middle := r.buckets / 2
	n := max(distance, -distance)
	if n <= middle {
		return distance
	}
	ratio := float32(math.Log(float64(float32(n)/float32(middle)))) / float32(math.Log(float64(float32(r.greatest-1)/float32(middle))))
	far := int(math.Ceil(float64(ratio*float32(middle-1)))) + middle
	if distance < 0 {
		return -far
	}
	return far
}

// positionFloats bounds the rows of relative positions of all layers, 2 GiB: without position_biased_input no stored tensor bounds how many there are. The largest
// released model, of 48 layers of 1,536 columns, has 151 million of them for its 512 positions.
const positionFloats = 1 << 29

// positionRows is a projection of the relative embeddings, with a row for each distance −reach … reach: [2·reach + 1, hidden].
func (b *builder) positionRows(s shape, r relative, at, shared, own string) uint32 {
	hidden := int(s.hidden)
	name := at + own
	if r.shared {
		name = at + shared
	}
	needs := []need{{"encoder.rel_embeddings.weight", []int{2 * r.span, hidden}}, {name + ".weight", []int{hidden, hidden}}, {name + ".bias", []int{hidden}}}
	if r.normed {
		needs = append(needs, need{"encoder.LayerNorm.weight", []int{hidden}}, need{"encoder.LayerNorm.bias", []int{hidden}})
	}
	t := cgo.Tensor{Rows: uint32(2*r.reach + 1), Cols: s.hidden, Layout: cgo.Table, DType: cgo.F32}
	return b.computed(t, name, needs, func(stored [][]float32) []float32 {
		rows := stored[0]
		if r.normed {
			rows = layerNormRows(rows, stored[3], stored[4], float64(s.eps))
		}
		projected := project(rows, stored[1], stored[2])
		out := make([]float32, 0, t.Rows*t.Cols)
		for d := -r.reach; d <= r.reach; d++ {
			row := max(0, min(2*r.span-1, r.bucket(d)+r.span))
			out = append(out, projected[row*hidden:(row+1)*hidden]...)
		}
		return out
	})
}
