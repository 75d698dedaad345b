package loader

import (
	"cmp"
	"context"
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
	Kind         Kind   // what it is made for; "" if not even that is known
	ModelType    string // of config.json, for example "bert"; with the class of a model's own code, "bert (JinaBertModel)"; "" for a StaticEmbedding
	Dim          int    // values of a vector; of a CrossEncoder, scores of a pair
	MaxSeqLength int    // tokens; 0 for no limit
	DType        DType  // that most bytes of the weights are stored in
	Bytes        int64  // of all weights
	Licence      string // as the model's card names it; "" where none does
	Err          error  // why it can't be used; nil if it can
}

// Discovery says where and how [Discover] looks. The zero value looks into the
// caches.
type Discovery struct {
	Roots  []string           // folders to look into besides the caches; each must be there
	Verify func(*Model) error // says whether the architecture is known; may be nil
	// Progress, where not nil, is told now and then, and in the end, how many
	// folders and entries of folders were seen, and where the search is.
	Progress func(folders, entries int, at string)
}

// Discover lists the models in the Hugging Face and sentence-transformers caches
// and below the given roots, sorted by name. A folder is a candidate if it holds
// a configuration and weights, or a list of modules, or GGUF files; it is not
// searched further. Each candidate is verified by opening it (configuration,
// headers and tokenizer.json, no tensors) and by Verify. Folders are searched to a
// depth of four; hidden ones, and symbolic links to what is no candidate, are left
// out. A folder of any number of other files is read once, in pieces.
//
// The error is ctx's, or of a root that is not there, with what was found until
// then.
func Discover(ctx context.Context, d Discovery) ([]Found, error) {
	s := &search{Discovery: d, ctx: ctx, seen: make(map[string]bool)}
	err := s.all()
	if s.Progress != nil {
		s.Progress(s.folders, s.entries, "")
	}
	slices.SortFunc(s.found, func(a, b Found) int { return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Dir, b.Dir)) })
	return s.found, err
}

// search is the state of one Discover.
type search struct {
	Discovery
	ctx              context.Context
	seen             map[string]bool // real paths of candidates
	found            []Found
	folders, entries int
}

func (s *search) all() error {
	for _, root := range s.Roots {
		if info, err := os.Stat(root); err != nil {
			return notFound(err)
		} else if !info.IsDir() {
			return fmt.Errorf("%w: %s: want a folder to search", ErrNotFound, root)
		}
	}
	for _, root := range slices.Concat([]string{HubCache()}, sentenceCaches(), s.Roots) {
		if err := s.folder(root, 0); err != nil {
			return err
		}
	}
	return nil
}

// add verifies a candidate, once.
func (s *search) add(name, dir string) {
	if real, err := realPath(dir); err == nil && !s.seen[real] {
		s.seen[real] = true
		s.found = append(s.found, examine(name, dir, s.Verify))
	}
}

// folder searches a folder that lies so many levels below a root.
func (s *search) folder(dir string, depth int) error {
	if id, ok := repoID(filepath.Base(dir)); ok {
		s.repo(id, dir)
		return s.ctx.Err()
	}
	l, err := s.list(dir)
	if err != nil {
		return err
	}
	if l.candidate() {
		s.add(dir, dir)
		return s.ctx.Err()
	}
	if depth == discoverDepth {
		return nil
	}
	for _, name := range l.links {
		if err := s.link(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	for _, name := range l.folders {
		if err := s.folder(filepath.Join(dir, name), depth+1); err != nil {
			return err
		}
	}
	return nil
}

// link looks at what a symbolic link leads to, no further.
func (s *search) link(path string) error {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return nil
	}
	l, err := s.list(path)
	if err == nil && l.candidate() {
		s.add(path, path)
	}
	return err
}

// repo looks at a repository of a Hugging Face cache.
func (s *search) repo(id, path string) {
	s.folders++
	dir, err := snapshot(path, "")
	switch {
	case err == nil:
		s.add(id, dir)
	case !missingSnapshots(path): // several, and none is main
		s.found = append(s.found, Found{Name: id, Dir: path, Err: err})
	}
}

// missingSnapshots says that nothing of a repository was downloaded.
func missingSnapshots(repo string) bool {
	entries, err := os.ReadDir(filepath.Join(repo, "snapshots"))
	return err != nil || len(entries) == 0
}

// listing is what a folder holds, as far as it counts.
type listing struct {
	config, weights, modules, gguf bool
	folders, links                 []string // sorted; without hidden ones and the data sets of a cache
}

func (l *listing) candidate() bool { return l.modules || l.gguf || l.config && l.weights }

// list reads a folder. One that cannot be read holds nothing that could be opened;
// the error is ctx's.
func (s *search) list(dir string) (*listing, error) {
	l := &listing{}
	s.folders++
	f, err := os.Open(dir)
	if err != nil {
		return l, s.ctx.Err()
	}
	defer f.Close()
	for {
		if err := s.ctx.Err(); err != nil {
			return l, err
		}
		entries, err := f.ReadDir(1024)
		s.entries += len(entries)
		for _, e := range entries {
			l.note(e)
		}
		if s.Progress != nil {
			s.Progress(s.folders, s.entries, dir)
		}
		if err != nil || len(entries) == 0 {
			slices.Sort(l.folders)
			slices.Sort(l.links)
			return l, nil
		}
	}
}

func (l *listing) note(e fs.DirEntry) {
	name := e.Name()
	skipped := strings.HasPrefix(name, ".") || strings.HasPrefix(name, "datasets--") || strings.HasPrefix(name, "spaces--")
	switch {
	case e.IsDir() && !skipped:
		l.folders = append(l.folders, name)
	case e.IsDir():
		return
	case e.Type()&fs.ModeSymlink != 0 && !skipped && filepath.Ext(name) == "": // to a folder, perhaps
		l.links = append(l.links, name)
	}
	ext := strings.ToLower(filepath.Ext(name))
	_, other := otherFormats[ext]
	l.modules = l.modules || name == modulesFile
	l.config = l.config || name == "config.json"
	l.gguf = l.gguf || ext == ".gguf"
	l.weights = l.weights || other || ext == ".safetensors" || name == indexName
}
