package gogettest

import (
	"archive/zip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	modulePath = "github.com/vkbert/vkbert"
	version    = "v0.0.1-test"
)

// writeProxy makes a module proxy in dir that serves the working tree in root as the only version of this module.
// The layout is that of https://go.dev/ref/mod#goproxy-protocol.
func writeProxy(t *testing.T, root, dir string) {
	t.Helper()
	at := filepath.Join(dir, filepath.FromSlash(modulePath), "@v")
	require.NoError(t, os.MkdirAll(at, 0o700))
	goMod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	for name, content := range map[string]string{
		"list":            version + "\n",
		version + ".info": fmt.Sprintf(`{"Version":%q,"Time":"2026-01-01T00:00:00Z"}`, version),
		version + ".mod":  string(goMod),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(at, name), []byte(content), 0o600))
	}

	file, err := os.Create(filepath.Join(at, version+".zip"))
	require.NoError(t, err)
	defer file.Close()
	archive := zip.NewWriter(file)
	for _, name := range moduleFiles(t, root) {
		w, err := archive.Create(modulePath + "@" + version + "/" + name)
		require.NoError(t, err)
		src, err := os.Open(filepath.Join(root, filepath.FromSlash(name)))
		require.NoError(t, err)
		_, err = io.Copy(w, src)
		src.Close()
		require.NoError(t, err)
	}
	require.NoError(t, archive.Close())
}

// moduleFiles lists what a release of the working tree would hold: what git tracks or would track, or everything but build
// output where there is no git; and in any case no nested module.
func moduleFiles(t *testing.T, root string) []string {
	t.Helper()
	git := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	git.Dir = root
	listed, gitErr := git.Output()
	tracked := map[string]bool{}
	for _, name := range strings.Split(string(listed), "\x00") {
		tracked[name] = true
	}

	var names []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if entry.IsDir() {
			_, statErr := os.Stat(filepath.Join(path, "go.mod"))
			if name == ".git" || name == "build/out" || name == "build/cache" || name != "." && statErr == nil {
				return fs.SkipDir
			}
			return nil
		}
		if entry.Type().IsRegular() && (gitErr != nil || tracked[name]) {
			names = append(names, name)
		}
		return nil
	})
	require.NoError(t, err)
	return names
}
