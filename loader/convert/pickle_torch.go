package convert

import (
	"errors"
	"fmt"
	"math"

	"github.com/vkbert/vkbert/loader"
)

// torchGlobal is a class or function that a pickle of tensors may name.
type torchGlobal struct {
	module, name string
	storage      loader.DType                          // of a storage class
	call         func(vm *pickleVM, args []cell) error // of a function; pushes what it returns
}

// torchGlobals is all that is known; what it does not list is refused by name.
var torchGlobals = []torchGlobal{
	{module: "collections", name: "OrderedDict", call: callOrderedDict},
	{module: "torch._utils", name: "_rebuild_tensor", call: callRebuildTensor},
	{module: "torch._utils", name: "_rebuild_tensor_v2", call: callRebuildTensor},
	{module: "torch._utils", name: "_rebuild_parameter", call: callRebuildParameter},
	{module: "torch", name: "FloatStorage", storage: loader.F32},
	{module: "torch", name: "HalfStorage", storage: loader.F16},
	{module: "torch", name: "BFloat16Storage", storage: loader.BF16},
	{module: "torch", name: "DoubleStorage", storage: f64},
	{module: "torch", name: "LongStorage", storage: "I64"},
	{module: "torch", name: "IntStorage", storage: "I32"},
	{module: "torch", name: "ShortStorage", storage: "I16"},
	{module: "torch", name: "CharStorage", storage: "I8"},
	{module: "torch", name: "ByteStorage", storage: "U8"},
	{module: "torch", name: "BoolStorage", storage: "BOOL"},
}

func (vm *pickleVM) pushGlobal(module, name []byte) error {
	for i, g := range torchGlobals {
		if g.module == string(module) && g.name == string(name) {
			return vm.push(cell{kind: globalCell, n: int64(i)})
		}
	}
	return fmt.Errorf("%w: it calls %.200q of %.200q, which tensors do not need; save the tensors alone, with Python: torch.save(model.state_dict(), PATH)",
		loader.ErrUnsupported, name, module)
}

// opReduce calls a function with a tuple of arguments.
func opReduce(vm *pickleVM) error {
	tuple, err := vm.popKind(tupleCell)
	if err != nil {
		return err
	}
	function, err := vm.popKind(globalCell)
	if err != nil {
		return err
	}
	g := torchGlobals[function.n]
	if g.call == nil {
		return fmt.Errorf("%s.%s is not a function", g.module, g.name)
	}
	if tuple.len > maxArgs {
		return fmt.Errorf("%s.%s with %d arguments", g.module, g.name, tuple.len)
	}
	for i := range int64(tuple.len) {
		vm.args[i] = *vm.at(tuple.n + i)
	}
	if err := g.call(vm, vm.args[:tuple.len]); err != nil {
		return fmt.Errorf("%s.%s: %w", g.module, g.name, err)
	}
	return nil
}

// opBuild sets the attributes of the object on top. A state dict has one, the
// versions of its modules, which say nothing about its tensors.
func opBuild(vm *pickleVM) error {
	if _, err := vm.pop(); err != nil {
		return err
	}
	_, err := vm.top(dictCell)
	return err
}

// opPersistentID makes a storage of ('storage', class, name, device, elements).
func opPersistentID(vm *pickleVM) error {
	tuple, err := vm.popKind(tupleCell)
	if err != nil {
		return err
	}
	kinds := [...]cellKind{textCell, globalCell, textCell, textCell, intCell}
	if int(tuple.len) != len(kinds) {
		return fmt.Errorf("want a storage of %d parts, got %d", len(kinds), tuple.len)
	}
	var parts [len(kinds)]cell
	for i, kind := range kinds {
		if parts[i] = *vm.at(tuple.n + int64(i)); parts[i].kind != kind {
			return fmt.Errorf("part %d of a storage: want %s, got %s", i, kind, parts[i].kind)
		}
	}
	if string(vm.text(parts[0])) != "storage" {
		return fmt.Errorf("want a storage, got %.60q", vm.text(parts[0]))
	}
	if g := torchGlobals[parts[1].n]; g.storage == "" {
		return fmt.Errorf("%s.%s is not a storage class", g.module, g.name)
	}
	if parts[4].n < 0 || parts[4].n > maxElements {
		return fmt.Errorf("a storage of %d elements", parts[4].n)
	}
	return vm.object(storageCell, parts[1], parts[2], parts[4])
}

// callOrderedDict is collections.OrderedDict().
func callOrderedDict(vm *pickleVM, args []cell) error {
	if len(args) != 0 {
		return fmt.Errorf("want no arguments, got %d", len(args))
	}
	return vm.pushDict()
}

// callRebuildTensor is (storage, offset, shape, strides, …): whether it wants a
// gradient and its hooks follow, and after them what else is special about it.
func callRebuildTensor(vm *pickleVM, args []cell) error {
	kinds := [...]cellKind{storageCell, intCell, tupleCell, tupleCell}
	if len(args) < len(kinds) || len(args) > 7 {
		return fmt.Errorf("want 4 to 7 arguments, got %d", len(args))
	}
	for i, kind := range kinds {
		if args[i].kind != kind {
			return fmt.Errorf("argument %d: want %s, got %s", i, kind, args[i].kind)
		}
	}
	if len(args) == 7 && args[6].kind != noneCell { // negated or conjugated views
		return fmt.Errorf("%w: a tensor with special properties; save a copy of it, made with Tensor.clone", loader.ErrUnsupported)
	}
	return vm.object(tensorCell, args[:4]...)
}

// callRebuildParameter is (tensor, requires_grad, hooks).
func callRebuildParameter(vm *pickleVM, args []cell) error {
	if len(args) != 3 || args[0].kind != tensorCell {
		return errors.New("want a tensor and two more arguments")
	}
	return vm.push(args[0])
}

// view is a tensor as a pickle describes it: some elements of a storage.
type view struct {
	name    string
	dtype   loader.DType
	storage string // its name
	stored  int64  // its elements
	offset  int64  // of the first element
	shape   []int
	strides []int64 // in elements
	count   int64   // of elements
}

const (
	maxTensorDims = 8       // more than any model has
	maxElements   = 1 << 48 // of a storage; keeps the sums below from overflowing
)

// pickledTensors returns the tensors of a dictionary, which is all that a file of
// weights may be.
func pickledTensors(code []byte, m *meter) ([]view, error) {
	vm, top, err := runPickle(code, m)
	if err != nil {
		return nil, err
	}
	if top.kind != dictCell {
		return nil, fmt.Errorf("%w: pickle: want a dictionary of tensors (a state dict), got %s", loader.ErrUnsupported, top.kind)
	}
	count := int64(0)
	err = vm.members(top, func(key, value cell) error {
		if key.kind != textCell {
			return fmt.Errorf("%w: pickle: want the name of a tensor, got %s", ErrBadFile, key.kind)
		}
		if value.kind != tensorCell {
			return fmt.Errorf("%w: pickle: %.200q: want a tensor, got %s; save the model's state dict alone, with Python: torch.save(model.state_dict(), PATH)",
				loader.ErrUnsupported, vm.text(key), value.kind)
		}
		count++
		return nil
	})
	if err != nil {
		return nil, err
	}
	const viewBytes = 160 + 40 // and its place in a map
	if err := m.take(count * viewBytes); err != nil {
		return nil, err
	}
	views := make([]view, 0, count)
	seen := make(map[string]bool, count)
	return views, vm.members(top, func(key, value cell) error {
		v, err := vm.view(value)
		if err != nil {
			return fmt.Errorf("%w: pickle: tensor %.200q: %w", ErrBadFile, vm.text(key), err)
		}
		if err := m.take(int64(key.len)); err != nil {
			return err
		}
		if v.name = string(vm.text(key)); seen[v.name] {
			return fmt.Errorf("%w: pickle: tensor %.200q: twice", ErrBadFile, v.name)
		}
		seen[v.name] = true
		views = append(views, v)
		return nil
	})
}

// view checks a tensor against its storage.
func (vm *pickleVM) view(tensor cell) (view, error) {
	storage, offset, shape, strides := *vm.at(tensor.n), *vm.at(tensor.n + 1), *vm.at(tensor.n + 2), *vm.at(tensor.n + 3)
	v := view{
		dtype:   torchGlobals[vm.at(storage.n).n].storage,
		storage: string(vm.text(*vm.at(storage.n + 1))),
		stored:  vm.at(storage.n + 2).n,
		offset:  offset.n,
	}
	if shape.len != strides.len || shape.len > maxTensorDims {
		return v, fmt.Errorf("want at most %d sizes and as many strides, got %d and %d", maxTensorDims, shape.len, strides.len)
	}
	if err := vm.meter.take(int64(len(v.storage)) + 16*int64(shape.len)); err != nil {
		return v, err
	}
	v.shape, v.strides = make([]int, shape.len), make([]int64, shape.len)
	if v.offset < 0 || v.offset > v.stored {
		return v, fmt.Errorf("begins at element %d of the %d of its storage", v.offset, v.stored)
	}
	empty := false
	for i := range v.shape {
		empty = empty || vm.at(shape.n+int64(i)).n == 0
	}
	v.count = 1
	last := v.offset
	for i := range v.shape {
		size, stride := *vm.at(shape.n + int64(i)), *vm.at(strides.n + int64(i))
		if size.kind != intCell || stride.kind != intCell || min(size.n, stride.n) < 0 || max(size.n, stride.n) > min(maxElements, math.MaxInt) {
			return v, fmt.Errorf("dimension %d: want a size and a stride of 0 to 2^48, got %d and %d", i, size.n, stride.n)
		}
		v.shape[i], v.strides[i] = int(size.n), stride.n
		if empty {
			v.count = 0
			continue
		}
		if v.count > v.stored/size.n || size.n > 1 && stride.n > v.stored/(size.n-1) {
			return v, fmt.Errorf("shape %v with strides %v: more than the %d elements of its storage", v.shape[:i+1], v.strides[:i+1], v.stored)
		}
		v.count *= size.n
		last += (size.n - 1) * stride.n
	}
	if v.count > 0 && last >= v.stored {
		return v, fmt.Errorf("shape %v with strides %v from %d: reaches over the %d elements of its storage", v.shape, v.strides, v.offset, v.stored)
	}
	return v, nil
}

// contiguous says that the elements lie one after another.
func (v *view) contiguous() bool {
	want := int64(1)
	for i := len(v.shape) - 1; i >= 0; i-- {
		if v.shape[i] != 1 && v.strides[i] != want {
			return false
		}
		want *= int64(v.shape[i])
	}
	return true
}
