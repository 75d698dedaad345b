package bert

import (
	"fmt"
	"slices"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// Jina embeddings v3 (Sturua et al. 2024, arXiv:2409.10173): XLM-RoBERTa with a rotary embedding in place of positions (transformers/models/jina_embeddings_v3).
// The released files say xlm-roberta and bring code of their own (modeling_lora.py of jinaai/xlm-roberta-flash-implementation): each matrix has a low-rank
// adapter for each task. Those that transformers 5 stores have none.
var (
	jina3Architecture = architecture{
		name:      "jina_embeddings_v3",
		modelType: "jina_embeddings_v3",
		prefixes:  []string{"", "roberta.", "model.", "0.auto_model."},
		probe:     "embeddings.word_embeddings.weight",
		layers:    "encoder.layers.",
		build:     buildJina3,
	}
	jina3LoRAArchitecture = architecture{
		name:      "jina_embeddings_v3",
		modelType: "xlm-roberta",
		class:     "XLMRobertaLoRA",
		prefixes:  []string{"roberta.", "", "0.auto_model.roberta."},
		probe:     "embeddings.word_embeddings.parametrizations.weight.original",
		layers:    "encoder.layers.",
		build:     buildJina3,
	}
)

func buildJina3(b *builder, c *loader.Config) (encoder, error) {
	f := c.Fields()
	s := readShape(f, usualNames, 1e-5)
	types := uint32(f.IntOr("type_vocab_size", 1, 1, 1<<10))
	act := choice(c, f, "hidden_act", "gelu", activations)
	only(c, f, "position_embedding_type", "rotary")
	l, err := readLoRA(c, f)
	if err != nil {
		return encoder{}, err
	}
	f.Ignore("rotary_emb_base", "rope_parameters", "rope_scaling", "load_trained_adapters", "lora_adaptations")
	if err := s.finish(c, f); err != nil {
		return encoder{}, err
	}
	r, err := readRope(c, f, s.hidden/s.heads, s.positions, ropeSource{base: "rotary_emb_base", otherwise: 20000})
	if err != nil {
		return encoder{}, err
	}
	x := l.embeddings(b, s, types)
	rotate := rotateOp{heads: s.allHeads(), table: b.ropeTable(r, s.positions)}
	attention := plainAttention(s.allHeads(), invSqrt(s.hidden/s.heads))
	for i := range s.layers {
		at := fmt.Sprintf("encoder.layers.%d.", i)
		qkv := b.rotate(b.linear(x, l.linear(b, 3*s.hidden, s.hidden, at+"mixer.Wqkv")), rotate)
		x = b.linear(b.attention(qkv, attention), l.linear(b, s.hidden, s.hidden, at+"mixer.out_proj").plus(x).normed(b.layerNorm(at+"norm1", s.hidden, s.eps)))
		h := b.linear(x, l.linear(b, s.inner, s.hidden, at+"mlp.fc1").act(act))
		x = b.linear(h, l.linear(b, s.hidden, s.inner, at+"mlp.fc2").plus(x).normed(b.layerNorm(at+"norm2", s.hidden, s.eps)))
	}
	e := r.placed(s.encoder(x, s.positions))
	e.tasks = l.tasks
	return e, nil
}

// lora is how the adapters are stored: of a matrix NAME [out, in], NAME.parametrizations.weight.0.lora_A [tasks, rank, in] and lora_B [tasks, out, rank]; of a
// table [rows, hidden], lora_A [tasks, rows, rank] and lora_B [tasks, rank, hidden].
type lora struct {
	tasks []string // none: the matrices are stored plainly
	rank  int
	scale float32
}

func readLoRA(c *loader.Config, f *loader.Fields) (lora, error) {
	if c.ModelType() == "jina_embeddings_v3" {
		return lora{}, nil
	}
	tasks, err := c.Strings("lora_adaptations")
	if err != nil {
		return lora{}, err
	}
	if len(tasks) == 0 {
		return lora{}, c.Errorf("lora_adaptations", "want at least one task")
	}
	for i, task := range tasks {
		if task == base || slices.Contains(tasks[:i], task) {
			return lora{}, c.Errorf("lora_adaptations", "task %q is empty or there twice", task)
		}
		if task == maskedQueries || task == tokenVectors { // programs of their own
			return lora{}, c.Unsupported("lora_adaptations", "got task %q; supported: any name but %q and %q", task, maskedQueries, tokenVectors)
		}
	}
	rank := f.Int("lora_rank", 1, 1<<12)
	alpha := f.Float("lora_alpha", 0, 1e6)
	return lora{tasks: tasks, rank: rank, scale: float32(alpha / float64(max(rank, 1)))}, f.Err()
}

const adapted = ".parametrizations.weight."

// linear is a matrix with its bias and adapters.
func (l lora) linear(b *builder, out, in uint32, name string) linearOp {
	if l.tasks == nil {
		return b.linears(out, in, true, name)
	}
	op := linearOp{weight: b.matrix(out, in, name+adapted+"original"), bias: b.vector(out, name+".bias")}
	a := adapter{down: map[string]uint32{}, up: map[string]uint32{}}
	for i, task := range l.tasks {
		down := cgo.Tensor{Rows: uint32(l.rank), Cols: in, Layout: cgo.Linear, DType: b.stored.modules}
		up := cgo.Tensor{Rows: out, Cols: uint32(l.rank), Layout: cgo.Linear, DType: b.stored.modules}
		a.down[task] = l.slice(b, down, i, name+adapted+"0.lora_A", []int{l.rank, int(in)}, 1)
		a.up[task] = l.slice(b, up, i, name+adapted+"0.lora_B", []int{int(out), l.rank}, l.scale)
	}
	b.adapt(op.weight, a)
	return op
}

// slice is the part of a stored [tasks, …] that belongs to one task, times a factor.
func (l lora) slice(b *builder, t cgo.Tensor, task int, name string, shape []int, factor float32) uint32 {
	n := elements(shape)
	return b.computed(t, name, []need{{name, append([]int{len(l.tasks)}, shape...)}}, func(needs [][]float32) []float32 {
		return scaled(needs[0][task*n:(task+1)*n], factor)
	})
}

func scaled(x []float32, factor float32) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = factor * v
	}
	return out
}

// transposed is x [rows, len(x) / rows] with rows and columns changed over.
func transposed(x []float32, rows int) []float32 {
	cols := len(x) / rows
	out := make([]float32, len(x))
	for i, v := range x {
		out[i%cols*rows+i/cols] = v
	}
	return out
}

// embeddings is LayerNorm(word + type), each with its adapter. That of the few type rows is added to them when they are loaded.
func (l lora) embeddings(b *builder, s shape, types uint32) value {
	const word, kind = "embeddings.word_embeddings", "embeddings.token_type_embeddings"
	norm := b.layerNorm("emb_ln", s.hidden, s.eps)
	if l.tasks == nil {
		return b.embed(b.table(word+".weight", s.vocab, s.hidden), none, b.table(kind+".weight", types, s.hidden), norm)
	}
	words := b.table(word+adapted+"original", s.vocab, s.hidden)
	a := adapter{down: map[string]uint32{}, up: map[string]uint32{}, types: map[string]uint32{}}
	count, hidden := len(l.tasks), int(s.hidden)
	for i, task := range l.tasks {
		down := cgo.Tensor{Rows: s.vocab, Cols: uint32(l.rank), Layout: cgo.Table, DType: b.stored.tables}
		a.down[task] = l.slice(b, down, i, word+adapted+"0.lora_A", []int{int(s.vocab), l.rank}, 1)
		up := cgo.Tensor{Rows: s.hidden, Cols: uint32(l.rank), Layout: cgo.Linear, DType: b.stored.modules}
		name := word + adapted + "0.lora_B"
		a.up[task] = b.computed(up, name, []need{{name, []int{count, l.rank, hidden}}}, func(needs [][]float32) []float32 {
			n := l.rank * hidden
			return scaled(transposed(needs[0][i*n:(i+1)*n], l.rank), l.scale)
		})
		t := cgo.Tensor{Rows: types, Cols: s.hidden, Layout: cgo.Table, DType: b.stored.tables}
		needs := []need{{kind + adapted + "original", []int{int(types), hidden}}, {kind + adapted + "0.lora_A", []int{count, int(types), l.rank}},
			{kind + adapted + "0.lora_B", []int{count, l.rank, hidden}}}
		a.types[task] = b.computed(t, kind, needs, func(needs [][]float32) []float32 {
			rows, rank := int(types), l.rank
			low := needs[1][i*rows*rank : (i+1)*rows*rank]
			up := scaled(transposed(needs[2][i*rank*hidden:(i+1)*rank*hidden], rank), l.scale)
			out := project(low, up, make([]float32, hidden))
			for j, v := range needs[0] {
				out[j] += v
			}
			return out
		})
	}
	b.adapt(words, a)
	return b.embed(words, none, b.table(kind+adapted+"original", types, s.hidden), norm)
}
