package loader

import (
	"fmt"
	"slices"
	"strconv"
)

// checkPostProcessor finds which special tokens go before and after a text.
func (c *tokenizerChecker) checkPostProcessor(spec *tokenizerSpec) (string, error) {
	n, err := c.part("post_processor")
	if err != nil || n == nil {
		return "null", err
	}
	checks := map[string]partCheck{
		"ByteLevel": accept, // trims offsets only
		"BertProcessing": func(c *tokenizerChecker, n *Config) error {
			return c.checkPairProcessor(n, spec, bertPair)
		},
		"RobertaProcessing": func(c *tokenizerChecker, n *Config) error {
			return c.checkPairProcessor(n, spec, robertaPair)
		},
		"TemplateProcessing": func(c *tokenizerChecker, n *Config) error {
			return c.checkTemplate(n, spec)
		},
	}
	if err := c.checkParts(n, "processors", checks, 1); err != nil {
		return "", err
	}
	ids := slices.Concat(spec.prefix, spec.suffix)
	for _, p := range spec.pair {
		ids = append(ids, p.ids...)
	}
	for _, id := range ids {
		if int(id) >= len(c.byID) {
			return "", c.badf("post_processor: special token id %d is not one of the %d ids", id, len(c.byID))
		}
	}
	return c.parts["post_processor"], nil
}

// addSpecial records what a processor adds. There may be one that does.
func addSpecial(n *Config, spec *tokenizerSpec, prefix, suffix []int32, pair []piece) error {
	if spec.pair != nil {
		return n.Unsupported("type", "a second processor that adds special tokens")
	}
	spec.prefix, spec.suffix, spec.pair = prefix, suffix, pair
	return nil
}

// The pairs of BertProcessing and RobertaProcessing.
func bertPair(cls, sep []int32) []piece {
	return []piece{{ids: cls}, {sequence: 'A'}, {ids: sep}, {sequence: 'B', typeID: 1}, {ids: sep, typeID: 1}}
}

func robertaPair(cls, sep []int32) []piece {
	return []piece{{ids: cls}, {sequence: 'A'}, {ids: sep}, {ids: sep}, {sequence: 'B'}, {ids: sep}}
}

// checkPairProcessor reads the cls and sep of BertProcessing and
// RobertaProcessing, each a [token, id].
func (c *tokenizerChecker) checkPairProcessor(n *Config, spec *tokenizerSpec, pair func(cls, sep []int32) []piece) error {
	var ids [2][]int32
	for i, key := range []string{"cls", "sep"} {
		pair, _ := n.obj.get(key).([]any)
		if len(pair) != 2 {
			return n.wrong(key, "[token, id]")
		}
		id, ok := tokenID(pair[1])
		if _, isToken := pair[0].(string); !isToken || !ok {
			return n.wrong(key, "[token, id]")
		}
		ids[i] = []int32{id}
	}
	return addSpecial(n, spec, ids[0], ids[1], pair(ids[0], ids[1]))
}

func tokenID(v any) (int32, bool) {
	n, ok := v.(jsonNumber)
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseUint(string(n), 10, 32)
	return int32(id), err == nil && id < maxTokens
}

// checkTemplate reads TemplateProcessing: pieces around one sequence A, the ids
// of each special piece from a table.
func (c *tokenizerChecker) checkTemplate(n *Config, spec *tokenizerSpec) error {
	specials, err := n.Object("special_tokens")
	if err != nil {
		return err
	}
	table := make(map[string][]int32)
	for _, name := range specials.Keys() {
		entry, err := specials.Object(name)
		if err != nil {
			return err
		}
		ids, _ := entry.obj.get("ids").([]any)
		tokens, err := entry.Strings("tokens")
		if err != nil {
			return err
		}
		if len(ids) != len(tokens) || len(ids) == 0 {
			return entry.Errorf("ids", "want one a token, got %d ids and %d tokens", len(ids), len(tokens))
		}
		for _, v := range ids {
			id, ok := tokenID(v)
			if !ok {
				return entry.wrong("ids", fmt.Sprintf("ids below %d", maxTokens))
			}
			table[name] = append(table[name], id)
		}
	}
	single, err := readTemplate(n, "single", "A", table)
	if err != nil {
		return err
	}
	pair, err := readTemplate(n, "pair", "AB", table)
	if err != nil {
		return err
	}
	var around [2][]int32
	side := 0
	for _, p := range single {
		if p.sequence != 0 {
			side = 1
		}
		around[side] = append(around[side], p.ids...)
		c.typed = c.typed || p.typeID != 0
	}
	return addSpecial(n, spec, around[0], around[1], pair)
}

// readTemplate reads a template that names each of sequences once, in order.
func readTemplate(n *Config, key, sequences string, table map[string][]int32) ([]piece, error) {
	list, ok := n.obj.get(key).([]any)
	if !ok || len(list) > 64 {
		return nil, n.wrong(key, "a list of at most 64 pieces")
	}
	seen := ""
	pieces := make([]piece, len(list))
	for i, v := range list {
		obj, _ := v.(*jsonObject)
		if obj == nil || len(obj.keys) != 1 {
			return nil, n.Errorf(key, "piece %d: want a Sequence or a SpecialToken, got %s", i, describe(v))
		}
		part := &Config{file: n.file, path: fmt.Sprintf("%s%s piece %d: ", n.path, key, i), obj: obj, kind: n.kind}
		body, err := part.Object(obj.keys[0])
		if err != nil {
			return nil, err
		}
		f := body.Fields()
		id := f.String("id")
		pieces[i].typeID = int32(f.Int("type_id", 0, 1))
		if f.Err() != nil {
			return nil, f.Err()
		}
		switch obj.keys[0] {
		case "Sequence":
			if len(id) != 1 {
				return nil, body.Errorf("id", "want A or B, got %.20q", id)
			}
			seen += id
			pieces[i].sequence = id[0]
		case "SpecialToken":
			ids, known := table[id]
			if !known {
				return nil, body.Errorf("id", "%.60q is not in special_tokens", id)
			}
			pieces[i].ids = ids
		default:
			return nil, n.Errorf(key, "piece %d: want a Sequence or a SpecialToken, got %.60q", i, obj.keys[0])
		}
	}
	if seen != sequences {
		return nil, n.Errorf(key, "want the sequences %s, got %.20q", sequences, seen)
	}
	return pieces, nil
}
