package server

import (
	"context"
	"fmt"

	"github.com/vkbert/vkbert"
)

// opened is what open models of all kinds have.
type opened interface {
	Info() vkbert.Info
	Stats() vkbert.Stats
	Health() error
	HealthCheck(ctx context.Context) error
	Locate(ctx context.Context, text string, special bool) ([]vkbert.LocatedToken, error)
	Decode(ids []int32, skipSpecial bool) (string, error)
	Close() error
}

// engine is an open model. Of the four, the one of its kind is set.
type engine struct {
	opened
	kind     vkbert.Kind
	unit     bool // its vectors have unit length by themselves
	dense    *vkbert.Model
	reranker *vkbert.Reranker
	sparse   *vkbert.SparseModel
	multi    *vkbert.MultiVectorModel
}

func openEngine(ctx context.Context, m Model) (*engine, error) {
	kind, err := vkbert.KindOf(ctx, m.Path)
	if err != nil {
		return nil, err
	}
	e := &engine{kind: kind}
	switch kind {
	case vkbert.KindEmbedding:
		e.dense, err = vkbert.Open(ctx, m.Path, m.Options...)
		e.opened = e.dense
	case vkbert.KindReranker:
		e.reranker, err = vkbert.OpenReranker(ctx, m.Path, m.Options...)
		e.opened = e.reranker
	case vkbert.KindSparse:
		e.sparse, err = vkbert.OpenSparse(ctx, m.Path, m.Options...)
		e.opened = e.sparse
	case vkbert.KindMultiVector:
		e.multi, err = vkbert.OpenMultiVector(ctx, m.Path, m.Options...)
		e.opened = e.multi
	default:
		err = fmt.Errorf("%w: models of the kind %q", vkbert.ErrUnsupported, kind)
	}
	if err != nil {
		return nil, err
	}
	modules := e.Info().Modules
	e.unit = len(modules) > 0 && modules[len(modules)-1] == "Normalize"
	return e, nil
}

// dimensions is the length of the vectors; 0 for scores.
func (e *engine) dimensions() int {
	switch {
	case e.dense != nil:
		return e.dense.Dimensions()
	case e.sparse != nil:
		return e.sparse.Dimensions()
	case e.multi != nil:
		return e.multi.Dimensions()
	}
	return 0
}

// onGPU says whether a model is on a graphics processor, and not on software Vulkan or another executor that the CPU runs.
func onGPU(info vkbert.Info) bool {
	switch deviceKind(info.Device.Kind) {
	case "discrete", "integrated", "virtual":
		return true
	}
	return false
}

// kindNames are the kinds as people say them.
var kindNames = map[vkbert.Kind]string{
	vkbert.KindEmbedding:   "embedding",
	vkbert.KindReranker:    "reranker",
	vkbert.KindSparse:      "sparse",
	vkbert.KindMultiVector: "multi-vector",
}
