package index

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Extensions are the names' endings of the files that are taken where nothing else is asked for.
var Extensions = []string{".txt", ".text", ".md", ".markdown", ".rst", ".adoc", ".org", ".jsonl", ".ndjson"}

// DefaultField is the name of the text in an object of JSON lines where nothing else is asked for.
const DefaultField = "text"

// isRecords says that a file holds JSON lines.
func isRecords(path string) bool {
	ext := strings.ToLower(filepath.Ext(path))
	return ext == ".jsonl" || ext == ".ndjson"
}

// Filter says which files of a folder are taken. Those whose name, or the name of a folder above them, begins with a dot are not.
type Filter struct {
	Extensions []string `json:"extensions,omitempty"` // what names end with, from a dot on, or whole names; nil: [Extensions]
	Exclude    []string `json:"exclude,omitempty"`    // patterns of [filepath.Match], for names and for paths below the folder
}

// over is the filter with what it leaves open taken from another.
func (f Filter) over(other Filter) Filter {
	if f.Extensions != nil {
		other.Extensions = f.Extensions
	}
	if f.Exclude != nil {
		other.Exclude = f.Exclude
	}
	return other
}

func (f Filter) check() error {
	if f.Extensions != nil && len(f.Extensions) == 0 {
		return fmt.Errorf("%w: no endings of names: no file would be taken", ErrInput)
	}
	for _, pattern := range f.Exclude {
		if _, err := filepath.Match(pattern, ""); err != nil {
			return fmt.Errorf("%w: exclude %q: %w", ErrInput, pattern, err)
		}
	}
	return nil
}

func (f Filter) takes(name string) bool {
	extensions := f.Extensions
	if extensions == nil {
		extensions = Extensions
	}
	name = strings.ToLower(name)
	return slices.ContainsFunc(extensions, func(e string) bool {
		e = strings.ToLower(e)
		return name == e || strings.HasSuffix(name, "."+strings.TrimPrefix(e, "."))
	})
}

func (f Filter) excludes(name, path string) bool {
	return slices.ContainsFunc(f.Exclude, func(pattern string) bool {
		pattern = strings.TrimRight(pattern, "/") // as a folder's name is completed
		byName, _ := filepath.Match(pattern, name)
		byPath, _ := filepath.Match(pattern, path)
		return byName || byPath
	})
}

// found is a file that a walk has seen.
type found struct {
	path string
	info fs.FileInfo
}

// walk is what lies below folders.
type walk struct {
	asked    []string // where to look; none: everywhere
	files    []found
	seen     map[string]bool // their paths
	unseen   []string        // folders that could not be read: what lies there may still be there
	problems []Problem
}

func (w *walk) problem(path string, err error) {
	var inner *fs.PathError
	if errors.As(err, &inner) {
		err = inner.Err
	}
	w.problems = append(w.problems, Problem{Path: path, Err: err})
}

// looksAt says that a path is asked for, or leads to what is.
func (w *walk) looksAt(path string) bool {
	return len(w.asked) == 0 || slices.ContainsFunc(w.asked, func(asked string) bool { return below(path, asked) || below(asked, path) })
}

// root adds the files below a folder, or the one file. Links below it are not followed, so no loop is.
func (w *walk) root(root string, f Filter) {
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			w.unseen = append(w.unseen, path)
			w.problem(path, err)
			if entry != nil && entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		below, _ := filepath.Rel(root, path)
		name := entry.Name()
		if path != root && (strings.HasPrefix(name, ".") || f.excludes(name, below) || !w.looksAt(path)) {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() || path != root && !f.takes(name) || w.seen[path] {
			return nil
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it has just gone
		}
		w.seen[path] = true
		if err != nil {
			w.problem(path, err)
			return nil
		}
		w.files = append(w.files, found{path, info})
		return nil
	})
	if err != nil {
		w.unseen = append(w.unseen, root)
		w.problem(root, err)
	}
}

// missed says that the walk could not see whether a file is there.
func (w *walk) missed(path string) bool {
	return slices.ContainsFunc(w.unseen, func(folder string) bool { return below(path, folder) })
}

// below says that a path is a folder, or lies in it.
func below(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, string(filepath.Separator))+string(filepath.Separator))
}

// absolute is a path without links, so that a file has one name.
func absolute(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		var inner *fs.PathError
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return "", fmt.Errorf("%w: %s: %w", ErrInput, path, err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", err
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return "", fmt.Errorf("%w: %s: want a folder or a file", ErrInput, path)
	}
	return real, nil
}
