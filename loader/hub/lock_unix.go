//go:build unix

package hub

import (
	"os"

	"golang.org/x/sys/unix"
)

// lock says that no other open file holds the lock of this one, which then has it until it is closed.
func lock(f *os.File) bool { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil }
