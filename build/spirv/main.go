// Spirv compiles the compute shaders of csrc/shaders to the committed headers of csrc/spirv, and the kernels in CUDA C++ beside
// them to those of csrc/cubin.
//
//	go run ./build/spirv          writes the headers and removes those whose shader is gone
//	go run ./build/spirv -check   compiles into memory and compares
//
// A shader <op>_<variant>.comp becomes csrc/spirv/<op>_<variant>.h, a kernel <op>_<variant>.cu csrc/cubin/<op>_<variant>.h,
// which define
//
//	static const uint32_t vkb_spirv_<op>_<variant>[]
//	static const uint32_t vkb_cubin_<op>_<variant>[]
//
// Lines like these at the start of a line make several modules of one shader <op>.comp or .cu, named <op>_<variant>; the shader
// itself then makes none:
//
//	//! variant f32
//	//! variant f16 -DWEIGHT_F16 -DROWS=4
//
// SPIR-V is made for Vulkan 1.2, but where a line says otherwise, for a kernel of devices that have more:
//
//	//! target vulkan1.3
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

func main() {
	check := flag.Bool("check", false, "compare the headers with what the shaders give, write nothing")
	cache := flag.String("cache", "build/cache", "folder with those that build/glslang.sh and build/nvrtc.sh make")
	csrc := flag.String("csrc", "csrc", "folder with those of the shaders and the headers")
	flag.Parse()
	failed := false
	for _, k := range kinds {
		if err := run(k, *cache, *csrc, *check, os.Stdout); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", k.name, err)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

func run(k kind, cache, csrc string, check bool, stdout io.Writer) error {
	shaders, out := filepath.Join(csrc, "shaders"), filepath.Join(csrc, k.name)
	modules, err := findModules(shaders, k.ext)
	if err != nil {
		return err
	}
	headers := map[string][]byte{}
	if len(modules) > 0 { // without any the compiler need not be there
		c, err := newCompiler(k, cache, shaders)
		if err != nil {
			return err
		}
		if headers, err = compileAll(c, modules); err != nil {
			return err
		}
	}
	stale, err := staleHeaders(out, headers)
	if err != nil {
		return err
	}
	if check {
		if err := compareHeaders(out, headers, stale); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s: %d headers of %s are what the shaders give\n", k.name, len(headers), out)
		return nil
	}
	written, err := writeHeaders(out, headers, stale)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s: %d modules, %d headers written, %d removed\n", k.name, len(headers), written, len(stale))
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
