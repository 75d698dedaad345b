package bert

import (
	"fmt"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

var poolings = map[loader.PoolingMode]cgo.Pool{
	loader.PoolCLS:          cgo.PoolCLS,
	loader.PoolMax:          cgo.PoolMax,
	loader.PoolMean:         cgo.PoolMean,
	loader.PoolMeanSqrtLen:  cgo.PoolMeanSqrtLen,
	loader.PoolWeightedMean: cgo.PoolWeightedMean,
	loader.PoolLastToken:    cgo.PoolLast,
}

var denseActivations = map[loader.Activation]cgo.Activation{
	loader.Identity: cgo.NoActivation,
	loader.Tanh:     cgo.Tanh,
	loader.ReLU:     cgo.ReLU,
	loader.GELU:     cgo.GELU,
	loader.SiLU:     cgo.SiLU,
	loader.Sigmoid:  cgo.Sigmoid,
}

// Poolings turns the loader's names of pooling modes into the core's.
func Poolings(modes []loader.PoolingMode) ([]cgo.Pool, error) {
	pools := make([]cgo.Pool, len(modes))
	for i, mode := range modes {
		pool, ok := poolings[mode]
		if !ok {
			return nil, fmt.Errorf("%w: pooling mode %q", loader.ErrUnsupported, mode)
		}
		pools[i] = pool
	}
	return pools, nil
}

// layerNormEps is torch.nn.LayerNorm's default, which the LayerNorm module uses.
const layerNormEps = 1e-5

// addModules appends the modules that follow the first one (sentence-transformers' modules.json) and returns the output: a row a sequence, or in a multi-vector
// model a row a token. pooling, if not nil, takes the place of the Pooling module's modes.
func (p *planned) addModules(m *loader.Model, stored *files, pooling []cgo.Pool) (value, error) {
	b, x := p.builder, p.encoder.output
	for _, module := range m.Modules {
		switch module := module.(type) {
		case loader.Transformer, loader.StaticEmbedding, loader.Dropout:
		case loader.MultiVectorMask: // chooses among the rows that are handed out
		case loader.SpladePooling:
			var err error
			if x, err = p.splade(x, m, stored, module); err != nil {
				return 0, err
			}
		case loader.Pooling:
			if module.Dim != int(b.width(x)) {
				return 0, fmt.Errorf("%w: %s: Pooling is for %d values a token, the transformer gives %d", loader.ErrBadConfig, m.Dir, module.Dim, b.width(x))
			}
			modes := pooling
			if modes == nil {
				var err error
				if modes, err = Poolings(module.Modes); err != nil {
					return 0, err
				}
			}
			x = b.pool(x, modes)
		case loader.Dense:
			b.from = &files{weights: module.Weights, used: map[string]bool{}}
			if module.Weights == m.Weights { // of Stanford's ColBERT, beside the encoder
				b.from = stored.at("")
			}
			l := linearOp{weight: b.matrix(uint32(module.Out), uint32(module.In), "linear.weight"), bias: none, activation: denseActivations[module.Activation]}
			if module.Bias {
				l.bias = b.vector(uint32(module.Out), "linear.bias")
			}
			if err := fits(b, x, module.In, m, module); err != nil {
				return 0, err
			}
			x = b.linear(x, l)
		case loader.LayerNorm:
			b.from = &files{weights: module.Weights, used: map[string]bool{}}
			if err := fits(b, x, module.Dim, m, module); err != nil {
				return 0, err
			}
			x = b.applyNorm(x, b.layerNorm("norm", uint32(module.Dim), layerNormEps))
		case loader.Normalize:
			x = b.normalize(x)
		default:
			return 0, fmt.Errorf("%w: %s: module %s", loader.ErrUnsupported, m.Dir, module.Kind())
		}
	}
	return x, nil
}

func fits(b *builder, x value, in int, m *loader.Model, module loader.Module) error {
	if in != int(b.width(x)) {
		return fmt.Errorf("%w: %s: module %s takes %d values, got %d", loader.ErrBadConfig, m.Dir, module.Kind(), in, b.width(x))
	}
	return nil
}
