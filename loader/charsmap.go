package loader

import (
	"encoding/base64"
	"encoding/binary"
	"unicode/utf8"
)

// checkPrecompiled checks SentencePiece's character map: a 32-bit size, a
// double-array trie of that many bytes, and the texts that its values point
// into, each ended by a NUL. The library follows the trie without looking where
// it leads, so every step from every unit must stay inside.
// Format: https://github.com/s-yata/darts-clone and sentencepiece's normalizer.cc.
func checkPrecompiled(_ *tokenizerChecker, n *Config) error {
	const key = "precompiled_charsmap"
	text, err := n.String(key)
	if err != nil {
		return err
	}
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return n.Errorf(key, "%w", err)
	}
	if len(data) < 4 {
		return n.Errorf(key, "want at least 4 bytes, got %d", len(data))
	}
	size := int(binary.LittleEndian.Uint32(data))
	data = data[4:]
	const block = 256 // units are allocated in blocks, and a step stays in one
	if size < 4*block || size > len(data) || size%(4*block) != 0 {
		return n.Errorf(key, "trie of %d bytes, want a multiple of %d up to %d", size, 4*block, len(data))
	}
	trie, texts := data[:size], data[size:]
	if !utf8.Valid(texts) {
		return n.Errorf(key, "replacements are not valid UTF-8")
	}
	unit := func(i int) uint32 { return binary.LittleEndian.Uint32(trie[4*i:]) }
	units := size / 4
	for i := range units {
		u := unit(i)
		if u>>31 != 0 && i != 0 {
			continue // a value: no label matches it, no step leads on
		}
		base := i ^ int((u>>10)<<((u&(1<<9))>>6))
		if base < 0 || base|(block-1) >= units {
			return n.Errorf(key, "unit %d leads to unit %d of %d", i, base, units)
		}
		if u>>8&1 == 0 {
			continue
		}
		at := int(unit(base) & (1<<31 - 1))
		if at > len(texts) || at < len(texts) && !utf8.RuneStart(texts[at]) {
			return n.Errorf(key, "unit %d has replacement %d of %d bytes", i, at, len(texts))
		}
	}
	return nil
}
