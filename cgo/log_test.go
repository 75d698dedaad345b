//go:build cgo

package cgo

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A device that nobody closes gives back its log function with the rest.
func TestLogOfACollectedDevice(t *testing.T) {
	lines := func() int {
		logMutex.Lock()
		defer logMutex.Unlock()
		return len(logs)
	}
	before := lines()
	_, err := OpenDevice(Options{Selector: "cpu", Threads: 1, Log: func(LogLevel, string) {}})
	require.NoError(t, err)
	require.Eventually(t, func() bool { runtime.GC(); return lines() == before }, 10*time.Second, time.Millisecond)
}
