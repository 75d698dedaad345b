package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// HubCache returns the folder of the Hugging Face cache: HF_HUB_CACHE, or hub
// below HF_HOME, or below ~/.cache/huggingface. It need not exist.
func HubCache() string {
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"} {
		if dir := os.Getenv(name); dir != "" {
			return dir
		}
	}
	if dir := os.Getenv("HF_HOME"); dir != "" {
		return filepath.Join(dir, "hub")
	}
	return filepath.Join(userCache(), "huggingface", "hub")
}

// userCache is XDG_CACHE_HOME or ~/.cache on every system, as in Python's hub
// client.
func userCache() string {
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ".cache"
	}
	return filepath.Join(home, ".cache")
}

// sentenceCaches returns the folders that sentence-transformers has used.
func sentenceCaches() []string {
	if dir := os.Getenv("SENTENCE_TRANSFORMERS_HOME"); dir != "" {
		return []string{dir}
	}
	torch := os.Getenv("TORCH_HOME")
	if torch == "" {
		torch = filepath.Join(userCache(), "torch")
	}
	return []string{filepath.Join(torch, "sentence_transformers")}
}

const maxRef = 1024 // bytes of a file that holds a commit

var (
	hubName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?(@[A-Za-z0-9][A-Za-z0-9._/-]*)?$`)
	commit  = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._-]*$`)
)

// Resolve finds the model directory that nameOrPath means, and the name to show
// for it. It takes a directory, the path of a model.safetensors, or a Hugging
// Face id that is in the cache of the Hub or of sentence-transformers; an id
// without an organisation also means one of sentence-transformers/. It downloads
// nothing: an id that is nowhere is an ErrNotFound that says how to get it.
func Resolve(nameOrPath string) (dir, name string, err error) {
	if nameOrPath == "" {
		return "", "", fmt.Errorf("%w: want a Hugging Face id, a model directory or the path of a model.safetensors, got nothing", ErrNotFound)
	}
	info, err := os.Stat(nameOrPath)
	switch {
	case err == nil && info.IsDir():
		return nameOrPath, dirName(nameOrPath), nil
	case err == nil:
		if err := refuseFormat(nameOrPath); err != nil {
			return "", "", err
		}
		dir = filepath.Dir(nameOrPath)
		if base := filepath.Base(nameOrPath); base != "model.safetensors" && base != indexName {
			return "", "", fmt.Errorf("%w: %s: want the weights to be named model.safetensors, beside the model's other files", ErrUnsupported, nameOrPath)
		}
		return dir, dirName(dir), nil
	case !errors.Is(err, fs.ErrNotExist) && !hubName.MatchString(nameOrPath):
		return "", "", err
	}
	if !hubName.MatchString(nameOrPath) || strings.Contains(nameOrPath, "..") {
		return "", "", fmt.Errorf("%w: %s: no such file or directory, nor a Hugging Face id", ErrNotFound, nameOrPath)
	}
	ids := []string{nameOrPath}
	if id, _, _ := strings.Cut(nameOrPath, "@"); !strings.Contains(id, "/") {
		ids = append(ids, "sentence-transformers/"+nameOrPath)
	}
	for _, id := range ids {
		dir, err := cached(id)
		if err == nil {
			return dir, id, nil
		}
		if !errors.Is(err, ErrNotFound) {
			return "", "", err
		}
	}
	return "", "", fmt.Errorf("%w: %s is neither a directory nor in %s; get it with: vkbert download %s",
		ErrNotFound, nameOrPath, HubCache(), ids[len(ids)-1])
}

// cached returns the folder of an id, or of an id@revision, in the caches.
func cached(id string) (string, error) {
	id, revision, _ := strings.Cut(id, "@")
	for _, root := range append([]string{HubCache()}, sentenceCaches()...) {
		repo := filepath.Join(root, "models--"+strings.ReplaceAll(id, "/", "--"))
		dir, err := snapshot(repo, revision)
		if err == nil || !errors.Is(err, ErrNotFound) {
			return dir, err
		}
		if revision != "" {
			continue
		}
		// Releases before 2.3 keep plain files in a folder of their own.
		dir = filepath.Join(root, strings.ReplaceAll(id, "/", "_"))
		if _, err := os.Stat(filepath.Join(dir, modulesFile)); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("%w: %s", ErrNotFound, id)
}

// snapshot returns the folder of a repository's revision: of a branch, a tag or a
// commit; for "" of main, or of the only one that is there.
func snapshot(repo, revision string) (string, error) {
	snapshots := filepath.Join(repo, "snapshots")
	branch := revision
	if branch == "" {
		branch = "main"
	}
	path, err := cleanRelative("refs/" + branch)
	if err != nil {
		return "", err
	}
	path = filepath.Join(repo, filepath.FromSlash(path))
	ref, err := readBounded(path, maxRef)
	if err == nil {
		id := strings.TrimSpace(string(ref))
		if !commit.MatchString(id) {
			return "", fmt.Errorf("%w: %s: want a commit, got %.60q", ErrPath, path, id)
		}
		dir := filepath.Join(snapshots, id)
		_, err := os.Stat(dir)
		return dir, notFound(err)
	}
	if revision != "" {
		if !commit.MatchString(revision) {
			return "", fmt.Errorf("%w: %s: revision %.60q", ErrNotFound, repo, revision)
		}
		dir := filepath.Join(snapshots, revision)
		_, err := os.Stat(dir)
		return dir, notFound(err)
	}
	entries, err := os.ReadDir(snapshots)
	if err != nil {
		return "", notFound(err)
	}
	if len(entries) != 1 || !entries[0].IsDir() {
		return "", fmt.Errorf("%w: %s: no refs/main and %d snapshots; name one of their folders", ErrNotFound, repo, len(entries))
	}
	return filepath.Join(snapshots, entries[0].Name()), nil
}

// dirName is the name to show for a model directory: the Hugging Face id if it is
// a snapshot of a cache, else the folder's own.
func dirName(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return filepath.Base(dir)
	}
	if snapshots := filepath.Dir(abs); filepath.Base(snapshots) == "snapshots" {
		if id, ok := repoID(filepath.Base(filepath.Dir(snapshots))); ok {
			return id
		}
	}
	return filepath.Base(abs)
}

// repoID turns models--org--name into org/name.
func repoID(folder string) (string, bool) {
	id, ok := strings.CutPrefix(folder, "models--")
	return strings.Replace(id, "--", "/", 1), ok
}
