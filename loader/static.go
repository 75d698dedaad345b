package loader

import (
	"errors"
	"fmt"
)

// StaticEmbedding gives the mean of the rows of a table, one a token, and zeros
// for a text without tokens. There is no transformer and no special token; the
// folder has a tokenizer.json of its own.
//
// The row of token i is Table[i], or in a model2vec file with Mapping
// Table[Mapping[i]], times TokenWeights[i] where there are some.
type StaticEmbedding struct {
	Path         string // folder below the model's, slash-separated
	Rows, Dim    int    // of Table
	Table        string // name of the tensor [Rows, Dim]
	Mapping      string // name of the tensor of row numbers, one a token; "" for none
	TokenWeights string // name of the tensor of factors, one a token; "" for none
	Weights      *Weights
}

// SparseStaticEmbedding gives a weight to each token that a text holds, however
// often, and zero to the others. Special tokens are not added.
type SparseStaticEmbedding struct {
	Path    string   // folder below the model's, slash-separated
	Size    int      // of the vocabulary
	Weights *Weights // weight [Size]
}

// Kind is the class name.
func (StaticEmbedding) Kind() string { return "StaticEmbedding" }

// Kind is the class name.
func (SparseStaticEmbedding) Kind() string { return "SparseStaticEmbedding" }

func loadStatic(o *opener, dir string) (_ Module, err error) {
	s := StaticEmbedding{Path: dir, Table: "embedding.weight"}
	if s.Weights, err = openWeightsDir(o.root, dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Weights.Close())
		}
	}()
	if _, there := s.Weights.Lookup(s.Table); !there {
		if _, there = s.Weights.Lookup("embeddings"); there { // model2vec's own
			s.Table = "embeddings"
			for name, field := range map[string]*string{"mapping": &s.Mapping, "weights": &s.TokenWeights} {
				if _, there := s.Weights.Lookup(name); there {
					*field = name
				}
			}
		}
	}
	table, err := s.Weights.Want(s.Table, -1, -1)
	if err != nil {
		return nil, err
	}
	if s.Rows, s.Dim = table.Shape[0], table.Shape[1]; s.Rows < 1 || s.Dim < 1 || s.Dim > maxDim {
		return nil, fmt.Errorf("%w: tensor %q: want at least one row of 1 to %d values, got shape %v", ErrTensor, s.Table, maxDim, table.Shape)
	}
	tokens := -1
	for _, name := range []string{s.Mapping, s.TokenWeights} {
		if t, there := s.Weights.Lookup(name); there {
			if len(t.Shape) != 1 || t.Shape[0] < 1 || tokens >= 0 && t.Shape[0] != tokens {
				return nil, fmt.Errorf("%w: tensor %q: want one value a token, got shape %v", ErrTensor, name, t.Shape)
			}
			tokens = t.Shape[0]
		}
	}
	return s, nil
}

func loadSparseStatic(o *opener, dir string) (Module, error) {
	c, err := optionalConfig(o.root, join(dir, "config.json"))
	if err != nil {
		return nil, err
	}
	if c.Has("path") { // of a JSON file of weights by token
		return nil, c.Unsupported("path", "%s; save the model again with sentence-transformers", describe(c.obj.get("path")))
	}
	s := SparseStaticEmbedding{Path: dir}
	if s.Weights, err = openWeightsDir(o.root, dir); err != nil {
		return nil, err
	}
	weight, err := s.Weights.Want("weight", -1)
	if err != nil {
		return nil, errors.Join(err, s.Weights.Close())
	}
	s.Size = weight.Shape[0]
	return s, nil
}
