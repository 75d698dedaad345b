package convert

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vkbert/vkbert/loader"
)

const (
	maxSmallFile = 64 << 20 // the largest released tokenizer.json takes 33 MB
	maxModules   = 64
	moduleDepth  = 2 // folders below that of a module
	maxFiles     = 1000
)

// smallExtensions are the files that go along: configurations, tokenizers,
// prompts, model cards. A model's own code is copied like them, and never run.
var smallExtensions = []string{".json", ".txt", ".model", ".jinja", ".md", ".py"}

// openDirectory opens a model directory. weights names the file in it that holds
// the model's own weights, "" for the first of weightFiles that is there.
func openDirectory(root, weights string) (_ *source, err error) {
	s := &source{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	modules, err := modulePaths(root)
	if err != nil {
		return nil, err
	}
	if err := s.addFolder(root, ".", weights); err != nil {
		return nil, err
	}
	for _, module := range modules {
		if err := s.addTree(root, module, moduleDepth); err != nil {
			return nil, err
		}
	}
	if len(s.folders) == 0 {
		var names []string
		for _, w := range weightFiles {
			names = append(names, w.name)
		}
		return nil, fmt.Errorf("%w: %s holds no weights: want one of %s or a .gguf file", loader.ErrNotFound, root, strings.Join(names, ", "))
	}
	return s, nil
}

// modulePaths returns the folders that modules.json and router_config.json name,
// without the model's own.
func modulePaths(root string) ([]string, error) {
	var paths []string
	var modules []struct {
		Path string `json:"path"`
	}
	if err := readOptional(root, "modules.json", &modules); err != nil {
		return nil, err
	}
	for _, m := range modules {
		paths = append(paths, m.Path)
	}
	var router struct {
		Types map[string]any `json:"types"`
	}
	if err := readOptional(root, "router_config.json", &router); err != nil {
		return nil, err
	}
	for folder := range router.Types {
		paths = append(paths, folder)
	}
	slices.Sort(paths)
	paths = slices.DeleteFunc(slices.Compact(paths), func(p string) bool { return p == "" || path.Clean(p) == "." })
	if len(paths) > maxModules {
		return nil, fmt.Errorf("%w: %s: %d modules, want at most %d", loader.ErrBadConfig, filepath.Join(root, "modules.json"), len(paths), maxModules)
	}
	return paths, nil
}

// readOptional reads a JSON file that need not be there. Whether it says anything
// else is for those who open the result.
func readOptional(root, name string, into any) error {
	real, err := loader.Within(root, name)
	if errors.Is(err, loader.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	data, err := loader.ReadBounded(real, maxSmallFile)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%w: %s: %w", loader.ErrBadConfig, real, err)
	}
	return nil
}

// addTree adds a folder and those below it. One that is not there is none: files
// name the empty folder of a module that needs nothing.
func (s *source) addTree(root, dir string, depth int) error {
	real, err := loader.Within(root, dir)
	if errors.Is(err, loader.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.addFolder(root, path.Clean(dir), ""); err != nil {
		return err
	}
	entries, err := os.ReadDir(real)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if depth == 0 {
			return fmt.Errorf("%w: %s: folders nested more than %d deep", loader.ErrUnsupported, real, moduleDepth)
		}
		if err := s.addTree(root, path.Join(dir, e.Name()), depth-1); err != nil {
			return err
		}
	}
	return nil
}

// addFolder adds the weights and the small files of one folder.
func (s *source) addFolder(root, dir, weights string) error {
	full := filepath.Join(root, filepath.FromSlash(dir))
	entries, err := os.ReadDir(full)
	if err != nil {
		return missingFile(err)
	}
	names := make(map[string]bool, len(entries))
	for _, e := range entries {
		names[e.Name()] = true
		if e.IsDir() || !isSmallFile(e.Name()) {
			continue
		}
		file := smallFile{name: path.Join(dir, e.Name())}
		if file.from, err = loader.Within(root, file.name); err != nil {
			return err
		}
		if s.files = append(s.files, file); len(s.files) > maxFiles {
			return fmt.Errorf("%w: %s holds more than %d files", loader.ErrUnsupported, root, maxFiles)
		}
	}
	for _, kind := range weightFiles {
		if weights == "" && names[kind.name] || weights != "" && sameKind(weights, kind.name) {
			name := kind.name
			if weights != "" {
				name = weights
			}
			tensors, closers, err := kind.open(root, path.Join(dir, name))
			if err != nil {
				return err
			}
			s.closers = append(s.closers, closers...)
			s.folders = append(s.folders, folder{path: dir, tensors: tensors})
			return nil
		}
	}
	if weights != "" {
		return fmt.Errorf("%w: %s: want a .safetensors, .bin, .index.json or .gguf file, or a model directory", loader.ErrUnsupported, filepath.Join(full, weights))
	}
	return nil
}

// sameKind says that a file's name ends as that of a kind does.
func sameKind(name, kind string) bool {
	_, ending, _ := strings.Cut(kind, ".")
	return strings.HasSuffix(name, "."+ending)
}

// isSmallFile says that a file goes along. artifact.metadata is the configuration
// of Stanford's ColBERT.
func isSmallFile(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".index.json") {
		return false
	}
	upper := strings.ToUpper(name)
	return slices.Contains(smallExtensions, path.Ext(name)) || name == "artifact.metadata" || strings.HasPrefix(upper, "LICENSE") || strings.HasPrefix(upper, "NOTICE")
}

// copyFile copies a small file. A configuration that names the type of the
// weights gets the new one.
func (f smallFile) write(dir string, dtype loader.DType) error {
	data := f.data
	if f.from != "" {
		var err error
		if data, err = loader.ReadBounded(f.from, maxSmallFile); err != nil {
			return err
		}
		if name := torchNames[dtype]; name != "" && path.Base(f.name) == "config.json" {
			data = setDType(data, name)
		}
	}
	to := filepath.Join(dir, filepath.FromSlash(f.name))
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return err
	}
	file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(0o666))
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}

// setDType replaces the text at the keys dtype and torch_dtype of a JSON object,
// and leaves all else as it was spelled.
func setDType(data []byte, name string) []byte {
	d := json.NewDecoder(strings.NewReader(string(data)))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return data
	}
	var out []byte
	done := int64(0) // of data, that is in out
	for d.More() {
		key, err := d.Token()
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil {
			return data
		}
		if text := string(value); (key == "dtype" || key == "torch_dtype") && strings.HasPrefix(text, `"`) {
			end := d.InputOffset()
			out = append(out, data[done:end-int64(len(value))]...)
			out = append(out, `"`+name+`"`...)
			done = end
		}
	}
	return append(out, data[done:]...)
}
