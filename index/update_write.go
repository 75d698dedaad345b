package index

import (
	"context"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"
)

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
