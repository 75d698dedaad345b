package index

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Update says what to bring up to date.
type Update struct {
	Roots    []string                                                     // folders and files to add or to look at again; none: all that the index has
	Filter   *Filter                                                      // of the roots; nil: as the index has it, or the default
	Record   func(line []byte) (text string, blank bool, err error)       // returns the text of a line of JSON
	Progress func(doneBytes, totalBytes int64, doneFiles, totalFiles int) // is told now and then
	Changed  func(path string, change Change)                             // is told of each file; nil: nobody
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

// batch is items whose chunks are embedded in one call.
type batch struct {
	items   []item
	texts   []string
	vectors [][]float32
	err     error
	done    chan struct{}
}

const (
	batchChunks = 128             // embedded in a call
	flushChunks = 1024            // in a transaction
	flushEvery  = 2 * time.Second // or sooner
)

// updater is an update under way.
type updater struct {
	*Index
	Update
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
	roots, err := up.begin()
	if err != nil {
		return Report{}, err
	}
	w := walk{seen: map[string]bool{}}
	for _, root := range slices.Sorted(maps.Keys(roots)) {
		if _, err := os.Stat(root); err != nil {
			w.unseen = append(w.unseen, root)
			w.problem(root, err)
			continue
		}
		w.root(root, roots[root])
		if err := ctx.Err(); err != nil {
			return up.report, err
		}
	}
	up.report.Problems = w.problems
	if err := up.removeGone(&w, roots); err != nil {
		return up.report, err
	}
	changed := up.changed(w.files)
	err = up.run(ctx, changed)
	return up.report, errors.Join(err, up.count())
}

// begin reads the index, and writes the roots.
func (u *updater) begin() (map[string]Filter, error) {
	asked := map[string]bool{}
	for _, root := range u.Roots {
		abs, err := absolute(root)
		if err != nil {
			return nil, err
		}
		asked[abs] = true
	}
	var roots map[string]Filter
	err := transact(u.path, true, func(tx *bolt.Tx) (err error) {
		if u.meta, err = metaOf(tx, u.path); err != nil {
			return err
		}
		if !slices.Equal(u.meta.Probe, u.Index.meta.Probe) {
			return fmt.Errorf("%s: %w: it was made anew", u.path, ErrBusy)
		}
		if roots, err = decodeAll[Filter](tx, rootsBucket); err != nil {
			return err
		}
		for root := range asked {
			filter := roots[root]
			if u.Filter != nil {
				filter = *u.Filter
			}
			roots[root] = filter
			if err := put(tx, rootsBucket, []byte(root), filter); err != nil {
				return err
			}
		}
		if u.files, err = decodeAll[file](tx, filesBucket); err != nil {
			return err
		}
		if err := removeOrphans(tx, u.files); err != nil {
			return err
		}
		u.meta.Generation++
		return put(tx, metaBucket, metaKey, u.meta)
	})
	if err != nil {
		return nil, err
	}
	if len(roots) == 0 {
		return nil, fmt.Errorf("%w: %s has no folders yet", ErrInput, u.path)
	}
	if len(asked) > 0 {
		maps.DeleteFunc(roots, func(root string, _ Filter) bool { return !asked[root] })
	}
	return roots, nil
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

// removeGone removes the files below the roots that the walk has not seen.
func (u *updater) removeGone(w *walk, roots map[string]Filter) error {
	var gone []string
	for path := range u.files {
		under := false
		for root := range roots {
			under = under || below(path, root)
		}
		if under && !w.seen[path] && !w.missed(path) {
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

func (u *updater) tell(path string, change Change) {
	if u.Changed != nil {
		u.Changed(path, change)
	}
}

// changed leaves out the files that are as they were, going by size and time.
func (u *updater) changed(all []found) []found {
	var list []found
	for _, f := range all {
		old, known := u.files[f.path]
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

// readAll sends the chunks of all files.
func (u *updater) readAll(ctx context.Context, files []found, id uint64) error {
	u.batch = &batch{}
	for _, f := range files {
		if err := u.read(ctx, f, id); err != nil {
			return err
		}
		id++
	}
	return u.send(ctx)
}

// read sends the chunks of a file, and its end. What is wrong with the file is in its end.
func (u *updater) read(ctx context.Context, f found, id uint64) error {
	end := &ending{path: f.path}
	end.file, end.err = u.readFile(ctx, f, id)
	if err := ctx.Err(); err != nil {
		return err
	}
	var stop tokenizerError
	if errors.As(end.err, &stop) {
		return fmt.Errorf("%s: %w", f.path, stop.error)
	}
	u.batch.items = append(u.batch.items, item{id: id, end: end})
	return u.sendIfFull(ctx)
}

// tokenizerError is an error that is not the file's.
type tokenizerError struct{ error }

func (u *updater) readFile(ctx context.Context, f found, id uint64) (file, error) {
	record := file{ID: id, Read: time.Now()}
	in, err := openRegular(f.path)
	if err != nil {
		return record, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return record, err
	}
	record.Size, record.Time = info.Size(), info.ModTime()
	if old, known := u.files[f.path]; known && old.Size == record.Size {
		hash, err := hashOf(in)
		if err != nil {
			return record, err
		}
		if bytes.Equal(hash, old.Hash) {
			old.Time, old.Read = record.Time, record.Read
			return old, nil
		}
	}
	special, err := u.model.CountTokens("")
	if err != nil {
		return record, tokenizerError{err}
	}
	sum := sha256.New()
	c := &chunker{tokens: u.meta.Tokens, overlap: u.meta.Overlap}
	c.count = func(text string) (int, error) {
		n, err := u.model.CountTokens(text)
		if err != nil {
			err = tokenizerError{err}
		}
		return n - special, err
	}
	c.emit = func(chunk Chunk) error {
		u.batch.items = append(u.batch.items, item{id: id, n: record.Chunks, chunk: chunk})
		u.batch.texts = append(u.batch.texts, chunk.Text)
		record.Chunks++
		return u.sendIfFull(ctx)
	}
	data := io.TeeReader(in, sum)
	if isRecords(f.path) {
		err = readRecords(data, c, u.Record)
	} else {
		err = readText(data, c)
	}
	if errors.Is(err, errBinary) {
		record.Reason, err = err.Error(), nil
		_, _ = io.Copy(sum, in)
	}
	record.Hash = sum.Sum(nil)
	return record, err
}

func hashOf(in io.ReadSeeker) ([]byte, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, in); err != nil {
		return nil, err
	}
	_, err := in.Seek(0, io.SeekStart)
	return sum.Sum(nil), err
}

func (u *updater) sendIfFull(ctx context.Context) error {
	if len(u.batch.texts) < batchChunks && len(u.batch.items) < 8*batchChunks {
		return nil
	}
	return u.send(ctx)
}

// send starts the embedding of the batch and queues it for writing.
func (u *updater) send(ctx context.Context) error {
	b := u.batch
	u.batch = &batch{}
	if len(b.items) == 0 {
		return nil
	}
	b.done = make(chan struct{})
	go func() {
		defer close(b.done)
		if len(b.texts) == 0 {
			return
		}
		if b.vectors, b.err = u.model.EmbedDocuments(ctx, b.texts); b.err == nil && len(b.vectors) != len(b.texts) {
			b.err = fmt.Errorf("the model made %d vectors of %d texts", len(b.vectors), len(b.texts))
		}
	}()
	select {
	case u.queue <- b:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writeAll writes what comes from the queue.
func (u *updater) writeAll(ctx context.Context) error {
	for {
		var b *batch
		select {
		case next, ok := <-u.queue:
			if !ok {
				return nil
			}
			b = next
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-b.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if b.err != nil {
			return b.err
		}
		for _, it := range b.items {
			if it.end == nil {
				it.vector, b.vectors = b.vectors[0], b.vectors[1:]
			}
			u.pending = append(u.pending, it)
		}
		u.progress(b.items[len(b.items)-1])
		if len(u.pending) >= flushChunks || time.Since(u.flushed) > flushEvery {
			if err := u.flush(); err != nil {
				return err
			}
		}
	}
}

// progress tells how far the update has come.
func (u *updater) progress(last item) {
	done := u.doneBytes
	if last.end == nil {
		done += last.chunk.End
	}
	if u.Progress != nil {
		u.Progress(done, u.totalBytes, u.doneFiles, u.totalFiles)
	}
}

// flush writes what is pending.
func (u *updater) flush() error {
	u.flushed = time.Now()
	if len(u.pending) == 0 {
		return nil
	}
	err := u.change(func(tx *bolt.Tx, meta *Meta) error {
		for _, it := range u.pending {
			meta.NextID = max(meta.NextID, it.id+1)
			if err := u.write(tx, it); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, it := range u.pending {
		if it.end != nil {
			u.ended(it)
		}
	}
	u.pending = u.pending[:0]
	return nil
}

// write writes a chunk, or what is known of a file whose chunks are all written.
func (u *updater) write(tx *bolt.Tx, it item) error {
	if it.end == nil {
		key := chunkKey(it.id, it.n)
		if err := tx.Bucket(vectorsBucket).Put(key, appendVector(nil, it.vector)); err != nil {
			return err
		}
		return put(tx, chunksBucket, key, it.chunk)
	}
	end := it.end
	if end.err != nil || end.file.Reason != "" {
		if err := removeChunks(tx, it.id); err != nil {
			return err
		}
		end.file.Chunks = 0
	}
	if end.err != nil {
		return nil
	}
	if old, known := u.files[end.path]; known && old.ID != end.file.ID {
		if err := removeChunks(tx, old.ID); err != nil {
			return err
		}
	}
	return put(tx, filesBucket, []byte(end.path), end.file)
}

// ended counts a file.
func (u *updater) ended(it item) {
	end := it.end
	u.doneBytes += end.file.Size
	u.doneFiles++
	_, known := u.files[end.path]
	switch {
	case end.err != nil:
		w := walk{}
		w.problem(end.path, end.err)
		u.report.Problems = append(u.report.Problems, w.problems...)
	case end.file.ID != it.id:
		u.unchanged(end.path, end.file)
	case end.file.Reason != "":
		u.report.Left = append(u.report.Left, Problem{end.path, errors.New(end.file.Reason)})
	case known:
		u.report.Updated++
		u.tell(end.path, Updated)
	default:
		u.report.Added++
		u.tell(end.path, Added)
	}
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
		filters, err := decodeAll[Filter](tx, rootsBucket)
		for root := range filters {
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
