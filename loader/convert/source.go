package convert

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"

	"github.com/vkbert/vkbert/loader"
)

// source is a model that is to be converted: tensors, not read yet, and small
// files.
type source struct {
	folders []folder
	files   []smallFile
	closers []func() error
}

// folder is a folder of the model that holds weights.
type folder struct {
	path    string // slash-separated, relative to the model's; "." is its own
	tensors []Tensor
}

// smallFile is a file that goes along: copied, or made.
type smallFile struct {
	name string // slash-separated, relative to the model's folder
	from string // the path of the original; "" for one that was made
	data []byte // of one that was made
}

func (s *source) close() error { return closeAll(s.closers) }

func closeAll(closers []func() error) error {
	var errs []error
	for _, c := range closers {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

func joinSlash(elements ...string) string { return path.Join(elements...) }

// missingFile gives a file that is not there package loader's sentinel.
func missingFile(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", loader.ErrNotFound, err)
	}
	return err
}

// weightFiles are the names of the weights that a folder may hold, the preferred
// first, as transformers has it.
var weightFiles = []struct {
	name string
	open func(root, name string) ([]Tensor, []func() error, error)
}{
	{"model.safetensors", openSafetensors},
	{"model.safetensors.index.json", openSafetensors},
	{"pytorch_model.bin", openTorchFile},
	{"pytorch_model.bin.index.json", openTorchShards},
}

// openSafetensors opens a file or an index of safetensors.
func openSafetensors(root, name string) ([]Tensor, []func() error, error) {
	if _, err := loader.Within(root, name); err != nil {
		return nil, nil, err
	}
	w, err := loader.OpenWeights(filepath.Join(root, filepath.FromSlash(name))) // not what a link leads to, which has another name
	if err != nil {
		return nil, nil, err
	}
	if _, packed := w.Packed(); packed {
		err := fmt.Errorf("%w: %s is packed already; convert the original model", loader.ErrUnsupported, filepath.Join(root, filepath.FromSlash(name)))
		return nil, nil, errors.Join(err, w.Close())
	}
	names := w.Names()
	tensors := make([]Tensor, len(names))
	for i, name := range names {
		t, _ := w.Lookup(name)
		tensors[i] = Tensor{Name: name, DType: t.DType, Shape: t.Shape, Data: func(emit func([]byte) error) error {
			return w.StreamBytes(t, make([]byte, min(max(t.Bytes(), 1), chunkBytes)), emit)
		}}
	}
	return tensors, []func() error{w.Close}, nil
}

func openTorchFile(root, name string) ([]Tensor, []func() error, error) {
	real, err := loader.Within(root, name)
	if err != nil {
		return nil, nil, err
	}
	tensors, close, err := openTorch(real)
	return tensors, []func() error{close}, err
}

func isMissing(err error) bool { return errors.Is(err, loader.ErrNotFound) }
