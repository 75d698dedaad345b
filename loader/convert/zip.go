package convert

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/vkbert/vkbert/loader"
)

// PyTorch's files are zip archives whose entries are stored, not compressed. The
// standard library's reader takes several times the directory's size in memory
// and much that PyTorch never writes; this one takes the directory and 40 bytes
// an entry, and refuses what could be read in two ways.
// Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT

const (
	zipEndSize      = 22 // without its comment
	zipEnd64Size    = 56
	zipLocatorSize  = 20
	zipCentralSize  = 46
	zipLocalSize    = 30
	zipMaxComment   = 1 << 16
	zipMaxDirectory = 64 << 20
	zipEntryBytes   = 40 // of a zipEntry in memory

	zipEndSig     = "PK\x05\x06"
	zipEnd64Sig   = "PK\x06\x06"
	zipLocatorSig = "PK\x06\x07"
	zipCentralSig = "PK\x01\x02"
	zipLocalSig   = "PK\x03\x04"
)

// zipArchive is the directory of an archive.
type zipArchive struct {
	r         io.ReaderAt
	directory int64 // offset; no entry lies behind it
	entries   []zipEntry
}

// zipEntry is a stored file.
type zipEntry struct {
	name   []byte
	offset int64 // of its local header
	size   int64
}

func zipErrorf(format string, args ...any) error {
	return fmt.Errorf("%w: zip archive: %w", ErrBadFile, fmt.Errorf(format, args...))
}

// readZip reads the directory of an archive of that size. What it takes counts
// as header for the meter.
func readZip(r io.ReaderAt, size int64, m *meter) (*zipArchive, error) {
	offset, length, count, err := findDirectory(r, size)
	if err != nil {
		return nil, err
	}
	if length > zipMaxDirectory || count > length/zipCentralSize {
		return nil, zipErrorf("directory of %d entries in %d bytes: want at most %d bytes and room for the entries", count, length, zipMaxDirectory)
	}
	m.header += length
	if err := m.take(length + count*zipEntryBytes); err != nil {
		return nil, err
	}
	directory := make([]byte, length)
	if err := readFull(r, directory, offset); err != nil {
		return nil, err
	}
	z := &zipArchive{r: r, directory: offset, entries: make([]zipEntry, 0, count)}
	for len(directory) > 0 {
		if len(z.entries) == cap(z.entries) {
			return nil, zipErrorf("%d bytes follow the %d entries of the directory", len(directory), count)
		}
		entry, n, err := parseCentral(directory)
		if err != nil {
			return nil, err
		}
		if entry.offset > offset-zipLocalSize || entry.size > offset-zipLocalSize-entry.offset {
			return nil, zipErrorf("entry %.200q: %d bytes at %d reach into the directory at %d", entry.name, entry.size, entry.offset, offset)
		}
		z.entries, directory = append(z.entries, entry), directory[n:]
	}
	if int64(len(z.entries)) != count {
		return nil, zipErrorf("want %d entries, got %d", count, len(z.entries))
	}
	slices.SortFunc(z.entries, func(a, b zipEntry) int { return bytes.Compare(a.name, b.name) })
	for i := 1; i < len(z.entries); i++ {
		if bytes.Equal(z.entries[i-1].name, z.entries[i].name) {
			return nil, zipErrorf("entry %.200q: twice", z.entries[i].name)
		}
	}
	return z, nil
}

// readFull reads exactly len(b) bytes.
func readFull(r io.ReaderAt, b []byte, offset int64) error {
	n, err := r.ReadAt(b, offset)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: want %d bytes at %d, got %d", loader.ErrTruncated, len(b), offset, n)
	}
	return err
}

// findDirectory finds the end record, and where the directory is.
func findDirectory(r io.ReaderAt, size int64) (offset, length, count int64, err error) {
	tail := make([]byte, min(size, zipEndSize+zipMaxComment-1+zipLocatorSize))
	if err := readFull(r, tail, size-int64(len(tail))); err != nil {
		return 0, 0, 0, err
	}
	at := len(tail) - zipEndSize
	for ; at >= 0; at-- {
		if bytes.HasPrefix(tail[at:], []byte(zipEndSig)) && int(binary.LittleEndian.Uint16(tail[at+20:])) == len(tail)-at-zipEndSize {
			break
		}
	}
	if at < 0 {
		return 0, 0, 0, zipErrorf("no end record: the file is cut off, or no archive")
	}
	end := size - int64(len(tail)) + int64(at) // of what may precede it
	record := tail[at:]
	disks := binary.LittleEndian.Uint32(record[4:])
	count = int64(binary.LittleEndian.Uint16(record[10:]))
	length = int64(binary.LittleEndian.Uint32(record[12:]))
	offset = int64(binary.LittleEndian.Uint32(record[16:]))
	if at >= zipLocatorSize && bytes.HasPrefix(tail[at-zipLocatorSize:], []byte(zipLocatorSig)) {
		if offset, length, count, err = readEnd64(r, tail[at-zipLocatorSize:at], end-zipLocatorSize); err != nil {
			return 0, 0, 0, err
		}
		end -= zipLocatorSize
	} else if disks != 0 {
		return 0, 0, 0, zipErrorf("a part of several")
	}
	if offset < 0 || length < 0 || count < 0 || offset > end || length > end-offset {
		return 0, 0, 0, zipErrorf("directory of %d bytes at %d in a file of %d", length, offset, size)
	}
	return offset, length, count, nil
}

// readEnd64 reads the record that replaces the end record in archives of 4 GB
// and more; PyTorch writes it always.
func readEnd64(r io.ReaderAt, locator []byte, end int64) (offset, length, count int64, err error) {
	at := binary.LittleEndian.Uint64(locator[8:])
	if end < zipEnd64Size || at > uint64(end-zipEnd64Size) {
		return 0, 0, 0, zipErrorf("the end record at %d lies outside", at)
	}
	var record [zipEnd64Size]byte
	if err := readFull(r, record[:], int64(at)); err != nil {
		return 0, 0, 0, err
	}
	if !bytes.HasPrefix(record[:], []byte(zipEnd64Sig)) || binary.LittleEndian.Uint64(record[16:]) != 0 {
		return 0, 0, 0, zipErrorf("no end record at %d, or a part of several", at)
	}
	var v [3]int64
	for i := range v {
		n := binary.LittleEndian.Uint64(record[32+8*i:])
		if n > math.MaxInt64 {
			return 0, 0, 0, zipErrorf("the end record at %d overflows", at)
		}
		v[i] = int64(n)
	}
	return v[2], v[1], v[0], nil
}

// parseCentral parses one entry of the directory and returns its length.
func parseCentral(b []byte) (zipEntry, int, error) {
	var e zipEntry
	if len(b) < zipCentralSize || !bytes.HasPrefix(b, []byte(zipCentralSig)) {
		return e, 0, zipErrorf("no entry where the directory should have one")
	}
	flags, method := binary.LittleEndian.Uint16(b[8:]), binary.LittleEndian.Uint16(b[10:])
	nameLen, extraLen := int(binary.LittleEndian.Uint16(b[28:])), int(binary.LittleEndian.Uint16(b[30:]))
	n := zipCentralSize + nameLen + extraLen + int(binary.LittleEndian.Uint16(b[32:]))
	if n > len(b) {
		return e, 0, zipErrorf("an entry ends after the directory")
	}
	e.name = b[zipCentralSize : zipCentralSize+nameLen]
	sizes := [3]uint64{ // the order in which the extra field has those that do not fit 32 bits
		uint64(binary.LittleEndian.Uint32(b[24:])), // stored
		uint64(binary.LittleEndian.Uint32(b[20:])), // compressed
		uint64(binary.LittleEndian.Uint32(b[42:])), // offset
	}
	if err := widenSizes(&sizes, b[zipCentralSize+nameLen:][:extraLen]); err != nil {
		return e, 0, fmt.Errorf("entry %.200q: %w", e.name, err)
	}
	if flags&1 != 0 || method != 0 || sizes[0] != sizes[1] {
		return e, 0, fmt.Errorf("%w: zip entry %.200q is compressed or encrypted, which PyTorch does not do", loader.ErrUnsupported, e.name)
	}
	if sizes[0] > math.MaxInt64 || sizes[2] > math.MaxInt64 {
		return e, 0, zipErrorf("entry %.200q: its size or offset overflows", e.name)
	}
	e.size, e.offset = int64(sizes[0]), int64(sizes[2])
	return e, n, nil
}

// widenSizes replaces each size that is 2³²-1 by that of the extra field.
func widenSizes(sizes *[3]uint64, extra []byte) error {
	const zip64 = 1
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if n > len(extra)-4 {
			return zipErrorf("its extra field is cut off")
		}
		field := extra[4 : 4+n]
		extra = extra[4+n:]
		if id != zip64 {
			continue
		}
		for i := range sizes {
			if sizes[i] != math.MaxUint32 {
				continue
			}
			if len(field) < 8 {
				return zipErrorf("its extra field is cut off")
			}
			sizes[i], field = binary.LittleEndian.Uint64(field), field[8:]
		}
		return nil
	}
	return nil
}

// find returns the entry of that name.
func (z *zipArchive) find(name string) (zipEntry, bool) {
	i, ok := slices.BinarySearchFunc(z.entries, name, func(e zipEntry, name string) int { return strings.Compare(string(e.name), name) })
	if !ok {
		return zipEntry{}, false
	}
	return z.entries[i], true
}

// data returns the offset of an entry's first byte.
func (z *zipArchive) data(e zipEntry) (int64, error) {
	var local [zipLocalSize]byte
	if err := readFull(z.r, local[:], e.offset); err != nil {
		return 0, err
	}
	nameLen, extraLen := int(binary.LittleEndian.Uint16(local[26:])), int64(binary.LittleEndian.Uint16(local[28:]))
	if !bytes.HasPrefix(local[:], []byte(zipLocalSig)) || nameLen != len(e.name) {
		return 0, zipErrorf("entry %.200q: there is another one at %d", e.name, e.offset)
	}
	name := make([]byte, nameLen)
	if err := readFull(z.r, name, e.offset+zipLocalSize); err != nil {
		return 0, err
	}
	start := e.offset + zipLocalSize + int64(nameLen) + extraLen
	if !bytes.Equal(name, e.name) || start > z.directory || e.size > z.directory-start {
		return 0, zipErrorf("entry %.200q: %d bytes at %d: another name, or it reaches into the directory", e.name, e.size, start)
	}
	return start, nil
}
