package convert

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/loader"
)

func TestPickle(t *testing.T) {
	views, err := pickledTensors(buildPickle(t, nil), &meter{})
	require.NoError(t, err)
	assert.Equal(t, []view{{name: "w", dtype: loader.F32, storage: "0", stored: 4, shape: []int{2, 2}, strides: []int64{2, 1}, count: 4}}, views)
}

// TestPickleAccepts: what PyTorch writes rarely, and rightly.
func TestPickleAccepts(t *testing.T) {
	for name, change := range map[string]map[string]string{
		"scalar":              {"shape": ")", "strides": ")"},
		"stride of no use":    {"shape": "K\x01K\x04\x86", "strides": "M\xff\xffK\x01\x86"},
		"overlapping rows":    {"shape": "K\x03K\x02\x86", "strides": "K\x01K\x01\x86", "elements": "K\x06"},
		"repeated row":        {"shape": "K\x02K\x02\x86", "strides": "K\x00K\x01\x86"},
		"no elements":         {"shape": "M\x00\x03K\x00\x86", "strides": "K\x01K\x01\x86", "elements": "K\x00"},
		"negative byte order": {"offset": "\x8a\x01\x00"},
		"long integers":       {"elements": "\x8a\x02\x04\x00", "offset": "\x8a\x00"},
		"v1 tensor":           {"function": "ctorch._utils\n_rebuild_tensor\n", "gradient": "", "hooks": ""},
		"metadata None":       {"hooks": "ccollections\nOrderedDict\n)RN"},
		"ordered dict":        {"dict": "ccollections\nOrderedDict\n)R"},
		"attributes":          {"set": "s}X\x09\x00\x00\x00_metadataccollections\nOrderedDict\n)Rsb"},
		"memo":                {"dict": "}q\x00", "key": pickleText("w") + "q\x01", "set": "sh\x000"},
		"frame and memoize":   {"proto": "\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00", "dict": "}\x94"},
	} {
		t.Run(name, func(t *testing.T) {
			views, err := pickledTensors(buildPickle(t, change), &meter{header: 200})
			require.NoError(t, err)
			require.Len(t, views, 1)
		})
	}
}

func TestPickleRefused(t *testing.T) {
	deep := strings.Repeat("(", 1000) + strings.Repeat("t", 1000)
	for name, tt := range map[string]struct {
		change map[string]string
		kind   error
		says   string
	}{
		"version 1":               {map[string]string{"proto": "\x80\x01"}, ErrBadFile, "want version 2 to 5, got 1"},
		"system":                  {map[string]string{"dict": "cos\nsystem\nX\x02\x00\x00\x00ls\x85R0}"}, loader.ErrUnsupported, `calls "system" of "os"`},
		"eval by stack":           {map[string]string{"dict": "\x8c\x08builtins\x8c\x04eval\x930}"}, loader.ErrUnsupported, `calls "eval" of "builtins"`},
		"pickle in a pickle":      {map[string]string{"function": "ctorch.storage\n_load_from_bytes\n"}, loader.ErrUnsupported, "_load_from_bytes"},
		"sparse tensor":           {map[string]string{"function": "ctorch._utils\n_rebuild_sparse_tensor\n"}, loader.ErrUnsupported, "_rebuild_sparse_tensor"},
		"quantized storage":       {map[string]string{"class": "ctorch\nQInt8Storage\n"}, loader.ErrUnsupported, "QInt8Storage"},
		"INST":                    {map[string]string{"dict": "(ios\nsystem\n"}, ErrBadFile, "instruction INST"},
		"NEWOBJ":                  {map[string]string{"hooks": "ccollections\nOrderedDict\n)\x81"}, ErrBadFile, "instruction NEWOBJ"},
		"unknown instruction":     {map[string]string{"dict": "\xff"}, ErrBadFile, "instruction 0xff"},
		"name without end":        {map[string]string{"class": "c" + strings.Repeat("a", 300)}, ErrBadFile, "want a name of at most 256 bytes"},
		"class is a function":     {map[string]string{"class": "ccollections\nOrderedDict\n"}, ErrBadFile, "collections.OrderedDict is not a storage class"},
		"function is a class":     {map[string]string{"function": "ctorch\nFloatStorage\n"}, ErrBadFile, "torch.FloatStorage is not a function"},
		"function is a text":      {map[string]string{"function": pickleText("f")}, ErrBadFile, "want a function, got a text"},
		"OrderedDict of a list":   {map[string]string{"hooks": "ccollections\nOrderedDict\n]\x85R"}, ErrBadFile, "want no arguments"},
		"nine arguments":          {map[string]string{"hooks": "NNNNNNNN"}, ErrBadFile, "with 13 arguments"},
		"three arguments":         {map[string]string{"strides": "", "gradient": "", "hooks": ""}, ErrBadFile, "want 4 to 7 arguments, got 3"},
		"negated view":            {map[string]string{"hooks": "N}"}, loader.ErrUnsupported, "special properties"},
		"storage of three":        {map[string]string{"device": "", "elements": ""}, ErrBadFile, "want a storage of 5 parts"},
		"not a storage":           {map[string]string{"storage name": pickleText("module")}, ErrBadFile, `want a storage, got "module"`},
		"elements as a text":      {map[string]string{"elements": pickleText("4")}, ErrBadFile, "part 4 of a storage: want an int, got a text"},
		"negative elements":       {map[string]string{"elements": "J\xff\xff\xff\xff"}, ErrBadFile, "storage of -1 elements"},
		"2^62 elements":           {map[string]string{"elements": "\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x40"}, ErrBadFile, "a storage of 4611686018427387904"},
		"offset as a text":        {map[string]string{"offset": pickleText("0")}, ErrBadFile, "argument 1: want an int"},
		"negative offset":         {map[string]string{"offset": "J\xff\xff\xff\xff"}, ErrBadFile, "begins at element -1"},
		"offset over the end":     {map[string]string{"offset": "K\x05"}, ErrBadFile, "begins at element 5"},
		"end over the end":        {map[string]string{"offset": "K\x01"}, ErrBadFile, "reaches over the 4 elements"},
		"shape over the end":      {map[string]string{"shape": "K\x03K\x02\x86"}, ErrBadFile, "more than the 4 elements"},
		"strides over the end":    {map[string]string{"strides": "K\x03K\x02\x86"}, ErrBadFile, "reaches over the 4 elements"},
		"stride 2^40":             {map[string]string{"strides": "\x8a\x06\x00\x00\x00\x00\x00\x01K\x01\x86"}, ErrBadFile, "more than the 4 elements"},
		"shape 2^62":              {map[string]string{"shape": "\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x40K\x02\x86"}, ErrBadFile, "want a size and a stride"},
		"negative size":           {map[string]string{"shape": "J\xff\xff\xff\xffK\x02\x86"}, ErrBadFile, "got -1 and 2"},
		"negative stride":         {map[string]string{"strides": "J\xff\xff\xff\xffK\x01\x86"}, ErrBadFile, "got 2 and -1"},
		"size as a text":          {map[string]string{"shape": pickleText("2") + "K\x02\x86"}, ErrBadFile, "want a size and a stride"},
		"two sizes, one stride":   {map[string]string{"strides": "K\x01\x85"}, ErrBadFile, "as many strides, got 2 and 1"},
		"nine dimensions":         {map[string]string{"shape": "(" + strings.Repeat("K\x01", 9) + "t", "strides": "(" + strings.Repeat("K\x01", 9) + "t"}, ErrBadFile, "want at most 8 sizes"},
		"repeats the storage":     {map[string]string{"shape": "K\x08K\x02\x86", "strides": "K\x00K\x01\x86"}, ErrBadFile, "more than the 4 elements"},
		"long integer":            {map[string]string{"offset": "\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00"}, ErrBadFile, "an integer of 9 bytes"},
		"text not UTF-8":          {map[string]string{"key": pickleText("\xff\xfe")}, ErrBadFile, "a text that is not UTF-8"},
		"text over the end":       {map[string]string{"key": "X\xff\xff\xff\xffw"}, ErrBadFile, "want 4294967295 more bytes"},
		"key is a number":         {map[string]string{"key": "K\x01"}, ErrBadFile, "want the name of a tensor, got an int"},
		"a dict of dicts":         {map[string]string{"function": "}", "args": "", "storage": "", "storage name": "", "class": "", "file": "", "device": "", "elements": "", "load": "", "offset": "", "shape": "", "strides": "", "gradient": "", "hooks": "", "rebuild": ""}, loader.ErrUnsupported, `"w": want a tensor, got a dict`},
		"not a dict":              {map[string]string{"dict": "]", "set": "e0]"}, ErrBadFile, "no mark on the stack"},
		"a tuple":                 {map[string]string{"stop": "\x85."}, loader.ErrUnsupported, "want a dictionary of tensors"},
		"the same name twice":     {map[string]string{"dict": "}X\x01\x00\x00\x00wNs", "stop": "."}, loader.ErrUnsupported, "got None"},
		"nothing":                 {map[string]string{"stop": "0."}, ErrBadFile, "want one value at the end, got 0"},
		"two values":              {map[string]string{"stop": "N."}, ErrBadFile, "want one value at the end, got 2"},
		"a mark left":             {map[string]string{"stop": "(."}, ErrBadFile, "want one value at the end"},
		"bytes follow":            {map[string]string{"stop": ".N"}, ErrBadFile, "1 bytes that follow"},
		"no end":                  {map[string]string{"stop": ""}, ErrBadFile, "want 1 more bytes, got 0"},
		"pops below a mark":       {map[string]string{"dict": "}(0"}, ErrBadFile, "POP: no value on the stack"},
		"tuple below a mark":      {map[string]string{"dict": "N(\x85"}, ErrBadFile, "want 1 values on the stack, got 0"},
		"no mark":                 {map[string]string{"args": ""}, ErrBadFile, "TUPLE: no mark on the stack"},
		"odd members":             {map[string]string{"set": "(Nu0"}, ErrBadFile, "a key without a value"},
		"unknown memo":            {map[string]string{"hooks": "h\x07"}, ErrBadFile, "value 7 of 0"},
		"memo ahead of its count": {map[string]string{"dict": "}q\x09"}, ErrBadFile, "at most number 0, got 9"},
		"memo of 2^32":            {map[string]string{"dict": "}r\xff\xff\xff\xff"}, ErrBadFile, "got 4294967295"},
		"state of a tensor":       {map[string]string{"rebuild": "tR}b"}, ErrBadFile, "BUILD: want a dict, got a tensor"},
		"nested tuples":           {map[string]string{"offset": deep}, ErrBadFile, "argument 1: want an int, got a tuple"},
		"a million marks":         {map[string]string{"offset": strings.Repeat("(", 1e6)}, ErrBadFile, "more than 8192 marks"},
		"a million values":        {map[string]string{"offset": strings.Repeat("N", 1e6)}, ErrBadFile, "more than 8192 values"},
	} {
		t.Run(name, func(t *testing.T) {
			code := buildPickle(t, tt.change)
			var err error
			requireBounded(t, len(code), func() { _, err = pickledTensors(code, &meter{header: int64(len(code))}) })
			require.ErrorIs(t, err, tt.kind)
			assert.ErrorContains(t, err, tt.says)
		})
	}
}

func TestPickleTwice(t *testing.T) {
	one := string(buildPickle(t, map[string]string{"proto": "", "dict": "", "stop": ""}))
	_, err := pickledTensors([]byte("\x80\x02}"+one+one+"."), &meter{header: 400})
	require.ErrorIs(t, err, ErrBadFile)
	assert.ErrorContains(t, err, `tensor "w": twice`)
}

// TestPickleMemory: short instructions that make long things are paid for by the
// length of the pickle.
func TestPickleMemory(t *testing.T) {
	for name, code := range map[string]string{
		"dicts":         strings.Repeat("}0", 4e5),
		"tuples":        strings.Repeat(")0", 4e5),
		"pairs":         "}" + strings.Repeat("NNs", 3e5),
		"many pairs":    "}" + strings.Repeat("("+strings.Repeat("NN", 1000)+"u", 300),
		"memo":          "}" + strings.Repeat("\x94", 1e6),
		"tuples of 3":   strings.Repeat("NNN\x870", 2e5),
		"ordered dicts": "ccollections\nOrderedDict\nq\x00" + strings.Repeat("h\x00)R0", 2e5),
		"texts":         "}" + strings.Repeat("\x8c\x00Ns", 2e5),
		"storages": "ctorch\nFloatStorage\nq\x00" + pickleText("storage") + "q\x01" + pickleText("0") + "q\x02" +
			strings.Repeat("(h\x01h\x00h\x02h\x02K\x00tQ0", 1e5),
		"tensors": "}ctorch._utils\n_rebuild_tensor\nq\x00(" + pickleText("storage") + "ctorch\nFloatStorage\n" + pickleText("0") + pickleText("") + "K\x01tQq\x01(K\x00))tq\x02" +
			strings.Repeat("h\x00(h\x01K\x00))tR0", 1e5),
	} {
		t.Run(name, func(t *testing.T) {
			data := []byte("\x80\x02" + code + ".")
			var err error
			requireBounded(t, len(data), func() { _, err = pickledTensors(data, &meter{header: int64(len(data))}) })
			require.Error(t, err)
		})
	}
}

// TestPickleLargeModel: the bound leaves room for every model there is.
func TestPickleLargeModel(t *testing.T) {
	one := string(buildPickle(t, map[string]string{"proto": "", "dict": "", "key": "", "stop": "", "set": ""}))
	// Released files give every text and tuple a number.
	var code strings.Builder
	code.WriteString("\x80\x02}")
	for i := range 3000 {
		fmt.Fprintf(&code, "%s\x94%s\x94\x94\x94\x94\x94\x94\x94s", pickleText(fmt.Sprintf("encoder.layer.%d.attention.self.query.weight", i)), one)
	}
	code.WriteString(".")
	data := []byte(code.String())
	var views []view
	var err error
	requireBounded(t, len(data), func() { views, err = pickledTensors(data, &meter{header: int64(len(data))}) })
	require.NoError(t, err)
	assert.Len(t, views, 3000)
}
