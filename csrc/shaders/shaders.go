// Package shaders holds the source of the compute shaders, in GLSL, and of kernels in CUDA C++. Embedding it keeps it in a vendor folder.
package shaders

import "embed"

// Sources holds the shaders, <op>_<variant>.comp or .cu, and what they share, *.glsl and *.cuh.
//
//go:embed *.c* *.glsl
var Sources embed.FS
