/* What a kernel has to know of a program besides its values, made once by another kernel, as `made_by` in the table says. */
#include "vk_program.h"

bool vkb_vk_made_for(const vkb_vk_program *p, uint32_t step, uint32_t kind) {
    for (uint32_t c = 0; c < p->class_count; c++)
        if (vkb_vk_kernel_for(p, step, c, c)->made_by == kind) return true;
    return false;
}

vkb_status vkb_vk_make(vkb_vk_program *p, const vkb_task *task, const char *what, vkb_vk_maker maker, vkb_error *error) {
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    vkb_vk_usage usage = {.task = *task}; /* tested with what reads it */
    const vkb_kernel *kernel;
    vkb_vk_pipeline pipeline;
    vkb_vk_once once = {0};
    vkb_status status = vkb_vk_variant_choose(device, &usage, 1, &kernel, error);
    if (status) return status;
    if (!kernel) return vkb_fail(error, VKB_ERROR_UNSUPPORTED, "%s: there is no kernel for %s", device->base.info.name, what);
    status = vkb_vk_pipeline_get(device, kernel, task, &pipeline, error);
    if (vkb_vk_selftest_only_makes()) return status;
    if (!status) status = vkb_vk_once_begin(device, &once, error);
    if (!status) maker(p, &pipeline, once.commands);
    if (!status) status = vkb_vk_once_run(device, &once, error);
    vkb_vk_once_destroy(device, &once);
    return status;
}
