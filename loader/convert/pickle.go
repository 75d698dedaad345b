package convert

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// A pickle is a program for a small stack machine, and Python's reader runs any
// function that it names. This one knows the few instructions that torch.save
// writes and the few functions that rebuild tensors (see torchGlobals); all
// others are refused by name. It calls nothing.
// Instructions: https://github.com/python/cpython/blob/main/Lib/pickletools.py

const (
	maxPickle  = 64 << 20 // bytes
	maxStack   = 8192     // values; a dictionary is filled 1000 members at a time
	blockCells = 512
	cellBytes  = 16
	maxArgs    = 8 // of a function
)

// A cell is a value. Everything that a pickle makes is kept in cells, in the
// order of its making, so that what it takes in memory is easy to count.
type cell struct {
	kind cellKind
	len  uint32
	n    int64
}

type cellKind uint8

const (
	noneCell    cellKind = iota
	boolCell             // n is 0 or 1
	intCell              // n
	floatCell            // its value does not matter
	textCell             // len bytes of the pickle from n
	tupleCell            // len cells from n
	listCell             // what is in it does not matter
	dictCell             // cells n and n+1: the first and the last run of members
	globalCell           // n indexes torchGlobals
	storageCell          // cells n to n+2: type, name, elements
	tensorCell           // cells n to n+3: storage, offset, shape, strides
	markCell
	runCell // len pairs follow; n is the next run, 0 for none
)

var cellNames = [...]string{"None", "a bool", "an int", "a float", "a text", "a tuple", "a list", "a dict", "a function", "a storage", "a tensor", "a mark", "a run"}

func (k cellKind) String() string { return cellNames[k] }

// pickleVM runs one pickle.
type pickleVM struct {
	code  []byte
	pos   int
	meter *meter

	cells cells
	memo  cells
	stack []cell
	marks []int32 // where in the stack the marks are
	args  [maxArgs]cell
}

// cells is a list of cells that grows without moving them.
type cells struct {
	blocks [][]cell
	len    int64
}

func (c *cells) at(i int64) *cell { return &c.blocks[i/blockCells][i%blockCells] }

func (c *cells) add(m *meter, v cell) error {
	if c.len%blockCells == 0 {
		if err := m.take(blockCells*cellBytes + 48); err != nil { // and its place in blocks
			return err
		}
		c.blocks = append(c.blocks, make([]cell, blockCells))
	}
	*c.at(c.len) = v
	c.len++
	return nil
}

// runPickle runs a whole pickle and returns the machine, with the value that is
// left on the stack.
func runPickle(code []byte, m *meter) (*pickleVM, cell, error) {
	vm := &pickleVM{code: code, meter: m}
	if err := vm.alloc(cell{}); err != nil { // so that cell 0 means none
		return nil, cell{}, err
	}
	for {
		at := vm.pos
		op, err := vm.byte()
		if err != nil {
			return nil, cell{}, vm.errorf(at, "%w", err)
		}
		if op == opStop {
			break
		}
		run := pickleOps[op].run
		if run == nil {
			return nil, cell{}, vm.errorf(at, "instruction %s does not occur in a file of tensors", opName(op))
		}
		if err := run(vm); err != nil {
			return nil, cell{}, vm.errorf(at, "%s: %w", opName(op), err)
		}
	}
	if len(vm.stack) != 1 || len(vm.marks) != 0 || vm.pos != len(code) {
		return nil, cell{}, vm.errorf(vm.pos, "want one value at the end, got %d, and %d bytes that follow", len(vm.stack), len(code)-vm.pos)
	}
	return vm, vm.stack[0], nil
}

func (vm *pickleVM) errorf(at int, format string, args ...any) error {
	return fmt.Errorf("%w: pickle: byte %d: %w", ErrBadFile, at, fmt.Errorf(format, args...))
}

// byte, bytes, line: what follows the instruction.

func (vm *pickleVM) byte() (byte, error) {
	b, err := vm.bytes(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

func (vm *pickleVM) bytes(n int64) ([]byte, error) {
	if n < 0 || n > int64(len(vm.code)-vm.pos) {
		return nil, fmt.Errorf("want %d more bytes, got %d", n, len(vm.code)-vm.pos)
	}
	b := vm.code[vm.pos : vm.pos+int(n)]
	vm.pos += int(n)
	return b, nil
}

// number reads an unsigned little-endian integer of up to 8 bytes.
func (vm *pickleVM) number(size int64) (int64, error) {
	b, err := vm.bytes(size)
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[:], b)
	return int64(binary.LittleEndian.Uint64(wide[:])), nil
}

// line reads up to a newline: the name of a function or of its module.
func (vm *pickleVM) line() ([]byte, error) {
	const most = 256
	for i := vm.pos; i < len(vm.code) && i < vm.pos+most; i++ {
		if vm.code[i] == '\n' {
			b := vm.code[vm.pos:i]
			vm.pos = i + 1
			return b, nil
		}
	}
	return nil, fmt.Errorf("want a name of at most %d bytes and a newline", most)
}

// alloc makes cells. They get the numbers from vm.cells.len on.
func (vm *pickleVM) alloc(values ...cell) error {
	for _, v := range values {
		if err := vm.cells.add(vm.meter, v); err != nil {
			return err
		}
	}
	return nil
}

func (vm *pickleVM) at(i int64) *cell { return vm.cells.at(i) }

// object makes cells and pushes the value that they are.
func (vm *pickleVM) object(kind cellKind, parts ...cell) error {
	first := vm.cells.len
	if err := vm.alloc(parts...); err != nil {
		return err
	}
	return vm.push(cell{kind: kind, len: uint32(len(parts)), n: first})
}

func (vm *pickleVM) text(c cell) []byte { return vm.code[c.n : c.n+int64(c.len)] }

func (vm *pickleVM) push(c cell) (err error) {
	if len(vm.stack) == maxStack {
		return fmt.Errorf("more than %d values on the stack", maxStack)
	}
	if vm.stack, err = grow(vm.meter, vm.stack, cellBytes); err == nil {
		vm.stack = append(vm.stack, c)
	}
	return err
}

// floor is the lowest value that may be popped: what lies below belongs to a mark.
func (vm *pickleVM) floor() int {
	if len(vm.marks) == 0 {
		return 0
	}
	return int(vm.marks[len(vm.marks)-1])
}

func (vm *pickleVM) pop() (cell, error) {
	if len(vm.stack) <= vm.floor() {
		return cell{}, fmt.Errorf("no value on the stack")
	}
	c := vm.stack[len(vm.stack)-1]
	vm.stack = vm.stack[:len(vm.stack)-1]
	return c, nil
}

// popKind pops a value, which must be of that kind.
func (vm *pickleVM) popKind(kind cellKind) (cell, error) {
	c, err := vm.pop()
	if err == nil && c.kind != kind {
		err = fmt.Errorf("want %s, got %s", kind, c.kind)
	}
	return c, err
}

// top returns the value on top, which must be of that kind.
func (vm *pickleVM) top(kind cellKind) (cell, error) {
	c, err := vm.popKind(kind)
	if err == nil {
		vm.stack = vm.stack[:len(vm.stack)+1]
	}
	return c, err
}

// popMark pops the values above the mark, and the mark. They stay valid until the
// next push.
func (vm *pickleVM) popMark() ([]cell, error) {
	if len(vm.marks) == 0 {
		return nil, fmt.Errorf("no mark on the stack")
	}
	at := vm.floor()
	values := vm.stack[at:]
	vm.stack, vm.marks = vm.stack[:at], vm.marks[:len(vm.marks)-1]
	return values, nil
}

func (vm *pickleVM) mark() (err error) {
	if len(vm.marks) == maxStack {
		return fmt.Errorf("more than %d marks", maxStack)
	}
	if vm.marks, err = grow(vm.meter, vm.marks, 4); err == nil {
		vm.marks = append(vm.marks, int32(len(vm.stack)))
	}
	return err
}

// remember gives the value on top a number. Python's writer counts upwards.
func (vm *pickleVM) remember(i int64) error {
	if len(vm.stack) <= vm.floor() || i > vm.memo.len {
		return fmt.Errorf("want a value on the stack and at most number %d, got %d", vm.memo.len, i)
	}
	v := vm.stack[len(vm.stack)-1]
	if i < vm.memo.len {
		*vm.memo.at(i) = v
		return nil
	}
	return vm.memo.add(vm.meter, v)
}

func (vm *pickleVM) recall(i int64) error {
	if i >= vm.memo.len {
		return fmt.Errorf("value %d of %d", i, vm.memo.len)
	}
	return vm.push(*vm.memo.at(i))
}

// pushText pushes the next size bytes, which must be UTF-8.
func (vm *pickleVM) pushText(size int64) error {
	at := vm.pos
	b, err := vm.bytes(size)
	if err != nil {
		return err
	}
	if !utf8.Valid(b) {
		return fmt.Errorf("a text that is not UTF-8")
	}
	return vm.push(cell{kind: textCell, len: uint32(size), n: int64(at)})
}

// pushDict pushes an empty dictionary.
func (vm *pickleVM) pushDict() error { return vm.object(dictCell, cell{}, cell{}) }

// setItems adds key, value, key, value… to the dictionary on top.
func (vm *pickleVM) setItems(pairs []cell) error {
	if len(pairs)%2 != 0 {
		return fmt.Errorf("a key without a value")
	}
	dict, err := vm.top(dictCell)
	if err != nil || len(pairs) == 0 {
		return err
	}
	run := vm.cells.len
	if err := vm.alloc(cell{kind: runCell, len: uint32(len(pairs) / 2)}); err != nil {
		return err
	}
	if err := vm.alloc(pairs...); err != nil {
		return err
	}
	first, last := vm.at(dict.n), vm.at(dict.n+1)
	if first.n == 0 {
		first.n = run
	} else {
		vm.at(last.n).n = run
	}
	last.n = run
	return nil
}

// members calls fn for each key and value of a dictionary.
func (vm *pickleVM) members(dict cell, fn func(key, value cell) error) error {
	for run := vm.at(dict.n).n; run != 0; run = vm.at(run).n {
		for i := range int64(vm.at(run).len) {
			if err := fn(*vm.at(run + 1 + 2*i), *vm.at(run + 2 + 2*i)); err != nil {
				return err
			}
		}
	}
	return nil
}
