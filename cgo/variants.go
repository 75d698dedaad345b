//go:build cgo

package cgo

// #include "vkbert.h"
import "C"

import "runtime"

// Variants reports the ways that there are to do each op on the device, best first. Those that it can run and that were not tested yet are tested now, which
// can take seconds. The CPU's backends have none.
func (d *Device) Variants() ([]Variant, error) {
	var e C.vkb_error
	raw := make([]C.vkb_variant, 512)
	var count C.uint32_t
	status := C.vkb_device_variants(d.c, &raw[0], C.uint32_t(len(raw)), &count, &e)
	runtime.KeepAlive(d)
	if err := failure(status, &e); err != nil {
		return nil, err
	}
	variants := make([]Variant, min(int(count), len(raw)))
	for i := range variants {
		c := &raw[i]
		variants[i] = Variant{Op: C.GoString(&c.op[0]), Name: C.GoString(&c.name[0]), State: VariantState(c.state), Reason: C.GoString(&c.reason[0])}
	}
	return variants, nil
}
