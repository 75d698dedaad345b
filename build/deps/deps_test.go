package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const library = "!<arch>\nmembers"

func TestPinnedVersionIsTheOneInGoMod(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-json", tokenizersModule).Output()
	require.NoError(t, err)
	var m module
	require.NoError(t, json.Unmarshal(out, &m))
	assert.Equal(t, tokenizersVersion, m.Version)
	assert.NoError(t, checkSelected(context.Background()))
}

func TestSelectedModule(t *testing.T) {
	for name, c := range map[string]struct{ json, want string }{
		"pinned":             {`{"Version":"v1.24.0"}`, ""},
		"newer":              {`{"Version":"v1.25.1"}`, "selects github.com/daulet/tokenizers v1.25.1, this vkbert links v1.24.0: go get github.com/daulet/tokenizers@v1.24.0"},
		"replaced by module": {`{"Version":"v1.24.0","Replace":{"Path":"example.com/fork","Version":"v1.2.0"}}`, "by example.com/fork v1.2.0:"},
		"replaced by folder": {`{"Version":"v1.24.0","Replace":{"Path":"../fork"}}`, "by ../fork:"},
	} {
		t.Run(name, func(t *testing.T) {
			var m module
			require.NoError(t, json.Unmarshal([]byte(c.json), &m))
			if c.want == "" {
				assert.NoError(t, m.check())
			} else {
				assert.ErrorContains(t, m.check(), c.want)
			}
		})
	}
}

func TestLDFlags(t *testing.T) {
	for name, c := range map[string]struct{ before, dir, want string }{
		"unset":       {"", "/c/lib", "-L/c/lib"},
		"kept":        {" -L/usr/local/lib -O2 ", "/c/lib", "-L/usr/local/lib -O2 -L/c/lib"},
		"there":       {"-L/c/lib -O2", "/c/lib", "-L/c/lib -O2"},
		"prefix":      {"-L/c/library", "/c/lib", "-L/c/library -L/c/lib"},
		"blank":       {"", "/c/my lib", "'-L/c/my lib'"},
		"blank there": {"-O2 '-L/c/my lib'", "/c/my lib", "-O2 '-L/c/my lib'"},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.want, ldflags(c.before, c.dir)) })
	}
	assert.Equal(t, `'-L/a'\''b'`, shellQuote("-L/a'b"))
}

func TestCacheDir(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", home)
	t.Setenv("HOME", home)
	standard, err := os.UserCacheDir()
	require.NoError(t, err)
	for value, want := range map[string]string{
		"":                filepath.Join(standard, "vkbert"),
		"off":             filepath.Join(standard, "vkbert"),
		"/somewhere/else": "/somewhere/else",
	} {
		t.Setenv("VKBERT_CACHE", value)
		got, err := cacheDir()
		require.NoError(t, err)
		assert.Equal(t, want, got, "VKBERT_CACHE=%q", value)
	}
}

func TestRustVersion(t *testing.T) {
	for version, want := range map[string]string{
		"cargo 1.95.0 (f2d3ce0bd 2026-03-21)":   "",
		"cargo 1.82.0":                          "",
		"rustc 1.96.0-nightly (abc 2026-01-01)": "",
		"rustc 2.0.0":                           "",
		"cargo 0.66.0":                          "too old: cargo 0.66.0, want 1.82 or newer",
		"cargo 1.81.0":                          "too old: cargo 1.81.0, want 1.82 or newer",
		"cargo 1.65.0":                          "too old: cargo 1.65.0, want 1.82 or newer",
		"error: no toolchain":                   `got "error: no toolchain", want a version`,
		"":                                      "want a version",
	} {
		err := checkRustVersion("/bin/x", version)
		if want == "" {
			assert.NoError(t, err, version)
		} else {
			assert.ErrorContains(t, err, want)
		}
	}
	assert.Contains(t, string(cargoManifest), `rust-version = "1.82"`)
	assert.Contains(t, installRust, "1.82")
}

func TestFindRust(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the tools are faked with shell scripts")
	}
	for name, c := range map[string]struct {
		tools map[string]string // file name → what --version prints
		want  string            // the cargo that is chosen, or
		err   string
	}{
		"nothing":          {nil, "", "no cargo on PATH"},
		"current":          {map[string]string{"cargo": "cargo 1.90.0", "rustc": "rustc 1.90.0"}, "cargo", ""},
		"no rustc":         {map[string]string{"cargo": "cargo 1.90.0"}, "", "no rustc on PATH"},
		"old":              {map[string]string{"cargo": "cargo 1.75.0", "rustc": "rustc 1.75.0"}, "", "too old: cargo 1.75.0"},
		"old rustc":        {map[string]string{"cargo": "cargo 1.90.0", "rustc": "rustc 1.75.0"}, "", "too old: rustc 1.75.0"},
		"versioned beside": {map[string]string{"cargo": "cargo 1.75.0", "cargo-1.85": "cargo 1.85.1", "rustc-1.85": "rustc 1.85.1"}, "cargo-1.85", ""},
		"newest of several": {map[string]string{
			"cargo-1.9": "cargo 1.9.0", "cargo-1.85": "cargo 1.85.1", "rustc-1.85": "rustc 1.85.1", "cargo-1.100": "cargo 1.100.0", "rustc-1.100": "rustc 1.100.0",
		}, "cargo-1.100", ""},
		"newest without rustc": {map[string]string{"cargo-1.85": "cargo 1.85.1", "rustc-1.85": "rustc 1.85.1", "cargo-1.91": "cargo 1.91.0"}, "cargo-1.85", ""},
	} {
		t.Run(name, func(t *testing.T) {
			bin := t.TempDir()
			t.Setenv("PATH", bin)
			t.Setenv("CARGO", "")
			t.Setenv("RUSTC", "")
			for tool, line := range c.tools {
				fakeTool(t, bin, tool, line)
			}
			got, err := findRust(context.Background())
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, filepath.Join(bin, c.want), got.cargo)
		})
	}
}

func TestLibraryPrefersWhatIsThere(t *testing.T) {
	noGo := t.TempDir() // no cargo, no go, no network: what is found has to be in the cache
	t.Setenv("PATH", noGo)
	for name, c := range map[string]struct {
		have []string
		want string
	}{
		"built":    {[]string{"cargo"}, "cargo"},
		"released": {[]string{"release"}, "release"},
		"both":     {[]string{"cargo", "release"}, "cargo"},
	} {
		t.Run(name, func(t *testing.T) {
			b := &builder{dir: t.TempDir(), log: io.Discard}
			for _, d := range c.have {
				require.NoError(t, os.Mkdir(filepath.Join(b.dir, d), 0o700))
				require.NoError(t, os.WriteFile(filepath.Join(b.dir, d, archiveName), []byte(library), 0o600))
			}
			got, err := b.library(context.Background())
			require.NoError(t, err)
			assert.Equal(t, filepath.Join(b.dir, c.want), got)
			got, err = b.check(context.Background())
			require.NoError(t, err)
			assert.Equal(t, filepath.Join(b.dir, c.want, archiveName), got)
		})
	}
	_, err := (&builder{dir: "/none"}).check(context.Background())
	assert.EqualError(t, err, "libtokenizers.a is not in /none, and no cargo on PATH: "+installRust)
}

// fakeTool puts a program on PATH that prints one line.
func fakeTool(t *testing.T, dir, name, line string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho '"+line+"'\n"), 0o700))
}

func TestLibraryFromRelease(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the tools are faked with shell scripts")
	}
	good := tarGz(t, map[string]string{"README": "x", "./" + archiveName: library})
	for name, c := range map[string]struct {
		cargo    string // what `cargo --version` says; "" is no cargo
		platform string
		status   int
		body     []byte
		want     string // "" is success
	}{
		"no cargo":         {"", "linux/amd64", 200, good, ""},
		"cargo too old":    {"cargo 1.65.0", "linux/amd64", 200, good, ""},
		"unknown platform": {"", "plan9/386", 200, good, "no cargo on PATH, and upstream publishes no library for plan9/386: install Rust 1.82"},
		"not found":        {"", "linux/amd64", 404, nil, "404 Not Found): install Rust 1.82"},
		"not a gzip":       {"", "linux/amd64", 200, []byte("<html>not here</html>"), "gzip: "},
		"cut":              {"", "linux/amd64", 200, good[:len(good)-9], "unexpected EOF"},
		"no library in it": {"", "linux/amd64", 200, tarGz(t, map[string]string{"README": "x"}), "holds no libtokenizers.a"},
		"not a library":    {"", "linux/amd64", 200, tarGz(t, map[string]string{archiveName: "<html></html>"}), "not a static library"},
	} {
		t.Run(name, func(t *testing.T) {
			bin := t.TempDir()
			t.Setenv("PATH", bin)
			t.Setenv("CARGO", "")
			if c.cargo != "" {
				fakeTool(t, bin, "cargo", c.cargo)
			}
			var asked string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = r.URL.Path
				w.WriteHeader(c.status)
				w.Write(c.body)
			}))
			defer server.Close()

			var log bytes.Buffer
			b := &builder{dir: filepath.Join(t.TempDir(), "v"), platform: c.platform, releaseBase: server.URL, log: &log}
			dir, err := b.library(context.Background())
			_, statErr := os.Stat(b.scratch())
			assert.True(t, errors.Is(statErr, os.ErrNotExist), "the scratch folder is gone")
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				assert.NoFileExists(t, filepath.Join(b.dir, "release", archiveName))
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "/v1.24.0/libtokenizers.linux-amd64.tar.gz", asked)
			assert.Contains(t, log.String(), "sha256 ")
			got, err := os.ReadFile(filepath.Join(dir, archiveName))
			require.NoError(t, err)
			assert.Equal(t, library, string(got))
		})
	}
}

func tarGz(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	gz := gzip.NewWriter(&buf)
	tw := tar.NewWriter(gz)
	for name, content := range files {
		require.NoError(t, tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}))
		_, err := tw.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, tw.Close())
	require.NoError(t, gz.Close())
	return buf.Bytes()
}

func TestMissingCompilerIsNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("CC", "my-cc")
	t.Setenv("CXX", "")
	assert.EqualError(t, checkCompilers(), "no c++ on PATH: apt-get install g++, or set CXX")
	t.Setenv("CXX", "my-c++")
	assert.NoError(t, checkCompilers())
}

func TestCargoTree(t *testing.T) {
	module, tree := t.TempDir(), filepath.Join(t.TempDir(), "tree")
	require.NoError(t, os.Mkdir(filepath.Join(module, "src"), 0o500)) // read-only, as in the module cache
	require.NoError(t, os.WriteFile(filepath.Join(module, "Cargo.toml"), []byte("upstream's"), 0o400))
	require.NoError(t, cargoTree(module, tree))
	for name, want := range map[string][]byte{"Cargo.toml": cargoManifest, "Cargo.lock": cargoLock} {
		got, err := os.ReadFile(filepath.Join(tree, name))
		require.NoError(t, err)
		assert.Equal(t, want, got, name)
	}
	assert.DirExists(t, filepath.Join(tree, "src"))
	assert.NotContains(t, string(cargoLock), "git+", "every Rust dependency comes from the registry")
}

func TestInstallRemovesWhatAKilledRunLeft(t *testing.T) {
	b := &builder{dir: t.TempDir(), log: io.Discard}
	require.NoError(t, os.MkdirAll(filepath.Join(b.scratch(), "half"), 0o700))
	target := filepath.Join(b.dir, "cargo")
	require.NoError(t, b.install(target, func(dst string) error {
		assert.NoDirExists(t, filepath.Join(b.scratch(), "half"))
		return os.WriteFile(dst, []byte(library), 0o600)
	}))
	assert.FileExists(t, filepath.Join(target, archiveName))
	assert.NoDirExists(t, b.scratch())
}

func TestLockKeepsOthersOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lockFile(path, func() { t.Error("nobody else holds it") })
	require.NoError(t, err)

	waiting, locked := make(chan struct{}), make(chan error, 1)
	go func() {
		unlock, err := lockFile(path, func() { close(waiting) })
		if err == nil {
			unlock()
		}
		locked <- err
	}()
	select {
	case <-waiting:
	case <-time.After(10 * time.Second):
		t.Fatal("the second one does not wait")
	}
	select {
	case <-locked:
		t.Fatal("both hold the lock")
	case <-time.After(50 * time.Millisecond):
	}
	unlock()
	assert.NoError(t, <-locked)
}

func TestUsage(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"help":     {[]string{"-h"}, 0, "usage: deps"},
		"flag":     {[]string{"-x"}, 2, "not defined: -x"},
		"argument": {[]string{"now"}, 2, `unexpected argument "now"`},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			assert.Equal(t, c.code, run(context.Background(), c.args, &out, &errs))
			assert.Contains(t, errs.String(), c.want)
			assert.Empty(t, out.String(), "stdout is for the value alone")
		})
	}
}
