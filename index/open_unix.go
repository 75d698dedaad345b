//go:build unix

package index

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openRegular opens a file for reading, and nothing else: what was a file when the folder was listed may be a pipe now, which would wait for a writer.
func openRegular(path string) (*os.File, error) {
	in, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := in.Stat(); err != nil || !info.Mode().IsRegular() {
		in.Close()
		return nil, fmt.Errorf("%s is no regular file any more", path)
	}
	return in, nil
}
