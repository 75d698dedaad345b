package convert

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/loader"
)

func le64(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

// list is the beginning of a list of n values of a type.
func ggufListOf(kind uint32, n uint64) []byte {
	return append(binary.LittleEndian.AppendUint32([]byte{9, 0, 0, 0}, kind), le64(n)...)
}

func TestTinyGGUF(t *testing.T) {
	src, dst := writeFile(t, tinyGGUF().bytes(), t.TempDir(), "m.gguf"), tempDst(t)
	require.NoError(t, Convert(context.Background(), src, dst, Options{}))
	m, err := loader.Open(dst)
	require.NoError(t, err)
	defer m.Close()
	assert.Len(t, m.Weights.Names(), 21)
	for _, version := range []uint32{2, 3} {
		b := tinyGGUF()
		b.version = version
		data := b.bytes()
		_, err := readGGUF(bytes.NewReader(data), int64(len(data)))
		require.NoError(t, err, version)
	}
}

// TestGGUFHeaderRefused: every field of the header, malformed.
func TestGGUFHeaderRefused(t *testing.T) {
	pair := func(value []byte) func(*ggufBuild) { return func(b *ggufBuild) { b.set("x", value) } }
	first := func(change func(*ggufInfo)) func(*ggufBuild) {
		return func(b *ggufBuild) { change(&b.tensors[0]) }
	}
	for name, tt := range map[string]struct {
		change func(*ggufBuild)
		kind   error
		says   string
	}{
		"magic":                 {func(b *ggufBuild) { b.magic = "GGML" }, ErrBadFile, `got "GGML"`},
		"version 1":             {func(b *ggufBuild) { b.version = 1 }, loader.ErrUnsupported, "GGUF version 1; supported: 2, 3"},
		"version 4":             {func(b *ggufBuild) { b.version = 4 }, loader.ErrUnsupported, "GGUF version 4"},
		"big-endian":            {func(b *ggufBuild) { b.version = 3 << 24 }, loader.ErrUnsupported, "big-endian"},
		"2^64-1 pairs":          {func(b *ggufBuild) { b.pairCount = math.MaxUint64 }, ErrBadFile, "metadata keys"},
		"2^64-1 tensors":        {func(b *ggufBuild) { b.tensorCount = math.MaxUint64 }, ErrBadFile, "want at most 65536 tensors"},
		"one pair too many":     {func(b *ggufBuild) { b.pairCount = uint64(len(b.pairs)) + 2 }, nil, ""},
		"one tensor too many":   {func(b *ggufBuild) { b.tensorCount, b.headerOnly = uint64(len(b.tensors))+2, true }, loader.ErrTruncated, "the file ends at byte"},
		"duplicate key":         {func(b *ggufBuild) { b.pairs = append(b.pairs, b.pairs[0]) }, ErrBadFile, `key "general.architecture": twice`},
		"key not UTF-8":         {func(b *ggufBuild) { b.set("\xff", true) }, ErrBadFile, "is not UTF-8"},
		"type 13":               {pair([]byte{13, 0, 0, 0}), ErrBadFile, `key "x": malformed file: GGUF: type 13`},
		"text of 2^64-1":        {pair(append([]byte{8, 0, 0, 0}, le64(math.MaxUint64)...)), ErrBadFile, "a text of 18446744073709551615 bytes"},
		"text over the end":     {pair(append([]byte{8, 0, 0, 0}, le64(1<<20)...)), loader.ErrTruncated, "the file ends"},
		"text not UTF-8":        {pair(append([]byte{8, 0, 0, 0}, ggufString("\xc0")...)), ErrBadFile, "is not UTF-8"},
		"bool of 2":             {pair([]byte{7, 0, 0, 0, 2}), ErrBadFile, "want true or false, got 2"},
		"list of lists":         {pair(ggufListOf(9, 1)), ErrBadFile, "a list of type 9"},
		"list of type 77":       {pair(ggufListOf(77, 1)), ErrBadFile, "a list of type 77"},
		"list of 2^64-1":        {pair(ggufListOf(10, math.MaxUint64)), loader.ErrTruncated, "a list of 18446744073709551615 values"},
		"list of 2^61 words":    {pair(ggufListOf(10, 1<<61)), loader.ErrTruncated, "a list of"},
		"texts of 2^61":         {pair(ggufListOf(8, 1<<61)), loader.ErrTruncated, "a list of 2305843009213693952 texts"},
		"token not UTF-8":       {func(b *ggufBuild) { b.set("tokenizer.ggml.tokens", []string{"a", "\xff"}) }, ErrBadFile, "token 1"},
		"alignment 0":           {func(b *ggufBuild) { b.set("general.alignment", 0) }, ErrBadFile, "want a power of two from 8"},
		"alignment 24":          {func(b *ggufBuild) { b.set("general.alignment", 24) }, ErrBadFile, "want a power of two from 8"},
		"alignment 2^31":        {func(b *ggufBuild) { b.set("general.alignment", 1<<31) }, ErrBadFile, "want a power of two from 8"},
		"alignment as a text":   {func(b *ggufBuild) { b.set("general.alignment", "32") }, ErrBadFile, "want a power of two from 8"},
		"duplicate tensor":      {func(b *ggufBuild) { b.tensors[1].name = b.tensors[0].name }, ErrBadFile, `tensor "token_embd.weight": twice`},
		"five dimensions":       {first(func(i *ggufInfo) { i.dims = []uint64{1, 1, 1, 1, 1} }), ErrBadFile, "want at most 4 dimensions, got 5"},
		"no dimensions":         {first(func(i *ggufInfo) { i.dims = nil }), ErrBadFile, "rows of 0 values"},
		"dimension 0":           {first(func(i *ggufInfo) { i.dims = []uint64{4, 0} }), ErrBadFile, "one is 0"},
		"dimensions over 2^64":  {first(func(i *ggufInfo) { i.dims = []uint64{1 << 33, 1 << 33} }), ErrBadFile, "overflow"},
		"dimensions over 2^60":  {first(func(i *ggufInfo) { i.dims = []uint64{1 << 30, 1 << 30} }), ErrBadFile, "overflow"},
		"longer than the file":  {first(func(i *ggufInfo) { i.dims = []uint64{4, 1 << 20} }), loader.ErrTruncated, "bytes at"},
		"type Q4_K":             {first(func(i *ggufInfo) { i.kind = 12 }), loader.ErrUnsupported, `tensor "token_embd.weight": unsupported: GGUF type Q4_K; supported: F32`},
		"type MXFP4":            {first(func(i *ggufInfo) { i.kind = 39 }), loader.ErrUnsupported, "MXFP4"},
		"type I32":              {first(func(i *ggufInfo) { i.kind = 26 }), loader.ErrUnsupported, "I32"},
		"type 999":              {first(func(i *ggufInfo) { i.kind = 999 }), loader.ErrUnsupported, "GGUF type 999"},
		"half a block of Q8_0":  {first(func(i *ggufInfo) { i.kind = 8 }), ErrBadFile, "rows of 4 values in blocks of 32"},
		"offset of another":     {func(b *ggufBuild) { b.tensors[1].offset = 1 }, ErrBadFile, "want offset 96, after the one before it, got 0"},
		"offset not aligned":    {func(b *ggufBuild) { b.tensors[1].offset = 98 }, ErrBadFile, "got 97"},
		"offset 2^64-1":         {func(b *ggufBuild) { b.tensors[1].offset = math.MaxUint64 }, ErrBadFile, "its offset overflows"},
		"last byte missing":     {func(b *ggufBuild) { b.cut = 1 }, loader.ErrTruncated, "layer_output_norm.bias"},
		"all tensors missing":   {func(b *ggufBuild) { b.headerOnly = true }, loader.ErrTruncated, "bytes at"},
		"token list and no end": {func(b *ggufBuild) { b.set("tokenizer.ggml.tokens", ggufListOf(8, 1<<10)) }, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := tinyGGUF()
			tt.change(b)
			data := b.bytes()
			src, dst := writeFile(t, data, t.TempDir(), "m.gguf"), tempDst(t)
			var err error
			requireBounded(t, len(data), func() { err = Convert(context.Background(), src, dst, Options{}) })
			if tt.kind == nil { // what follows is read as something else
				require.Error(t, err)
			} else {
				require.ErrorIs(t, err, tt.kind)
				assert.ErrorContains(t, err, tt.says)
			}
			assert.ErrorContains(t, err, src)
			noLeftovers(t, filepath.Dir(dst))

			if strings.Contains(tt.says, "ends") || errors.Is(tt.kind, loader.ErrTruncated) {
				return
			}
			// In a file that is as long as it says, the same costs no more.
			requireBounded(t, len(data), func() { _, err = readGGUF(longFile(data), longSize) })
		})
	}
}

// TestGGUFCut: the header cut off at any byte.
func TestGGUFCut(t *testing.T) {
	b := tinyGGUF()
	b.headerOnly = true
	data := b.bytes()
	for n := range data {
		_, err := readGGUF(bytes.NewReader(data[:n]), int64(n))
		require.ErrorIs(t, err, loader.ErrTruncated, "%d bytes", n)
	}
}

// TestGGUFModelRefused: a sound file with the wrong things in it.
func TestGGUFModelRefused(t *testing.T) {
	set := func(key string, value any) func(*ggufBuild) { return func(b *ggufBuild) { b.set(key, value) } }
	for name, tt := range map[string]struct {
		change func(*ggufBuild)
		kind   error
		says   string
	}{
		"unknown architecture":     {set("general.architecture", "rwkv7"), loader.ErrUnsupported, `architecture "rwkv7"; supported: bert, eurobert`},
		"mixture of experts":       {set("general.architecture", "nomic-bert-moe"), loader.ErrUnsupported, `"nomic-bert-moe"`},
		"architecture is a number": {set("general.architecture", 3), loader.ErrUnsupported, "architecture"},
		"no architecture":          {set("general.architecture", nil), loader.ErrUnsupported, `architecture ""`},
		"adapter":                  {set("general.type", "adapter"), loader.ErrUnsupported, `of type "adapter"`},
		"one of three parts":       {set("split.count", 3), loader.ErrUnsupported, "one of 3 parts"},
		"no layers":                {set("bert.block_count", nil), ErrBadFile, `key "bert.block_count": want one, got none`},
		"2^31 layers":              {set("bert.block_count", 1<<31), ErrBadFile, `key "bert.block_count": want an integer of 1 to 1024, got 2147483648`},
		"layers as a text":         {set("bert.block_count", "1"), ErrBadFile, `want an integer`},
		"0 heads":                  {set("bert.attention.head_count", 0), ErrBadFile, "bert.attention.head_count"},
		"another width":            {set("bert.embedding_length", 5), ErrBadFile, `"token_embd.weight": want a matrix of rows of 5 values`},
		"too many positions":       {set("bert.context_length", 9), ErrBadFile, "want at least the 9 rows of context_length, got 8"},
		"NaN as an epsilon":        {set("bert.attention.layer_norm_epsilon", float32(math.NaN())), ErrBadFile, "layer_norm_epsilon"},
		"negative epsilon":         {set("bert.attention.layer_norm_epsilon", float32(-1)), ErrBadFile, "layer_norm_epsilon"},
		"causal":                   {set("bert.attention.causal", true), loader.ErrUnsupported, `key "bert.attention.causal": true; supported is false`},
		"grouped heads":            {set("bert.attention.head_count_kv", 1), loader.ErrUnsupported, "head_count_kv"},
		"reranker":                 {set("bert.pooling_type", 4), loader.ErrUnsupported, "a reranker"},
		"pooling 9":                {set("bert.pooling_type", 9), loader.ErrUnsupported, "bert.pooling_type"},
		"unknown key":              {set("bert.attention.sink", true), loader.ErrUnsupported, `key "bert.attention.sink": nothing is known of it`},
		"unknown key of a list":    {set("bert.classifier.output_labels", []string{"a"}), loader.ErrUnsupported, "classifier.output_labels"},
		"unknown tensor":           {func(b *ggufBuild) { b.tensor("blk.0.attn_sinks.weight", 2) }, loader.ErrUnsupported, `"blk.0.attn_sinks.weight": bert models are not known to have it`},
		"classifier":               {func(b *ggufBuild) { b.tensor("cls.weight", 4, 4) }, loader.ErrUnsupported, "the head of a reranker"},
		"tensor of layer 1":        {func(b *ggufBuild) { b.tensor("blk.1.attn_q.weight", 4, 4) }, ErrBadFile, "a model with 1 layers"},
		"tensor of layer 01":       {func(b *ggufBuild) { b.tensor("blk.00.attn_q.weight", 4, 4) }, ErrBadFile, "not the name of a tensor"},
		"tensor of no kind":        {func(b *ggufBuild) { b.tensor("token_embd", 4, 4) }, ErrBadFile, "not the name of a tensor"},
		"no word table":            {func(b *ggufBuild) { b.tensors = b.tensors[1:] }, ErrBadFile, `tensor "token_embd.weight"`},
		"no tokens":                {set("tokenizer.ggml.tokens", nil), ErrBadFile, "a vocabulary of 0 tokens"},
		"more tokens than rows":    {set("tokenizer.ggml.tokens", []string{"a", "b", "c", "d", "e", "f", "g"}), ErrBadFile, "a vocabulary of 7 tokens, and a word table of 6 rows"},
		"fewer types":              {set("tokenizer.ggml.token_type", []int32{1}), ErrBadFile, "6 tokens, 1 types"},
		"the same token twice":     {set("tokenizer.ggml.tokens", []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁a", "▁a"}), ErrBadFile, `token 5: "a": twice`},
		"no [CLS]":                 {set("tokenizer.ggml.tokens", []string{"[PAD]", "[UNK]", "[C]", "[SEP]", "▁a", "b"}), ErrBadFile, "the vocabulary has no token [CLS]"},
		"CLS over the end":         {set("tokenizer.ggml.cls_token_id", 6), ErrBadFile, "cls_token_id"},
		"of another tokenizer":     {set("tokenizer.ggml.tokens", []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁▁a", "▁▁b"}), loader.ErrUnsupported, "converted wrongly"},
		"byte pairs":               {set("tokenizer.ggml.model", "gpt2"), loader.ErrUnsupported, "--tokenizer DIR"},
		"unknown tokenizer":        {set("tokenizer.ggml.model", "rwkv"), loader.ErrUnsupported, `"rwkv"`},
		"Unigram without scores":   {set("tokenizer.ggml.model", "t5"), ErrBadFile, "without scores"},
		"Dense of another width":   {func(b *ggufBuild) { b.tensor("dense_2.weight", 5, 2) }, loader.ErrUnsupported, "dense_2: want a matrix of rows of 4"},
		"Dense with a bias":        {func(b *ggufBuild) { b.tensor("dense_2.weight", 4, 2).tensor("dense_2.bias", 2) }, loader.ErrUnsupported, "no bias, got 2"},
	} {
		t.Run(name, func(t *testing.T) {
			b := tinyGGUF()
			tt.change(b)
			data := b.bytes()
			src, dst := writeFile(t, data, t.TempDir(), "m.gguf"), tempDst(t)
			var err error
			requireBounded(t, len(data), func() { err = Convert(context.Background(), src, dst, Options{}) })
			require.ErrorIs(t, err, tt.kind)
			assert.ErrorContains(t, err, tt.says)
			assert.ErrorContains(t, err, src)
			noLeftovers(t, filepath.Dir(dst))
		})
	}
}

// TestGGUFMemory: lists of what is shorter in the file than in memory.
func TestGGUFMemory(t *testing.T) {
	many := func(n int, one ...byte) []byte { return bytes.Repeat(one, n) }
	for name, change := range map[string]func(*ggufBuild){
		"empty tokens": func(b *ggufBuild) {
			b.set("tokenizer.ggml.tokens", append(ggufListOf(8, 300_000), many(300_000, 0, 0, 0, 0, 0, 0, 0, 0)...))
		},
		"short tokens": func(b *ggufBuild) {
			b.set("tokenizer.ggml.tokens", append(ggufListOf(8, 300_000), many(300_000, 1, 0, 0, 0, 0, 0, 0, 0, 'a')...))
		},
		"types of a byte": func(b *ggufBuild) {
			b.set("tokenizer.ggml.token_type", append(ggufListOf(0, 1_000_000), many(1_000_000, 1)...))
		},
		"scores": func(b *ggufBuild) {
			b.set("tokenizer.ggml.scores", append(ggufListOf(6, 300_000), many(300_000, 0, 0, 0, 0)...))
		},
		"character map": func(b *ggufBuild) {
			b.set("tokenizer.ggml.precompiled_charsmap", append(ggufListOf(1, 1_000_000), many(1_000_000, 0)...))
		},
		"keys": func(b *ggufBuild) {
			for i := range 20_000 {
				b.pairs = append(b.pairs, ggufPair{string([]byte{'k', byte('a' + i%26), byte('a' + i/26%26), byte('a' + i/676)}), []byte{0, 0, 0, 0, 0}})
			}
		},
		"tensors": func(b *ggufBuild) {
			for i := range 20_000 {
				b.tensors = append(b.tensors, ggufInfo{name: string([]byte{'k', byte('a' + i%26), byte('a' + i/26%26), byte('a' + i/676)}), dims: []uint64{1}})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := tinyGGUF()
			change(b)
			data := b.bytes()
			requireBounded(t, len(data), func() { _, _ = readGGUF(bytes.NewReader(data), int64(len(data))) })
		})
	}
}
