package hub

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"io/fs"
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

// needed are the names of the files that a model is made of, in its own folder and in those of its modules. Other formats of the weights, scripts and
// pictures are left out.
var needed = []string{
	"config.json", "config_sentence_transformers.json", "sentence_*_config.json", "modules.json", "router_config.json",
	"model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json",
	"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
	"vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model",
	"README.md", "LICENSE*", "LICENCE*", "NOTICE*",
}

const modulesFile = "modules.json"

// moduleFolders returns the folders that modules.json names, the model's own, ".", among them; that one alone where there is no modules.json.
func moduleFolders(listed []file, read func(file) ([]byte, error)) ([]string, error) {
	folders := []string{"."}
	i := slices.IndexFunc(listed, func(f file) bool { return f.name == modulesFile })
	if i < 0 {
		return folders, nil
	}
	data, err := read(listed[i])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", modulesFile, err)
	}
	var modules []struct {
		Path string `json:"path"`
	}
	if err := json.Unmarshal(data, &modules); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnsupported, modulesFile, err)
	}
	for _, m := range modules {
		folders = append(folders, path.Clean(m.Path))
	}
	return folders, nil
}

// selectFiles returns the files that the model needs.
func selectFiles(id string, listed []file, folders []string) ([]file, error) {
	var files []file
	weights := false
	for _, f := range listed {
		dir, name := path.Dir(f.name), path.Base(f.name)
		matches := func(pattern string) bool { ok, _ := path.Match(pattern, name); return ok }
		if slices.Contains(folders, dir) && slices.ContainsFunc(needed, matches) {
			files = append(files, f)
			weights = weights || strings.HasSuffix(name, ".safetensors")
		}
	}
	if !weights {
		return nil, fmt.Errorf("%w: the model has no model.safetensors%s; write one with Python: SentenceTransformer(%q).save_pretrained(DIR)",
			ErrUnsupported, otherWeights(listed), id)
	}
	return files, nil
}

func otherWeights(listed []file) string {
	for _, f := range listed {
		if slices.Contains([]string{".bin", ".pt", ".onnx", ".gguf", ".h5", ".msgpack"}, path.Ext(f.name)) {
			return ", only " + f.name
		}
	}
	return ""
}
