package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// module is one module: a shader and the macros that it is compiled with.
type module struct {
	name    string   // <op>_<variant>
	source  string   // path of the shader
	defines []string // -DNAME or -DNAME=VALUE
	target  string   // of a shader in GLSL: the Vulkan that its SPIR-V is for
}

var (
	variantLine = regexp.MustCompile(`(?m)^//! *variant\b(.*)$`)
	targetLine  = regexp.MustCompile(`(?m)^//! *target (vulkan1\.[0-9])$`)
	noteLine    = regexp.MustCompile(`(?m)^//!.*$`)
	includeLine = regexp.MustCompile(`(?m)^\s*#\s*include\s+"([^"]+)"`)
	moduleName  = regexp.MustCompile(`^[a-z0-9]+(_[a-z0-9]+)+$`)
	define      = regexp.MustCompile(`^-D[A-Za-z_][A-Za-z0-9_]*(=[A-Za-z0-9_.+-]+)?$`)
)

// findModules lists the modules that the shaders in dir with an extension make, in the order of their file names.
func findModules(dir, ext string) ([]module, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*"+ext))
	if err != nil {
		return nil, err
	}
	var modules []module
	from := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		made, err := shaderModules(filepath.ToSlash(path), string(text))
		if err != nil {
			return nil, err
		}
		for _, m := range made {
			if other, ok := from[m.name]; ok {
				return nil, fmt.Errorf("%s: module %s is made by %s already", path, m.name, other)
			}
			from[m.name] = path
		}
		modules = append(modules, made...)
	}
	return modules, nil
}

// shaderModules lists the modules of one shader.
func shaderModules(path, text string) ([]module, error) {
	stem := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	variants := variantLine.FindAllStringSubmatch(text, -1)
	targets := targetLine.FindAllStringSubmatch(text, 1)
	if len(variants)+len(targets) != len(noteLine.FindAllString(text, -1)) {
		return nil, fmt.Errorf(`%s: a line that starts with //! is not "//! variant NAME -DMACRO…", nor the only "//! target vulkan1.N"`, path)
	}
	target := usualTarget
	for _, t := range targets {
		target = t[1]
	}
	modules := []module{{name: stem, source: path, target: target}}
	if len(variants) > 0 {
		modules = nil
	}
	for _, v := range variants {
		words := strings.Fields(v[1])
		if len(words) == 0 {
			return nil, fmt.Errorf("%s: a variant has no name", path)
		}
		for _, w := range words[1:] {
			if !define.MatchString(w) {
				return nil, fmt.Errorf("%s: variant %s: got %q, want -DNAME or -DNAME=VALUE", path, words[0], w)
			}
		}
		modules = append(modules, module{name: stem + "_" + words[0], source: path, defines: words[1:], target: target})
	}
	for _, m := range modules {
		if !moduleName.MatchString(m.name) {
			return nil, fmt.Errorf("%s: got module name %q, want <op>_<variant> of a-z, 0-9 and _", path, m.name)
		}
	}
	return modules, nil
}

// sourceHash returns a hash over the text of a shader and of all that it includes, directly or not, from its folder. It is
// kept in the header, so that one that was not made again after an edit is noticed without the compiler.
func sourceHash(path string) (string, error) {
	hash := sha256.New()
	seen := map[string]bool{}
	var add func(path string) error
	add = func(path string) error {
		if seen[path] {
			return nil
		}
		seen[path] = true
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(hash, "%s %d\n%s", filepath.Base(path), len(text), text)
		for _, include := range includeLine.FindAllSubmatch(text, -1) {
			if err := add(filepath.Join(filepath.Dir(path), string(include[1]))); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		return nil
	}
	if err := add(path); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", hash.Sum(nil)[:16]), nil
}
