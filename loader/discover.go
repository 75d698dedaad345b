package loader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// discoverDepth is how many folders below a root a model may lie.
const discoverDepth = 4

// Found is a model directory on this machine.
type Found struct {
	Name         string // what Resolve takes: an id, or a path
	Dir          string
	Kind         Kind   // what it is made for; "" if Err
	ModelType    string // of config.json, for example "bert"; "" if Err
	Dim          int    // length of a vector
	MaxSeqLength int    // tokens; 0 for no limit
	Err          error  // why it can't be used; nil if it can
}

// Discover lists the models in the Hugging Face and sentence-transformers caches
// and below the given roots, sorted by name. A folder is a candidate if it holds
// a configuration or weights; each is verified by opening it (configuration and
// headers, no tensors) and by verify, where that is not nil, which says whether
// the architecture is known. Roots that do not exist hold nothing; symbolic links
// to folders are not followed.
//
// The error is ctx's, with what was found until then.
func Discover(ctx context.Context, verify func(*Model) error, roots ...string) ([]Found, error) {
	var found []Found
	seen := make(map[string]bool)
	add := func(name, dir string) {
		if real, err := realPath(dir); err == nil && !seen[real] {
			seen[real] = true
			found = append(found, examine(name, dir, verify))
		}
	}
	var err error
	for _, root := range append(append([]string{HubCache()}, sentenceCaches()...), roots...) {
		if err = discoverIn(ctx, root, add); err != nil {
			break
		}
	}
	slices.SortFunc(found, func(a, b Found) int { return strings.Compare(a.Name, b.Name) })
	return found, err
}

// discoverIn calls add for each candidate below root.
func discoverIn(ctx context.Context, root string, add func(name, dir string)) error {
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if ctxErr := ctx.Err(); ctxErr != nil {
			return ctxErr
		}
		if err != nil { // unreadable: nothing there that could be opened
			return fs.SkipDir
		}
		if !entry.IsDir() {
			return nil
		}
		if id, ok := repoID(entry.Name()); ok {
			if dir, err := snapshot(path); err == nil {
				add(id, dir)
			}
			return fs.SkipDir
		}
		if isCandidate(path) {
			add(path, path)
			return fs.SkipDir
		}
		if path == root {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil || hidden(entry.Name()) || strings.Count(filepath.ToSlash(rel), "/")+1 >= discoverDepth {
			return fs.SkipDir
		}
		return nil
	})
	if errors.Is(err, fs.SkipDir) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func hidden(name string) bool { return strings.HasPrefix(name, ".") }

// isCandidate says that a folder looks like a model's: it has a configuration and
// weights, or sentence-transformers' list of modules.
func isCandidate(dir string) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	config, weights := false, false
	for _, e := range entries {
		name := e.Name()
		if name == modulesFile {
			return true
		}
		_, other := otherFormats[strings.ToLower(filepath.Ext(name))]
		config = config || name == "config.json"
		weights = weights || other || strings.HasSuffix(name, ".safetensors") || name == indexName
	}
	return config && weights
}

// examine opens a candidate and closes it again.
func examine(name, dir string, verify func(*Model) error) Found {
	f := Found{Name: name, Dir: dir}
	m, err := Open(dir)
	if err != nil {
		f.Err = err
		return f
	}
	f.Kind, f.ModelType, f.Dim, f.MaxSeqLength = m.Kind, m.Config.ModelType(), m.Dim(), m.MaxSeqLength
	if m.TruncateDim > 0 {
		f.Dim = min(f.Dim, m.TruncateDim)
	}
	if missing(dir, join(m.folder, tokenizerFileName)) {
		_, _, f.Err = convertVocab(m)
	}
	if f.Err == nil && verify != nil {
		f.Err = verify(m)
	}
	if err := m.Close(); err != nil && f.Err == nil {
		f.Err = fmt.Errorf("closing: %w", err)
	}
	return f
}
