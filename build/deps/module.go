package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// module is what `go list -m -json` and `go mod download -json` say of one.
type module struct {
	Version string
	Dir     string
	Error   string
	Replace *struct{ Path, Version string }
}

// checkSelected refuses an application whose module graph selects another version of the tokenizer module than the one
// whose Rust dependencies are pinned here: the Go half checks the version when it is linked, long after.
func checkSelected(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-json", tokenizersModule).Output()
	if err != nil {
		return nil // outside a module, or in one that does not require it yet: nothing selects another version
	}
	var m module
	if err := json.Unmarshal(out, &m); err != nil {
		return fmt.Errorf("go list -m -json %s: %w", tokenizersModule, err)
	}
	return m.check()
}

func (m *module) check() error {
	if m.Replace != nil {
		return fmt.Errorf("go.mod replaces %s by %s: build %s from that yourself and set CGO_LDFLAGS=-L<its folder>",
			tokenizersModule, strings.TrimSpace(m.Replace.Path+" "+m.Replace.Version), archiveName)
	}
	if m.Version != tokenizersVersion {
		return fmt.Errorf("go.mod selects %s %s, this vkbert links %s: go get %[1]s@%[3]s, or a vkbert that links the other",
			tokenizersModule, m.Version, tokenizersVersion)
	}
	return nil
}

// moduleSource returns the folder of the tokenizer module in the module cache, downloading and verifying it where it is
// missing. It asks from outside any module: a vendor folder holds the Go half only.
func moduleSource(ctx context.Context, outside string) (string, error) {
	at := tokenizersModule + "@" + tokenizersVersion
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", at)
	cmd.Dir = outside
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, runErr := cmd.Output()
	var m module
	if err := json.Unmarshal(out, &m); err != nil || m.Dir == "" {
		reason := firstNonEmpty(m.Error, strings.TrimSpace(stderr.String()), fmt.Sprint(runErr))
		return "", fmt.Errorf("go mod download %s: %s", at, oneLine(reason))
	}
	if lib := filepath.Join(m.Dir, "src", "lib.rs"); !exists(lib) {
		return "", fmt.Errorf("%s is missing: go clean -modcache, then run this again", lib)
	}
	return m.Dir, nil
}

func firstNonEmpty(candidates ...string) string {
	for _, s := range candidates {
		if s != "" {
			return s
		}
	}
	return ""
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
