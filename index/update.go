package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Update says what to bring up to date.
type Update struct {
	Roots    []string                                                             // folders and files to add or to look at again; none: all that the index has
	Filter   *Filter                                                              // of these roots; a list that is nil, or both: as the index has it, or the default
	Field    string                                                               // of JSON lines in these roots; "": as the index has it, or [DefaultField]
	Record   func(line []byte, field string) (text string, blank bool, err error) // returns the text of a line of JSON
	Progress func(doneBytes, totalBytes int64, doneFiles, totalFiles int)         // is told now and then
	Changed  func(path string, change Change)                                     // is told of each file; nil: nobody
}

// Change is what an update does with a file.
type Change string

// Changes.
const (
	Added   Change = "added"
	Updated Change = "updated"
	Removed Change = "removed"
)

// Problem is a file or folder that could not be read. What the index had of it, it keeps.
type Problem struct {
	Path string
	Err  error
}

func (p Problem) Error() string { return fmt.Sprintf("%s: %v", p.Path, p.Err) }

// Report is what an update did.
type Report struct {
	Files, Chunks                      int       // in the index now
	Added, Updated, Removed, Unchanged int       // files
	Left                               []Problem // files without text: binary ones
	Problems                           []Problem
}

// item is a step of an update, in order: a chunk of a file, or its end.
type item struct {
	id     uint64
	n      int
	chunk  Chunk
	vector []float32
	end    *ending // nil for a chunk
}

// ending is how the reading of a file ended.
type ending struct {
	path string
	file file  // to keep
	err  error // it could not be read
}

// updater is an update under way.
type updater struct {
	*Index
	Update
	asked  []string        // what to look at
	roots  map[string]root // in the index
	files  map[string]file // in the index
	meta   Meta
	report Report

	batch   *batch
	queue   chan *batch
	pending []item
	flushed time.Time

	doneBytes, totalBytes int64
	doneFiles, totalFiles int
}

// Update brings the index up to date with the files: those that are new or have changed are read, what has gone is removed. It returns what it did also where
// it fails: what the report counts is in the index.
func (x *Index) Update(ctx context.Context, u Update) (Report, error) {
	up := &updater{Index: x, Update: u, flushed: time.Now()}
	if u.Filter != nil {
		if err := u.Filter.check(); err != nil {
			return Report{}, err
		}
	}
	if err := up.begin(); err != nil {
		return Report{}, err
	}
	w := walk{asked: up.asked, seen: map[string]bool{}}
	for _, root := range slices.Sorted(maps.Keys(up.roots)) {
		if !w.looksAt(root) {
			continue
		}
		if _, err := os.Stat(root); err != nil {
			w.unseen = append(w.unseen, root)
			w.problem(root, err)
			continue
		}
		w.root(root, up.roots[root].Filter)
		if err := ctx.Err(); err != nil {
			return up.report, err
		}
	}
	up.report.Problems = w.problems
	if err := up.removeGone(&w); err != nil {
		return up.report, err
	}
	changed := up.changed(w.files)
	err := up.run(ctx, changed)
	return up.report, errors.Join(err, up.count())
}

// begin reads the index, with all roots, as what one takes of another's folder stays whichever is asked for; and writes those that are asked for.
func (u *updater) begin() error {
	for _, root := range u.Roots {
		abs, err := absolute(root)
		if err != nil {
			return err
		}
		u.asked = append(u.asked, abs)
	}
	err := transact(u.path, true, func(tx *bolt.Tx) error {
		has, err := contentsOf(tx, u.path)
		if err != nil {
			return err
		}
		u.meta, u.roots, u.files = has.meta, has.roots, has.files
		if !slices.Equal(u.meta.Probe, u.Index.meta.Probe) {
			return fmt.Errorf("%s: %w: it was made anew", u.path, ErrBusy)
		}
		if len(u.asked) == 0 {
			u.asked = slices.Collect(maps.Keys(u.roots))
		}
		for _, path := range u.asked {
			r := u.roots[path]
			if u.Filter != nil {
				r.Filter = u.Filter.over(r.Filter)
			}
			r.Field = cmp.Or(u.Field, r.Field)
			u.roots[path] = r
			if err := put(tx, rootsBucket, []byte(path), r); err != nil {
				return err
			}
		}
		if err := removeOrphans(tx, u.files); err != nil {
			return err
		}
		u.meta.Generation++
		return put(tx, metaBucket, metaKey, u.meta)
	})
	if err == nil && len(u.roots) == 0 {
		err = fmt.Errorf("%w: %s has no folders yet", ErrInput, u.path)
	}
	return err
}

// change runs a transaction, unless another process has changed the index since the last.
func (u *updater) change(f func(tx *bolt.Tx, meta *Meta) error) error {
	return transact(u.path, true, func(tx *bolt.Tx) error {
		now, err := metaOf(tx, u.path)
		if err != nil {
			return err
		}
		if now.Generation != u.meta.Generation {
			return fmt.Errorf("%s: %w, which has changed it meanwhile", u.path, ErrBusy)
		}
		next := u.meta
		next.Generation++
		if err := f(tx, &next); err != nil {
			return err
		}
		if err := put(tx, metaBucket, metaKey, next); err != nil {
			return err
		}
		tx.OnCommit(func() { u.meta = next })
		return nil
	})
}

func (u *updater) tell(path string, change Change) {
	if u.Changed != nil {
		u.Changed(path, change)
	}
}

// known is what the index has of a file, unless it was read with another field.
func (u *updater) known(f found) (file, bool) {
	old, known := u.files[f.path]
	return old, known && (!isRecords(f.path) || cmp.Or(old.Field, DefaultField) == u.field(f.path))
}

// field is the name of the text in a file of JSON lines: what the innermost root around it says that says anything.
func (u *updater) field(path string) string {
	field, inmost := DefaultField, ""
	for around, r := range u.roots {
		if r.Field != "" && below(path, around) && len(around) > len(inmost) {
			field, inmost = r.Field, around
		}
	}
	return field
}

// changed leaves out the files that are as they were, going by size and time.
func (u *updater) changed(all []found) []found {
	var list []found
	for _, f := range all {
		old, known := u.known(f)
		// A file that was read within a moment of its last change may have been changed again at the same time.
		if known && old.Size == f.info.Size() && old.Time.Equal(f.info.ModTime()) && old.Read.Sub(old.Time) > 2*time.Second {
			u.unchanged(f.path, old)
			continue
		}
		list = append(list, f)
		u.totalBytes += f.info.Size()
	}
	u.totalFiles = len(list)
	return list
}

func (u *updater) unchanged(path string, f file) {
	u.report.Unchanged++
	if f.Reason != "" {
		u.report.Left = append(u.report.Left, Problem{path, errors.New(f.Reason)})
	}
}

// run reads the files, embeds their chunks and writes them, all three at the same time.
func (u *updater) run(ctx context.Context, files []found) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	u.queue = make(chan *batch, 1)
	readErr := make(chan error, 1)
	id := u.meta.NextID
	go func() {
		defer close(u.queue)
		readErr <- u.readAll(inner, files, id)
	}()
	err := u.writeAll(inner)
	cancel()
	for b := range u.queue { // lets the reader end
		<-b.done
	}
	if e := <-readErr; err == nil || !errors.Is(e, context.Canceled) {
		err = errors.Join(err, e)
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if errors.Is(err, ErrBusy) || errors.Is(err, ErrDamaged) {
		return err
	}
	return errors.Join(err, u.flush())
}

// count counts what the index has now.
func (u *updater) count() error {
	return transact(u.path, false, func(tx *bolt.Tx) error {
		files, err := decodeAll[file](tx, filesBucket)
		for _, f := range files {
			if f.Reason == "" {
				u.report.Files++
			}
			u.report.Chunks += f.Chunks
		}
		return err
	})
}
