package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestParseServed: ids with revisions, paths with = and @ in them that exist or not, aliases and devices.
func TestParseServed(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	require.NoError(t, err)
	for _, dir := range []string{"d", "d=1/m", "py@3/m", "py", "m@cpu", "org/m"} {
		require.NoError(t, os.MkdirAll(dir, 0o777))
	}
	for _, c := range []struct{ spec, path, name, device string }{
		{"org/model", "org/model", "", "auto"},
		{"org/model=a", "org/model", "a", "auto"},
		{"org/model=org/a", "org/model", "org/a", "auto"},
		{"org/model@cpu", "org/model", "", "cpu"},
		{"org/model=a@vulkan:1", "org/model", "a", "vulkan:1"},
		{"org/model=a@vulkan:NVIDIA H200", "org/model", "a", "vulkan:NVIDIA H200"},
		{"org/model=a@vulkan:0,vulkan:1,cpu", "org/model", "a", "vulkan:0,vulkan:1,cpu"},
		{"org/model@v1", "org/model@v1", "", "auto"},
		{"org/model@vulkan2", "org/model@vulkan2", "", "auto"},
		{"org/model@refs/pr/1=a@reference", "org/model@refs/pr/1", "a", "reference"},
		{"org/model@v1@cpu", "org/model@v1", "", "cpu"},
		{"org/m@v1", "org/m@v1", "", "auto"},
		{"d=1/m", "d=1/m", "", "auto"},
		{"d=a", "d", "a", "auto"},
		{"d=1/m=a@vulkan", "d=1/m", "a", "vulkan"},
		{here + "/d=1/m", here + "/d=1/m", "", "auto"},
		{here + "/d=org/a", here + "/d", "org/a", "auto"},
		{here + "/py@3/m", here + "/py@3/m", "", "auto"},
		{here + "/py@3/m=a@cpu", here + "/py@3/m", "a", "cpu"},
		{here + "/py@cpu", here + "/py", "", "cpu"},
		{filepath.Join(here, "m@cpu"), here + "/m@cpu", "", "auto"},
		{"m@cpu@auto", "m@cpu", "", "auto"},
		{"/none=1/py@3/m=a@cpu", "/none=1/py@3/m", "a", "cpu"},
		{"./none=1/m", "./none=1/m", "", "auto"},
	} {
		path, name, device, err := parseServed(c.spec, "auto")
		require.NoError(t, err, c.spec)
		assert.Equal(t, []string{c.path, c.name, c.device}, []string{path, name, device}, c.spec)
	}
	for _, spec := range []string{"", "=a", "@cpu", "m=", "m@", "m=a@", "m=a=b", "n@cpu@vulkan", "n@v1@v2", "random:base=a"} {
		_, _, _, err := parseServed(spec, "auto")
		var usage usageError
		assert.ErrorAs(t, err, &usage, spec)
	}
	assert.Contains(t, good(t, "", "serve", "--help"), "MODEL[@REVISION][=ALIAS][@DEVICE]")
}
