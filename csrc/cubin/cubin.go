// Package cubin holds the compiled kernels in CUDA C++, one generated C header for each. Embedding them keeps them in a vendor
// folder, and has whatever imports the package built again when one changes.
package cubin

import "embed"

// Headers holds <op>_<variant>.h for each kernel.
//
//go:embed *.h
var Headers embed.FS
