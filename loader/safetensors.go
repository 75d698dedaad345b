package loader

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Tensor describes one tensor of a Weights.
type Tensor struct {
	Name  string
	DType DType
	Shape []int // outermost first; empty for a scalar

	file   int   // index into Weights.files
	offset int64 // of the first byte in the file
	bytes  int64
}

// Elements returns the number of elements.
func (t Tensor) Elements() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Bytes returns the size in the file, in bytes.
func (t Tensor) Bytes() int64 { return t.bytes }

// Fingerprint identifies a safetensors file as it was when it was opened.
type Fingerprint struct {
	Path    string // real path, links resolved
	Size    int64
	ModTime time.Time
	Header  [sha256.Size]byte // of the JSON header
}

// Verify returns ErrChanged unless the file at Path still is the one that the
// fingerprint was taken of: same size, time and header.
func (f Fingerprint) Verify() error {
	file, err := openWeightsFile(f.Path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrChanged, err)
	}
	defer file.close()
	return f.compare(file.print)
}

func (f Fingerprint) compare(got Fingerprint) error {
	switch {
	case got.Size != f.Size:
		return fmt.Errorf("%w: %s: want %d bytes, got %d", ErrChanged, f.Path, f.Size, got.Size)
	case !got.ModTime.Equal(f.ModTime):
		return fmt.Errorf("%w: %s: want the file of %s, got one of %s", ErrChanged, f.Path,
			f.ModTime.Format(time.RFC3339Nano), got.ModTime.Format(time.RFC3339Nano))
	case got.Header != f.Header:
		return fmt.Errorf("%w: %s: its header is another", ErrChanged, f.Path)
	}
	return nil
}

// weightsFile is one mapped safetensors file.
type weightsFile struct {
	file    *os.File
	mapping *mapping
	print   Fingerprint
	tensors []Tensor // by name
	names   []string // of the checkpoint, of a packed file; else nil
}

// openWeightsFile opens and maps a file, and checks its whole header.
func openWeightsFile(path string) (_ *weightsFile, err error) {
	f, err := openRegular(path)
	if errors.Is(err, errNotRegular) {
		return nil, fmt.Errorf("%w: %s: %w", ErrBadHeader, path, err)
	}
	if err != nil {
		return nil, err
	}
	w := &weightsFile{file: f}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", path, err), w.close())
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	tensors, raw, metadata, err := readHeader(f, info.Size())
	if err != nil {
		return nil, err
	}
	// Other frameworks lay a matrix out the other way round under the same names.
	switch format := metadata["format"]; format {
	case "", "pt", "np", "mlx":
	case PackedFormat:
		if w.names, err = packedNames(metadata); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%w: weights of format %.40q: want pt; save the model again with transformers' save_pretrained", ErrUnsupported, format)
	}
	w.tensors = tensors
	w.print = Fingerprint{Path: path, Size: info.Size(), ModTime: info.ModTime(), Header: sha256.Sum256(raw)}
	if w.mapping, err = newMapping(f, info.Size()); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *weightsFile) close() error {
	var err error
	if w.mapping != nil {
		err = w.mapping.close()
	}
	return errors.Join(err, w.file.Close())
}

// read copies bytes of the file into dst. A mapping shows zeros in the rest of
// a page in which a truncated file ends, so the size is asked for afterwards.
func (w *weightsFile) read(dst []byte, off int64) error {
	if err := w.mapping.read(dst, off); err != nil {
		return fmt.Errorf("%s: %w", w.print.Path, err)
	}
	info, err := w.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() != w.print.Size {
		return fmt.Errorf("%s: %w while it was read: want %d bytes, got %d", w.print.Path, ErrTruncated, w.print.Size, info.Size())
	}
	return nil
}

// Weights is a set of mapped safetensors files. Its methods may be called from
// any number of goroutines; Close waits for the streams that are under way.
type Weights struct {
	mu      sync.RWMutex
	files   []*weightsFile
	tensors []Tensor // by name
	closed  bool
}

// OpenWeights maps a .safetensors file, a model.safetensors.index.json with its
// shards, or the weights of a model directory. Headers are read and checked,
// tensors are not touched.
func OpenWeights(path string) (*Weights, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, notFound(err)
	}
	if info.IsDir() {
		return openWeightsDir(path, ".")
	}
	if err := refuseFormat(path); err != nil {
		return nil, err
	}
	if filepath.Ext(path) == ".json" {
		return openShards(filepath.Dir(path), filepath.Base(path))
	}
	return openFiles([]string{path}, nil)
}

// openWeightsDir opens the weights in folder sub of the model directory root.
func openWeightsDir(root, sub string) (*Weights, error) {
	single, index := join(sub, "model.safetensors"), join(sub, indexName)
	if !missing(root, single) { // the reference prefers it, too, where both are there
		path, err := within(root, single)
		if err != nil {
			return nil, err
		}
		return openFiles([]string{path}, nil)
	}
	if !missing(root, index) {
		return openShards(root, index)
	}
	dir := filepath.Join(root, filepath.FromSlash(sub))
	if err := otherWeights(dir); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%w: %s holds neither model.safetensors nor %s", ErrNotFound, dir, indexName)
}

// openFiles maps the files at real paths. owner, where not nil, says for a
// tensor name which of the files it belongs to.
func openFiles(paths []string, owner map[string]int) (_ *Weights, err error) {
	w := &Weights{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	for i, path := range paths {
		file, err := openWeightsFile(path)
		if err != nil {
			return nil, err
		}
		w.files = append(w.files, file)
		if file.names != nil && len(paths) > 1 {
			return nil, fmt.Errorf("%w: %s: packed weights in shards", ErrUnsupported, path)
		}
		for k := range file.tensors {
			t := &file.tensors[k]
			if at, listed := owner[t.Name]; listed && at != i {
				return nil, fmt.Errorf("%w: tensor %.200q: the index says %s, found in %s", ErrBadHeader, t.Name, filepath.Base(paths[at]), path)
			}
			t.file = i
		}
		if w.tensors == nil {
			w.tensors = file.tensors
		} else {
			w.tensors = append(w.tensors, file.tensors...)
		}
		file.tensors = nil // kept in w
	}
	slices.SortStableFunc(w.tensors, byName)
	for i := 1; i < len(w.tensors); i++ {
		if a, b := w.tensors[i-1], w.tensors[i]; a.Name == b.Name {
			return nil, fmt.Errorf("%w: tensor %.200q: in %s and in %s", ErrBadHeader, a.Name, paths[a.file], paths[b.file])
		}
	}
	for name, at := range owner {
		if _, found := w.Lookup(name); !found {
			return nil, fmt.Errorf("%w: tensor %.200q: the index says %s, which does not hold it", ErrBadHeader, name, paths[at])
		}
	}
	return w, nil
}

// Names returns the names of all tensors, sorted. The slice is the caller's.
func (w *Weights) Names() []string {
	names := make([]string, len(w.tensors))
	for i := range w.tensors {
		names[i] = w.tensors[i].Name
	}
	return names
}

// Lookup returns the tensor of that name.
func (w *Weights) Lookup(name string) (Tensor, bool) {
	i, found := slices.BinarySearchFunc(w.tensors, name, func(t Tensor, name string) int { return strings.Compare(t.Name, name) })
	if !found {
		return Tensor{}, false
	}
	return w.tensors[i], true
}

// Want returns the float tensor of that name, or an ErrTensor that says want and
// got if it is missing, has another shape or is not of a float type. A -1 in
// shape fits any size.
func (w *Weights) Want(name string, shape ...int) (Tensor, error) {
	t, ok := w.Lookup(name)
	if !ok {
		return t, fmt.Errorf("%w: %s: tensor %q: want shape %v, got none", ErrTensor, w.place(), name, shape)
	}
	if err := w.wantFloat(t); err != nil { // quantised ones have other shapes too
		return t, err
	}
	fits := func(want, got int) bool { return want == got || want == -1 }
	if !slices.EqualFunc(shape, t.Shape, fits) {
		return t, fmt.Errorf("%w: %s: tensor %q: want shape %v, got %v", ErrTensor, w.files[t.file].print.Path, name, shape, t.Shape)
	}
	return t, nil
}

func (w *Weights) wantFloat(t Tensor) error {
	if t.DType.IsFloat() {
		return nil
	}
	return fmt.Errorf("%w: %s: tensor %q: want F32, F16 or BF16, got %s; quantized weights are not supported, use the unquantized model", ErrTensor, w.files[t.file].print.Path, t.Name, t.DType)
}

func (w *Weights) place() string {
	if len(w.files) == 1 {
		return w.files[0].print.Path
	}
	return filepath.Dir(w.files[0].print.Path)
}

// Fingerprints returns what identifies each file, in the order of opening.
func (w *Weights) Fingerprints() []Fingerprint {
	prints := make([]Fingerprint, len(w.files))
	for i, f := range w.files {
		prints[i] = f.print
	}
	return prints
}

// Stream copies a float tensor (F32, F16 or BF16) into buf, as much as fits at a
// time in whole elements, and calls fn with each piece and the index of its
// first element, in order. The pages behind are given back, so that the resident
// memory stays small. fn must not keep chunk, nor call Close.
//
// The bytes are little-endian, as in the file. A file that was truncated gives
// ErrTruncated; an error of fn ends the stream and is returned as it is.
func (w *Weights) Stream(t Tensor, buf []byte, fn func(element int, chunk []byte) error) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return fmt.Errorf("weights: %w", ErrClosed)
	}
	if own, ok := w.Lookup(t.Name); !ok || own.file != t.file || own.offset != t.offset || own.bytes != t.bytes {
		return fmt.Errorf("%w: %q is not a tensor of %s", ErrTensor, t.Name, w.place())
	}
	if err := w.wantFloat(t); err != nil {
		return err
	}
	size := int64(t.DType.Size())
	step := int64(len(buf)) / size * size
	if step == 0 {
		return fmt.Errorf("tensor %q: a buffer of %d bytes holds no element", t.Name, len(buf))
	}
	file := w.files[t.file]
	for done := int64(0); done < t.bytes; {
		n := min(step, t.bytes-done)
		chunk := buf[:n]
		if err := file.read(chunk, t.offset+done); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		file.mapping.release(t.offset+done, t.offset+done+n)
		if err := fn(int(done/size), chunk); err != nil {
			return err
		}
		done += n
	}
	return nil
}

// Float32s returns a whole tensor converted to float32, for small ones.
func (w *Weights) Float32s(t Tensor) ([]float32, error) {
	out := make([]float32, 0, t.Elements())
	err := w.Stream(t, make([]byte, min(max(t.bytes, 8), 1<<20)), func(_ int, chunk []byte) error {
		switch t.DType {
		case F32:
			for ; len(chunk) > 0; chunk = chunk[4:] {
				bits := uint32(chunk[0]) | uint32(chunk[1])<<8 | uint32(chunk[2])<<16 | uint32(chunk[3])<<24
				out = append(out, math.Float32frombits(bits))
			}
		case BF16:
			for ; len(chunk) > 0; chunk = chunk[2:] {
				out = append(out, math.Float32frombits(uint32(chunk[0])<<16|uint32(chunk[1])<<24))
			}
		default:
			for ; len(chunk) > 0; chunk = chunk[2:] {
				out = append(out, halfToFloat(uint16(chunk[0])|uint16(chunk[1])<<8))
			}
		}
		return nil
	})
	return out, err
}

// halfToFloat widens an IEEE binary16.
func halfToFloat(h uint16) float32 {
	sign, exponent, fraction := uint32(h>>15)<<31, uint32(h>>10)&0x1f, uint32(h)&0x3ff
	switch exponent {
	case 0: // zero and subnormal: fraction · 2⁻²⁴
		f := float32(fraction) * (1.0 / (1 << 24))
		return math.Float32frombits(sign | math.Float32bits(f))
	case 0x1f:
		return math.Float32frombits(sign | 0xff<<23 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}

// Close unmaps the files. It may be called more than once.
func (w *Weights) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	var errs []error
	for _, f := range w.files {
		errs = append(errs, f.close())
	}
	return errors.Join(errs...)
}
