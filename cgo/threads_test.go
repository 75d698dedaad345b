//go:build cgo

package cgo

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// GOMAXPROCS below the number of processors limits the CPU backend's threads; a number that was asked for stands.
func TestThreadsFollowGOMAXPROCS(t *testing.T) {
	for _, c := range []struct{ procs, asked, want int }{{1, 0, 1}, {1, 3, 3}, {runtime.NumCPU() + 1, 2, 2}} {
		procs := runtime.GOMAXPROCS(c.procs)
		d, err := OpenDevice(Options{Selector: "cpu", Threads: c.asked})
		runtime.GOMAXPROCS(procs)
		require.NoError(t, err)
		assert.Equal(t, c.want, d.Info().Threads, "GOMAXPROCS=%d, %d asked for", c.procs, c.asked)
		d.Close()
	}
}
