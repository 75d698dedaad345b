package hub

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// repo is the folder of a repository in the cache:
//
//	models--org--name/blobs/ETAG                 the files, by their hash
//	                  refs/main                  the commit of a branch or tag
//	                  snapshots/COMMIT/NAME      links to the blobs
//
// as https://huggingface.co/docs/huggingface_hub/guides/manage-cache describes it.
type repo string

func openRepo(cacheDir, id string) (repo, error) {
	dir, err := filepath.Abs(cacheDir)
	if err != nil {
		return "", err
	}
	r := repo(filepath.Join(dir, "models--"+strings.ReplaceAll(id, "/", "--")))
	return r, os.MkdirAll(r.path("blobs"), 0o777)
}

func (r repo) path(parts ...string) string {
	return filepath.Join(append([]string{string(r)}, parts...)...)
}

func (r repo) blob(f file) string { return r.path("blobs", f.etag) }

// has says that a file is there, whole: a blob gets its name when it is complete and checked.
func (r repo) has(f file) bool {
	info, err := os.Stat(r.blob(f))
	return err == nil && info.Mode().IsRegular() && info.Size() == f.size
}

// store makes a blob: fill writes and checks it under another name, which goes away if it fails.
func (r repo) store(f file, fill func(*os.File) error) (err error) {
	part := fmt.Sprintf("%s.%08x.incomplete", r.blob(f), rand.Uint32())
	out, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(part)
		}
	}()
	err = fill(out)
	if err == nil {
		err = out.Sync()
	}
	if e := out.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(part, r.blob(f))
}

// publish makes the snapshot of a commit and the reference to it, and returns the snapshot's folder. A new snapshot is put together elsewhere and appears as a
// whole; to one that is there already, files are added. All files must be in the cache.
func (r repo) publish(commit, revision string, files []file) (string, error) {
	staging, err := os.MkdirTemp(string(r), ".incomplete-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(staging)

	snapshot := r.path("snapshots", commit)
	if err := os.MkdirAll(filepath.Dir(snapshot), 0o777); err != nil {
		return "", err
	}
	whole := filepath.Join(staging, commit) // as deep as the snapshot, for the relative links
	if err := r.link(whole, staging, files); err != nil {
		return "", err
	}
	if err := os.Rename(whole, snapshot); err != nil { // it is there already
		if err := r.link(snapshot, staging, files); err != nil {
			return "", err
		}
	}
	if revision == commit {
		return snapshot, nil
	}
	ref, part := r.path("refs", filepath.FromSlash(revision)), filepath.Join(staging, "ref")
	if err := os.MkdirAll(filepath.Dir(ref), 0o777); err != nil {
		return "", err
	}
	if err := os.WriteFile(part, []byte(commit), 0o666); err != nil {
		return "", err
	}
	return snapshot, os.Rename(part, ref)
}

// link puts links to the blobs of files into a folder two below the repository's; links that are right stay.
func (r repo) link(dir, staging string, files []file) error {
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.name))
		if sameFile(path, f) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return err
		}
		target, err := filepath.Rel(filepath.Dir(path), r.blob(f))
		if err != nil {
			return err
		}
		part := filepath.Join(staging, "link")
		if err := os.Symlink(target, part); err != nil {
			if err := os.Link(r.blob(f), part); err != nil { // Windows lets only administrators make symbolic links
				return err
			}
		}
		if err := os.Rename(part, path); err != nil {
			return err
		}
	}
	return nil
}

func sameFile(path string, f file) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() == f.size
}
