// Package spirv holds the compiled compute shaders, one generated C header for each module. Embedding them keeps them in a
// vendor folder, and has whatever imports the package built again when one changes.
package spirv

import "embed"

// Headers holds <op>_<variant>.h for each module.
//
//go:embed *.h
var Headers embed.FS
