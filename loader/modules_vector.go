package loader

import (
	"errors"
	"slices"
	"strings"
)

// The modules that work on a vector, of a sentence or of each token.

const sentenceVector, tokenVectors = "sentence_embedding", "token_embeddings"

// perToken reads what a module works on: the sentence vector, or in multi-vector
// models each token embedding. byDefault is what a file without the keys means.
func (o *opener) perToken(c *Config, byDefault string) (bool, error) {
	in, err := c.StringOr("module_input_name", byDefault)
	if err != nil {
		return false, err
	}
	out, err := c.StringOr("module_output_name", in)
	if err != nil {
		return false, err
	}
	want := sentenceVector
	if o.kind == KindMultiVector {
		want = tokenVectors
	}
	for key, got := range map[string]string{"module_input_name": in, "module_output_name": out} {
		if got != want {
			return false, c.Unsupported(key, "%.60q; supported in a %s is %s", got, o.kind, want)
		}
	}
	return in == tokenVectors, nil
}

func loadDense(o *opener, dir string) (Module, error) {
	c, err := configWithin(o.root, join(dir, "config.json"))
	if err != nil {
		return nil, err
	}
	d, err := o.parseDense(c)
	if err != nil {
		return nil, err
	}
	if d.Weights, err = openWeightsDir(o.root, dir); err != nil {
		return nil, err
	}
	_, err = d.Weights.Want("linear.weight", d.Out, d.In)
	if err == nil && d.Bias {
		_, err = d.Weights.Want("linear.bias", d.Out)
	}
	if err != nil {
		return nil, errors.Join(err, d.Weights.Close())
	}
	return d, nil
}

func (o *opener) parseDense(c *Config) (Dense, error) {
	f := c.Fields()
	d := Dense{
		In:   f.Int("in_features", 1, maxDim),
		Out:  f.Int("out_features", 1, maxDim),
		Bias: f.BoolOr("bias", true),
	}
	class := f.StringOr("activation_function", "torch.nn.modules.activation.Tanh")
	residual := f.BoolOr("use_residual", false)
	if f.Err() != nil {
		return d, f.Err()
	}
	if residual {
		return d, c.Unsupported("use_residual", "a residual connection")
	}
	var err error
	if d.Activation, err = activation(c, "activation_function", class, sortedKeys(activations)); err != nil {
		return d, err
	}
	byDefault := sentenceVector
	if o.kind == KindMultiVector { // releases before 5.4 and PyLate do not say
		byDefault = tokenVectors
	}
	d.PerToken, err = o.perToken(c, byDefault)
	return d, err
}

// activation returns the one of activations that a torch class path names, if it
// is among the given ones.
func activation(c *Config, key, class, among string) (Activation, error) {
	name := class[strings.LastIndexByte(class, '.')+1:]
	if !strings.HasPrefix(class, "torch.nn.") || !slices.Contains(strings.Split(among, ", "), name) {
		return "", c.Unsupported(key, "%.200q; supported are torch.nn's %s", class, among)
	}
	return activations[name], nil
}

func loadLayerNorm(o *opener, dir string) (Module, error) {
	c, err := configWithin(o.root, join(dir, "config.json"))
	if err != nil {
		return nil, err
	}
	n := LayerNorm{}
	if n.Dim, err = c.Int("dimension", 1, maxDim); err != nil {
		return nil, err
	}
	if n.Weights, err = openWeightsDir(o.root, dir); err != nil {
		return nil, err
	}
	for _, name := range []string{"norm.weight", "norm.bias"} {
		if _, err := n.Weights.Want(name, n.Dim); err != nil {
			return nil, errors.Join(err, n.Weights.Close())
		}
	}
	return n, nil
}

// loadNormalize has nothing to load: before release 6 the folder is often not
// even there.
func loadNormalize(o *opener, dir string) (Module, error) {
	c, err := optionalConfig(o.root, join(dir, "config.json"))
	if err != nil {
		return nil, err
	}
	per, err := o.perToken(c, sentenceVector)
	return Normalize{PerToken: per}, err
}
