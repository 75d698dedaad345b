//go:build cgo

package cgo

/*
#include <stdint.h>
*/
import "C"

import "sync"

// Log functions by number. C holds the number for as long as any object of the device lives, which may be longer than the Device itself: a line for
// a number that is gone is dropped.
var (
	logMutex sync.Mutex
	logLast  uintptr
	logs     = map[uintptr]func(LogLevel, string){}
)

func registerLog(f func(LogLevel, string)) uintptr {
	if f == nil {
		return 0
	}
	logMutex.Lock()
	defer logMutex.Unlock()
	logLast++
	logs[logLast] = f
	return logLast
}

func unregisterLog(id uintptr) {
	logMutex.Lock()
	defer logMutex.Unlock()
	delete(logs, id)
}

//export vkb_go_log
func vkb_go_log(user C.uintptr_t, level C.int, message *C.char) {
	logMutex.Lock()
	f := logs[uintptr(user)]
	logMutex.Unlock()
	if f != nil {
		f(LogLevel(level), C.GoString(message))
	}
}
