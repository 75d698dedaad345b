/*
 * Size classes. Which kernel does a step best depends on how many rows the batch has; the table of kernels says from how many on. Its
 * distinct thresholds divide batches into classes, by tokens and by sequences, and the commands are recorded once for each pair of classes
 * that occurs.
 */
#include <stdlib.h>
#include <string.h>

#include "vk_program.h"

static vkb_status add_threshold(vkb_vk_program *p, uint32_t rows, vkb_error *error) {
    uint32_t at = 0;
    while (at < p->class_count && p->thresholds[at] < rows) at++;
    if (rows <= 1 || rows > p->base.max_tokens || (at < p->class_count && p->thresholds[at] == rows)) return VKB_OK;
    if (p->class_count == VKB_VK_MAX_CLASSES)
        return vkb_fail(error, VKB_ERROR_UNSUPPORTED, "the table of kernels has more than %d size classes", VKB_VK_MAX_CLASSES);
    memmove(&p->thresholds[at + 1], &p->thresholds[at], (p->class_count - at) * sizeof *p->thresholds);
    p->thresholds[at] = rows;
    p->class_count++;
    return VKB_OK;
}

/* Where kernels must not depend on the batch's size, all are one class, with the kernels of large batches: in these a row's result does not
   depend on where in the batch it is. */
static vkb_status find_thresholds(vkb_vk_program *p, vkb_error *error) {
    enum { LARGE = 4096 };
    bool deterministic = p->base.flags & VKB_PROGRAM_DETERMINISTIC;
    vkb_status status = VKB_OK;
    p->thresholds[0] = deterministic ? LARGE : 1;
    p->class_count = 1;
    if (deterministic) return VKB_OK;
    for (uint32_t k = 0; k < vkb_kernel_count && !status; k++) {
        status = add_threshold(p, vkb_kernels[k].min_rows, error);
        if (!status && vkb_kernels[k].max_rows) status = add_threshold(p, vkb_kernels[k].max_rows + 1, error);
    }
    return status;
}

uint32_t vkb_vk_class_of(const vkb_vk_program *p, uint32_t rows) {
    uint32_t c = 0;
    while (c + 1 < p->class_count && p->thresholds[c + 1] <= rows) c++;
    return c;
}

uint32_t vkb_vk_class_most(const vkb_vk_program *p, uint32_t class) {
    return class + 1 < p->class_count ? p->thresholds[class + 1] - 1 : p->base.max_tokens;
}

static uint64_t groups(uint64_t n, uint32_t tile) { return (n + tile - 1) / tile; }

uint32_t vkb_vk_groups_x(const vkb_vk_step *s, const vkb_kernel *kernel) {
    if (s->task.kind == VKB_OP_ATTENTION) return s->columns;
    return kernel->tile_columns ? (uint32_t)groups(s->columns, kernel->tile_columns) : 1;
}

/* Sees to a list for attention tiles of this size. */
static vkb_status add_list(vkb_vk_program *p, uint32_t tile_rows, vkb_error *error) {
    for (uint32_t i = 0; i < p->list_count; i++)
        if (p->lists[i].tile_rows == tile_rows) return VKB_OK;
    if (p->list_count == VKB_VK_MAX_LISTS)
        return vkb_fail(error, VKB_ERROR_UNSUPPORTED, "the table of kernels has more than %d attention tile sizes", VKB_VK_MAX_LISTS);
    p->lists[p->list_count++].tile_rows = tile_rows;
    return VKB_OK;
}

/* Chooses the step's kernel in this class, and sees to what it needs at the batch's limits. */
static vkb_status choose(vkb_vk_program *p, uint32_t number, uint32_t class, vkb_error *error) {
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    const vkb_vk_step *s = vkb_vk_step_at(p, number);
    const char *name = s->task.kind == VKB_KERNEL_COPY_OUT   ? "output"
                       : s->task.kind == VKB_KERNEL_QUANTIZE ? "in int8"
                                                             : vkb_op_name(s->task.kind);
    vkb_vk_usage usage = vkb_vk_usage_of(p, s);
    const vkb_kernel *kernel;
    vkb_status status = vkb_vk_variant_choose(device, &usage, p->thresholds[class], &kernel, error);
    if (status) return status;
    if (!kernel)
        return vkb_fail(error, VKB_ERROR_UNSUPPORTED, "%s: op %u (%s): there is no kernel for %u rows that this device can run",
                        device->base.info.name, s->op, name, p->thresholds[class]);
    p->kernels[class * vkb_vk_number_count(p) + number] = kernel;
    uint64_t rows = s->scope == VKB_PER_TOKEN ? p->base.max_tokens : p->base.max_sequences;
    uint64_t y = groups(rows, kernel->tile_rows) + (s->task.kind == VKB_OP_ATTENTION ? p->base.max_sequences : 0);
    uint32_t x = vkb_vk_groups_x(s, kernel);
    if (x > device->physical.group_limit[0] || y > device->physical.group_limit[1])
        return vkb_fail(error, VKB_ERROR_UNSUPPORTED,
                        "%s: op %u (%s): %u × %llu workgroups for %llu rows, of at most %u × %u: lower max_tokens", device->base.info.name,
                        s->op, name, x, (unsigned long long)y, (unsigned long long)rows, device->physical.group_limit[0],
                        device->physical.group_limit[1]);
    return s->task.kind == VKB_OP_ATTENTION && !kernel->by_rows ? add_list(p, kernel->tile_rows, error) : VKB_OK;
}

/* The first class whose steps per sequence have the same kernels. */
static uint32_t find_alike(const vkb_vk_program *p, uint32_t class) {
    for (uint32_t c = 0; c < class; c++) {
        bool same = true;
        for (uint32_t i = 0; i < p->step_count && same; i++)
            same = p->steps[i].scope == VKB_PER_TOKEN || vkb_vk_kernel_for(p, i, 0, c) == vkb_vk_kernel_for(p, i, 0, class);
        if (same) return c;
    }
    return class;
}

vkb_status vkb_vk_classes_init(vkb_vk_program *p, vkb_error *error) {
    vkb_status status = find_thresholds(p, error);
    if (status) return status;
    uint32_t count = vkb_vk_number_count(p);
    p->kernels = calloc((size_t)p->class_count * count, sizeof *p->kernels);
    if (!p->kernels) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_program_create: out of memory for %u ops", p->base.op_count);
    status = vkb_vk_variants_prepare(p, error);
    for (uint32_t c = 0; c < p->class_count; c++) {
        for (uint32_t i = 0; i < count && !status; i++) status = choose(p, i, c, error);
        if (!status) p->alike[c] = find_alike(p, c);
    }
    vkb_vk_variants_save(vkb_vk_device_of(&p->base));
    return status;
}

const vkb_kernel *vkb_vk_kernel_for(const vkb_vk_program *p, uint32_t number, uint32_t tokens, uint32_t sequences) {
    uint32_t class = 0; /* outputs' copies are recorded apart from the classes */
    if (number < p->step_count) class = p->steps[number].scope == VKB_PER_TOKEN ? tokens : sequences;
    return p->kernels[class * vkb_vk_number_count(p) + number];
}
