package convert

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"
	"unicode/utf8"

	"github.com/vkbert/vkbert/loader"
)

// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

const (
	ggufMaxKey     = 1 << 16 // bytes
	ggufMaxText    = 1 << 24 // a chat template takes a few kB, a licence a few dozen
	ggufKeptText   = 256     // no text that is longer matters here
	ggufMaxPairs   = 1 << 16
	ggufMaxTensors = 1 << 16
	ggufMaxDims    = 4
	ggufMaxTokens  = 1 << 21 // as for tokenizer.json
	ggufMaxCharmap = 1 << 24
	ggufKeptList   = 1024 // values of one a layer
)

// ggufFile is the header of a GGUF file.
type ggufFile struct {
	path    string
	meta    map[string]any // bool, int64, float64, string, []float64; what is longer is not kept
	tokens  textTable      // tokenizer.ggml.tokens
	scores  []float32      // tokenizer.ggml.scores
	kinds   []float32      // tokenizer.ggml.token_type
	charmap []byte         // tokenizer.ggml.precompiled_charsmap
	tensors []ggufTensor
	data    int64 // offset of the first tensor
}

// ggufTensor is the description of a tensor, in the order of ggml: the innermost
// dimension first.
type ggufTensor struct {
	name   string
	dims   [ggufMaxDims]int64
	rank   int
	kind   *ggufKind
	offset int64 // in the file
	bytes  int64
}

// textTable is a list of texts, compactly.
type textTable struct {
	text []byte
	ends []uint32
}

func (t *textTable) len() int { return len(t.ends) }

func (t *textTable) at(i int) string {
	start := uint32(0)
	if i > 0 {
		start = t.ends[i-1]
	}
	return string(t.text[start:t.ends[i]])
}

// ggufReader reads the header from front to back.
type ggufReader struct {
	r     *bufio.Reader
	size  int64 // of the file
	meter meter // whose header is what was read so far
	file  *ggufFile
}

func ggufErrorf(format string, args ...any) error {
	return fmt.Errorf("%w: GGUF: %w", ErrBadFile, fmt.Errorf(format, args...))
}

// openGGUFFile opens a file and reads its header.
func openGGUFFile(path string) (_ *os.File, _ *ggufFile, err error) {
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
	g, err := readGGUF(f, info.Size())
	if err != nil {
		return nil, nil, err
	}
	g.path = path
	return f, g, nil
}

// readGGUF reads the header of a file of that size, and checks that each tensor
// lies in the file and where the one before it ends.
func readGGUF(r io.ReaderAt, size int64) (*ggufFile, error) {
	const buffer = 64 << 10
	g := &ggufReader{r: bufio.NewReaderSize(io.NewSectionReader(r, 0, size), buffer), size: size, file: &ggufFile{meta: make(map[string]any)}}
	if err := g.meter.take(2 * buffer); err != nil {
		return nil, err
	}
	pairs, tensors, err := g.start()
	if err != nil {
		return nil, err
	}
	for range pairs {
		if err := g.pair(); err != nil {
			return nil, err
		}
	}
	if err := g.tensorInfos(tensors); err != nil {
		return nil, err
	}
	return g.file, g.layout()
}

// start reads what comes before the metadata.
func (g *ggufReader) start() (pairs, tensors uint64, err error) {
	magic, err := g.bytes(4)
	if err != nil {
		return 0, 0, err
	}
	if string(magic) != "GGUF" {
		return 0, 0, ggufErrorf("want the file to begin with GGUF, got %.4q", magic)
	}
	version, err := g.u32()
	if err != nil {
		return 0, 0, err
	}
	if version != 2 && version != 3 {
		if bits.ReverseBytes32(version) <= 3 {
			return 0, 0, fmt.Errorf("%w: a big-endian GGUF file; supported are little-endian ones", loader.ErrUnsupported)
		}
		return 0, 0, fmt.Errorf("%w: GGUF version %d; supported: 2, 3", loader.ErrUnsupported, version)
	}
	if tensors, err = g.u64(); err != nil {
		return 0, 0, err
	}
	if pairs, err = g.u64(); err != nil {
		return 0, 0, err
	}
	if tensors > ggufMaxTensors || pairs > ggufMaxPairs {
		return 0, 0, ggufErrorf("want at most %d tensors and %d metadata keys, got %d and %d", ggufMaxTensors, ggufMaxPairs, tensors, pairs)
	}
	return pairs, tensors, nil
}

// bytes reads n bytes, which stay valid until the next read. n is at most the
// buffer's size.
func (g *ggufReader) bytes(n int) ([]byte, error) {
	b, err := g.r.Peek(n)
	if err != nil {
		return nil, g.cut(err)
	}
	g.meter.header += int64(n)
	_, err = g.r.Discard(n)
	return b, err
}

func (g *ggufReader) cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: GGUF header: the file ends at byte %d", loader.ErrTruncated, g.size)
	}
	return err
}

func (g *ggufReader) u32() (uint32, error) {
	b, err := g.bytes(4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (g *ggufReader) u64() (uint64, error) {
	b, err := g.bytes(8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// skip passes over n bytes.
func (g *ggufReader) skip(n uint64) error {
	if n > uint64(g.size-g.meter.header) {
		return g.cut(io.EOF)
	}
	for n > 0 {
		step := int(min(n, 1<<30))
		done, err := g.r.Discard(step)
		g.meter.header += int64(done)
		if err != nil {
			return g.cut(err)
		}
		n -= uint64(step)
	}
	return nil
}

// length reads the length of a text.
func (g *ggufReader) length(most uint64) (uint64, error) {
	n, err := g.u64()
	if err == nil && n > most {
		err = ggufErrorf("a text of %d bytes, want at most %d", n, most)
	}
	return n, err
}

// text reads a text of at most ggufMaxKey bytes.
func (g *ggufReader) text() (string, error) {
	n, err := g.length(ggufMaxKey - 1)
	if err != nil {
		return "", err
	}
	b, err := g.bytes(int(n))
	if err != nil {
		return "", err
	}
	if err := g.meter.take(int64(n) + 16); err != nil {
		return "", err
	}
	if !utf8.Valid(b) {
		return "", ggufErrorf("%.60q is not UTF-8", b)
	}
	return string(b), nil
}

// tensorInfos reads the descriptions of the tensors.
func (g *ggufReader) tensorInfos(n uint64) (err error) {
	const infoBytes = 80
	seen := make(map[string]bool)
	for range n {
		name, err := g.text()
		if err != nil {
			return err
		}
		if seen[name] {
			return ggufErrorf("tensor %.200q: twice", name)
		}
		if err := g.meter.take(60); err != nil { // its place in seen
			return err
		}
		seen[name] = true
		t, err := g.tensorInfo(name)
		if err != nil {
			return fmt.Errorf("tensor %.200q: %w", name, err)
		}
		if g.file.tensors, err = grow(&g.meter, g.file.tensors, infoBytes); err != nil {
			return err
		}
		g.file.tensors = append(g.file.tensors, t)
	}
	return nil
}

func (g *ggufReader) tensorInfo(name string) (t ggufTensor, err error) {
	t.name = name
	rank, err := g.u32()
	if err != nil {
		return t, err
	}
	if rank > ggufMaxDims {
		return t, ggufErrorf("want at most %d dimensions, got %d", ggufMaxDims, rank)
	}
	t.rank = int(rank)
	elements := uint64(1)
	for i := range t.rank {
		d, err := g.u64()
		if err != nil {
			return t, err
		}
		hi, lo := bits.Mul64(elements, d)
		if hi != 0 || d == 0 || lo > math.MaxInt64>>8 {
			return t, ggufErrorf("its dimensions overflow, or one is 0")
		}
		elements, t.dims[i] = lo, int64(d)
	}
	kind, err := g.u32()
	if err != nil {
		return t, err
	}
	if t.kind, err = findGGUFKind(kind); err != nil {
		return t, err
	}
	if t.rank == 0 || t.dims[0]%t.kind.block != 0 {
		return t, ggufErrorf("rows of %d values in blocks of %d", t.dims[0], t.kind.block)
	}
	t.bytes = int64(elements) / t.kind.block * t.kind.bytes
	offset, err := g.u64()
	if err != nil {
		return t, err
	}
	if offset > math.MaxInt64 {
		return t, ggufErrorf("its offset overflows")
	}
	t.offset = int64(offset)
	return t, nil
}

// layout finds where the tensors begin, and checks that they lie one after another.
func (g *ggufReader) layout() error {
	align := int64(32)
	if v, ok := g.file.meta["general.alignment"]; ok {
		if align, ok = v.(int64); !ok || align < 8 || align > 1<<20 || align&(align-1) != 0 {
			return ggufErrorf("key \"general.alignment\": want a power of two from 8 to 2^20, got %v", v)
		}
	}
	up := func(n int64) int64 { return (n + align - 1) &^ (align - 1) }
	g.file.data = up(g.meter.header)
	at := int64(0)
	for i := range g.file.tensors {
		t := &g.file.tensors[i]
		if t.offset != at {
			return ggufErrorf("tensor %.200q: want offset %d, after the one before it, got %d", t.name, at, t.offset)
		}
		if t.bytes > g.size-g.file.data-at {
			return fmt.Errorf("%w: GGUF: tensor %.200q: %d bytes at %d in a file of %d", loader.ErrTruncated, t.name, t.bytes, g.file.data+at, g.size)
		}
		t.offset += g.file.data
		at = up(at + t.bytes)
	}
	return nil
}

// lookup returns the tensor of that name.
func (g *ggufFile) lookup(name string) (ggufTensor, bool) {
	for _, t := range g.tensors {
		if t.name == name {
			return t, true
		}
	}
	return ggufTensor{}, false
}

// shape returns the dimensions, outermost first.
func (t ggufTensor) shape() []int {
	shape := make([]int, t.rank)
	for i := range shape {
		shape[i] = int(t.dims[t.rank-1-i])
	}
	return shape
}
