//go:build unix

package main

import (
	"os"
	"syscall"
)

// lockFile locks path, which it creates, against other processes until unlock is called or this process ends.
// waiting is called once if another process holds it.
func lockFile(path string, waiting func()) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	how := syscall.LOCK_EX | syscall.LOCK_NB
	for {
		err = syscall.Flock(int(f.Fd()), how)
		switch err {
		case nil:
			return func() { f.Close() }, nil
		case syscall.EWOULDBLOCK:
			waiting()
			how = syscall.LOCK_EX
		case syscall.EINTR:
		default:
			f.Close()
			return nil, &os.PathError{Op: "lock", Path: path, Err: err}
		}
	}
}
