package vkbert_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
)

func TestCacheDir(t *testing.T) {
	const missing = "\x00"
	for name, c := range map[string]struct {
		environment string   // $VKBERT_CACHE, below the test's folder unless it is "" or "off"
		option      string   // the same for WithCacheDir; missing where it is not given
		made        []string // the folders that are there then
		logged      bool
	}{
		"a new folder":                  {"", "new/below", []string{"new", "new/below"}, false},
		"from the environment":          {"variable", missing, []string{"variable"}, false},
		"the option comes first":        {"variable", "new", []string{"new"}, false},
		"off":                           {"off", missing, nil, false},
		"off, and the option":           {"off", "new", []string{"new"}, false},
		"no folder":                     {"variable", "", nil, false},
		"in the user's folder":          {"", missing, []string{"user"}, false},
		"a file in the way is no error": {"", "file", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			below := func(path string) string {
				if path == "" || path == "off" {
					return path
				}
				return filepath.Join(dir, path)
			}
			require.NoError(t, os.WriteFile(below("file"), nil, 0o600))
			t.Setenv("VKBERT_CACHE", below(c.environment))
			for _, variable := range []string{"XDG_CACHE_HOME", "HOME", "LocalAppData"} { // of Unix, macOS and Windows
				t.Setenv(variable, below("home"))
			}
			user, err := os.UserCacheDir()
			require.NoError(t, err)

			var log strings.Builder
			opts := []vkbert.Option{vkbert.WithLogger(textLogger(&log))}
			if c.option != missing {
				opts = append(opts, vkbert.WithCacheDir(below(c.option)))
			}
			_, err = openTiny(t, "mean", opts...).Embed(t.Context(), "a")
			require.NoError(t, err)
			assert.Equal(t, c.logged, strings.Contains(log.String(), "kernels are not cached"), log.String())
			for folder, path := range map[string]string{
				"new": below("new"), "new/below": below("new/below"), "variable": below("variable"), "user": filepath.Join(user, "vkbert"), "off": "off",
			} {
				if slices.Contains(c.made, folder) {
					assert.DirExists(t, path)
				} else {
					assert.NoDirExists(t, path)
				}
			}
		})
	}
}

func TestThreads(t *testing.T) {
	assert.Equal(t, 1, openTiny(t, "mean", vkbert.WithThreads(1)).Info().Device.Threads)
}
