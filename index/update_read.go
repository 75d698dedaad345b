package index

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"
)

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
	if old, known := u.known(f); known && old.Size == record.Size {
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
		record.Field = u.field(f.path)
		err = readRecords(data, c, func(line []byte) (string, bool, error) { return u.Record(line, record.Field) })
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
