/* kernels.h: doing a test with every kernel that the device has for an op. */
#ifndef VKB_TEST_KERNELS_H
#define VKB_TEST_KERNELS_H

#include "fixture.h"

/* Calls `test` once for each row of the table of Vulkan kernels that does `kind` and that the device can run with this head size (0: any),
   with that row forced, and once with the usual choice; on a CPU device once. Returns how many rows there were. */
uint32_t with_each_kernel(vkb_device *device, uint32_t kind, uint32_t head_size,
                          void (*test)(vkb_device *device, const char *kernel, void *user), void *user);

#endif /* VKB_TEST_KERNELS_H */
