// Package shaders holds the GLSL source of the compute shaders. Embedding it keeps it in a vendor folder.
package shaders

import "embed"

// Sources holds the shaders, <op>_<variant>.comp, and what they share, *.glsl.
//
//go:embed *.comp *.glsl
var Sources embed.FS
