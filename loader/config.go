package loader

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	maxConfig   = 16 << 20
	configDepth = 32
)

// Config is a JSON object read from a file, with getters that check. Every error
// is an ErrBadConfig that names the file, the key, what was wanted and what was
// found. A key that holds null counts as missing, as it does for transformers.
//
// A Config is never changed after it was read and may be shared.
type Config struct {
	file string
	path string // of this object in the file: "" or "rope_scaling."
	obj  *jsonObject
	kind error // what errors are: ErrBadConfig if nil
}

// ReadConfig reads a JSON file that holds an object.
func ReadConfig(path string) (*Config, error) {
	data, err := readBounded(path, maxConfig)
	if err != nil {
		return nil, err
	}
	return ParseConfig(path, data)
}

// ParseConfig is ReadConfig for a text in memory; file is what errors name.
func ParseConfig(file string, data []byte) (*Config, error) {
	v, err := parseJSON(data, configDepth)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrBadConfig, file, err)
	}
	obj, ok := v.(*jsonObject)
	if !ok {
		return nil, fmt.Errorf("%w: %s: want an object, got %s", ErrBadConfig, file, describe(v))
	}
	return &Config{file: file, obj: obj}, nil
}

// configWithin reads the config of that name below root.
func configWithin(root, name string) (*Config, error) {
	path, err := within(root, name)
	if err != nil {
		return nil, err
	}
	return ReadConfig(path)
}

// optionalConfig is configWithin for a file that may be missing: the config is
// then empty.
func optionalConfig(root, name string) (*Config, error) {
	c, err := configWithin(root, name)
	if errors.Is(err, ErrNotFound) {
		return &Config{file: filepath.Join(root, filepath.FromSlash(name)), obj: &jsonObject{}}, nil
	}
	return c, err
}

// File returns the path of the file, for messages.
func (c *Config) File() string { return c.file }

// Keys returns the keys in the order of the file.
func (c *Config) Keys() []string { return slices.Clone(c.obj.keys) }

// Has says whether the key is there and not null.
func (c *Config) Has(key string) bool { return c.obj.get(key) != nil }

// Errorf returns an ErrBadConfig about a key, for checks that need more than one
// value (a remainder, a combination).
func (c *Config) Errorf(key, format string, args ...any) error {
	kind := c.kind
	if kind == nil {
		kind = ErrBadConfig
	}
	return fmt.Errorf("%w: %s: %s%s: %w", kind, c.file, c.path, key, fmt.Errorf(format, args...))
}

// Unsupported returns an ErrUnsupported about a key.
func (c *Config) Unsupported(key, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s%s: %w", ErrUnsupported, c.file, c.path, key, fmt.Errorf(format, args...))
}

func (c *Config) wrong(key, want string) error {
	if _, there := c.obj.values[key]; !there {
		return c.Errorf(key, "want %s, got nothing", want)
	}
	return c.Errorf(key, "want %s, got %s", want, describe(c.obj.get(key)))
}

// Int returns an integer of [low, high].
func (c *Config) Int(key string, low, high int) (int, error) {
	want := fmt.Sprintf("an integer of %d to %d", low, high)
	n, ok := c.obj.get(key).(jsonNumber)
	if !ok {
		return 0, c.wrong(key, want)
	}
	v, err := strconv.Atoi(string(n))
	if err != nil || v < low || v > high {
		return 0, c.wrong(key, want)
	}
	return v, nil
}

// Float returns a finite number of [low, high].
func (c *Config) Float(key string, low, high float64) (float64, error) {
	want := fmt.Sprintf("a number of %g to %g", low, high)
	n, ok := c.obj.get(key).(jsonNumber)
	if !ok {
		return 0, c.wrong(key, want)
	}
	v, err := strconv.ParseFloat(string(n), 64)
	if err != nil || math.IsInf(v, 0) || v < low || v > high {
		return 0, c.wrong(key, want)
	}
	return v, nil
}

// String returns a string, which must be one of the given ones if there are any.
func (c *Config) String(key string, oneOf ...string) (string, error) {
	want := "a string"
	if len(oneOf) > 0 {
		want = "one of " + strings.Join(oneOf, ", ")
	}
	s, ok := c.obj.get(key).(string)
	if !ok || len(oneOf) > 0 && !slices.Contains(oneOf, s) {
		return "", c.wrong(key, want)
	}
	return s, nil
}

// Bool returns true or false.
func (c *Config) Bool(key string) (bool, error) {
	b, ok := c.obj.get(key).(bool)
	if !ok {
		return false, c.wrong(key, "true or false")
	}
	return b, nil
}

// Strings returns a list of strings; a missing key is an empty list.
func (c *Config) Strings(key string) ([]string, error) {
	if !c.Has(key) {
		return nil, nil
	}
	list, ok := c.obj.get(key).([]any)
	if !ok {
		return nil, c.wrong(key, "a list of strings")
	}
	out := make([]string, len(list))
	for i, v := range list {
		if out[i], ok = v.(string); !ok {
			return nil, c.wrong(key, "a list of strings")
		}
	}
	return out, nil
}

// Object returns a nested object; its errors name the whole path of a key.
func (c *Config) Object(key string) (*Config, error) {
	obj, ok := c.obj.get(key).(*jsonObject)
	if !ok {
		return nil, c.wrong(key, "an object")
	}
	return &Config{file: c.file, path: c.path + key + ".", obj: obj, kind: c.kind}, nil
}

// IntOr is Int with a default for a missing key. A key that is there is checked.
func (c *Config) IntOr(key string, missing, low, high int) (int, error) {
	if !c.Has(key) {
		return missing, nil
	}
	return c.Int(key, low, high)
}

// FloatOr is Float with a default for a missing key.
func (c *Config) FloatOr(key string, missing, low, high float64) (float64, error) {
	if !c.Has(key) {
		return missing, nil
	}
	return c.Float(key, low, high)
}

// StringOr is String with a default for a missing key.
func (c *Config) StringOr(key, missing string, oneOf ...string) (string, error) {
	if !c.Has(key) {
		return missing, nil
	}
	return c.String(key, oneOf...)
}

// BoolOr is Bool with a default for a missing key.
func (c *Config) BoolOr(key string, missing bool) (bool, error) {
	if !c.Has(key) {
		return missing, nil
	}
	return c.Bool(key)
}

// ModelType returns model_type, "" if there is none.
func (c *Config) ModelType() string {
	s, _ := c.obj.get("model_type").(string)
	return s
}

// Architectures returns the class names of architectures, for example BertModel.
func (c *Config) Architectures() ([]string, error) { return c.Strings("architectures") }

// AutoMap returns the classes of code in the model's own repository by the
// transformers class that they stand for: a model that has them may differ from
// what its model_type says.
func (c *Config) AutoMap() (map[string]string, error) {
	if !c.Has("auto_map") {
		return nil, nil
	}
	obj, err := c.Object("auto_map")
	if err != nil {
		return nil, err
	}
	classes := make(map[string]string)
	for _, key := range obj.obj.keys {
		if list, isList := obj.obj.get(key).([]any); isList { // AutoTokenizer: [slow, fast or null]
			for _, v := range list {
				if s, ok := v.(string); ok {
					classes[key] = s
				}
			}
			continue
		}
		if classes[key], err = obj.String(key); err != nil {
			return nil, err
		}
	}
	return classes, nil
}

// TorchDType returns the type that the weights were saved in, as dtype
// (transformers 5) or torch_dtype (4) spells it, for example float32; "" if
// neither is there. The safetensors header has the last word.
func (c *Config) TorchDType() (string, error) {
	for _, key := range []string{"dtype", "torch_dtype"} {
		if c.Has(key) {
			s, err := c.String(key)
			return strings.TrimPrefix(s, "torch."), err
		}
	}
	return "", nil
}

// Fields reads a config with one error for all of it: after the first error every
// getter returns the zero value. It remembers which keys were asked for.
//
//	f := c.Fields()
//	hidden := f.Int("hidden_size", 1, 1<<16)
//	eps := f.Float("layer_norm_eps", 0, 1)
//	if err := f.Err(); err != nil { … }
//
// A Fields is for one goroutine.
type Fields struct {
	c    *Config
	err  error
	read map[string]bool
}

// Fields starts reading.
func (c *Config) Fields() *Fields { return &Fields{c: c, read: make(map[string]bool)} }

// Err returns the first error.
func (f *Fields) Err() error { return f.err }

// Fail records err, if it is the first and not nil, for checks of the caller's own.
func (f *Fields) Fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

// Has is [Config.Has]; the key counts as read.
func (f *Fields) Has(key string) bool {
	f.read[key] = true
	return f.c.Has(key)
}

// Unread returns the keys that are there and not null, and that nobody asked for.
func (f *Fields) Unread() []string {
	return slices.DeleteFunc(f.c.Keys(), func(key string) bool { return f.read[key] || !f.c.Has(key) })
}

// Ignore marks keys as read that say nothing about the vectors.
func (f *Fields) Ignore(keys ...string) {
	for _, key := range keys {
		f.read[key] = true
	}
}

func field[T any](f *Fields, key string, get func() (T, error)) T {
	var zero T
	f.read[key] = true
	if f.err != nil {
		return zero
	}
	v, err := get()
	if err != nil {
		f.err = err
		return zero
	}
	return v
}

// Int is [Config.Int].
func (f *Fields) Int(key string, low, high int) int {
	return field(f, key, func() (int, error) { return f.c.Int(key, low, high) })
}

// IntOr is [Config.IntOr].
func (f *Fields) IntOr(key string, missing, low, high int) int {
	return field(f, key, func() (int, error) { return f.c.IntOr(key, missing, low, high) })
}

// Float is [Config.Float].
func (f *Fields) Float(key string, low, high float64) float64 {
	return field(f, key, func() (float64, error) { return f.c.Float(key, low, high) })
}

// FloatOr is [Config.FloatOr].
func (f *Fields) FloatOr(key string, missing, low, high float64) float64 {
	return field(f, key, func() (float64, error) { return f.c.FloatOr(key, missing, low, high) })
}

// String is [Config.String].
func (f *Fields) String(key string, oneOf ...string) string {
	return field(f, key, func() (string, error) { return f.c.String(key, oneOf...) })
}

// StringOr is [Config.StringOr].
func (f *Fields) StringOr(key, missing string, oneOf ...string) string {
	return field(f, key, func() (string, error) { return f.c.StringOr(key, missing, oneOf...) })
}

// Bool is [Config.Bool].
func (f *Fields) Bool(key string) bool {
	return field(f, key, func() (bool, error) { return f.c.Bool(key) })
}

// BoolOr is [Config.BoolOr].
func (f *Fields) BoolOr(key string, missing bool) bool {
	return field(f, key, func() (bool, error) { return f.c.BoolOr(key, missing) })
}
