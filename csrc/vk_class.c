/*
 * Size classes. Which kernel does a step best depends on how many rows the batch has; the table of kernels says from how many on. Its
 * distinct thresholds divide batches into classes, by tokens and by sequences, and the commands are recorded once for each class that
 * occurs (classes of sequences with the same kernels share them).
 */
#include <stdlib.h>
#include <string.h>

#include "vk_internal.h"

static vkb_status find_thresholds(vkb_vk_program *p, vkb_error *error) {
    p->thresholds[0] = 1;
    p->class_count = 1;
    for (uint32_t k = 0; k < vkb_kernel_count; k++) {
        uint32_t rows = vkb_kernels[k].min_rows, at = 0;
        while (at < p->class_count && p->thresholds[at] < rows) at++;
        if (rows <= 1 || rows > p->base.max_tokens || (at < p->class_count && p->thresholds[at] == rows)) continue;
        if (p->class_count == VKB_VK_MAX_CLASSES)
            return vkb_fail(error, VKB_ERROR_UNSUPPORTED, "the table of kernels has more than %d size classes", VKB_VK_MAX_CLASSES);
        memmove(&p->thresholds[at + 1], &p->thresholds[at], (p->class_count - at) * sizeof *p->thresholds);
        p->thresholds[at] = rows;
        p->class_count++;
    }
    return VKB_OK;
}

static uint32_t class_of(const vkb_vk_program *p, uint32_t rows) {
    uint32_t c = 0;
    while (c + 1 < p->class_count && p->thresholds[c + 1] <= rows) c++;
    return c;
}

static uint32_t number_count(const vkb_vk_program *p) { return p->step_count + p->base.output_count; }

const vkb_vk_step *vkb_vk_step_at(const vkb_vk_program *p, uint32_t number) {
    return number < p->step_count ? &p->steps[number] : &p->copies[number - p->step_count].step;
}

static uint64_t groups(uint64_t n, uint32_t tile) { return (n + tile - 1) / tile; }

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
    const vkb_vk_device *device = vkb_vk_device_of(&p->base);
    const vkb_vk_step *s = vkb_vk_step_at(p, number);
    const char *name = s->task.kind == VKB_KERNEL_COPY_OUT ? "output" : vkb_op_name(s->task.kind);
    const vkb_kernel *kernel = vkb_kernel_choose(&device->abilities, &s->task, p->thresholds[class]);
    if (!kernel)
        return vkb_fail(error, VKB_ERROR_UNSUPPORTED, "%s: op %u (%s): there is no kernel for %u rows that this device can run",
                        device->base.info.name, s->op, name, p->thresholds[class]);
    p->kernels[class * number_count(p) + number] = kernel;
    uint64_t rows = s->scope == VKB_PER_TOKEN ? p->base.max_tokens : p->base.max_sequences;
    uint64_t y = groups(rows, kernel->tile_rows) + (s->task.kind == VKB_OP_ATTENTION ? p->base.max_sequences : 0);
    uint64_t x = s->task.kind == VKB_OP_ATTENTION ? s->columns : kernel->tile_columns ? groups(s->columns, kernel->tile_columns) : 1;
    if (x > device->physical.group_limit[0] || y > device->physical.group_limit[1])
        return vkb_fail(error, VKB_ERROR_UNSUPPORTED,
                        "%s: op %u (%s): %llu × %llu workgroups for %llu rows, of at most %u × %u: lower max_tokens",
                        device->base.info.name, s->op, name, (unsigned long long)x, (unsigned long long)y, (unsigned long long)rows,
                        device->physical.group_limit[0], device->physical.group_limit[1]);
    return s->task.kind == VKB_OP_ATTENTION ? add_list(p, kernel->tile_rows, error) : VKB_OK;
}

vkb_status vkb_vk_classes_init(vkb_vk_program *p, vkb_error *error) {
    vkb_status status = find_thresholds(p, error);
    if (status) return status;
    uint32_t count = number_count(p);
    p->kernels = calloc((size_t)p->class_count * count, sizeof *p->kernels);
    if (!p->kernels) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_program_create: out of memory for %u ops", p->base.op_count);
    for (uint32_t c = 0; c < p->class_count; c++)
        for (uint32_t i = 0; i < count && !status; i++) status = choose(p, i, c, error);
    return status;
}

const vkb_kernel *vkb_vk_kernel_for(const vkb_vk_program *p, uint32_t number, uint32_t tokens, uint32_t sequences) {
    uint32_t class = 0; /* outputs' copies are recorded apart from the classes */
    if (number < p->step_count) class = class_of(p, p->steps[number].scope == VKB_PER_TOKEN ? tokens : sequences);
    return p->kernels[class * number_count(p) + number];
}

/* The recording with these kernels for batches of up to `tokens`, made if there is none. *number counts from 0. */
static vkb_status find_or_record(vkb_vk_program *p, const vkb_kernel *const *kernels, uint32_t tokens, uint32_t *number, vkb_error *error) {
    for (*number = 0; *number < p->recording_count; ++*number) {
        const vkb_vk_recording *r = p->recordings[*number];
        if (r->tokens == tokens && memcmp(r->kernels, kernels, p->step_count * sizeof *kernels) == 0) return VKB_OK;
    }
    vkb_status status = vkb_vk_record(p, kernels, tokens, VK_NULL_HANDLE, &p->recordings[*number], error);
    if (status) return status;
    p->recording_count++;
    vkb_vk_cache_save(vkb_vk_device_of(&p->base));
    return VKB_OK;
}

vkb_status vkb_vk_recording_for(vkb_vk_program *p, uint32_t tokens, uint32_t sequences, vkb_vk_recording **recording, vkb_error *error) {
    uint32_t class = class_of(p, tokens), most = class + 1 < p->class_count ? p->thresholds[class + 1] - 1 : p->base.max_tokens;
    uint8_t *known = &p->recording_of[class][class_of(p, sequences)];
    vkb_status status = VKB_OK;
    if (!*known) {
        const vkb_kernel **kernels = malloc(p->step_count * sizeof *kernels);
        if (!kernels) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_program_run: out of memory");
        for (uint32_t i = 0; i < p->step_count; i++) kernels[i] = vkb_vk_kernel_for(p, i, tokens, sequences);
        uint32_t number;
        status = find_or_record(p, kernels, most, &number, error);
        free(kernels);
        if (status) return status;
        *known = (uint8_t)(number + 1);
    }
    *recording = p->recordings[*known - 1];
    return VKB_OK;
}
