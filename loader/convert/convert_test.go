package convert

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/loader"
)

const tiny = "../../testdata/tiny"

// TestRoundTrip: tensors that keep their type keep their bits, and small files
// their bytes.
func TestRoundTrip(t *testing.T) {
	for _, name := range []string{"plain", "mean", "old", "legacy", "sharded", "f16", "bf16", "dense", "prompts", "truncate_dim"} {
		t.Run(name, func(t *testing.T) {
			src, dst := filepath.Join(tiny, name), tempDst(t)
			require.NoError(t, Convert(context.Background(), src, dst, Options{}))
			want, err := loader.Open(src)
			require.NoError(t, err)
			defer want.Close()
			got, err := loader.Open(dst)
			require.NoError(t, err)
			defer got.Close()
			assert.Len(t, got.Weights.Fingerprints(), 1)
			index := filepath.Join(src, "model.safetensors.index.json")
			if _, err := os.Stat(index); err != nil {
				index = filepath.Join(src, "model.safetensors")
			}
			assert.Equal(t, describe(t, index), describe(t, filepath.Join(dst, "model.safetensors")))
			require.NoError(t, filepath.WalkDir(src, func(path string, e os.DirEntry, err error) error {
				rel, _ := filepath.Rel(src, path)
				switch {
				case err != nil || e.IsDir() || strings.HasPrefix(filepath.Base(path), "model"):
				case filepath.Ext(path) == ".safetensors":
					assert.Equal(t, describe(t, path), describe(t, filepath.Join(dst, rel)))
				default:
					assert.Equal(t, readFile(t, path), readFile(t, dst, rel), rel)
				}
				return err
			}))
			assert.Equal(t, want.Dim(), got.Dim())
			assert.Equal(t, want.Prompts, got.Prompts)
		})
	}
}

func float32s(t testing.TB, dir string) map[string][]float32 {
	w, err := loader.OpenWeights(dir)
	require.NoError(t, err)
	defer w.Close()
	out := make(map[string][]float32)
	for _, name := range w.Names() {
		tensor, _ := w.Lookup(name)
		if tensor.DType.IsFloat() {
			out[name], err = w.Float32s(tensor)
			require.NoError(t, err)
		}
	}
	return out
}

func TestDTypes(t *testing.T) {
	src := filepath.Join(tiny, "old") // which has a tensor of integers
	want := float32s(t, src)
	for name, tt := range map[string]struct {
		dtype loader.DType
		bits  int // of the fraction
	}{"f32": {loader.F32, 23}, "f16": {loader.F16, 10}, "bf16": {loader.BF16, 7}} {
		dst := tempDst(t)
		require.NoError(t, Convert(context.Background(), src, dst, Options{DType: name}))
		for tensor, d := range describe(t, dst) {
			if tensor == "embeddings.position_ids" {
				assert.Equal(t, "I64", d.DType)
			} else {
				assert.Equal(t, string(tt.dtype), d.DType, tensor)
			}
		}
		for tensor, values := range float32s(t, dst) {
			for i, x := range values {
				d := math.Abs(float64(x - want[tensor][i]))
				require.LessOrEqual(t, d, max(math.Ldexp(math.Abs(float64(want[tensor][i])), -tt.bits-1), math.Ldexp(1, -25)), "%s %s %d", name, tensor, i)
			}
		}
		assert.Contains(t, string(readFile(t, dst, "config.json")), `"torch_dtype": "`+torchNames[tt.dtype]+`"`)
	}
}

func TestSetDType(t *testing.T) {
	for in, want := range map[string]string{
		`{"a": [1, {"dtype": "x"}], "dtype" : "float32" , "torch_dtype":"float32"}`: `{"a": [1, {"dtype": "x"}], "dtype" : "float16" , "torch_dtype":"float16"}`,
		`{"torch_dtype": null}`: `{"torch_dtype": null}`,
		`{"é": 1}`:              `{"é": 1}`,
		`[1]`:                   `[1]`,
		`{"dtype": "x"`:         `{"dtype": "float16"`,
		`broken`:                `broken`,
	} {
		assert.Equal(t, want, string(setDType([]byte(in), "float16")))
	}
}

// model is a directory with a PyTorch file of one tensor, changed by the given
// files.
func model(t testing.TB, files map[string]string) string {
	dir := t.TempDir()
	writeFile(t, torchFile(t, nil), dir, "pytorch_model.bin")
	for name, text := range files {
		writeFile(t, []byte(text), dir, name)
	}
	return dir
}

func TestWhatGoesAlong(t *testing.T) {
	dense := torchFile(t, map[string][]byte{"archive/data.pkl": buildPickle(t, map[string]string{"key": pickleText("linear.weight")})})
	src, dst := model(t, map[string]string{
		"modules.json":              `[{"path":""},{"path":"1_Pooling"},{"path":"2_Dense"},{"path":"3_Normalize"},{"path":"4_Router"}]`,
		"config.json":               `{}`,
		"vocab.txt":                 "a",
		"README.md":                 "r",
		"LICENSE":                   "l",
		"modeling_x.py":             "raise",
		"1_Pooling/config.json":     `{"word_embedding_dimension":2}`,
		"2_Dense/pytorch_model.bin": string(dense), "2_Dense/config.json": "{}",
		"4_Router/router_config.json": "{}", "4_Router/query_0_X/config.json": "{}",
		// What does not.
		"onnx/model.onnx": "o", "onnx/config.json": "{}", "tf_model.h5": "h", "training_args.bin": "t", ".gitattributes": "g", "checkpoint-500/pytorch_model.bin": "c",
		"pytorch_model.bin.index.json": "{}", "optimizer.pt": "p",
	}), tempDst(t)
	require.NoError(t, Convert(context.Background(), src, dst, Options{}))
	noLeftovers(t, dst, "model.safetensors", "modules.json", "config.json", "vocab.txt", "README.md", "LICENSE", "modeling_x.py", "1_Pooling", "2_Dense", "4_Router")
	noLeftovers(t, filepath.Join(dst, "2_Dense"), "model.safetensors", "config.json")
	assert.Contains(t, describe(t, filepath.Join(dst, "2_Dense")+"/model.safetensors"), "linear.weight")
	assert.FileExists(t, filepath.Join(dst, "4_Router", "query_0_X", "config.json"))
}

// TestByPath: a file stands for the directory that it is in, with itself as weights.
func TestByPath(t *testing.T) {
	src := model(t, map[string]string{"config.json": "{}", "other.bin": string(torchFile(t, map[string][]byte{
		"archive/data.pkl": buildPickle(t, map[string]string{"key": pickleText("other")}),
	}))})
	for file, tensor := range map[string]string{"other.bin": "other", "pytorch_model.bin": "w"} {
		dst := tempDst(t)
		require.NoError(t, Convert(context.Background(), filepath.Join(src, file), dst, Options{}))
		assert.Contains(t, describe(t, filepath.Join(dst, "model.safetensors")), tensor)
		noLeftovers(t, dst, "model.safetensors", "config.json")
	}
}

func TestRefused(t *testing.T) {
	zip := string(torchFile(t, nil))
	gguf := string(tinyGGUF().bytes())
	large := strings.Replace(string(torchFile(t, nil)), "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00PK", "\x00\x00\x00\x00\x00\x24\x74\x49\x00\x00\x00\x00\x00\x00\x00\x00PK", 1) // 1e6
	for name, tt := range map[string]struct {
		files   map[string]string
		file    string
		options Options
		kind    error
		says    string
	}{
		"nothing":            {map[string]string{"config.json": "{}"}, "", Options{}, loader.ErrNotFound, "holds no weights"},
		"no such file":       {nil, "none", Options{}, loader.ErrNotFound, "none"},
		"an ONNX file":       {map[string]string{"m.onnx": "x"}, "m.onnx", Options{}, loader.ErrUnsupported, "want a .safetensors, .bin, .index.json or .gguf file"},
		"two GGUF files":     {map[string]string{"a.gguf": gguf, "b.gguf": gguf}, "", Options{}, loader.ErrUnsupported, "holds a.gguf, b.gguf: want the path of one"},
		"tokenizer of a bin": {map[string]string{"pytorch_model.bin": zip}, "", Options{Tokenizer: "x"}, loader.ErrUnsupported, "for GGUF files"},
		"module outside":     {map[string]string{"pytorch_model.bin": zip, "modules.json": `[{"path":"../x"}]`}, "", Options{}, loader.ErrPath, "../x"},
		"modules not a list": {map[string]string{"pytorch_model.bin": zip, "modules.json": `{}`}, "", Options{}, loader.ErrBadConfig, "modules.json"},
		"too deep":           {map[string]string{"pytorch_model.bin": zip, "modules.json": `[{"path":"a"}]`, "a/b/c/d/config.json": "{}"}, "", Options{}, loader.ErrUnsupported, "nested"},
		"over f16":           {map[string]string{"pytorch_model.bin": large}, "", Options{DType: "f16"}, ErrRange, `tensor "w": 1e+06 does not fit F16`},
		"bad safetensors":    {map[string]string{"model.safetensors": "x"}, "", Options{}, loader.ErrBadHeader, "model.safetensors"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, dst := t.TempDir(), tempDst(t)
			for name, text := range tt.files {
				writeFile(t, []byte(text), dir, name)
			}
			err := Convert(context.Background(), filepath.Join(dir, tt.file), dst, tt.options)
			require.ErrorIs(t, err, tt.kind)
			assert.ErrorContains(t, err, tt.says)
			assert.ErrorContains(t, err, dir)
			noLeftovers(t, filepath.Dir(dst))
		})
	}
}

func TestOneGGUFInADirectory(t *testing.T) {
	dir, dst := t.TempDir(), tempDst(t)
	writeFile(t, tinyGGUF().bytes(), dir, "x-f32.GGUF")
	writeFile(t, []byte("{}"), dir, "config.json") // the file's own metadata count
	require.NoError(t, Convert(context.Background(), dir, dst, Options{}))
	assert.Contains(t, string(readFile(t, dst, "config.json")), `"model_type": "bert"`)
}

func TestDestination(t *testing.T) {
	src := model(t, nil)
	full := t.TempDir()
	writeFile(t, []byte("mine"), full, "file")
	for _, dst := range []string{full, filepath.Join(full, "file")} {
		err := Convert(context.Background(), src, dst, Options{})
		require.ErrorIs(t, err, ErrExists)
		assert.ErrorContains(t, err, dst)
	}
	noLeftovers(t, full, "file")
	assert.Equal(t, "mine", string(readFile(t, full, "file")))

	require.Error(t, Convert(context.Background(), src, filepath.Join(full, "none", "out"), Options{}))
	empty := t.TempDir()
	require.NoError(t, Convert(context.Background(), src, empty+"/", Options{}))
	noLeftovers(t, empty, "model.safetensors")
}

func TestDestinationNames(t *testing.T) {
	src := filepath.Join(tiny, "old")
	dir := t.TempDir()
	empty, link, long := filepath.Join(dir, "empty"), filepath.Join(dir, "link"), filepath.Join(dir, strings.Repeat("世", 84))
	require.NoError(t, os.Mkdir(empty, 0o777))
	if runtime.GOOS != "windows" { // where a link takes a privilege
		require.NoError(t, os.Symlink("empty", link))
		require.NoError(t, Convert(t.Context(), src, link, Options{}))
		info, err := os.Lstat(link)
		require.NoError(t, err)
		assert.NotZero(t, info.Mode()&os.ModeSymlink, "the link stays one")
		assert.FileExists(t, filepath.Join(empty, "model.safetensors"))
	}
	require.NoError(t, Convert(t.Context(), src, long, Options{}))
	assert.NoError(t, WriteSafetensors(long+"/"+filepath.Base(long), nil, nil))
}

func TestProgressAndCancel(t *testing.T) {
	src := filepath.Join(tiny, "mean")
	var seen []int64
	var last int64
	require.NoError(t, Convert(context.Background(), src, tempDst(t), Options{Progress: func(done, total int64) { seen, last = append(seen, done), total }}))
	require.Greater(t, len(seen), 3)
	assert.IsNonDecreasing(t, seen)
	assert.Equal(t, int64(0), seen[0])
	assert.Equal(t, last, seen[len(seen)-1])

	for _, at := range []int{0, 1, len(seen) - 1} {
		ctx, cancel := context.WithCancel(context.Background())
		calls, dst := 0, tempDst(t)
		err := Convert(ctx, src, dst, Options{Progress: func(int64, int64) {
			if calls++; calls > at {
				cancel()
			}
		}})
		cancel()
		require.ErrorIs(t, err, context.Canceled)
		noLeftovers(t, filepath.Dir(dst))
	}
}

// TestTruncatedWhileReading: a file that shrinks after its header was checked.
func TestTruncatedWhileReading(t *testing.T) {
	safetensors := readFile(t, tiny, "plain", "model.safetensors")
	for name, data := range map[string][]byte{
		"pytorch_model.bin": torchFile(t, nil), "model.gguf": tinyGGUF().bytes(), "model.safetensors": safetensors,
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := writeFile(t, data, t.TempDir(), name), tempDst(t)
			err := Convert(context.Background(), src, dst, Options{Progress: func(done, _ int64) {
				if done == 0 {
					require.NoError(t, os.Truncate(src, 60))
				}
			}})
			require.ErrorIs(t, err, loader.ErrTruncated)
			assert.ErrorContains(t, err, src)
			assert.ErrorContains(t, err, "tensor")
			noLeftovers(t, filepath.Dir(dst))
		})
	}
}

// TestLinks: the layout of the Hugging Face cache, and a link that leads out of it.
func TestLinks(t *testing.T) {
	repo := filepath.Join(t.TempDir(), "models--a--b")
	snapshot := filepath.Join(repo, "snapshots", "0123")
	require.NoError(t, os.MkdirAll(snapshot, 0o755))
	link := func(name string, data []byte) {
		blob := "blob-" + name
		writeFile(t, data, repo, "blobs", blob)
		if err := os.Symlink(filepath.Join("..", "..", "blobs", blob), filepath.Join(snapshot, name)); err != nil {
			t.Skip("no symbolic links: ", err)
		}
	}
	link("config.json", []byte("{}"))
	link("model.safetensors", readFile(t, tiny, "plain", "model.safetensors"))
	dst := tempDst(t)
	require.NoError(t, Convert(context.Background(), snapshot, dst, Options{}))
	noLeftovers(t, dst, "model.safetensors", "config.json")
	info, err := os.Lstat(filepath.Join(dst, "config.json"))
	require.NoError(t, err)
	assert.True(t, info.Mode().IsRegular())

	outside := writeFile(t, []byte("secret"), t.TempDir(), "secret.json")
	require.NoError(t, os.Symlink(outside, filepath.Join(snapshot, "secret.json")))
	dst = tempDst(t)
	require.ErrorIs(t, Convert(context.Background(), snapshot, dst, Options{}), loader.ErrPath)
	noLeftovers(t, filepath.Dir(dst))
}

// TestMemory: a model of 32 MB passes through a few buffers.
func TestMemory(t *testing.T) {
	dir, dst := t.TempDir(), tempDst(t)
	zeros := make([]byte, chunkBytes)
	require.NoError(t, WriteSafetensors(filepath.Join(dir, "model.safetensors"), []Tensor{{Name: "w", DType: loader.F32, Shape: []int{8, 1 << 20}, Data: func(emit func([]byte) error) error {
		for range 32 {
			if err := emit(zeros); err != nil {
				return err
			}
		}
		return nil
	}}}, nil))
	var err error
	n := allocated(func() { err = Convert(context.Background(), dir, dst, Options{DType: "bf16"}) })
	require.NoError(t, err)
	assert.Less(t, n, int64(4<<20))
	out := readFile(t, dst, "model.safetensors")
	assert.Equal(t, zeros[:100], out[len(out)-100:])
}

// The directory that a program runs in is not replaced by another of its name.
func TestConvertIntoTheWorkingDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dst := range []string{".", ""} {
		require.ErrorIs(t, wantEmpty(dst), ErrExists)
	}
	require.NoError(t, wantEmpty("new"))
}
