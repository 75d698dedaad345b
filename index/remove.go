package index

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// removeGone removes the files of what is asked for that the walk has not seen.
func (u *updater) removeGone(w *walk) error {
	var gone []string
	for path := range u.files {
		asked := slices.ContainsFunc(u.asked, func(asked string) bool { return below(path, asked) })
		if asked && !w.seen[path] && !w.missed(path) {
			gone = append(gone, path)
		}
	}
	slices.Sort(gone)
	return u.remove(gone)
}

func (u *updater) remove(paths []string) error {
	if len(paths) == 0 {
		return nil
	}
	err := u.change(func(tx *bolt.Tx, _ *Meta) error {
		for _, path := range paths {
			if err := removeChunks(tx, u.files[path].ID); err != nil {
				return err
			}
			if err := tx.Bucket(filesBucket).Delete([]byte(path)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, path := range paths {
		u.report.Removed++
		u.tell(path, Removed)
	}
	return nil
}

// Remove takes folders and files, which need not be there any more, out of the index at path, with all that lies below them. It needs no model.
func Remove(path string, paths ...string) (removed int, err error) {
	var roots []string
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return 0, err
		}
		roots = append(roots, abs)
		if real, err := filepath.EvalSymlinks(abs); err == nil && real != abs {
			roots = append(roots, real)
		}
	}
	under := func(path string) bool {
		return slices.ContainsFunc(roots, func(root string) bool { return below(path, root) })
	}
	u := &updater{Index: &Index{path: path}}
	err = transact(path, false, func(tx *bolt.Tx) (err error) {
		if u.meta, err = metaOf(tx, path); err == nil {
			u.files, err = decodeAll[file](tx, filesBucket)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	gone := slices.DeleteFunc(slices.Sorted(maps.Keys(u.files)), func(path string) bool { return !under(path) })
	known := len(gone) > 0
	err = u.change(func(tx *bolt.Tx, _ *Meta) error {
		all, err := decodeAll[root](tx, rootsBucket)
		for root := range all {
			if err == nil && under(root) {
				known = true
				err = tx.Bucket(rootsBucket).Delete([]byte(root))
			}
		}
		return err
	})
	if err == nil && !known {
		err = fmt.Errorf("%w: %s has nothing of %s", ErrInput, path, strings.Join(paths, ", "))
	}
	if err != nil {
		return 0, err
	}
	return len(gone), u.remove(gone)
}
