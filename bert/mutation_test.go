package bert

import (
	"context"
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
	ctx := context.Background()
	m, err := loader.Open(testmodel.Path(folder, name))
	require.NoError(t, err)
	defer m.Close()
	p, err := plan(m, Options{})
	require.NoError(t, err)
	mutate(p.builder)
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
