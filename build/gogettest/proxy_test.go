package gogettest

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// moduleFiles lists what a release of the working tree would hold: what git tracks or would track, or where there is no git
// everything but build output; in any case no nested module. Other programs make the list, so that the go command can cache the
// test: it would take note of a folder that is read here, and build/out changes with every build.
func moduleFiles(t *testing.T, root string) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	listed, err := cmd.Output()
	if err != nil {
		cmd = exec.Command("find", ".", "-type", "f", "!", "-path", "./.git/*", "!", "-path", "./build/out/*", "!", "-path", "./build/cache/*", "-print0")
		cmd.Dir = root
		listed, err = cmd.Output()
		require.NoError(t, err)
	}
	names := strings.Split(strings.TrimSuffix(string(listed), "\x00"), "\x00")
	for i := range names {
		names[i] = strings.TrimPrefix(names[i], "./")
	}
	var nested []string
	for _, name := range names {
		if dir, isMod := strings.CutSuffix(name, "/go.mod"); isMod {
			nested = append(nested, dir+"/")
		}
	}
	return slices.DeleteFunc(names, func(name string) bool {
		_, err := os.Stat(filepath.Join(root, filepath.FromSlash(name)))
		return errors.Is(err, fs.ErrNotExist) || // removed, but not yet from the index
			slices.ContainsFunc(nested, func(dir string) bool { return strings.HasPrefix(name, dir) })
	})
}
