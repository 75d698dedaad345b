package convert

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vkbert/vkbert/loader"
)

const (
	chunkBytes = 1 << 20 // read at a time; a multiple of every element's size
	maxShards  = 1000
	// maxRepeat bounds how many times over the tensors of a file may hold what is
	// stored once. Tied weights are stored once and named a few times.
	maxRepeat = 8
)

// openTorch opens a file of torch.save and checks it to the last tensor; none is
// read.
func openTorch(path string) (_ []Tensor, close func() error, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, missingFile(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%w: not a regular file", ErrBadFile)
	}
	if err := wantZip(f); err != nil {
		return nil, nil, err
	}
	tensors, err := readTorch(f, info.Size(), &meter{})
	for i := range tensors {
		tensors[i] = tensors[i].of(path)
	}
	return tensors, f.Close, err
}

// otherMagic are the beginnings of files that are called .bin and are no zip.
var otherMagic = []struct{ magic, what string }{
	{"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", "the format of PyTorch before 1.6; save it again with Python and a newer PyTorch: torch.save(torch.load(PATH, weights_only=True), PATH)"},
	{"\x80", "a pickle that is not in a zip archive, as before PyTorch 1.6; save it again with Python and a newer PyTorch: torch.save(torch.load(PATH, weights_only=True), PATH)"},
	{"version https://git-lfs", "a pointer of Git LFS; get the file itself with: git lfs pull"},
	{"GGUF", "GGUF weights; rename the file to end in .gguf"},
	{"<!DOCTYPE", "a web page; the download went wrong"},
}

// wantZip refuses by name what is not a zip archive.
func wantZip(f io.ReaderAt) error {
	head := make([]byte, 32)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	head = head[:n]
	if bytes.HasPrefix(head, []byte(zipLocalSig)) {
		return nil
	}
	for _, other := range otherMagic {
		if bytes.HasPrefix(head, []byte(other.magic)) {
			return fmt.Errorf("%w: it holds %s", loader.ErrUnsupported, other.what)
		}
	}
	return fmt.Errorf("%w: want a zip archive of PyTorch, got a file that begins with %.8q", ErrBadFile, head)
}

// readTorch reads the directory and the pickle of an archive, and checks that
// every tensor is in it.
func readTorch(r io.ReaderAt, size int64, m *meter) ([]Tensor, error) {
	z, err := readZip(r, size, m)
	if err != nil {
		return nil, err
	}
	code, prefix, err := z.pickle(m)
	if err != nil {
		return nil, err
	}
	views, err := pickledTensors(code, m)
	if err != nil {
		return nil, err
	}
	const tensorBytes = 240 // of a Tensor and its function
	if err := m.take(int64(len(views)) * tensorBytes); err != nil {
		return nil, err
	}
	tensors := make([]Tensor, len(views))
	total := int64(0)
	for i, v := range views {
		if tensors[i], err = z.tensor(prefix, v); err != nil {
			return nil, err
		}
		n, err := tensors[i].Bytes()
		if err != nil {
			return nil, err
		}
		if total += n; total > maxRepeat*size {
			return nil, fmt.Errorf("%w: the tensors take more than %d times the %d bytes of the file", ErrBadFile, maxRepeat, size)
		}
	}
	return tensors, nil
}

// pickle finds the one data.pkl, with the folder that all entries are in, and
// reads it.
func (z *zipArchive) pickle(m *meter) (code []byte, prefix string, err error) {
	const name = "/data.pkl"
	var entry zipEntry
	for _, e := range z.entries {
		if !bytes.HasSuffix(e.name, []byte(name)) || bytes.Count(e.name, []byte("/")) != 1 {
			continue
		}
		if entry.name != nil {
			return nil, "", zipErrorf("%.200q and %.200q: want one data.pkl", entry.name, e.name)
		}
		entry = e
	}
	if entry.name == nil {
		return nil, "", zipErrorf("no FOLDER/data.pkl: it is not of torch.save")
	}
	if entry.size > maxPickle {
		return nil, "", zipErrorf("%.200q: want at most %d bytes, got %d", entry.name, maxPickle, entry.size)
	}
	prefix = string(entry.name[:len(entry.name)-len(name)+1])
	if _, script := z.find(prefix + "constants.pkl"); script {
		return nil, "", fmt.Errorf("%w: it is a TorchScript program; save the model's state dict, with Python: torch.save(model.state_dict(), PATH)", loader.ErrUnsupported)
	}
	if err := z.wantLittleEndian(prefix); err != nil {
		return nil, "", err
	}
	start, err := z.data(entry)
	if err != nil {
		return nil, "", err
	}
	m.header += entry.size
	if err := m.take(entry.size); err != nil {
		return nil, "", err
	}
	code = make([]byte, entry.size)
	return code, prefix, readFull(z.r, code, start)
}

// wantLittleEndian reads the entry byteorder, which PyTorch writes since 2.1.
func (z *zipArchive) wantLittleEndian(prefix string) error {
	entry, ok := z.find(prefix + "byteorder")
	if !ok {
		return nil
	}
	start, err := z.data(entry)
	if err != nil {
		return err
	}
	order := make([]byte, min(entry.size, 16))
	if err := readFull(z.r, order, start); err != nil {
		return err
	}
	if string(order) != "little" {
		return fmt.Errorf("%w: byte order %q; supported is little", loader.ErrUnsupported, order)
	}
	return nil
}

// tensor finds the bytes of a view.
func (z *zipArchive) tensor(prefix string, v view) (Tensor, error) {
	bad := func(format string, args ...any) (Tensor, error) {
		return Tensor{}, fmt.Errorf("%w: tensor %.200q: %w", ErrBadFile, v.name, fmt.Errorf(format, args...))
	}
	entry, ok := z.find(prefix + "data/" + v.storage)
	if !ok {
		return bad("its storage %.60q is not in the archive", v.storage)
	}
	size := int64(v.dtype.Size())
	if entry.size != v.stored*size {
		return bad("storage %.60q: want %d elements of %s, got %d bytes", v.storage, v.stored, v.dtype, entry.size)
	}
	start, err := z.data(entry)
	if err != nil {
		return bad("%w", err)
	}
	t := Tensor{Name: v.name, DType: v.dtype, Shape: v.shape}
	if v.contiguous() {
		t.Data = func(emit func([]byte) error) error { return readRun(z.r, start+v.offset*size, v.count*size, emit) }
	} else {
		t.Data = func(emit func([]byte) error) error { return readStrided(z.r, start, v, emit) }
	}
	return t, nil
}

// readRun emits n bytes from offset on.
func readRun(r io.ReaderAt, offset, n int64, emit func([]byte) error) error {
	buffer := make([]byte, min(n, chunkBytes))
	for n > 0 {
		chunk := buffer[:min(n, int64(len(buffer)))]
		if err := readFull(r, chunk, offset); err != nil {
			return err
		}
		if err := emit(chunk); err != nil {
			return err
		}
		offset, n = offset+int64(len(chunk)), n-int64(len(chunk))
	}
	return nil
}

// readStrided emits the elements of a view in C order. The part of the storage
// that it spans is read whole: what is transposed is scattered all over it.
func readStrided(r io.ReaderAt, start int64, v view, emit func([]byte) error) error {
	if v.count == 0 {
		return nil
	}
	size := int64(v.dtype.Size())
	span := int64(1)
	for i, n := range v.shape {
		span += int64(n-1) * v.strides[i]
	}
	data := make([]byte, span*size)
	if err := readFull(r, data, start+v.offset*size); err != nil {
		return err
	}
	chunk := make([]byte, 0, min(v.count*size, chunkBytes))
	index := make([]int, len(v.shape)) // of the next element
	at := int64(0)                     // where it is
	for range v.count {
		if len(chunk) == cap(chunk) {
			if err := emit(chunk); err != nil {
				return err
			}
			chunk = chunk[:0]
		}
		chunk = append(chunk, data[at*size:][:size]...)
		for d := len(index) - 1; d >= 0; d-- {
			index[d]++
			at += v.strides[d]
			if index[d] < v.shape[d] {
				break
			}
			at -= int64(v.shape[d]) * v.strides[d]
			index[d] = 0
		}
	}
	return emit(chunk)
}

// openTorchShards opens the files of a pytorch_model.bin.index.json in root.
func openTorchShards(root, index string) (tensors []Tensor, close []func() error, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll(close))
		}
	}()
	shards, owner, path, err := readTorchIndex(root, index)
	if err != nil {
		return nil, nil, err
	}
	for _, shard := range shards {
		real, err := loader.Within(root, joinSlash(filepath.ToSlash(filepath.Dir(index)), shard))
		if err != nil {
			return nil, close, fmt.Errorf("%s: shard %.200q: %w", path, shard, err)
		}
		found, closeFile, err := openTorch(real)
		if err != nil {
			return nil, close, err
		}
		close = append(close, closeFile)
		for _, t := range found {
			if want, listed := owner[t.Name]; !listed || want != shard {
				return nil, close, fmt.Errorf("%w: %s: tensor %.200q: the index says %q, found in %s", ErrBadFile, path, t.Name, want, real)
			}
			delete(owner, t.Name)
			tensors = append(tensors, t)
		}
	}
	for name, shard := range owner {
		return nil, close, fmt.Errorf("%w: %s: tensor %.200q: the index says %s, which does not hold it", ErrBadFile, path, name, shard)
	}
	return tensors, close, nil
}

// readTorchIndex returns the shards, sorted, and the shard of each tensor.
func readTorchIndex(root, index string) (shards []string, owner map[string]string, path string, err error) {
	if path, err = loader.Within(root, index); err != nil {
		return nil, nil, "", err
	}
	config, err := loader.ReadConfig(path)
	if err != nil {
		return nil, nil, "", err
	}
	weights, err := config.Object("weight_map")
	if err != nil {
		return nil, nil, "", err
	}
	owner = make(map[string]string)
	for _, name := range weights.Keys() {
		shard, err := weights.String(name)
		if err != nil {
			return nil, nil, "", err
		}
		if !strings.HasSuffix(shard, ".bin") {
			return nil, nil, "", weights.Errorf(name, "want the name of a .bin file, got %.200q", shard)
		}
		owner[name] = shard
		shards = append(shards, shard)
	}
	slices.Sort(shards)
	if shards = slices.Compact(shards); len(shards) == 0 || len(shards) > maxShards {
		return nil, nil, "", config.Errorf("weight_map", "want 1 to %d shards, got %d", maxShards, len(shards))
	}
	return shards, owner, path, nil
}
