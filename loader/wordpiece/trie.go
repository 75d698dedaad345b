package wordpiece

// A trie maps texts to ids, byte by byte. Its edges lie in one open hash table: node<<8|byte → node.
type trie struct {
	edges []edge  // a power of two, at most half full
	ids   []int32 // by node; none where no text ends
	count int
}

type edge struct{ key, node uint32 } // node 0, the root, is no edge's end: it marks a free place

const (
	none     = -1
	maxNodes = 1 << 24
)

func (t *trie) slot(key uint32) uint32 {
	mask := uint32(len(t.edges) - 1)
	i := (key * 0x9e3779b1) >> 7 & mask
	for t.edges[i].node != 0 && t.edges[i].key != key {
		i = (i + 1) & mask
	}
	return i
}

// add puts a text in; false if there is no room for it.
func (t *trie) add(text string, id int32) bool {
	if t.edges == nil {
		t.edges, t.ids = make([]edge, 1<<10), []int32{none}
	}
	node := uint32(0)
	for i := range len(text) {
		key := node<<8 | uint32(text[i])
		at := t.slot(key)
		if t.edges[at].node == 0 {
			if len(t.ids) == maxNodes {
				return false
			}
			t.edges[at] = edge{key, uint32(len(t.ids))}
			t.ids = append(t.ids, none)
			if t.count++; 2*t.count > len(t.edges) {
				t.grow()
				at = t.slot(key)
			}
		}
		node = t.edges[at].node
	}
	t.ids[node] = id
	return true
}

func (t *trie) grow() {
	old := t.edges
	t.edges = make([]edge, 2*len(old))
	for _, e := range old {
		if e.node != 0 {
			t.edges[t.slot(e.key)] = e
		}
	}
}

// walk returns the node that a text leads to.
func (t *trie) walk(text string) (uint32, bool) {
	node := uint32(0)
	for i := range len(text) {
		if t.edges == nil {
			return 0, false
		}
		e := t.edges[t.slot(node<<8|uint32(text[i]))]
		if e.node == 0 {
			return 0, false
		}
		node = e.node
	}
	return node, true
}

// longest returns the id and the size of the longest text from node on that s begins with; size 0 if there is none.
func longest[T string | []byte](t *trie, node uint32, s T) (id int32, size int) {
	if t.edges == nil {
		return none, 0
	}
	id = none
	for i := range len(s) {
		e := t.edges[t.slot(node<<8|uint32(s[i]))]
		if e.node == 0 {
			break
		}
		node = e.node
		if found := t.ids[node]; found != none {
			id, size = found, i+1
		}
	}
	return id, size
}
