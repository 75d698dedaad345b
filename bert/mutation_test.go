package bert

import (
	"context"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/internal/testmodel"
	"github.com/vkbert/vkbert/loader"
)

// embedMutated runs the golden ids of a directory of testdata through its program, changed by mutate, and returns the greatest difference from the golden
// vectors, relative to each vector's largest value.
func embedMutated(t *testing.T, folder, name string, mutate func(b *builder)) float64 {
	t.Helper()
	return embedReplanned(t, folder, name, func(p *planned) { mutate(p.builder) })
}

// embedReplanned is embedMutated for changes beyond the ops.
func embedReplanned(t *testing.T, folder, name string, mutate func(p *planned)) float64 {
	t.Helper()
	ctx := context.Background()
	m, err := loader.Open(testmodel.Path(folder, name))
	require.NoError(t, err)
	defer m.Close()
	p, err := plan(m, Options{})
	require.NoError(t, err)
	mutate(p)
	e, err := p.open(ctx, Options{Device: "reference"})
	require.NoError(t, err)
	defer e.Close()

	golden := testmodel.Read(t, testmodel.Path(folder, name, "golden.json"))
	seqs := make([]Sequence, len(golden.IDs))
	for i, ids := range golden.IDs {
		seqs[i] = Sequence{IDs: ids}
	}
	vectors, err := e.Embed(ctx, seqs)
	require.NoError(t, err)
	worst := 0.0
	for i, want := range golden.Vectors {
		d, largest := testmodel.MaxDifference(t, want, vectors[i])
		worst = max(worst, d/largest)
	}
	return worst
}

// ofKind calls change for each op of a kind.
func ofKind(kind cgo.OpKind, change func(*cgo.Op)) func(*builder) {
	return func(b *builder) {
		for i := range b.ops {
			if b.ops[i].Kind == kind {
				change(&b.ops[i])
			}
		}
	}
}

// The golden test must be able to fail: each thing that an implementation might leave out moves the vectors far beyond its tolerance.
func TestGoldenTestSeesMutations(t *testing.T) {
	const tolerance = 1e-5 // of TestTinyDirectories
	assert.LessOrEqual(t, embedMutated(t, "tiny", "mean", func(*builder) {}), tolerance, "nothing changed")

	firstLinear := func(b *builder) *cgo.Op { return &b.ops[1] } // query, key and value of the first layer
	mutations := map[string]func(*builder){
		"no attention scale":                   ofKind(cgo.OpAttention, func(op *cgo.Op) { op.Scale = 1 }),
		"no bias in the first layer's qkv":     func(b *builder) { firstLinear(b).Bias = none },
		"norm eps 1e-12":                       func(b *builder) { eps(b, 1e-12) },
		"no type rows":                         ofKind(cgo.OpEmbed, func(op *cgo.Op) { op.TypeTable = none }),
		"no position rows":                     ofKind(cgo.OpEmbed, func(op *cgo.Op) { op.PositionTable = none }),
		"no last layer":                        dropLastLayer,
		"GELU by tanh":                         ofKind(cgo.OpLinear, func(op *cgo.Op) { op.Activation = swap(op.Activation, cgo.GELU, cgo.GELUTanh) }),
		"no residual after the last attention": func(b *builder) { b.ops[len(b.ops)-4].Residual = none },
		"cls for mean":                         ofKind(cgo.OpPool, func(op *cgo.Op) { op.Pool = cgo.PoolCLS }),
	}
	for name, mutate := range mutations {
		t.Run(name, func(t *testing.T) {
			d := embedMutated(t, "tiny", "mean", mutate)
			t.Logf("moves the vectors by %.2g of their largest value", d)
			assert.Greater(t, d, 10*tolerance)
		})
	}
}

func eps(b *builder, eps float32) {
	for i := range b.ops {
		if b.ops[i].Norm != cgo.NoNorm {
			b.ops[i].NormEps = eps
		}
	}
}

func swap[T comparable](x, from, to T) T {
	if x == from {
		return to
	}
	return x
}

// dropLastLayer takes out the five ops before the pooling, and lets it read what they read.
func dropLastLayer(b *builder) {
	pool := b.ops[len(b.ops)-1]
	layer := b.ops[len(b.ops)-6 : len(b.ops)-1]
	pool.Input = layer[0].Input
	b.ops = append(b.ops[:len(b.ops)-6], pool)
}

// The same for what the other architectures add.
func TestGoldenTestSeesMutationsOfOtherArchitectures(t *testing.T) {
	attention := func(change func(*cgo.Op)) func(*builder) { return ofKind(cgo.OpAttention, change) }
	noDistances := attention(func(op *cgo.Op) { op.Weight = none })
	noWindow := attention(func(op *cgo.Op) { op.Window = 0 })
	noGate := ofKind(cgo.OpGate, func(op *cgo.Op) { op.Activation = cgo.NoActivation })
	oneRope := func(b *builder) {
		first := none
		ofKind(cgo.OpRotate, func(op *cgo.Op) {
			if first == none {
				first = op.PositionTable
			}
			op.PositionTable = first
		})(b)
	}
	mutations := []struct {
		name, what string
		mutate     func(*builder)
	}{
		{"mpnet", "no bias table", noDistances},
		{"t5", "no bias table", noDistances},
		{"jina_v2", "no ALiBi", attention(func(op *cgo.Op) { op.Bias = none })},
		{"deberta_v2", "no position keys", attention(func(op *cgo.Op) { op.PositionTable = none })},
		{"deberta_v2", "no position queries", attention(func(op *cgo.Op) { op.TypeTable = none })},
		{"deberta_conv5", "no convolution", ofKind(cgo.OpNorm, func(op *cgo.Op) { op.Input, op.Residual = op.Residual, none })},
		{"modernbert", "no window", noWindow},
		{"modernbert", "one RoPE base", oneRope},
		{"gemma3", "no window", noWindow},
		{"gemma3", "one RoPE base", oneRope},
		{"gte", "no activation in the gate", noGate},
		{"nomic_bert", "no activation in the gate", noGate},
		{"new", "no RoPE", ofKind(cgo.OpRotate, func(op *cgo.Op) { op.PositionTable = none })},
		{"qwen3", "no q/k norm", ofKind(cgo.OpRotate, func(op *cgo.Op) {
			op.Norm, op.NormEps, op.NormWeight, op.NormBias, op.Weight, op.Bias = cgo.NoNorm, 0, none, none, none, none
		})},
		{"qwen2", "no window", noWindow},
		{"qwen2", "no causal mask", attention(func(op *cgo.Op) { op.Flags = 0 })},
		{"eurobert", "no RoPE", ofKind(cgo.OpRotate, func(op *cgo.Op) { op.PositionTable = none })},
		{"jina_v3", "no RoPE", ofKind(cgo.OpRotate, func(op *cgo.Op) { op.PositionTable = none })},
		{"t5_gated", "no activation in the gate", noGate},
		{"gemma3_causal", "no causal mask", attention(func(op *cgo.Op) { op.Flags = 0 })},
		{"qwen3", "no causal mask", attention(func(op *cgo.Op) { op.Flags = 0 })},
		{"jina_v2_code", "no q/k norm", ofKind(cgo.OpRotate, func(op *cgo.Op) {
			op.Norm, op.NormEps, op.NormWeight, op.NormBias, op.Weight, op.Bias = cgo.NoNorm, 0, none, none, none, none
		})},
	}
	const tolerance = 1e-5 // of TestArchitectures
	for _, m := range mutations {
		t.Run(m.name+"/"+m.what, func(t *testing.T) {
			assert.LessOrEqual(t, embedMutated(t, "arch", m.name, func(*builder) {}), tolerance, "nothing changed")
			d := embedMutated(t, "arch", m.name, m.mutate)
			t.Logf("moves the vectors by %.2g of their largest value", d)
			assert.Greater(t, d, 10*tolerance)
		})
	}
}

// The base of a dynamic rotary embedding follows the length of a text.
func TestGoldenTestSeesTheDynamicBase(t *testing.T) {
	const tolerance = 1e-5
	assert.LessOrEqual(t, embedReplanned(t, "arch", "nomic_bert_dynamic", func(*planned) {}), tolerance, "nothing changed")
	d := embedReplanned(t, "arch", "nomic_bert_dynamic", func(p *planned) {
		p.encoder.positions = func(_, positions []int32) { // the base that the model was trained with
			for i := range positions {
				positions[i] = int32(i)
			}
		}
	})
	t.Logf("moves the vectors by %.2g of their largest value", d)
	assert.Greater(t, d, 10*tolerance)
}

// A kindGolden is what the golden files of the other kinds of models hold.
type kindGolden struct {
	IDs     [][]int32
	TypeIDs [][]int32 `json:"type_ids"`
	Logits  [][]float32
	Sparse  []Sparse
	Query   struct {
		IDs      [][]int32
		Attended [][]int
		Vectors  [][][]float32
	}
	Tasks map[string]testmodel.Set `json:"-"`
}

// mutateKind opens a directory of testdata/arch with its plan changed, hands it to run, and returns the greatest difference of the rows that run returns, as a part of
// their greatest value.
func mutateKind(t *testing.T, name string, mutate func(p *planned), run func(e *Encoder, g kindGolden) (want, got [][]float32)) float64 {
	t.Helper()
	m, err := loader.Open(testmodel.Path("arch", name))
	require.NoError(t, err)
	defer m.Close()
	p, err := plan(m, Options{})
	require.NoError(t, err)
	mutate(p)
	e, err := p.open(context.Background(), Options{Device: "reference"})
	require.NoError(t, err)
	defer e.Close()
	path := testmodel.Path("arch", name, "golden.json")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var g kindGolden
	require.NoError(t, json.Unmarshal(data, &g))
	if p.tasks != nil {
		g.Tasks = testmodel.Read(t, path).Tasks
	}
	want, got := run(e, g)
	require.Len(t, got, len(want))
	var difference, largest float64
	for i := range want {
		d, l := testmodel.MaxDifference(t, want[i], got[i])
		difference, largest = max(difference, d), max(largest, l)
	}
	return difference / largest
}

func seqsOf(ids, types [][]int32) []Sequence {
	seqs := make([]Sequence, len(ids))
	for i := range ids {
		seqs[i].IDs = ids[i]
		if types != nil {
			seqs[i].TypeIDs = types[i]
		}
	}
	return seqs
}

// The same for models of other kinds, for adapters and for tokens that nothing attends to.
func TestGoldenTestSeesMutationsOfOtherKinds(t *testing.T) {
	ctx := context.Background()
	logits := func(e *Encoder, g kindGolden) (want, got [][]float32) {
		got, err := e.Embed(ctx, seqsOf(g.IDs, g.TypeIDs))
		require.NoError(t, err)
		return g.Logits, got
	}
	sparse := func(e *Encoder, g kindGolden) (want, got [][]float32) {
		vectors, err := e.EmbedSparse(ctx, seqsOf(g.IDs, nil), 0)
		require.NoError(t, err)
		for i := range vectors {
			for _, pair := range []struct {
				v  Sparse
				to *[][]float32
			}{{g.Sparse[i], &want}, {vectors[i], &got}} {
				row := make([]float32, e.Info().Dimensions)
				for j, at := range pair.v.Indices {
					row[at] = pair.v.Values[j]
				}
				*pair.to = append(*pair.to, row)
			}
		}
		return want, got
	}
	queries := func(e *Encoder, g kindGolden) (want, got [][]float32) {
		attended := make([][]bool, len(g.Query.IDs))
		for i, flags := range g.Query.Attended {
			for _, flag := range flags {
				attended[i] = append(attended[i], flag == 1)
			}
			var flat []float32 // all tokens of a query are kept
			for _, row := range g.Query.Vectors[i] {
				flat = append(flat, row...)
			}
			want = append(want, flat)
		}
		got, err := e.EmbedAttended(ctx, seqsOf(g.Query.IDs, nil), attended)
		require.NoError(t, err)
		return want, got
	}
	task := func(e *Encoder, g kindGolden) (want, got [][]float32) {
		set := g.Tasks["text-matching"]
		got, err := e.EmbedTask(ctx, "text-matching", seqsOf(set.IDs, nil))
		require.NoError(t, err)
		return set.Vectors, got
	}
	nothing := func(*planned) {}
	last := func(change func(op *cgo.Op)) func(*planned) {
		return func(p *planned) { change(&p.ops[len(p.ops)-1]) }
	}
	dense := func(change func(op *cgo.Op)) func(*planned) { // the one before the last
		return func(p *planned) { change(&p.ops[len(p.ops)-2]) }
	}
	variant := func(name string, change func(p *program)) func(*planned) {
		return func(p *planned) {
			v := p.variants[name]
			change(&v)
			p.variants[name] = v
		}
	}
	for _, m := range []struct {
		name, what string
		mutate     func(*planned)
		run        func(e *Encoder, g kindGolden) (want, got [][]float32)
	}{
		{"cross_bert", "no tanh", dense(func(op *cgo.Op) { op.Activation = cgo.NoActivation }), logits},
		{"cross_bert", "no type rows", func(p *planned) { p.ops[0].TypeTable = none }, logits},
		{"cross_electra", "tanh for GELU", dense(func(op *cgo.Op) { op.Activation = cgo.Tanh }), logits},
		{"cross_deberta", "no bias of the labels", last(func(op *cgo.Op) { op.Bias = none }), logits},
		{"cross_distilbert", "no ReLU", dense(func(op *cgo.Op) { op.Activation = cgo.NoActivation }), logits},
		{"cross_modernbert", "no norm in the head", dense(func(op *cgo.Op) { op.Norm, op.NormWeight, op.NormEps = cgo.NoNorm, none, 0 }), logits},
		{"cross_modernbert", "first token for the mean", func(p *planned) { p.ops[len(p.ops)-3].Pool = cgo.PoolCLS }, logits},
		{"splade", "no bias of the words", last(func(op *cgo.Op) { op.Bias = none }), sparse},
		{"splade", "no norm in the head", dense(func(op *cgo.Op) { op.Norm, op.NormWeight, op.NormBias, op.NormEps = cgo.NoNorm, none, none, 0 }), sparse},
		{"splade", "another logarithm", func(p *planned) { p.sparse.twice = true }, sparse},
		{"colbert", "all tokens attended to", variant(maskedQueries, func(v *program) { v.ops[1].TypeTable = none }), queries}, // the marks
		{"colbert", "no normalization", variant(maskedQueries, func(v *program) { v.output = value(v.ops[len(v.ops)-1].Input) }), queries},
		{"jina_v3", "no adapters", func(p *planned) { p.variants["text-matching"] = p.program() }, task},
		{"jina_v3", "those of another task", func(p *planned) { p.variants["text-matching"] = p.variants["separation"] }, task},
		{"jina_v3", "no adapter of the words", variant("text-matching", func(v *program) {
			// low rows, embedding, sum
			v.ops[2] = plainNorm(v.ops[2], v.ops[1].Output)
		}), task},
	} {
		const tolerance = 1e-5
		t.Run(m.name+"/"+m.what, func(t *testing.T) {
			assert.LessOrEqual(t, mutateKind(t, m.name, nothing, m.run), tolerance, "nothing changed")
			d := mutateKind(t, m.name, m.mutate, m.run)
			t.Logf("moves the output by %.2g of its largest value", d)
			assert.Greater(t, d, 10*tolerance)
		})
	}
}

// plainNorm is the norm of an op alone, of another input.
func plainNorm(op cgo.Op, input uint32) cgo.Op {
	n := cgo.NewOp(cgo.OpNorm)
	n.Input, n.Output, n.Norm, n.NormWeight, n.NormBias, n.NormEps = input, op.Output, op.Norm, op.NormWeight, op.NormBias, op.NormEps
	return n
}
