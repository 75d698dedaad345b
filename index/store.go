package index

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/vkbert/vkbert/internal/part"
)

// Buckets of the database.
var (
	metaBucket    = []byte("meta")    // "meta" → Meta
	rootsBucket   = []byte("roots")   // path → root
	filesBucket   = []byte("files")   // path → file
	chunksBucket  = []byte("chunks")  // chunkKey → Chunk
	vectorsBucket = []byte("vectors") // chunkKey → float32, little-endian
	metaKey       = []byte("meta")
)

// root says how the files below a folder are read.
type root struct {
	Filter
	Field string `json:"field,omitempty"` // of JSON lines; "": that of a root around it, or [DefaultField]
}

// file is what is known of a file whose chunks are in the index.
type file struct {
	ID     uint64    `json:"id"` // of its chunks; a file that changes gets another
	Size   int64     `json:"size"`
	Time   time.Time `json:"time"` // of its last change
	Read   time.Time `json:"read"` // when it was read
	Hash   []byte    `json:"hash"` // SHA-256
	Chunks int       `json:"chunks"`
	Field  string    `json:"field,omitempty"`  // of JSON lines, that it was read with; "": [DefaultField]
	Reason string    `json:"reason,omitempty"` // why it has none
}

// chunkKey orders chunks by file and place.
func chunkKey(id uint64, n int) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, id), uint32(n))
}

func keyFile(key []byte) uint64 { return binary.BigEndian.Uint64(key) }

func appendVector(b []byte, v []float32) []byte {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

// readVector fills v.
func readVector(v []float32, b []byte) error {
	if len(b) != 4*len(v) {
		return fmt.Errorf("a vector of %d bytes, want %d", len(b), 4*len(v))
	}
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return nil
}

// patience is how long to wait for another process. Nobody holds an index for long: it is opened for each transaction.
const patience = 20 * time.Second

// transact runs one transaction on the database at path. What is wrong with the file itself is an [ErrDamaged], also where it shows as a fault of the mapping.
func transact(path string, write bool, f func(*bolt.Tx) error) (err error) {
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w in %s", ErrNoIndex, path)
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: %w: no regular file", path, ErrNotIndex)
	case info.Size() == 0: // which bbolt would begin to fill
		return fmt.Errorf("%s: %w: an empty file", path, ErrDamaged)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: %w: %v", path, ErrDamaged, r)
		}
	}()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: patience, ReadOnly: !write, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return storeError(path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	run := func(tx *bolt.Tx) error {
		if info, err := os.Stat(path); err == nil && info.Size() < tx.Size() {
			return fmt.Errorf("%s: %w: %d bytes, want %d", path, ErrDamaged, info.Size(), tx.Size())
		}
		for _, name := range [][]byte{metaBucket, rootsBucket, filesBucket, chunksBucket, vectorsBucket} {
			if tx.Bucket(name) == nil {
				return fmt.Errorf("%s: %w: no bucket %q", path, ErrNotIndex, name) // another program's database
			}
		}
		return f(tx)
	}
	if write {
		return db.Update(run)
	}
	return db.View(run)
}

func storeError(path string, err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%s: %w for %v", path, ErrBusy, patience)
	case errors.Is(err, fs.ErrPermission):
		return err
	}
	var inner *fs.PathError
	if errors.As(err, &inner) {
		return err
	}
	kind := ErrDamaged
	if !isDatabase(path) {
		kind = ErrNotIndex
	}
	return fmt.Errorf("%s: %w: %w", path, kind, err)
}

// isDatabase says that a file begins as bbolt's do: with a page's header of 16 bytes, then a magic number. Of a file that is too short, bbolt does not look at it.
func isDatabase(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	var head [20]byte
	_, err = io.ReadFull(file, head[:])
	return err == nil && binary.NativeEndian.Uint32(head[16:]) == 0xed0cdaed
}

// createStore writes an empty database under another name, then gives it its own.
func createStore(path string, meta Meta) error {
	temp := part.Name(path)
	defer os.Remove(temp)
	db, err := bolt.Open(temp, 0o600, nil)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{metaBucket, rootsBucket, filesBucket, chunksBucket, vectorsBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return put(tx, metaBucket, metaKey, meta)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// replaceStore puts a database in the place of the one at path, unless that has changed since its meta was read.
func replaceStore(path, by string, since Meta) error {
	return transact(path, true, func(tx *bolt.Tx) error { // which keeps writers out meanwhile
		now, err := metaOf(tx, path)
		if err != nil {
			return err
		}
		if now.Generation != since.Generation {
			return fmt.Errorf("%s: %w: it was changed meanwhile", path, ErrBusy)
		}
		if info, err := os.Stat(path); err == nil {
			if err := os.Chmod(by, info.Mode().Perm()); err != nil {
				return err
			}
		}
		return os.Rename(by, path)
	})
}

// contents is what an index has, but for its chunks.
type contents struct {
	meta  Meta
	roots map[string]root
	files map[string]file
}

func readContents(path string) (c contents, err error) {
	err = transact(path, false, func(tx *bolt.Tx) error {
		c, err = contentsOf(tx, path)
		return err
	})
	return c, err
}

func contentsOf(tx *bolt.Tx, path string) (c contents, err error) {
	if c.meta, err = metaOf(tx, path); err != nil {
		return c, err
	}
	if c.roots, err = decodeAll[root](tx, rootsBucket); err != nil {
		return c, err
	}
	c.files, err = decodeAll[file](tx, filesBucket)
	return c, err
}

func put(tx *bolt.Tx, bucket, key []byte, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return tx.Bucket(bucket).Put(key, data)
}

func metaOf(tx *bolt.Tx, path string) (m Meta, err error) {
	if err := json.Unmarshal(tx.Bucket(metaBucket).Get(metaKey), &m); err != nil {
		return m, fmt.Errorf("%s: %w: meta: %w", path, ErrDamaged, err)
	}
	if m.Format != format {
		return m, fmt.Errorf("%s: %w: format %d, want %d", path, ErrDamaged, m.Format, format)
	}
	if m.Dimensions < 1 || len(m.Probe) != m.Dimensions || m.Tokens < minTokens || m.Overlap < 0 || m.Overlap > m.Tokens/2 {
		return m, fmt.Errorf("%s: %w: meta: values out of range", path, ErrDamaged)
	}
	return m, nil
}

// ReadMeta reads what the index at path says of itself, without a model.
func ReadMeta(path string) (m Meta, err error) {
	err = transact(path, false, func(tx *bolt.Tx) error {
		m, err = metaOf(tx, path)
		return err
	})
	return m, err
}

// decodeAll reads a bucket of JSON values.
func decodeAll[T any](tx *bolt.Tx, bucket []byte) (map[string]T, error) {
	all := map[string]T{}
	err := tx.Bucket(bucket).ForEach(func(key, value []byte) error {
		var v T
		if err := json.Unmarshal(value, &v); err != nil {
			return fmt.Errorf("%w: %s %q: %w", ErrDamaged, bucket, key, err)
		}
		all[string(key)] = v
		return nil
	})
	return all, err
}

// removeChunks removes the chunks of a file.
func removeChunks(tx *bolt.Tx, id uint64) error {
	prefix := binary.BigEndian.AppendUint64(nil, id)
	for _, name := range [][]byte{chunksBucket, vectorsBucket} {
		bucket := tx.Bucket(name)
		var keys [][]byte
		c := bucket.Cursor()
		for key, _ := c.Seek(prefix); bytes.HasPrefix(key, prefix); key, _ = c.Next() {
			keys = append(keys, bytes.Clone(key))
		}
		for _, key := range keys {
			if err := bucket.Delete(key); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeOrphans removes chunks of files that never got all of theirs: an update was broken off.
func removeOrphans(tx *bolt.Tx, files map[string]file) error {
	known := map[uint64]bool{}
	for _, f := range files {
		known[f.ID] = true
	}
	var orphans []uint64
	c := tx.Bucket(vectorsBucket).Cursor()
	for key, _ := c.First(); key != nil; {
		id := keyFile(key)
		if !known[id] {
			orphans = append(orphans, id)
		}
		if id == math.MaxUint64 {
			break
		}
		key, _ = c.Seek(binary.BigEndian.AppendUint64(nil, id+1))
	}
	for _, id := range orphans {
		if err := removeChunks(tx, id); err != nil {
			return err
		}
	}
	return nil
}
