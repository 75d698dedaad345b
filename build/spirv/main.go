// Spirv compiles the compute shaders of csrc/shaders to the committed headers of csrc/spirv.
//
//	go run ./build/spirv          writes the headers and removes those whose shader is gone
//	go run ./build/spirv -check   compiles into memory and compares
//
// A shader <op>_<variant>.comp becomes <op>_<variant>.h, which defines
//
//	static const uint32_t vkb_spirv_<op>_<variant>[]
//
// Lines like these at the start of a line make several modules of one shader <op>.comp, named <op>_<variant>; the shader
// itself then makes none:
//
//	//! variant f32
//	//! variant f16 -DWEIGHT_F16 -DROWS=4
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
)

const targetEnv = "vulkan1.2"

func main() {
	check := flag.Bool("check", false, "compare the headers with what the shaders give, write nothing")
	tools := flag.String("tools", "build/cache/glslang", "folder made by build/glslang.sh")
	shaders := flag.String("shaders", "csrc/shaders", "folder of the shaders")
	out := flag.String("out", "csrc/spirv", "folder of the headers")
	flag.Parse()
	if err := run(*tools, *shaders, *out, *check, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "spirv:", err)
		os.Exit(1)
	}
}

func run(tools, shaders, out string, check bool, stdout io.Writer) error {
	modules, err := findModules(shaders)
	if err != nil {
		return err
	}
	c, err := newCompiler(tools, shaders)
	if err != nil {
		return err
	}
	headers, err := compileAll(c, modules)
	if err != nil {
		return err
	}
	stale, err := staleHeaders(out, headers)
	if err != nil {
		return err
	}
	if check {
		if err := compareHeaders(out, headers, stale); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "spirv: %d headers of %s are what the shaders give\n", len(headers), out)
		return nil
	}
	written, err := writeHeaders(out, headers, stale)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "spirv: %d modules, %d headers written, %d removed\n", len(headers), written, len(stale))
	return nil
}

// compileAll returns the header of each module by file name.
func compileAll(c *compiler, modules []module) (map[string][]byte, error) {
	headers := make([][]byte, len(modules))
	errs := make([]error, len(modules))
	slots := make(chan struct{}, runtime.NumCPU())
	var wg sync.WaitGroup
	for i, m := range modules {
		wg.Add(1)
		go func() {
			defer wg.Done()
			slots <- struct{}{}
			defer func() { <-slots }()
			headers[i], errs[i] = c.header(m)
		}()
	}
	wg.Wait()
	byName := make(map[string][]byte, len(modules))
	for i, m := range modules {
		byName[m.name+".h"] = headers[i]
	}
	return byName, errors.Join(errs...)
}

// staleHeaders lists the headers in dir that no shader makes.
func staleHeaders(dir string, headers map[string][]byte) ([]string, error) {
	have, err := filepath.Glob(filepath.Join(dir, "*.h"))
	if err != nil {
		return nil, err
	}
	var stale []string
	for _, path := range have {
		if _, ok := headers[filepath.Base(path)]; !ok {
			stale = append(stale, path)
		}
	}
	return stale, nil
}
