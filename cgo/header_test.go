//go:build cgo

package cgo

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestABI(t *testing.T) {
	core, header := ABI()
	assert.Equal(t, header, core)
	coreVersion, headerVersion := Version()
	assert.Equal(t, headerVersion, coreVersion)
}

// The go command does not see an #include that leaves its package: the embedding imports are what rebuilds both sides when vkbert.h changes. Without
// them one side keeps the old struct layouts, which is memory corruption.
func TestChangedHeaderRebuildsBothSides(t *testing.T) {
	if os.Getenv("VKBERT_TEST_GOGET") != "1" {
		t.Skip("compiles the core twice: make test, or VKBERT_TEST_GOGET=1, runs it")
	}
	dir := t.TempDir()
	for _, part := range []string{"include", "csrc", "cgo"} {
		require.NoError(t, os.CopyFS(filepath.Join(dir, part), os.DirFS(filepath.Join("..", part))))
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join("..", file))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), data, 0o644))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "show"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "show", "main.go"), []byte(`package main

import (
	"fmt"

	"github.com/vkbert/vkbert/cgo"
)

func main() { fmt.Println(cgo.Version()) }
`), 0o644))
	show := func() string {
		cmd := exec.Command("go", "run", "./show")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.TrimSpace(string(out))
	}
	version, _ := Version()
	assert.Equal(t, version+" "+version, show())

	path := filepath.Join(dir, "include", "vkbert.h")
	header, err := os.ReadFile(path)
	require.NoError(t, err)
	changed := regexp.MustCompile(`#define VKB_VERSION_PATCH \d+`).ReplaceAllString(string(header), "#define VKB_VERSION_PATCH 77")
	require.NotEqual(t, string(header), changed)
	require.NoError(t, os.WriteFile(path, []byte(changed), 0o644))
	assert.Contains(t, show(), ".77 ")
	assert.True(t, strings.HasSuffix(show(), ".77"))
}
