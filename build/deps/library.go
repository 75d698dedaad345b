package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

const (
	tokenizersModule  = "github.com/daulet/tokenizers"
	tokenizersVersion = "v1.24.0" // as in go.mod; Cargo.lock is for this version
	archiveName       = "libtokenizers.a"
)

//go:embed rust/Cargo.toml
var cargoManifest []byte

//go:embed rust/Cargo.lock
var cargoLock []byte

// builder makes the library for one platform in one cache folder.
type builder struct {
	dir         string // the folder of this version, platform and lock file
	platform    string // GOOS/GOARCH
	releaseBase string // where upstream's releases lie
	log         io.Writer
}

func newBuilder(log io.Writer) (*builder, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	pin := sha256.New()
	pin.Write(cargoManifest)
	pin.Write(cargoLock)
	key := fmt.Sprintf("%s-%s-%s-%.4x", tokenizersVersion, runtime.GOOS, runtime.GOARCH, pin.Sum(nil))
	return &builder{
		dir:         filepath.Join(cache, "tokenizers", key),
		platform:    runtime.GOOS + "/" + runtime.GOARCH,
		releaseBase: "https://github.com/daulet/tokenizers/releases/download",
		log:         log,
	}, nil
}

// cacheDir returns vkbert's folder in the user's cache. VKBERT_CACHE=off turns off the caches of a running program; a library
// to link against has to lie somewhere, so that value counts as unset here.
func cacheDir() (string, error) {
	if dir := os.Getenv("VKBERT_CACHE"); dir != "" && dir != "off" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache folder (%w): set VKBERT_CACHE to one", err)
	}
	return filepath.Join(dir, "vkbert"), nil
}

// library returns the folder that holds libtokenizers.a, making it first where it is missing. A library made by cargo is
// preferred to a downloaded one, because its dependencies are the pinned ones.
func (b *builder) library(ctx context.Context) (string, error) {
	built, released := filepath.Join(b.dir, "cargo"), filepath.Join(b.dir, "release")
	if exists(filepath.Join(built, archiveName)) {
		return built, nil
	}
	if err := checkSelected(ctx); err != nil {
		return "", err
	}
	rust, noRust := findRust(ctx)
	if noRust != nil && exists(filepath.Join(released, archiveName)) {
		return released, nil
	}

	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return "", fmt.Errorf("%w: set VKBERT_CACHE to a folder that can be written", err)
	}
	unlock, err := lockFile(filepath.Join(b.dir, "lock"), func() { b.printf("waiting for another build of %s", archiveName) })
	if err != nil {
		return "", err
	}
	defer unlock()

	target, make := built, func(dst string) error { return b.buildWithCargo(ctx, rust, dst) }
	if noRust != nil {
		target, make = released, func(dst string) error { return b.download(ctx, noRust, dst) }
	}
	if exists(filepath.Join(target, archiveName)) { // by whoever held the lock
		return target, nil
	}
	return target, b.install(target, make)
}

// check says whether library would succeed without a download, in words that say how.
func (b *builder) check(ctx context.Context) (string, error) {
	for _, from := range []string{"cargo", "release"} {
		if path := filepath.Join(b.dir, from, archiveName); exists(path) {
			return path, nil
		}
	}
	r, err := findRust(ctx)
	if err != nil {
		return "", fmt.Errorf("%s is not in %s, and %w: %s", archiveName, b.dir, err, installRust)
	}
	return r.version + " will build it", nil
}

// install runs make on a path in a scratch folder and moves what it made to target/libtokenizers.a in one step.
// The caller holds the lock, so a scratch folder that is there already was left by a run that was killed.
func (b *builder) install(target string, make func(dst string) error) error {
	if err := os.RemoveAll(b.scratch()); err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(b.scratch(), 0o700), os.MkdirAll(target, 0o700)); err != nil {
		return err
	}
	defer os.RemoveAll(b.scratch())
	made := filepath.Join(b.scratch(), archiveName)
	if err := make(made); err != nil {
		return err
	}
	if err := checkArchive(made); err != nil {
		return err
	}
	return os.Rename(made, filepath.Join(target, archiveName))
}

func (b *builder) scratch() string { return filepath.Join(b.dir, "scratch") }

func (b *builder) printf(format string, args ...any) {
	fmt.Fprintf(b.log, "deps: "+format+"\n", args...)
}

// checkArchive says whether path is a static library, by its first bytes.
func checkArchive(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	want := []byte("!<arch>\n")
	got := make([]byte, len(want))
	if _, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, want) {
		return fmt.Errorf("%s: not a static library: starts with %q, want %q", path, got, want)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
