package hub

import (
	"errors"
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

func newRepo(cacheDir, id string) (repo, error) {
	dir, err := filepath.Abs(cacheDir)
	return repo(filepath.Join(dir, "models--"+strings.ReplaceAll(id, "/", "--"))), err
}

func openRepo(cacheDir, id string) (repo, error) {
	r, err := newRepo(cacheDir, id)
	if err != nil {
		return "", err
	}
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

// store makes a blob: fill writes what is missing of it under another name, and checks it. What has arrived when fill fails stays for the next attempt, unless
// it is damaged. The name is not that of Python's client, which locks otherwise.
func (r repo) store(f file, fill func(*os.File) error) (err error) {
	part, out, shared, err := r.openPart(f)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && (!shared || errors.Is(err, ErrDamaged) || empty(part)) {
			os.Remove(part)
		}
	}()
	err = fill(out)
	if err == nil {
		err = out.Sync()
	}
	if err == nil {
		err = os.Rename(part, r.blob(f)) // while it is locked
	}
	if e := out.Close(); err == nil {
		err = e
	}
	return err
}

// openPart opens the file that a blob is put together in, behind what is in it already. One that another process is writing to is left alone, for a file of
// our own, which nobody takes up.
func (r repo) openPart(f file) (part string, out *os.File, shared bool, err error) {
	part = r.blob(f) + ".vkbert.incomplete"
	out, err = os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return "", nil, false, err
	}
	if lock(out) && isAt(out, part) { // it may have got its name in between
		return part, out, true, nil
	}
	out.Close()
	part = fmt.Sprintf("%s.%08x.incomplete", r.blob(f), rand.Uint32())
	out, err = os.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	return part, out, false, err
}

func isAt(f *os.File, path string) bool {
	here, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(here, there)
}

func empty(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() == 0
}

// snapshot returns the folder that a revision has in the cache; "" if there is none.
func (r repo) snapshot(revision string) string {
	commit := revision
	if ref, err := os.ReadFile(r.path("refs", filepath.FromSlash(revision))); err == nil {
		commit = strings.TrimSpace(string(ref))
	}
	dir := r.path("snapshots", commit)
	if info, err := os.Stat(dir); !safePath(commit) || err != nil || !info.IsDir() {
		return ""
	}
	return dir
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
