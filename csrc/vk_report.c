/* The report of all kernels: which of them run on a device, tested with an op as most models have it, and why the others do not. */
#include <stdio.h>
#include <string.h>

#include "vk_force.h"
#include "vk_internal.h"

enum { TABLE, LINEAR, VECTOR, ROTATION, TENSORS };

static const vkb_tensor tensors[TENSORS] = {
    [TABLE] = {8, 8, VKB_LAYOUT_TABLE, VKB_F32},
    [LINEAR] = {8, 8, VKB_LAYOUT_LINEAR, VKB_F32},
    [VECTOR] = {1, 8, VKB_LAYOUT_VECTOR, VKB_F32},
    [ROTATION] = {8, 16, VKB_LAYOUT_TABLE, VKB_F32},
};

/* NULL: a kind that has no op. */
static const vkb_op *typical(uint32_t kind) {
#define NO_TENSORS \
    .residual = VKB_NONE, .weight = VKB_NONE, .bias = VKB_NONE, .position_table = VKB_NONE, .type_table = VKB_NONE, \
    .norm_weight = VKB_NONE, .norm_bias = VKB_NONE
#define NORMED .norm = VKB_NORM_LAYER, .norm_weight = VECTOR, .norm_bias = VECTOR, .norm_eps = 1e-5f
    static const vkb_op ops[] = {
        {.kind = VKB_OP_EMBED, .residual = VKB_NONE, .weight = TABLE, .bias = VKB_NONE, .position_table = TABLE, .type_table = TABLE,
         NORMED, .scale = 1},
        {.kind = VKB_OP_LINEAR, .residual = 0, .weight = LINEAR, .bias = VECTOR, .position_table = VKB_NONE, .type_table = VKB_NONE,
         .norm_weight = VKB_NONE, .norm_bias = VKB_NONE, .activation = VKB_ACT_GELU},
        {.kind = VKB_OP_LINEAR_MAX, .residual = VKB_NONE, .weight = LINEAR, .bias = VECTOR, .position_table = VKB_NONE,
         .type_table = VKB_NONE, .norm_weight = VKB_NONE, .norm_bias = VKB_NONE},
        {.kind = VKB_OP_ATTENTION, NO_TENSORS, .heads = 2, .scale = 0.125f},
        {.kind = VKB_OP_NORM, .residual = VKB_NONE, .weight = VKB_NONE, .bias = VKB_NONE, .position_table = VKB_NONE,
         .type_table = VKB_NONE, NORMED},
        {.kind = VKB_OP_ROTATE, .residual = VKB_NONE, .weight = VKB_NONE, .bias = VKB_NONE, .position_table = ROTATION,
         .type_table = VKB_NONE, .norm_weight = VKB_NONE, .norm_bias = VKB_NONE, .heads = 2},
        {.kind = VKB_OP_POOL, NO_TENSORS, .pool = VKB_POOL_MEAN},
        {.kind = VKB_OP_NORMALIZE, NO_TENSORS},
        {.kind = VKB_OP_GATE, NO_TENSORS, .activation = VKB_ACT_GELU},
    };
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (ops[i].kind == kind) return &ops[i];
    return NULL;
}

static vkb_vk_usage usage_of(const vkb_kernel *kernel) {
    vkb_vk_usage u = {.kind = kernel->kind, .op = typical(kernel->kind), .tensors = tensors, .inputs = 200, .width = 200};
    if (kernel->kind == VKB_OP_LINEAR || kernel->kind == VKB_OP_GATE) u.mode = u.op->activation;
    if (kernel->kind == VKB_OP_POOL) u.mode = u.op->pool;
    if (kernel->kind == VKB_OP_ATTENTION || kernel->kind == VKB_OP_ROTATE) u.head_size = kernel->max_head ? kernel->max_head : 64;
    return u;
}

/* What the device lacks for the kernel. */
static void say_unfit(const vkb_vk_device *device, const vkb_kernel *k, vkb_variant *variant) {
    const vkb_device_info *info = &device->base.info;
    const size_t size = sizeof variant->reason;
    if (k->local_size > info->workgroup_invocations)
        snprintf(variant->reason, size, "it needs workgroups of %u, of at most %u", k->local_size, info->workgroup_invocations);
    else if (k->shared_bytes > info->shared_bytes)
        snprintf(variant->reason, size, "it needs %u bytes of shared memory, of at most %u", k->shared_bytes, info->shared_bytes);
    else
        snprintf(variant->reason, size, "it needs subgroup operations that the device lacks");
}

static vkb_status describe(vkb_vk_device *device, const vkb_kernel *kernel, vkb_variant *variant, vkb_error *error) {
    vkb_vk_usage usage = usage_of(kernel);
    snprintf(variant->op, sizeof variant->op, "%s", usage.op ? vkb_op_name(kernel->kind) : "");
    snprintf(variant->name, sizeof variant->name, "%s", kernel->name);
    if (!vkb_kernel_fits(kernel, &device->base.info, device->physical.subgroup_operations, usage.head_size)) {
        variant->state = VKB_VARIANT_UNFIT;
        say_unfit(device, kernel, variant);
        return VKB_OK;
    }
    if (usage.op) return vkb_vk_variant_check(device, kernel, &usage, variant, error);
    variant->state = VKB_VARIANT_UNTESTED;
    return VKB_OK;
}

vkb_status vkb_vk_report(vkb_device *base, vkb_variant *variants, uint32_t capacity, uint32_t *count, vkb_error *error) {
    vkb_vk_device *device = (vkb_vk_device *)base;
    vkb_status status = VKB_OK;
    for (uint32_t i = 0; i < vkb_kernel_count && i < capacity && !status; i++) status = describe(device, &vkb_kernels[i], &variants[i], error);
    vkb_vk_variants_save(device);
    *count = vkb_kernel_count;
    return status;
}
