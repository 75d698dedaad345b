#include "kernels.h"

#include "../vk_force.h"
#include "../vk_internal.h"

uint32_t with_each_kernel(vkb_device *device, uint32_t kind, uint32_t head_size,
                          void (*test)(vkb_device *device, const char *kernel, void *user), void *user) {
    test(device, "usual", user);
    if (device->info.kind > VKB_DEVICE_SOFTWARE) return 0;
    const vkb_abilities *abilities = &((const vkb_vk_device *)device)->abilities;
    vkb_task task = {.kind = kind, .head_size = head_size};
    uint32_t rows = 0;
    bool forced = false; /* by VKBERT_VARIANTS: then those alone */
    for (uint32_t i = 0; i < vkb_kernel_count; i++)
        forced = forced || (abilities->rows[i] == VKB_ROW_FIRST && vkb_kernel_fits(&vkb_kernels[i], abilities, &task));
    for (uint32_t i = 0; i < vkb_kernel_count; i++) {
        const vkb_kernel *kernel = &vkb_kernels[i];
        if (!vkb_kernel_fits(kernel, abilities, &task) || (forced && abilities->rows[i] != VKB_ROW_FIRST)) continue;
        vkb_kernel_force(kernel);
        test(device, kernel->name, user);
        vkb_kernel_force(NULL);
        rows++;
    }
    return rows;
}
