package convert

import "fmt"

const opStop = '.'

// pickleOp is an instruction; run is nil for those that are refused.
type pickleOp struct {
	name string
	run  func(*pickleVM) error
}

// pickleOps are the instructions by their byte. Those without a function are
// named for the error message alone.
var pickleOps = [256]pickleOp{
	opStop: {"STOP", nil}, // ends the loop

	0x80: {"PROTO", opProto},
	0x95: {"FRAME", func(vm *pickleVM) error { _, err := vm.bytes(8); return err }}, // a hint for buffering
	'(':  {"MARK", (*pickleVM).mark},
	'0':  {"POP", func(vm *pickleVM) error { _, err := vm.pop(); return err }},

	'N':  {"NONE", func(vm *pickleVM) error { return vm.push(cell{kind: noneCell}) }},
	0x88: {"NEWTRUE", func(vm *pickleVM) error { return vm.push(cell{kind: boolCell, n: 1}) }},
	0x89: {"NEWFALSE", func(vm *pickleVM) error { return vm.push(cell{kind: boolCell}) }},
	'K':  {"BININT1", func(vm *pickleVM) error { return pushNumber(vm, 1) }},
	'M':  {"BININT2", func(vm *pickleVM) error { return pushNumber(vm, 2) }},
	'J':  {"BININT", opBinInt},
	0x8a: {"LONG1", opLong1},
	'G':  {"BINFLOAT", func(vm *pickleVM) error { return opSkip(vm, 8, floatCell) }},
	'X':  {"BINUNICODE", func(vm *pickleVM) error { return opText(vm, 4) }},
	0x8c: {"SHORT_BINUNICODE", func(vm *pickleVM) error { return opText(vm, 1) }},

	')':  {"EMPTY_TUPLE", func(vm *pickleVM) error { return vm.object(tupleCell) }},
	0x85: {"TUPLE1", func(vm *pickleVM) error { return opTupleN(vm, 1) }},
	0x86: {"TUPLE2", func(vm *pickleVM) error { return opTupleN(vm, 2) }},
	0x87: {"TUPLE3", func(vm *pickleVM) error { return opTupleN(vm, 3) }},
	't':  {"TUPLE", opTuple},
	']':  {"EMPTY_LIST", func(vm *pickleVM) error { return vm.push(cell{kind: listCell}) }},
	'a':  {"APPEND", opAppend},
	'e':  {"APPENDS", opAppends},
	'}':  {"EMPTY_DICT", (*pickleVM).pushDict},
	's':  {"SETITEM", opSetItem},
	'u':  {"SETITEMS", opSetItems},

	'q':  {"BINPUT", func(vm *pickleVM) error { return withNumber(vm, 1, vm.remember) }},
	'r':  {"LONG_BINPUT", func(vm *pickleVM) error { return withNumber(vm, 4, vm.remember) }},
	0x94: {"MEMOIZE", func(vm *pickleVM) error { return vm.remember(vm.memo.len) }},
	'h':  {"BINGET", func(vm *pickleVM) error { return withNumber(vm, 1, vm.recall) }},
	'j':  {"LONG_BINGET", func(vm *pickleVM) error { return withNumber(vm, 4, vm.recall) }},

	'c':  {"GLOBAL", opGlobal},
	0x93: {"STACK_GLOBAL", opStackGlobal},
	'R':  {"REDUCE", opReduce},
	'b':  {"BUILD", opBuild},
	'Q':  {"BINPERSID", opPersistentID},

	'1': {"POP_MARK", nil}, '2': {"DUP", nil}, 'F': {"FLOAT", nil}, 'I': {"INT", nil}, 'L': {"LONG", nil}, 0x8b: {"LONG4", nil},
	'S': {"STRING", nil}, 'T': {"BINSTRING", nil}, 'U': {"SHORT_BINSTRING", nil}, 'V': {"UNICODE", nil}, 0x8d: {"BINUNICODE8", nil},
	'B': {"BINBYTES", nil}, 'C': {"SHORT_BINBYTES", nil}, 0x8e: {"BINBYTES8", nil}, 0x96: {"BYTEARRAY8", nil},
	'd': {"DICT", nil}, 'l': {"LIST", nil}, 0x8f: {"EMPTY_SET", nil}, 0x90: {"ADDITEMS", nil}, 0x91: {"FROZENSET", nil},
	'g': {"GET", nil}, 'p': {"PUT", nil}, 'P': {"PERSID", nil}, 'i': {"INST", nil}, 'o': {"OBJ", nil},
	0x81: {"NEWOBJ", nil}, 0x92: {"NEWOBJ_EX", nil}, 0x82: {"EXT1", nil}, 0x83: {"EXT2", nil}, 0x84: {"EXT4", nil},
	0x97: {"NEXT_BUFFER", nil}, 0x98: {"READONLY_BUFFER", nil},
}

func opName(op byte) string {
	if name := pickleOps[op].name; name != "" {
		return name
	}
	return fmt.Sprintf("%#02x", op)
}

func opProto(vm *pickleVM) error {
	version, err := vm.byte()
	if err == nil && (version < 2 || version > 5) {
		err = fmt.Errorf("want version 2 to 5, got %d", version)
	}
	return err
}

func withNumber(vm *pickleVM, size int64, fn func(int64) error) error {
	n, err := vm.number(size)
	if err != nil {
		return err
	}
	return fn(n)
}

func pushInt(vm *pickleVM, n int64) error { return vm.push(cell{kind: intCell, n: n}) }

func pushNumber(vm *pickleVM, size int64) error {
	return withNumber(vm, size, func(n int64) error { return pushInt(vm, n) })
}

func opBinInt(vm *pickleVM) error {
	return withNumber(vm, 4, func(n int64) error { return pushInt(vm, int64(int32(n))) })
}

// opLong1 pushes a signed integer of up to 8 bytes.
func opLong1(vm *pickleVM) error {
	size, err := vm.number(1)
	if err != nil {
		return err
	}
	if size > 8 {
		return fmt.Errorf("an integer of %d bytes", size)
	}
	n, err := vm.number(size)
	if err != nil {
		return err
	}
	if shift := 64 - 8*size; size > 0 {
		n = n << shift >> shift
	}
	return pushInt(vm, n)
}

// opSkip pushes a value whose contents do not matter.
func opSkip(vm *pickleVM, size int64, kind cellKind) error {
	if _, err := vm.bytes(size); err != nil {
		return err
	}
	return vm.push(cell{kind: kind})
}

func opText(vm *pickleVM, size int64) error { return withNumber(vm, size, vm.pushText) }

func opTupleN(vm *pickleVM, n int) error {
	if len(vm.stack)-n < vm.floor() {
		return fmt.Errorf("want %d values on the stack, got %d", n, len(vm.stack)-vm.floor())
	}
	values := vm.stack[len(vm.stack)-n:]
	vm.stack = vm.stack[:len(vm.stack)-n]
	return vm.object(tupleCell, values...) // which copies them before it pushes
}

func opTuple(vm *pickleVM) error {
	values, err := vm.popMark()
	if err != nil {
		return err
	}
	return vm.object(tupleCell, values...)
}

func opAppend(vm *pickleVM) error {
	if _, err := vm.pop(); err != nil {
		return err
	}
	_, err := vm.top(listCell)
	return err
}

func opAppends(vm *pickleVM) error {
	if _, err := vm.popMark(); err != nil {
		return err
	}
	_, err := vm.top(listCell)
	return err
}

func opSetItem(vm *pickleVM) error {
	value, err := vm.pop()
	if err != nil {
		return err
	}
	key, err := vm.pop()
	if err != nil {
		return err
	}
	return vm.setItems([]cell{key, value})
}

func opSetItems(vm *pickleVM) error {
	pairs, err := vm.popMark()
	if err != nil {
		return err
	}
	return vm.setItems(pairs)
}

func opGlobal(vm *pickleVM) error {
	module, err := vm.line()
	if err != nil {
		return err
	}
	name, err := vm.line()
	if err != nil {
		return err
	}
	return vm.pushGlobal(module, name)
}

func opStackGlobal(vm *pickleVM) error {
	name, err := vm.popKind(textCell)
	if err != nil {
		return err
	}
	module, err := vm.popKind(textCell)
	if err != nil {
		return err
	}
	return vm.pushGlobal(vm.text(module), vm.text(name))
}
