//go:build cgo

package lostdevice

// #cgo CFLAGS: -std=c11 -D_GNU_SOURCE -DVKB_STATIC -I${SRCDIR}/../../include
// #include "submit.h"
import "C"

import _ "github.com/vkbert/vkbert/csrc" // whose function table it goes into

func init() { C.vkb_submit_install() }

// Lose makes the next submission fail as if its device were lost. Those after it, with which a new device is set up, wait until back is called. One test at a time
// may use it, and no other program may be running on a Vulkan device.
func Lose() (back func()) {
	C.vkb_submit_set(C.VKB_SUBMIT_LOSES)
	return func() { C.vkb_submit_set(C.VKB_SUBMIT_WORKS) }
}
