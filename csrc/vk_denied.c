/* Drivers that are known to be wrong about kernels by matrix hardware: these are off there without a test. */
#include "vk_internal.h"

enum { ANY_OP = UINT32_MAX, PROPERTIES = UINT32_MAX - 1 };

typedef struct denial {
    uint32_t vendor, first, last; /* PCI ids of the devices; last = 0: all of the vendor's */
    bool integrated, windows;     /* only these */
    uint32_t op;                  /* whose kernels by matrix hardware are off. PROPERTIES: the driver is not asked for its matrix shapes */
    const char *reason;
} denial;

static const denial denials[] = {
    {0x1002, 0, 0, true, true, PROPERTIES, "AMD's Windows driver crashes when asked for an integrated GPU's matrix shapes"},
    {0x10de, 0x1e00, 0x1fff, false, false, VKB_OP_ATTENTION, "NVIDIA's compiler gets attention by matrices wrong on Turing"},
    {0x10de, 0x2180, 0x21ff, false, false, VKB_OP_ATTENTION, "NVIDIA's compiler gets attention by matrices wrong on Turing"},
    {0x8086, 0x5690, 0x56bf, false, false, ANY_OP, "Intel's driver emulates matrix instructions on Arc A: slower than without"},
};

#if defined(_WIN32)
static const bool on_windows = true;
#else
static const bool on_windows = false;
#endif

const char *vkb_vk_denied(const vkb_device_info *device, const vkb_kernel *kernel) {
    if (kernel && !(kernel->needs & VKB_NEED_ANY_MATRIX)) return NULL;
    for (size_t i = 0; i < sizeof denials / sizeof *denials; i++) {
        const denial *d = &denials[i];
        if (device->vendor_id != d->vendor || (d->last && (device->device_id < d->first || device->device_id > d->last))) continue;
        if ((d->integrated && device->kind != VKB_DEVICE_INTEGRATED) || (d->windows && !on_windows)) continue;
        if (kernel ? d->op == ANY_OP || d->op == kernel->kind : d->op == PROPERTIES) return d->reason;
    }
    return NULL;
}
