package convert

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/loader"
)

func TestTorchArchive(t *testing.T) {
	data := torchFile(t, nil)
	tensors, err := readTorch(bytes.NewReader(data), int64(len(data)), &meter{})
	require.NoError(t, err)
	require.Len(t, tensors, 1)
	assert.Equal(t, "w", tensors[0].Name)
}

// TestTorchArchiveRefused: a sound archive with the wrong things in it.
func TestTorchArchiveRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		change map[string][]byte
		kind   error
		says   string
	}{
		"no pickle":           {map[string][]byte{"archive/data.pkl": nil}, ErrBadFile, "no FOLDER/data.pkl"},
		"two pickles":         {map[string][]byte{"other/data.pkl": {}}, ErrBadFile, "want one data.pkl"},
		"empty pickle":        {map[string][]byte{"archive/data.pkl": {}}, ErrBadFile, "byte 0"},
		"TorchScript":         {map[string][]byte{"archive/constants.pkl": {}}, loader.ErrUnsupported, "TorchScript"},
		"big-endian":          {map[string][]byte{"archive/byteorder": []byte("big")}, loader.ErrUnsupported, `byte order "big"`},
		"no storage":          {map[string][]byte{"archive/data/0": nil}, ErrBadFile, `tensor "w": its storage "0" is not in the archive`},
		"short storage":       {map[string][]byte{"archive/data/0": make([]byte, 15)}, ErrBadFile, "want 4 elements of F32, got 15 bytes"},
		"long storage":        {map[string][]byte{"archive/data/0": make([]byte, 20)}, ErrBadFile, "want 4 elements of F32, got 20 bytes"},
		"storage in a folder": {map[string][]byte{"archive/data/0": nil, "archive/data/x/../0": make([]byte, 16)}, ErrBadFile, "is not in the archive"},
		"storage of a path":   {map[string][]byte{"archive/data.pkl": buildPickle(t, map[string]string{"file": pickleText("../../../etc/passwd")})}, ErrBadFile, "is not in the archive"},
		"storage is the dict": {map[string][]byte{"archive/data.pkl": buildPickle(t, map[string]string{"file": pickleText("../data.pkl")})}, ErrBadFile, "is not in the archive"},
		"the same, 20 times":  {map[string][]byte{"archive/data.pkl": repeatedTensor(t, 20), "archive/data/0": make([]byte, 4*20000)}, ErrBadFile, "more than 8 times the"},
	} {
		t.Run(name, func(t *testing.T) {
			data := torchFile(t, tt.change)
			dst, src := tempDst(t), writeFile(t, data, t.TempDir(), "pytorch_model.bin")
			var err error
			requireBounded(t, len(data), func() { err = Convert(context.Background(), src, dst, Options{}) })
			require.ErrorIs(t, err, tt.kind)
			assert.ErrorContains(t, err, tt.says)
			assert.ErrorContains(t, err, src)
			noLeftovers(t, filepath.Dir(dst))
		})
	}
}

// repeatedTensor is a pickle that names one tensor of 20,000 floats many times.
func repeatedTensor(t testing.TB, n int) []byte {
	var members bytes.Buffer
	for i := range n {
		fmt.Fprintf(&members, "\x8c\x05%05dh\x00s", i)
	}
	one := string(buildPickle(t, map[string]string{"proto": "", "dict": "", "key": "", "set": "", "stop": "", "elements": "M\x20\x4e", "shape": "M\x20\x4e\x85", "strides": "K\x01\x85"}))
	return []byte("\x80\x02" + one + "q\x000}" + members.String() + ".")
}

// patch returns a copy with some bytes at the last place where sig is found, plus
// an offset, replaced.
func patch(data []byte, sig string, at int, value ...byte) []byte {
	out := bytes.Clone(data)
	copy(out[bytes.LastIndex(out, []byte(sig))+at:], value)
	return out
}

func TestZipRefused(t *testing.T) {
	good := torchFile(t, nil)
	compressed := func() []byte {
		var out bytes.Buffer
		w := zip.NewWriter(&out)
		f, err := w.Create("archive/data.pkl")
		require.NoError(t, err)
		_, err = f.Write(bytes.Repeat(buildPickle(t, nil), 100))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		return out.Bytes()
	}()
	locator := func(at uint64) []byte { // a zip64 locator before the end record
		i := bytes.LastIndex(good, []byte(zipEndSig))
		out := append(bytes.Clone(good[:i]), zipLocatorSig+"\x00\x00\x00\x00"...)
		out = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(out, at), 1)
		return append(out, good[i:]...)
	}
	for name, tt := range map[string]struct {
		data []byte
		kind error
		says string
	}{
		"empty":                   {nil, ErrBadFile, "no end record"},
		"cut off":                 {good[:len(good)-1], ErrBadFile, "no end record"},
		"without its directory":   {good[:len(good)/2], ErrBadFile, "no end record"},
		"compressed":              {compressed, loader.ErrUnsupported, `"archive/data.pkl" is compressed`},
		"encrypted":               {patch(good, zipCentralSig, 8, 1), loader.ErrUnsupported, "encrypted"},
		"one of several disks":    {patch(good, zipEndSig, 4, 1), ErrBadFile, "a part of several"},
		"fewer entries":           {patch(good, zipEndSig, 10, 3), ErrBadFile, "bytes follow the 3 entries"},
		"more entries":            {patch(good, zipEndSig, 10, 5), ErrBadFile, "want 5 entries, got 4"},
		"65535 entries":           {patch(good, zipEndSig, 10, 0xff, 0xff), ErrBadFile, "directory of 65535 entries"},
		"directory too long":      {patch(good, zipEndSig, 12, 0xff, 0xff, 0xff), ErrBadFile, "directory of"},
		"directory elsewhere":     {patch(good, zipEndSig, 16, 0), ErrBadFile, "no entry where"},
		"directory after the end": {patch(good, zipEndSig, 16, 0xff, 0xff, 0xff), ErrBadFile, "directory of"},
		"no entry":                {patch(good, zipCentralSig, 0, 'X'), ErrBadFile, "no entry where"},
		"long name":               {patch(good, zipCentralSig, 28, 0xff, 0xff), ErrBadFile, "an entry ends after the directory"},
		"entry too long":          {patch(good, zipCentralSig, 20, 0, 1, 0, 0, 0, 1, 0, 0), ErrBadFile, "reach into the directory"},
		"entry after the end":     {patch(good, zipCentralSig, 42, 0xff, 0xff, 0xff), ErrBadFile, "reach into the directory"},
		"two of one name":         {buildZip(t, zipFileOf{"a/data.pkl", nil}, zipFileOf{"a/data.pkl", nil}), ErrBadFile, "twice"},
		"another local name":      {bytes.Replace(good, []byte("archive/data/0"), []byte("archive/data/1"), 1), ErrBadFile, `"archive/data/0"`},
		"no local header":         {bytes.Replace(good, []byte(zipLocalSig), []byte("PK\x03\x05"), 1), ErrBadFile, "there is another one"},
		"zip64 record outside":    {locator(1 << 63), ErrBadFile, "lies outside"},
		"zip64 record elsewhere":  {locator(0), ErrBadFile, "no end record at 0"},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			requireBounded(t, len(tt.data), func() { _, err = readTorch(bytes.NewReader(tt.data), int64(len(tt.data)), &meter{}) })
			require.ErrorIs(t, err, tt.kind)
			assert.ErrorContains(t, err, tt.says)
		})
	}
}

// TestZip64: sizes of 2³² and more stand in an extra field.
func TestZip64(t *testing.T) {
	const big = 5 << 30
	le := binary.LittleEndian
	field := le.AppendUint16(nil, 1)
	field = le.AppendUint64(le.AppendUint64(le.AppendUint64(le.AppendUint16(field, 24), big), big), 7)
	entry := make([]byte, zipCentralSize)
	copy(entry, zipCentralSig)
	for _, at := range []int{20, 24, 42} {
		le.PutUint32(entry[at:], 1<<32-1)
	}
	le.PutUint16(entry[28:], 1)
	le.PutUint16(entry[30:], uint16(len(field)))
	e, n, err := parseCentral(append(append(entry, 'a'), field...))
	require.NoError(t, err)
	assert.Equal(t, zipCentralSize+1+len(field), n)
	assert.Equal(t, zipEntry{name: []byte("a"), size: big, offset: 7}, e)

	_, _, err = parseCentral(append(append(entry, 'a'), field[:20]...))
	require.Error(t, err)
}

func TestNotATorchFile(t *testing.T) {
	for content, says := range map[string]string{
		"":           "want a zip archive of PyTorch",
		"\x80\x02}.": "not in a zip archive",
		"version https://git-lfs.github.com/spec/v1\n": "a pointer of Git LFS",
		"GGUF\x03":        "rename the file to end in .gguf",
		"<!DOCTYPE html>": "a web page",
		"hello":           "begins with",
	} {
		src := writeFile(t, []byte(content), t.TempDir(), "pytorch_model.bin")
		err := Convert(context.Background(), src, tempDst(t), Options{})
		require.Error(t, err)
		assert.ErrorContains(t, err, says)
		assert.ErrorContains(t, err, src)
	}
}
