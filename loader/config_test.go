package loader

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func testConfig(t *testing.T, text string) *Config {
	c, err := ParseConfig("config.json", []byte(text))
	require.NoError(t, err)
	return c
}

func TestConfigGetters(t *testing.T) {
	c := testConfig(t, `{"i":12,"f":1e-12,"s":"gelu","b":true,"n":null,"o":{"x":-1},"l":["a","b"],"big":1e30,"half":12.5,
		"huge":1000000000000000019884624838656,"inf":1e999,"zero":-0}`)
	// What a getter returns or, from the second colon on, what its error says.
	tests := map[string]struct {
		get  func() (any, error)
		want any
		says string
	}{
		"int":                {get: func() (any, error) { return c.Int("i", 1, 12) }, want: 12},
		"int, too large":     {get: func() (any, error) { return c.Int("i", 1, 11) }, says: "i: want an integer of 1 to 11, got 12"},
		"int, too small":     {get: func() (any, error) { return c.Int("i", 13, 20) }, says: "i: want an integer of 13 to 20, got 12"},
		"int, a float":       {get: func() (any, error) { return c.Int("half", 1, 99) }, says: "got 12.5"},
		"int, huge":          {get: func() (any, error) { return c.Int("huge", 1, 99) }, says: "got 1000000000000000019884624838656"},
		"int, text":          {get: func() (any, error) { return c.Int("s", 1, 99) }, says: `got "gelu"`},
		"int, null":          {get: func() (any, error) { return c.Int("n", 1, 99) }, says: "got null"},
		"int, missing":       {get: func() (any, error) { return c.Int("x", 1, 99) }, says: "x: want an integer of 1 to 99, got nothing"},
		"int or, missing":    {get: func() (any, error) { return c.IntOr("x", 7, 1, 99) }, want: 7},
		"int or, null":       {get: func() (any, error) { return c.IntOr("n", 7, 1, 99) }, want: 7},
		"int or, wrong":      {get: func() (any, error) { return c.IntOr("i", 7, 1, 9) }, says: "got 12"},
		"float":              {get: func() (any, error) { return c.Float("f", 0, 1) }, want: 1e-12},
		"float, an integer":  {get: func() (any, error) { return c.Float("i", 0, 20) }, want: 12.0},
		"float, infinite":    {get: func() (any, error) { return c.Float("inf", 0, 1) }, says: "inf: want a number of 0 to 1, got 1e999"},
		"float, negative":    {get: func() (any, error) { return c.Float("big", -1, 0) }, says: "want a number of -1 to 0, got 1e30"},
		"string":             {get: func() (any, error) { return c.String("s") }, want: "gelu"},
		"string, one of":     {get: func() (any, error) { return c.String("s", "relu", "gelu") }, want: "gelu"},
		"string, none of":    {get: func() (any, error) { return c.String("s", "relu", "silu") }, says: `s: want one of relu, silu, got "gelu"`},
		"string, a number":   {get: func() (any, error) { return c.String("i") }, says: "i: want a string, got 12"},
		"string or, missing": {get: func() (any, error) { return c.StringOr("x", "d") }, want: "d"},
		"bool":               {get: func() (any, error) { return c.Bool("b") }, want: true},
		"bool, a number":     {get: func() (any, error) { return c.Bool("i") }, says: "i: want true or false, got 12"},
		"bool or, missing":   {get: func() (any, error) { return c.BoolOr("x", true) }, want: true},
		"strings":            {get: func() (any, error) { return c.Strings("l") }, want: []string{"a", "b"}},
		"strings, text":      {get: func() (any, error) { return c.Strings("s") }, says: "want a list of strings"},
		"object, text":       {get: func() (any, error) { return c.Object("s") }, says: "want an object"},
		"nested, wrong": {get: func() (any, error) {
			o, err := c.Object("o")
			require.NoError(t, err)
			return o.Int("x", 0, 1)
		}, says: "config.json: o.x: want an integer of 0 to 1, got -1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := tt.get()
			if tt.says == "" {
				require.NoError(t, err)
				assert.Equal(t, tt.want, got)
				return
			}
			require.ErrorIs(t, err, ErrBadConfig)
			assert.ErrorContains(t, err, tt.says)
			assert.ErrorContains(t, err, "config.json")
		})
	}
	assert.True(t, c.Has("i"))
	assert.False(t, c.Has("n"))
	assert.False(t, c.Has("x"))
	assert.Equal(t, []string{"i", "f", "s", "b", "n", "o", "l", "big", "half", "huge", "inf", "zero"}, c.Keys())
}

func TestConfigNames(t *testing.T) {
	c := testConfig(t, `{"model_type":"bert","architectures":["BertModel"],"torch_dtype":"float16",
		"auto_map":{"AutoModel":"modeling_bert.JinaBertModel","AutoTokenizer":["slow.Tok",null]}}`)
	assert.Equal(t, "bert", c.ModelType())
	architectures, err := c.Architectures()
	require.NoError(t, err)
	assert.Equal(t, []string{"BertModel"}, architectures)
	auto, err := c.AutoMap()
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"AutoModel": "modeling_bert.JinaBertModel", "AutoTokenizer": "slow.Tok"}, auto)
	for text, want := range map[string]string{
		`{}`: "", `{"dtype":"bfloat16","torch_dtype":"float32"}`: "bfloat16", `{"torch_dtype":"torch.float32"}`: "float32", `{"dtype":null,"torch_dtype":"float16"}`: "float16",
	} {
		got, err := testConfig(t, text).TorchDType()
		require.NoError(t, err)
		assert.Equal(t, want, got, text)
	}
	empty := testConfig(t, `{}`)
	assert.Empty(t, empty.ModelType())
	auto, err = empty.AutoMap()
	require.NoError(t, err)
	assert.Nil(t, auto)
	_, err = testConfig(t, `{"architectures":"BertModel"}`).Architectures()
	require.ErrorIs(t, err, ErrBadConfig)
	_, err = testConfig(t, `{"auto_map":[]}`).AutoMap()
	require.ErrorIs(t, err, ErrBadConfig)
}

func TestFields(t *testing.T) {
	f := testConfig(t, `{"hidden_size":384,"eps":1e-12,"act":"gelu","odd":1,"none":null}`).Fields()
	assert.Equal(t, 384, f.Int("hidden_size", 1, 1000))
	assert.Equal(t, 1e-12, f.FloatOr("eps", 1, 0, 1))
	assert.Equal(t, 2, f.IntOr("types", 2, 1, 4))
	require.NoError(t, f.Err())
	f.Ignore("act")
	assert.Equal(t, []string{"odd"}, f.Unread())

	// The first error stays, and nothing is returned after it.
	assert.Zero(t, f.Float("eps", 1, 2))
	assert.Zero(t, f.Int("hidden_size", 1, 1000))
	assert.Empty(t, f.String("none"))
	require.ErrorIs(t, f.Err(), ErrBadConfig)
	assert.ErrorContains(t, f.Err(), "eps: want a number of 1 to 2, got 1e-12")
	f.Fail(os.ErrClosed)
	assert.ErrorContains(t, f.Err(), "eps")
}

func TestConfigFileRefused(t *testing.T) {
	for name, tt := range map[string]struct{ text, says string }{
		"a list":    {`[]`, "want an object, got a list"},
		"duplicate": {`{"hidden_size":4,"hidden_size":8}`, `duplicate key "hidden_size"`},
		"deep":      {`{"a":` + strings.Repeat("[", 1_000_000), "nested too deeply"},
		"NaN":       {`{"layer_norm_eps":NaN}`, "want a value"},
		"not JSON":  {"hidden_size: 4", "want a value"},
		"empty":     {"", "end of the text"},
		"not UTF-8": {"{\"a\":\"\xff\"}", "UTF-8"},
		"too large": {"{}" + strings.Repeat(" ", maxConfig), "want at most"},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, t.TempDir(), "config.json", []byte(tt.text))
			_, err := ReadConfig(path)
			require.ErrorIs(t, err, ErrBadConfig)
			assert.ErrorContains(t, err, tt.says)
			assert.ErrorContains(t, err, path)
		})
	}
	_, err := ReadConfig(t.TempDir() + "/config.json")
	require.ErrorIs(t, err, ErrNotFound)
	_, err = ReadConfig(t.TempDir())
	require.ErrorIs(t, err, ErrBadConfig, "a directory")
}
