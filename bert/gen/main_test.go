package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// The committed tables are those that package bert makes today; "go generate ./bert" writes them.
func TestCommittedProgramsAreCurrent(t *testing.T) {
	want, err := generate()
	require.NoError(t, err)
	got, err := os.ReadFile("../../csrc/bench/programs.h")
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}
