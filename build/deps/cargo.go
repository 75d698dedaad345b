package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// minRust is the oldest Rust 1.x that builds the pinned dependencies; Cargo.toml says the same.
const minRust = 82

const installRust = "install Rust 1.82 or newer (Debian 12: apt-get install cargo-web; Ubuntu 24.04: apt-get install cargo-1.85; " +
	"Debian 13: apt-get install cargo; elsewhere: https://rustup.rs)"

// rust is a usable Rust.
type rust struct {
	cargo, rustc string // paths
	version      string // what `cargo --version` prints
}

// findRust returns the machine's Rust, or why it cannot be used: the programs that CARGO and RUSTC name, those on PATH, or where these
// are missing or too old the newest that lie beside them under a versioned name, as Debian and Ubuntu ship them.
func findRust(ctx context.Context) (*rust, error) {
	found, err := tryRust(ctx, firstNonEmpty(os.Getenv("CARGO"), "cargo"), firstNonEmpty(os.Getenv("RUSTC"), "rustc"))
	if err == nil {
		return found, nil
	}
	for _, suffix := range versionedCargos(os.Getenv("PATH")) {
		if found, err := tryRust(ctx, "cargo"+suffix, "rustc"+suffix); err == nil {
			return found, nil
		}
	}
	return nil, err
}

func tryRust(ctx context.Context, cargo, rustc string) (*rust, error) {
	cargo, version, err := rustTool(ctx, cargo)
	if err != nil {
		return nil, err
	}
	rustc, _, err = rustTool(ctx, rustc)
	if err != nil {
		return nil, err
	}
	return &rust{cargo: cargo, rustc: rustc, version: version}, nil
}

// rustTool finds a program and checks its version.
func rustTool(ctx context.Context, name string) (path, version string, err error) {
	path, err = exec.LookPath(name)
	if err != nil {
		return "", "", fmt.Errorf("no %s on PATH", name)
	}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", "", fmt.Errorf("%s --version: %w", path, err)
	}
	version = oneLine(string(out))
	return path, version, checkRustVersion(path, version)
}

var rustVersion = regexp.MustCompile(`^(?:cargo|rustc) (\d+)\.(\d+)`)

func checkRustVersion(path, version string) error {
	m := rustVersion.FindStringSubmatch(version)
	if m == nil {
		return fmt.Errorf("%s --version: got %q, want a version", path, version)
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	if major < 1 || major == 1 && minor < minRust {
		return fmt.Errorf("%s is too old: %s, want 1.%d or newer", path, version, minRust)
	}
	return nil
}

// versionedCargos lists the suffixes ("-1.85") of the programs cargo-1.N in the folders of path, the newest first.
func versionedCargos(path string) []string {
	var minors []int
	for _, dir := range filepath.SplitList(path) {
		names, _ := filepath.Glob(filepath.Join(dir, "cargo-1.*")) // the only error is a malformed pattern
		for _, name := range names {
			if minor, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(name), "cargo-1.")); err == nil {
				minors = append(minors, minor)
			}
		}
	}
	slices.Sort(minors)
	slices.Reverse(minors)
	var suffixes []string
	for _, minor := range slices.Compact(minors) {
		suffixes = append(suffixes, fmt.Sprintf("-1.%d", minor))
	}
	return suffixes
}

// buildWithCargo builds the library from the Rust source in the Go module and writes it to dst.
func (b *builder) buildWithCargo(ctx context.Context, r *rust, dst string) error {
	if err := checkCompilers(); err != nil {
		return err
	}
	source, err := moduleSource(ctx, b.scratch())
	if err != nil {
		return err
	}
	tree := filepath.Join(b.scratch(), "tokenizers")
	if err := cargoTree(source, tree); err != nil {
		return err
	}
	b.printf("building %s of %s %s with %s: about two minutes, once", archiveName, tokenizersModule, tokenizersVersion, r.version)
	target := firstNonEmpty(os.Getenv("CARGO_TARGET_DIR"), filepath.Join(tree, "target"))
	cmd := exec.CommandContext(ctx, r.cargo, "build", "--release", "--locked", "--lib", "--target-dir", target)
	cmd.Dir = tree
	cmd.Stdout, cmd.Stderr = b.log, b.log
	cmd.Env = append(os.Environ(), "RUSTC="+r.rustc,
		"RUSTONIG_SYSTEM_LIBONIG=0") // the bundled one, whatever the machine has
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cargo build of %s %s: %w (cargo's own messages are above)", tokenizersModule, tokenizersVersion, err)
	}
	if err := copyFile(filepath.Join(target, "release", archiveName), dst); err != nil {
		return err
	}
	return b.strip(ctx, dst)
}

// checkCompilers looks for the compilers that some Rust dependencies need. The Go half links libstdc++ in any case.
func checkCompilers() error {
	for _, c := range []struct{ env, name, pkg string }{{"CC", "cc", "gcc"}, {"CXX", "c++", "g++"}} {
		if _, err := exec.LookPath(c.name); err != nil && os.Getenv(c.env) == "" {
			return fmt.Errorf("no %s on PATH: apt-get install %s, or set %s", c.name, c.pkg, c.env)
		}
	}
	return nil
}

// cargoTree makes a cargo package in dst: the Rust source in the module folder with the manifest and lock file kept here.
func cargoTree(module, dst string) error {
	if err := os.MkdirAll(dst, 0o700); err != nil {
		return err
	}
	return errors.Join(
		os.CopyFS(filepath.Join(dst, "src"), os.DirFS(filepath.Join(module, "src"))),
		os.WriteFile(filepath.Join(dst, "Cargo.toml"), cargoManifest, 0o600),
		os.WriteFile(filepath.Join(dst, "Cargo.lock"), cargoLock, 0o600),
	)
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	return writeFile(to, src)
}

// strip drops debug information, a sixth of the archive. One that could not be stripped links just as well.
func (b *builder) strip(ctx context.Context, archive string) error {
	flag := "-g"
	if runtime.GOOS == "darwin" {
		flag = "-S"
	}
	if out, err := exec.CommandContext(ctx, "strip", flag, archive).CombinedOutput(); err != nil {
		b.printf("%s keeps its debug information: strip: %v %s", archiveName, err, oneLine(string(out)))
	}
	return ctx.Err()
}
