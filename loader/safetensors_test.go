package loader

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const oneTensor = `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`

func TestHeaderRefused(t *testing.T) {
	eight := make([]byte, 8)
	lengthOnly := func(n uint64, rest int) []byte {
		return append(binary.LittleEndian.AppendUint64(nil, n), make([]byte, rest)...)
	}
	entry := func(body string) []byte { return rawFile(`{"a":{`+body+`}}`, eight) }
	two := func(a, b string, n int) []byte {
		return rawFile(`{"a":{"dtype":"U8","shape":[4],"data_offsets":`+a+`},"b":{"dtype":"U8","shape":[4],"data_offsets":`+b+`}}`, make([]byte, n))
	}
	tests := map[string]struct {
		file []byte
		want error
		says string
	}{
		"empty file":             {nil, ErrBadHeader, "header too small"},
		"7 bytes":                {eight[:7], ErrBadHeader, "header too small"},
		"length 0":               {eight, ErrBadHeader, "header too small"},
		"length 2^64-1":          {lengthOnly(math.MaxUint64, 8), ErrBadHeader, "header too large"},
		"length over 100 MB":     {lengthOnly(100_000_001, 8), ErrBadHeader, "header too large"},
		"header past the end":    {lengthOnly(17, 16), ErrTruncated, "header of 17 bytes in a file of 24"},
		"not UTF-8":              {rawFile("{\"\xff\":1}", nil), ErrBadHeader, "UTF-8"},
		"a list":                 {rawFile(`[]`, nil), ErrBadHeader, "'{'"},
		"a million brackets":     {rawFile(`{"a":`+strings.Repeat("[", 1_000_000), nil), ErrBadHeader, ""},
		"a deep shape":           {entry(`"dtype":"F32","shape":[[[[[2]]]]],"data_offsets":[0,8]`), ErrBadHeader, ""},
		"space in front":         {rawFile(" "+oneTensor, eight), ErrBadHeader, "'{'"},
		"text behind":            {rawFile(oneTensor+"{}", eight), ErrBadHeader, "text after"},
		"duplicate tensor":       {rawFile(strings.TrimSuffix(oneTensor, "}")+","+oneTensor[1:], eight), ErrBadHeader, `duplicate key "a"`},
		"duplicate key":          {entry(`"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]`), ErrBadHeader, `duplicate key "dtype"`},
		"DTYPE":                  {entry(`"DTYPE":"F32","shape":[2],"data_offsets":[0,8]`), ErrBadHeader, `unknown key "DTYPE"`},
		"no dtype":               {entry(`"shape":[2],"data_offsets":[0,8]`), ErrBadHeader, "want dtype, shape and data_offsets"},
		"one offset":             {entry(`"dtype":"F32","shape":[2],"data_offsets":[0]`), ErrBadHeader, "two data_offsets, got 1"},
		"three offsets":          {entry(`"dtype":"F32","shape":[2],"data_offsets":[0,8,8]`), ErrBadHeader, "two data_offsets, got 3"},
		"null shape":             {entry(`"dtype":"F32","shape":null,"data_offsets":[0,8]`), ErrBadHeader, "array"},
		"negative shape":         {entry(`"dtype":"F32","shape":[-2],"data_offsets":[0,8]`), ErrBadHeader, "want a size, got -2"},
		"fractional shape":       {entry(`"dtype":"F32","shape":[2.0],"data_offsets":[0,8]`), ErrBadHeader, "want a size, got 2.0"},
		"null tensor":            {rawFile(`{"a":null}`, nil), ErrBadHeader, `tensor "a"`},
		"metadata not text":      {rawFile(`{"__metadata__":{"a":1}}`, nil), ErrBadHeader, "string"},
		"overlap":                {two("[0,4]", "[3,7]", 7), ErrBadHeader, `tensor "b": overlaps`},
		"hole":                   {two("[0,4]", "[5,9]", 9), ErrBadHeader, `tensor "b": leaves a hole`},
		"hole in front":          {two("[1,5]", "[5,9]", 9), ErrBadHeader, `tensor "a": leaves a hole`},
		"begin after end":        {entry(`"dtype":"F32","shape":[2],"data_offsets":[8,0]`), ErrBadHeader, `tensor "a": data_offsets begin at 8`},
		"trailing bytes":         {rawFile(oneTensor, make([]byte, 10)), ErrBadHeader, "incomplete"},
		"two bytes missing":      {rawFile(oneTensor, make([]byte, 6)), ErrTruncated, "incomplete"},
		"offsets over the end":   {entry(`"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]`), ErrBadHeader, `tensor "a"`},
		"offset over 2^64":       {entry(`"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551616]`), ErrBadHeader, "want a size"},
		"shape over 2^64":        {entry(`"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]`), ErrBadHeader, "overflows"},
		"bytes over 2^64":        {entry(`"dtype":"F64","shape":[4294967296,1073741824],"data_offsets":[0,8]`), ErrBadHeader, "overflows"},
		"overflow hidden by 0":   {entry(`"dtype":"U8","shape":[0,18446744073709551615],"data_offsets":[0,0]`), ErrBadHeader, "overflows"},
		"shape against size":     {entry(`"dtype":"F32","shape":[3],"data_offsets":[0,8]`), ErrBadHeader, `tensor "a": F32 of shape [3]: want 12 bytes, got 8`},
		"unknown dtype":          {entry(`"dtype":"F31","shape":[2],"data_offsets":[0,8]`), ErrBadHeader, `tensor "a": dtype "F31"`},
		"lower-case dtype":       {entry(`"dtype":"f32","shape":[2],"data_offsets":[0,8]`), ErrBadHeader, `dtype "f32"`},
		"half a byte":            {entry(`"dtype":"F4","shape":[1],"data_offsets":[0,8]`), ErrBadHeader, "whole bytes"},
		"TensorFlow's layout":    {rawFile(`{"__metadata__":{"format":"tf"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, eight), ErrUnsupported, `format "tf"`},
		"surrogate without pair": {rawFile(`{"\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, eight), ErrBadHeader, "surrogate"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := write(t, t.TempDir(), "model.safetensors", tt.file)
			w, err := OpenWeights(path)
			require.ErrorIs(t, err, tt.want)
			assert.Nil(t, w)
			assert.ErrorContains(t, err, tt.says)
			assert.ErrorContains(t, err, path)
		})
	}
}

func TestHugeHeaderAllocatesLittle(t *testing.T) {
	for _, n := range []uint64{math.MaxUint64, 100_000_001, 99_000_000} {
		path := write(t, t.TempDir(), "m.safetensors", append(binary.LittleEndian.AppendUint64(nil, n), make([]byte, 100)...))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := OpenWeights(path)
		runtime.ReadMemStats(&after)
		require.Error(t, err)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), "header of %d bytes", n)
	}
}

func TestHeaderAccepted(t *testing.T) {
	tests := map[string][]byte{
		"no tensors":        rawFile(`{}`, nil),
		"padded header":     rawFile(oneTensor+"   ", make([]byte, 8)),
		"scalar":            rawFile(`{"a":{"dtype":"F64","shape":[],"data_offsets":[0,8]}}`, make([]byte, 8)),
		"no elements":       rawFile(`{"a":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]}}`, nil),
		"any order of keys": rawFile(`{"a":{"data_offsets":[0,8],"shape":[2],"dtype":"F32"}}`, make([]byte, 8)),
		"any order of data": rawFile(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, make([]byte, 2)),
		"escaped name":      rawFile(`{"\u0061\ud83d\ude00":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, make([]byte, 8)),
		"two of four bits":  rawFile(`{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}`, make([]byte, 1)),
	}
	for name, file := range tests {
		t.Run(name, func(t *testing.T) {
			w, err := OpenWeights(write(t, t.TempDir(), "m.safetensors", file))
			require.NoError(t, err)
			require.NoError(t, w.Close())
			require.NoError(t, w.Close(), "closed twice")
		})
	}
}

func TestStream(t *testing.T) {
	values := []float32{0, -1.5, 3.25, float32(math.Inf(1)), float32(math.NaN()), 1e-30, 7}
	for _, padding := range []int{0, 1, 3} { // F32 at odd offsets
		file := tensorFile(t,
			testTensor{"pad", "U8", []int{padding}, make([]byte, padding)},
			f32Tensor("a", []int{7}, values...),
			testTensor{"ids", "I64", []int{1}, make([]byte, 8)})
		w, err := OpenWeights(write(t, t.TempDir(), "m.safetensors", file))
		require.NoError(t, err)
		defer w.Close()
		assert.Equal(t, []string{"a", "ids", "pad"}, w.Names())
		a, ok := w.Lookup("a")
		require.True(t, ok)
		assert.Equal(t, 7, a.Elements())
		assert.EqualValues(t, 28, a.Bytes())

		for _, size := range []int{4, 5, 8, 27, 28, 1000} {
			var got []float32
			err := w.Stream(a, make([]byte, size), func(element int, chunk []byte) error {
				assert.Equal(t, len(got), element)
				assert.LessOrEqual(t, len(chunk), size)
				for ; len(chunk) > 0; chunk = chunk[4:] {
					got = append(got, math.Float32frombits(binary.LittleEndian.Uint32(chunk)))
				}
				return nil
			})
			require.NoError(t, err)
			require.Len(t, got, len(values))
			for i := range got {
				assert.Equal(t, math.Float32bits(values[i]), math.Float32bits(got[i]), "padding %d, buffer %d, value %d", padding, size, i)
			}
		}

		assert.ErrorContains(t, w.Stream(a, make([]byte, 3), nil), "holds no element")
		ids, _ := w.Lookup("ids")
		err = w.Stream(ids, make([]byte, 8), nil)
		require.ErrorIs(t, err, ErrTensor)
		assert.ErrorContains(t, err, `tensor "ids": want F32, F16 or BF16, got I64`)
		stop := errors.New("stop")
		assert.Equal(t, stop, w.Stream(a, make([]byte, 8), func(int, []byte) error { return stop }))
		require.ErrorIs(t, w.Stream(Tensor{Name: "a", DType: F32}, make([]byte, 8), nil), ErrTensor, "a tensor of another file")
		require.NoError(t, w.Close())
		require.ErrorIs(t, w.Stream(a, make([]byte, 8), nil), ErrClosed)
	}
}

func TestFloat32s(t *testing.T) {
	file := tensorFile(t,
		testTensor{"half", F16, []int{7}, []byte{0, 0x3c, 0, 0xc0, 1, 0, 0xff, 3, 0, 0x7c, 0xff, 0x7b, 0, 0x80}},
		testTensor{"brain", BF16, []int{2}, []byte{0x80, 0x3f, 0x20, 0xc0}},
		f32Tensor("empty", []int{0}))
	w, err := OpenWeights(write(t, t.TempDir(), "m.safetensors", file))
	require.NoError(t, err)
	defer w.Close()
	for name, want := range map[string][]float32{
		"half":  {1, -2, 5.9604645e-08, 6.097555e-05, float32(math.Inf(1)), 65504, float32(math.Copysign(0, -1))},
		"brain": {1, -2.5},
		"empty": {},
	} {
		tensor, _ := w.Lookup(name)
		got, err := w.Float32s(tensor)
		require.NoError(t, err)
		assert.Equal(t, want, got, name)
	}
}

func TestTruncatedWhileLoading(t *testing.T) {
	const n = 1 << 18 // 1 MB
	file := tensorFile(t, testTensor{"a", F32, []int{n}, bytes.Repeat([]byte{1}, 4*n)})
	for _, left := range []int64{100, 4096, 4096*3 + 17, 4*n - 10} {
		path := write(t, t.TempDir(), "m.safetensors", file)
		w, err := OpenWeights(path)
		require.NoError(t, err)
		a, _ := w.Lookup("a")
		require.NoError(t, os.Truncate(path, left))
		err = w.Stream(a, make([]byte, 1<<16), func(int, []byte) error { return nil })
		require.ErrorIs(t, err, ErrTruncated, "%d bytes left", left)
		assert.ErrorContains(t, err, path)
		assert.ErrorContains(t, err, `tensor "a"`)
		require.NoError(t, w.Close())

		require.NoError(t, os.WriteFile(path, file, 0o644))
		w, err = OpenWeights(path)
		require.NoError(t, err, "the next good load succeeds")
		require.NoError(t, w.Stream(a, make([]byte, 1<<16), func(int, []byte) error { return nil }))
		require.NoError(t, w.Close())
	}
}

func TestStreamKeepsMemorySmall(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc/self/status")
	}
	const n = 16 << 20 // 64 MB of zeros, as a file with a hole
	header := fmt.Sprintf(`{"a":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}`, n, 4*n)
	path := write(t, t.TempDir(), "m.safetensors", rawFile(header, nil))
	require.NoError(t, os.Truncate(path, int64(8+len(header)+4*n)))
	w, err := OpenWeights(path)
	require.NoError(t, err)
	defer w.Close()
	before, most := fileMemory(t), 0
	a, _ := w.Lookup("a")
	require.NoError(t, w.Stream(a, make([]byte, 1<<20), func(int, []byte) error {
		most = max(most, fileMemory(t)-before)
		return nil
	}))
	assert.Less(t, most, 4<<10, "KB of the file resident")
}

// fileMemory returns the KB of mapped files that are resident.
func fileMemory(t *testing.T) int {
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(status), "RssFile:")
	require.True(t, ok)
	var kb int
	_, err = fmt.Sscan(rest, &kb)
	require.NoError(t, err)
	return kb
}

func TestStreamFromManyGoroutines(t *testing.T) {
	var tensors []testTensor
	for i := range 8 {
		tensors = append(tensors, testTensor{fmt.Sprint(i), F16, []int{5000}, bytes.Repeat([]byte{byte(i)}, 10000)})
	}
	w, err := OpenWeights(write(t, t.TempDir(), "m.safetensors", tensorFile(t, tensors...)))
	require.NoError(t, err)
	var wg sync.WaitGroup
	for i := range tensors {
		wg.Add(1)
		go func() {
			defer wg.Done()
			tensor, _ := w.Lookup(tensors[i].name)
			got := 0
			assert.NoError(t, w.Stream(tensor, make([]byte, 777), func(_ int, chunk []byte) error {
				got += bytes.Count(chunk, []byte{byte(i)})
				return nil
			}))
			assert.Equal(t, 10000, got)
		}()
	}
	wg.Wait()
	require.NoError(t, w.Close())
}

func TestWant(t *testing.T) {
	w, err := OpenWeights(write(t, t.TempDir(), "m.safetensors", tensorFile(t,
		f32Tensor("a", []int{2, 1}, 1, 2), testTensor{"ids", "I64", []int{1}, make([]byte, 8)})))
	require.NoError(t, err)
	defer w.Close()
	_, err = w.Want("a", 2, 1)
	require.NoError(t, err)
	_, err = w.Want("a", -1, 1)
	require.NoError(t, err)
	for says, ask := range map[string]func() error{
		`tensor "b": want shape [3], got none`:      func() error { _, err := w.Want("b", 3); return err },
		`tensor "a": want shape [1 2], got [2 1]`:   func() error { _, err := w.Want("a", 1, 2); return err },
		`tensor "a": want shape [2], got [2 1]`:     func() error { _, err := w.Want("a", 2); return err },
		`tensor "ids": want F32, F16 or BF16, got `: func() error { _, err := w.Want("ids", 1); return err },
	} {
		err := ask()
		require.ErrorIs(t, err, ErrTensor)
		assert.ErrorContains(t, err, says)
	}
}

func TestFingerprint(t *testing.T) {
	file := tensorFile(t, f32Tensor("a", []int{2}, 1, 2))
	open := func(t *testing.T) (string, Fingerprint) {
		path := write(t, t.TempDir(), "m.safetensors", file)
		w, err := OpenWeights(path)
		require.NoError(t, err)
		defer w.Close()
		prints := w.Fingerprints()
		require.Len(t, prints, 1)
		require.NoError(t, prints[0].Verify())
		return path, prints[0]
	}
	t.Run("another time", func(t *testing.T) {
		path, print := open(t)
		later := print.ModTime.Add(time.Second)
		require.NoError(t, os.Chtimes(path, later, later))
		require.ErrorIs(t, print.Verify(), ErrChanged)
	})
	t.Run("another header", func(t *testing.T) {
		path, print := open(t)
		require.NoError(t, os.WriteFile(path, tensorFile(t, f32Tensor("b", []int{2}, 1, 2)), 0o644))
		require.NoError(t, os.Chtimes(path, print.ModTime, print.ModTime))
		err := print.Verify()
		require.ErrorIs(t, err, ErrChanged)
		assert.ErrorContains(t, err, "header")
	})
	t.Run("another size", func(t *testing.T) {
		path, print := open(t)
		require.NoError(t, os.WriteFile(path, tensorFile(t, f32Tensor("a", []int{3}, 1, 2, 3)), 0o644))
		require.ErrorIs(t, print.Verify(), ErrChanged)
	})
	t.Run("gone", func(t *testing.T) {
		path, print := open(t)
		require.NoError(t, os.Remove(path))
		require.ErrorIs(t, print.Verify(), ErrChanged)
	})
}

func TestShards(t *testing.T) {
	first := string(tensorFile(t, f32Tensor("a", []int{1}, 1)))
	second := string(tensorFile(t, f32Tensor("b", []int{1}, 2)))
	index := func(body string) string { return `{"metadata":{"total_size":8},"weight_map":{` + body + `}}` }
	good := map[string]string{
		"x-1.safetensors": first, "x-2.safetensors": second,
		indexName: index(`"a":"x-1.safetensors","b":"x-2.safetensors"`),
	}
	with := func(name, text string) map[string]string {
		files := map[string]string{}
		for n, s := range good {
			files[n] = s
		}
		if files[name] = text; text == "" {
			delete(files, name)
		}
		return files
	}
	dir := writeFiles(t, good)
	for _, path := range []string{dir, filepath.Join(dir, indexName)} {
		w, err := OpenWeights(path)
		require.NoError(t, err)
		assert.Equal(t, []string{"a", "b"}, w.Names())
		b, _ := w.Lookup("b")
		got, err := w.Float32s(b)
		require.NoError(t, err)
		assert.Equal(t, []float32{2}, got)
		assert.Len(t, w.Fingerprints(), 2)
		require.NoError(t, w.Close())
	}

	for name, tt := range map[string]struct {
		files map[string]string
		want  error
		says  string
	}{
		"parent":            {with(indexName, index(`"a":"../../etc/passwd"`)), ErrPath, "etc/passwd"},
		"parent, named":     {with(indexName, index(`"a":"../x-1.safetensors"`)), ErrPath, "../x-1"},
		"backslash":         {with(indexName, index(`"a":"..\\x.safetensors"`)), ErrPath, `..\\x`},
		"drive":             {with(indexName, index(`"a":"C:\\x.safetensors"`)), ErrPath, `C:\\x`},
		"drive, relative":   {with(indexName, index(`"a":"C:x.safetensors"`)), ErrPath, "C:x"},
		"absolute":          {with(indexName, index(`"a":"/etc/x.safetensors"`)), ErrPath, "/etc/x"},
		"inner parent":      {with(indexName, index(`"a":"y/../../x.safetensors"`)), ErrPath, "y/../../x"},
		"not clean":         {with(indexName, index(`"a":"./x-1.safetensors"`)), ErrBadHeader, "./x-1"},
		"not safetensors":   {with(indexName, index(`"a":"x-1.bin"`)), ErrBadHeader, "x-1.bin"},
		"empty name":        {with(indexName, index(`"a":""`)), ErrBadHeader, ""},
		"missing shard":     {with("x-2.safetensors", ""), ErrNotFound, "x-2.safetensors"},
		"damaged shard":     {with("x-2.safetensors", "x"), ErrBadHeader, "x-2.safetensors"},
		"missing tensor":    {with("x-2.safetensors", string(tensorFile(t))), ErrBadHeader, `tensor "b"`},
		"in another shard":  {with("x-2.safetensors", string(tensorFile(t, f32Tensor("a", []int{1}, 1), f32Tensor("b", []int{1}, 1)))), ErrBadHeader, `tensor "a"`},
		"no weight_map":     {with(indexName, `{}`), ErrBadHeader, "weight_map"},
		"empty weight_map":  {with(indexName, index("")), ErrBadHeader, "weight_map"},
		"duplicate tensor":  {with(indexName, index(`"a":"x-1.safetensors","a":"x-2.safetensors"`)), ErrBadHeader, `duplicate key "a"`},
		"deep":              {with(indexName, `{"metadata":`+strings.Repeat("[", 100)), ErrBadHeader, "deep"},
		"weight_map a list": {with(indexName, `{"weight_map":[]}`), ErrBadHeader, "object"},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := OpenWeights(writeFiles(t, tt.files))
			require.ErrorIs(t, err, tt.want)
			assert.Nil(t, w)
			assert.ErrorContains(t, err, tt.says)
		})
	}
}

func TestUnlistedTensorOfAShardIsThere(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"x.safetensors": string(tensorFile(t, f32Tensor("a", []int{1}, 1), f32Tensor("extra", []int{1}, 1))),
		indexName:       `{"weight_map":{"a":"x.safetensors"}}`,
	})
	w, err := OpenWeights(dir)
	require.NoError(t, err)
	defer w.Close()
	assert.Equal(t, []string{"a", "extra"}, w.Names())
}

func TestSymlinks(t *testing.T) {
	repo := t.TempDir()
	dir := filepath.Join(repo, "models--org--name", "snapshots", "0123abcd")
	blob := write(t, repo, "models--org--name/blobs/ffff", tensorFile(t, f32Tensor("a", []int{1}, 1)))
	outside := write(t, repo, "elsewhere/model.safetensors", tensorFile(t, f32Tensor("a", []int{1}, 1)))
	other := write(t, repo, "models--org--other/blobs/ffff", tensorFile(t, f32Tensor("a", []int{1}, 1)))
	require.NoError(t, os.MkdirAll(dir, 0o755))
	link := filepath.Join(dir, "model.safetensors")

	for target, want := range map[string]error{
		"../../blobs/ffff": nil,
		blob:               nil,
		outside:            ErrPath,
		"../../../elsewhere/../elsewhere/model.safetensors": ErrPath,
		other:         ErrPath,
		"/etc/passwd": ErrPath,
		"../../blobs/../../elsewhere/model.safetensors": ErrPath,
	} {
		require.NoError(t, os.Symlink(target, link))
		w, err := OpenWeights(dir)
		if want == nil {
			require.NoError(t, err, target)
			require.NoError(t, w.Close())
		} else {
			require.ErrorIs(t, err, want, target)
		}
		require.NoError(t, os.Remove(link))
	}

	// A shard's link is held to the same rule, and so is a plain directory's.
	plain := t.TempDir()
	write(t, plain, indexName, []byte(`{"weight_map":{"a":"x.safetensors"}}`))
	require.NoError(t, os.Symlink(outside, filepath.Join(plain, "x.safetensors")))
	_, err := OpenWeights(plain)
	require.ErrorIs(t, err, ErrPath)
	require.NoError(t, os.Remove(filepath.Join(plain, "x.safetensors")))
	write(t, plain, "real/x", tensorFile(t, f32Tensor("a", []int{1}, 1)))
	require.NoError(t, os.Symlink("real/x", filepath.Join(plain, "x.safetensors")))
	w, err := OpenWeights(plain)
	require.NoError(t, err, "a link that stays inside")
	require.NoError(t, w.Close())
}

func TestOtherFormatsRefused(t *testing.T) {
	for _, name := range []string{"pytorch_model.bin", "model.pt", "model.gguf", "model.onnx", "tf_model.h5"} {
		dir := writeFiles(t, map[string]string{name: "x"})
		for _, path := range []string{dir, filepath.Join(dir, name)} {
			_, err := OpenWeights(path)
			require.ErrorIs(t, err, ErrUnsupported)
			assert.ErrorContains(t, err, name)
			assert.ErrorContains(t, err, "convert it to safetensors")
		}
	}
	_, err := OpenWeights(t.TempDir())
	require.ErrorIs(t, err, ErrNotFound)
	_, err = OpenWeights(filepath.Join(t.TempDir(), "none.safetensors"))
	require.ErrorIs(t, err, ErrNotFound)
	_, err = OpenWeights(writeFiles(t, map[string]string{"training_args.bin": "x"}))
	require.ErrorIs(t, err, ErrNotFound)
}

// What a header makes the reader allocate, whatever it says, before the file is
// accepted or refused: at most 4 × the header and 1 MiB.
func TestHeaderAllocations(t *testing.T) {
	repeat := func(n int, entry func(i int) string) string {
		var b strings.Builder
		b.WriteString("{")
		for i := range n {
			if i > 0 {
				b.WriteString(",")
			}
			b.WriteString(entry(i))
		}
		return b.String() + "}"
	}
	const n = 40_000
	for name, header := range map[string]string{
		"tiny tensors": repeat(n, func(i int) string { return fmt.Sprintf(`"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`, i) }),
		"scalars": repeat(n, func(i int) string {
			return fmt.Sprintf(`"%x":{"dtype":"U8","shape":[],"data_offsets":[%d,%d]}`, i, i, i+1)
		}),
		"dimensions": repeat(n, func(i int) string {
			return fmt.Sprintf(`"%d":{"dtype":"U8","shape":[0,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,0]}`, i)
		}),
		"too many":           `{"a":{"dtype":"U8","shape":[` + strings.Repeat("1,", 500_000) + `1],"data_offsets":[0,1]}}`,
		"metadata":           `{"__metadata__":` + repeat(n, func(i int) string { return fmt.Sprintf(`"%d":""`, i) }) + `}`,
		"unknown keys":       repeat(n, func(i int) string { return fmt.Sprintf(`"%d":{}`, i) }),
		"escaped keys":       repeat(n, func(i int) string { return fmt.Sprintf(`"%d":{"dtype":"U8","shape":[0],"data\u005foffsets":[0,0]}`, i) }),
		"duplicates":         repeat(n, func(int) string { return `"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}` }),
		"a long name":        `{"` + strings.Repeat("x", 2_000_000) + `":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`,
		"a long broken name": `{"` + strings.Repeat(`\n`, 1_000_000) + `":{"dtype":"U8","shape":[0],"data_offsets":[0,1]}}`,
		"nested":             `{"a":` + strings.Repeat("[", 1_000_000),
		"not UTF-8":          `{"` + strings.Repeat("\xff", 1_000_000),
		"no end":             `{"a":{"dtype":"` + strings.Repeat("x", 1_000_000),
		"a long number":      `{"a":{"dtype":"U8","shape":[` + strings.Repeat("1", 1_000_000) + `],"data_offsets":[0,1]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			data := make([]byte, map[string]int{"scalars": n}[name])
			path := write(t, t.TempDir(), "model.safetensors", rawFile(header, data))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			w, err := OpenWeights(path)
			runtime.ReadMemStats(&after)
			assert.LessOrEqual(t, after.TotalAlloc-before.TotalAlloc, uint64(4*len(header)+1<<20), "header of %d bytes", len(header))
			if err == nil {
				require.NoError(t, w.Close())
				return
			}
			require.ErrorContains(t, err, path)
			assert.Less(t, len(err.Error()), 2000)
		})
	}
}

func TestIndexAllocations(t *testing.T) {
	var index strings.Builder
	index.WriteString(`{"metadata":{"a":[` + strings.Repeat("[],", 200_000) + `[]]},"weight_map":{"a":"a.safetensors"`)
	for i := range 40_000 {
		fmt.Fprintf(&index, `,"%d":"a.safetensors"`, i)
	}
	index.WriteString("}}")
	path := write(t, t.TempDir(), indexName, []byte(index.String()))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := OpenWeights(path)
	runtime.ReadMemStats(&after)
	require.ErrorIs(t, err, ErrNotFound)
	assert.LessOrEqual(t, after.TotalAlloc-before.TotalAlloc, uint64(4*index.Len()+1<<20), "index of %d bytes", index.Len())
}
