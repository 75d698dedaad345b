package main

// kind is a language that shaders are written in and what they become.
type kind struct {
	name  string // of what they become: the folder of the headers and a part of the arrays' names
	ext   string // of a shader
	tool  string // the compiler: build/TOOL.sh makes build/cache/TOOL
	magic uint32 // that a module starts with

	// commands are the programs of the tool, with their arguments, that write a module into file and validate it.
	commands func(m module, shaders, file string) [][]string
}

const usualTarget = "vulkan1.2"

var kinds = []kind{
	{"spirv", ".comp", "glslang", 0x07230203, func(m module, shaders, file string) [][]string {
		return [][]string{
			append([]string{"glslang", "-V", "-g0", "--quiet", "--target-env", m.target, "-I" + shaders, "-o", file, m.source}, m.defines...),
			{"spirv-val", "--target-env", m.target, file},
		}
	}},
	{"cubin", ".cu", "nvrtc", 0x464c457f, func(m module, shaders, file string) [][]string { // an ELF file
		return [][]string{
			append([]string{"nvrtc", m.source, file, "--gpu-architecture=sm_90a", "-std=c++17", "-I" + shaders}, m.defines...),
		}
	}},
}
