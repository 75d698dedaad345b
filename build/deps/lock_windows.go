package main

import (
	"errors"
	"os"
	"syscall"
	"time"
)

const errorSharingViolation = syscall.Errno(32)

// lockFile locks path, which it creates, against other processes until unlock is called or this process ends.
// waiting is called once if another process holds it.
func lockFile(path string, waiting func()) (unlock func(), err error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	for first := true; ; first = false {
		// A share mode of 0 keeps every other process from opening the file.
		h, err := syscall.CreateFile(name, syscall.GENERIC_WRITE, 0, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
		switch {
		case err == nil:
			return func() { syscall.CloseHandle(h) }, nil
		case !errors.Is(err, errorSharingViolation):
			return nil, &os.PathError{Op: "lock", Path: path, Err: err}
		case first:
			waiting()
		}
		time.Sleep(200 * time.Millisecond)
	}
}
