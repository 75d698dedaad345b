// Package gogettest proves that an application can use vkbert by the words of the README: its commands are run and its program is
// built, in a module of its own that gets this working tree through a module proxy.
package gogettest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const root = "../.."

// checkProgram prints the vector of a text as JSON.
const checkProgram = `package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	"github.com/vkbert/vkbert"
)

func main() {
	ctx := context.Background()
	m, err := vkbert.Open(ctx, os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	v, err := m.Embed(ctx, os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		log.Fatal(err)
	}
}
`

func TestGoGet(t *testing.T) {
	app := newApp(t)
	app.sh(readmeBlock(t, "add"))
	app.sh(readmeBlock(t, "link") + app.buildAndRun())
	app.checkVector()
}

// TestGoGetVendored starts from an empty cache and vendors before libtokenizers.a is made: a vendor folder lacks its source.
func TestGoGetVendored(t *testing.T) {
	app := newApp(t)
	app.env = append(app.env, "VKBERT_CACHE="+t.TempDir())
	app.sh(readmeBlock(t, "add"))
	app.sh("go mod vendor")
	assert.FileExists(t, filepath.Join(app.dir, "vendor", modulePath, "csrc", "internal.h"))
	app.sh(readmeBlock(t, "link") + app.buildAndRun())
	app.checkVector()
}

// readmeBlock returns the code block of README.md that follows the comment <!-- go get test: NAME -->.
func readmeBlock(t *testing.T, name string) string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	block := regexp.MustCompile("(?s)<!-- go get test: " + name + " -->\\s*```[a-z]+\n(.*?)```\n").FindSubmatch(readme)
	require.NotNil(t, block, "README.md: no code block after <!-- go get test: %s -->", name)
	return string(block[1])
}

// app is an application in a temporary folder.
type app struct {
	t   *testing.T
	dir string
	env []string
}

func newApp(t *testing.T) *app {
	t.Helper()
	if os.Getenv("VKBERT_TEST_GOGET") != "1" {
		t.Skip("takes minutes and the network: make test, or VKBERT_TEST_GOGET=1, runs it")
	}
	model := os.Getenv("VKBERT_MODEL_DIR")
	require.NotEmpty(t, model, "VKBERT_MODEL_DIR has to name a folder with all-MiniLM-L6-v2")

	proxy, base := t.TempDir(), t.TempDir()
	writeProxy(t, root, proxy)
	writeHubCache(t, model, filepath.Join(base, "hub"))
	goCache := goEnv(t, "GOMODCACHE")
	cargo, err := filepath.Abs(filepath.Join(root, "build", "cache", "cargo"))
	require.NoError(t, err)
	a := &app{t: t, dir: filepath.Join(base, "app")}
	a.env = append(os.Environ(),
		// An empty module cache, filled from this tree, then from what this machine has verified already, then as usual.
		"GOMODCACHE="+filepath.Join(base, "mod"),
		"GOPROXY=file://"+proxy+",file://"+goCache+"/cache/download,"+goEnv(t, "GOPROXY"),
		"GOSUMDB=off", "GOPRIVATE=", "GONOPROXY=none", "GOFLAGS=-modcacherw", "GOWORK=off",
		"HF_HOME="+base, "HF_HUB_CACHE="+filepath.Join(base, "hub"), "HF_HUB_OFFLINE=1",
		"CGO_LDFLAGS=", // to be set by the README's words
		"CARGO_TARGET_DIR="+cargo,
	)
	for name, content := range map[string]string{
		"main.go":       readmeBlock(t, "main.go"),
		"check/main.go": checkProgram,
		"go.mod":        "module example.com/app\n\ngo 1.24\n",
	} {
		path := filepath.Join(a.dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	return a
}

// sh runs shell commands in the application's folder and returns what they print to stdout.
func (a *app) sh(commands string) string {
	a.t.Helper()
	cmd := exec.Command("sh", "-euc", commands)
	cmd.Dir, cmd.Env = a.dir, a.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(a.t, err, "%s\n%s%s", commands, out, &stderr)
	return string(out)
}

// buildAndRun returns the commands that build both programs and run that of the README.
func (a *app) buildAndRun() string {
	return "\ngo build -o readme .\ngo build -o vector ./check\n./readme | grep .\n"
}

// checkVector compares a vector that the application makes with the one that sentence-transformers makes.
func (a *app) checkVector() {
	a.t.Helper()
	var golden struct {
		Texts   []string    `json:"texts"`
		Vectors [][]float64 `json:"vectors"`
	}
	text, err := os.ReadFile(filepath.Join(root, "testdata", "golden", "minilm.json"))
	require.NoError(a.t, err)
	require.NoError(a.t, json.Unmarshal(text, &golden))
	i := slices.IndexFunc(golden.Texts, regexp.MustCompile(`^[A-Za-z ,.]{20,}$`).MatchString) // one that a command line can hold
	require.GreaterOrEqual(a.t, i, 0)
	out := a.sh("./vector '" + os.Getenv("VKBERT_MODEL_DIR") + "' '" + golden.Texts[i] + "'")
	var got []float64
	require.NoError(a.t, json.Unmarshal([]byte(out), &got))
	require.Len(a.t, got, len(golden.Vectors[i]))
	for j, want := range golden.Vectors[i] {
		require.LessOrEqual(a.t, math.Abs(got[j]-want), 1e-5, "component %d of %q: got %v, want %v", j, golden.Texts[i], got[j], want)
	}
}

// writeHubCache lays the model out as the Hugging Face hub client does, so that its id finds it without the network.
func writeHubCache(t *testing.T, model, hub string) {
	t.Helper()
	const revision = "0000000000000000000000000000000000000001"
	repo := filepath.Join(hub, "models--sentence-transformers--all-MiniLM-L6-v2")
	require.NoError(t, os.MkdirAll(filepath.Join(repo, "refs"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(repo, "refs", "main"), []byte(revision), 0o600))
	require.NoError(t, copyTree(filepath.Join(repo, "snapshots", revision), os.DirFS(model)))
}

// copyTree copies the files in src, and what links there point to.
func copyTree(dst string, src fs.FS) error {
	return fs.WalkDir(src, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(src, name)
		if err != nil {
			return err
		}
		path := filepath.Join(dst, filepath.FromSlash(name))
		return errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600))
	})
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}
