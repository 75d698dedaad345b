// Package include holds the public C header. Embedding it keeps it in a vendor folder, and has whatever imports the package
// built again when it changes: the go command does not see an #include that leaves its package.
package include

import "embed"

// Headers holds vkbert.h.
//
//go:embed *.h
var Headers embed.FS
