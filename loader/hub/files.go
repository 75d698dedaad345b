package hub

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// sibling is a file as the Hub lists it (?blobs=true).
type sibling struct {
	Name   string `json:"rfilename"`
	Size   *int64 `json:"size"`
	BlobID string `json:"blobId"` // git's object id
	LFS    *struct {
		SHA256 string `json:"sha256"`
	} `json:"lfs"` // of large files
}

// file is a file of a repository. Its etag names it in the cache and is its hash: 64 hex digits of SHA-256, or 40 of git's SHA-1.
type file struct {
	name string // slash-separated
	size int64
	etag string
}

// hash returns what the etag is the sum of, fed with what git puts before the contents.
func (f file) hash() hash.Hash {
	if len(f.etag) == 2*sha256.Size {
		return sha256.New()
	}
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", f.size)
	return h
}

// safePath says that a slash-separated name stays inside the folder it is put in, on every system.
func safePath(name string) bool {
	return fs.ValidPath(name) && name != "." && !strings.ContainsAny(name, "\\:\x00")
}

// listedFiles checks what the Hub lists.
func listedFiles(siblings []sibling) ([]file, error) {
	files := make([]file, 0, len(siblings))
	for _, s := range siblings {
		if !safePath(s.Name) {
			return nil, fmt.Errorf("%w: the Hub lists the file %.200q, which leads out of the model's folder", ErrDamaged, s.Name)
		}
		f := file{name: s.Name, etag: s.BlobID}
		digits := 2 * sha1.Size
		if s.LFS != nil {
			f.etag, digits = s.LFS.SHA256, 2*sha256.Size
		}
		if s.Size == nil || *s.Size < 0 || !isHex(f.etag, digits) {
			return nil, fmt.Errorf("%w: the Hub lists %.200q without its size or hash", ErrDamaged, s.Name)
		}
		f.size = *s.Size
		files = append(files, f)
	}
	return files, nil
}

// needed are the names of the files that a model is made of besides its weights, in its own folder and in those of its modules. Other formats of the weights,
// scripts and pictures are left out. An adapter's configuration comes so that the model is refused: without the adapter its vectors are others.
var needed = []string{
	"config.json", "config_sentence_transformers.json", "sentence_*_config.json", modulesFile, routerFile, "adapter_config.json", "artifact.metadata",
	"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
	"vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model",
	"README.md", "LICENSE*", "LICENCE*", "NOTICE*",
}

const (
	modulesFile = "modules.json"
	routerFile  = "router_config.json"
	weightsFile = "model.safetensors"
	indexFile   = "model.safetensors.index.json"
)

// selection finds out which of a repository's files a model needs. read gets the few that say so.
type selection struct {
	id     string
	listed map[string]file
	read   func(file) ([]byte, error)
}

// parse reads a JSON file that need not be there.
func (s *selection) parse(name string, into any) (found bool, err error) {
	f, found := s.listed[name]
	if !found {
		return false, nil
	}
	data, err := s.read(f)
	if err != nil {
		return true, fmt.Errorf("%s: %w", name, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return true, fmt.Errorf("%w: %s: %w", ErrUnsupported, name, err)
	}
	return true, nil
}

// folders returns the folders that modules.json names and those that a Router among them names, the model's own, ".", first; that one alone where there is no
// modules.json.
func (s *selection) folders() ([]string, error) {
	folders := []string{"."}
	var modules []struct {
		Path string `json:"path"`
		Type string `json:"type"`
	}
	if _, err := s.parse(modulesFile, &modules); err != nil {
		return nil, err
	}
	for _, m := range modules {
		dir := path.Clean(m.Path)
		folders = append(folders, dir)
		var router struct {
			Types map[string]string `json:"types"` // folders of the routes' modules, below the Router's own
		}
		if found, err := s.parse(path.Join(dir, routerFile), &router); err != nil {
			return nil, err
		} else if !found && (strings.HasSuffix(m.Type, ".Router") || strings.HasSuffix(m.Type, ".Asym")) { // before 5.4
			if _, err := s.parse(path.Join(dir, "config.json"), &router); err != nil {
				return nil, err
			}
		}
		for sub := range router.Types {
			folders = append(folders, path.Join(dir, sub))
		}
	}
	return folders, nil
}

// weights returns the names of the weights in a folder: one file where there is one, else the shards and their index.
func (s *selection) weights(dir string) ([]string, error) {
	single, index := path.Join(dir, weightsFile), path.Join(dir, indexFile)
	if _, found := s.listed[single]; found {
		return []string{single}, nil
	}
	for name := range s.listed { // refused here and not after all the rest has come
		if path.Dir(name) == dir && (path.Base(name) == "pytorch_model.bin" || path.Base(name) == "pytorch_model.bin.index.json") && s.listed[index] == (file{}) {
			return nil, s.noWeights(fmt.Sprintf("%s and no %s beside it", name, weightsFile))
		}
	}
	var shards struct {
		Map map[string]string `json:"weight_map"`
	}
	found, err := s.parse(index, &shards)
	if err != nil || !found {
		return nil, err
	}
	names := map[string]bool{index: true}
	for _, shard := range shards.Map {
		name := path.Join(dir, shard)
		if _, there := s.listed[name]; !there || !safePath(shard) {
			return nil, fmt.Errorf("%w: %s names the shard %.200q, which the Hub does not list", ErrUnsupported, index, shard)
		}
		names[name] = true
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// files returns the files that the model needs, in the order in which they are listed, the weights last: what is wrong with the others shows early.
func (s *selection) files(listed []file) ([]file, error) {
	folders, err := s.folders()
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, dir := range folders {
		names, err := s.weights(dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			wanted[name] = true
		}
	}
	if len(wanted) == 0 {
		return nil, s.noWeights("no " + weightsFile + otherWeights(listed))
	}
	var small, large []file
	for _, f := range listed {
		dir, name := path.Dir(f.name), path.Base(f.name)
		matches := func(pattern string) bool { ok, _ := path.Match(pattern, name); return ok }
		switch {
		case wanted[f.name]:
			large = append(large, f)
		case slices.Contains(folders, dir) && slices.ContainsFunc(needed, matches):
			small = append(small, f)
		}
	}
	return append(small, large...), nil
}

func (s *selection) noWeights(has string) error {
	return fmt.Errorf("%w: the model has %s; write one with Python: SentenceTransformer(%q).save_pretrained(DIR)", ErrUnsupported, has, s.id)
}

func otherWeights(listed []file) string {
	for _, f := range listed {
		if slices.Contains([]string{".bin", ".pt", ".onnx", ".gguf", ".h5", ".msgpack"}, path.Ext(f.name)) {
			return ", only " + f.name
		}
	}
	return ""
}
