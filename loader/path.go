package loader

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// notFound gives a missing file the sentinel of this package.
func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}

// join joins slash-separated names; "." and "" are the folder itself.
func join(elements ...string) string { return path.Join(elements...) }

// cleanRelative checks a slash-separated name that was read from a file: it must
// stay below the folder that it is relative to, on every operating system.
func cleanRelative(name string) (string, error) {
	if strings.ContainsAny(name, "\\:\x00") || strings.HasPrefix(name, "/") {
		return "", fmt.Errorf("%w: %.200q", ErrPath, name)
	}
	clean := path.Clean(name)
	if !filepath.IsLocal(filepath.FromSlash(clean)) {
		return "", fmt.Errorf("%w: %.200q", ErrPath, name)
	}
	return clean, nil
}

// within returns the real path of the file or folder name below root. Symbolic
// links are followed as long as they stay below root or, where root is a
// snapshot of a Hugging Face cache, lead into the blobs of the same repository.
func within(root, name string) (string, error) {
	clean, err := cleanRelative(name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", root, err)
	}
	realRoot, err := realPath(root)
	if err != nil {
		return "", err
	}
	full := filepath.Join(realRoot, filepath.FromSlash(clean))
	real, err := filepath.EvalSymlinks(full)
	if err != nil {
		return "", notFound(err)
	}
	if inside(realRoot, real) {
		return real, nil
	}
	if blobs, ok := blobsOf(realRoot); ok && inside(blobs, real) {
		return real, nil
	}
	return "", fmt.Errorf("%w: %s leads to %s", ErrPath, full, real)
}

// missing says that there is no file of that name below root.
func missing(root, name string) bool {
	_, err := within(root, name)
	return errors.Is(err, ErrNotFound)
}

func realPath(p string) (string, error) {
	abs, err := filepath.Abs(p)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	return real, notFound(err)
}

func inside(root, p string) bool {
	rel, err := filepath.Rel(root, p)
	return err == nil && filepath.IsLocal(rel)
}

// blobsOf returns the blobs folder that belongs to REPO/snapshots/COMMIT[/…].
func blobsOf(dir string) (string, bool) {
	for parent := filepath.Dir(dir); parent != dir; dir, parent = parent, filepath.Dir(parent) {
		if filepath.Base(parent) == "snapshots" {
			return filepath.Join(filepath.Dir(parent), "blobs"), true
		}
	}
	return "", false
}

// openRegular opens a regular file, links followed. Anything else is refused
// before it is opened: a pipe would wait for its other end.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, notFound(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	f, err := os.Open(path)
	return f, notFound(err)
}

var errNotRegular = errors.New("not a regular file")

// readBounded reads a regular file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := openRegular(path)
	if errors.Is(err, errNotRegular) {
		return nil, fmt.Errorf("%w: %s: %w", ErrBadConfig, path, err)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%w: %s: want at most %d bytes, got %d", ErrBadConfig, path, limit, info.Size())
	}
	data := make([]byte, info.Size())
	n, err := io.ReadFull(f, data)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return data[:n], nil
}

// What to do about weights in another format.
const (
	convertHint = `convert it to safetensors: vkbert convert -m FILE -o DIR`
	pythonHint  = `convert it to safetensors with Python: from sentence_transformers import SentenceTransformer; SentenceTransformer("MODEL").save("OUT")`
)

// convertible are the formats that package convert reads.
var convertible = []string{".bin", ".gguf"}

// otherFormats are the weight files that are refused by name.
var otherFormats = map[string]string{
	".bin": "PyTorch", ".pt": "PyTorch", ".pth": "PyTorch", ".ckpt": "PyTorch or TensorFlow",
	".gguf": "GGUF", ".ggml": "GGML", ".onnx": "ONNX", ".h5": "TensorFlow", ".msgpack": "Flax",
	".npz": "NumPy", ".tflite": "TensorFlow Lite", ".mlmodel": "Core ML",
}

// refuseFormat refuses a file that is neither safetensors nor a shard index.
func refuseFormat(file string) error {
	if strings.HasSuffix(file, ".safetensors") || strings.HasSuffix(file, ".index.json") {
		return nil
	}
	ext := strings.ToLower(filepath.Ext(file))
	if format, known := otherFormats[ext]; known {
		hint := pythonHint
		if slices.Contains(convertible, ext) {
			hint = convertHint
		}
		return fmt.Errorf("%w: %s holds %s weights; %s", ErrUnsupported, file, format, hint)
	}
	return fmt.Errorf("%w: %s: want a .safetensors file or a model directory", ErrUnsupported, file)
}

// otherWeights refuses a directory without safetensors by the weights it does
// hold; nil if it holds none.
func otherWeights(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return notFound(err)
	}
	for _, e := range entries {
		_, known := otherFormats[strings.ToLower(filepath.Ext(e.Name()))]
		if known && !e.IsDir() && e.Name() != "training_args.bin" {
			return refuseFormat(filepath.Join(dir, e.Name()))
		}
	}
	return nil
}
