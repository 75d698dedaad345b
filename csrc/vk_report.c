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

static const vkb_tensor half_tensors[TENSORS] = {
    [TABLE] = {8, 8, VKB_LAYOUT_TABLE, VKB_F16},
    [LINEAR] = {8, 8, VKB_LAYOUT_LINEAR, VKB_F16},
    [VECTOR] = {1, 8, VKB_LAYOUT_VECTOR, VKB_F32},
    [ROTATION] = {8, 16, VKB_LAYOUT_TABLE, VKB_F32},
};

static const vkb_tensor byte_tensors[TENSORS] = {
    [TABLE] = {8, 8, VKB_LAYOUT_TABLE, VKB_F16},
    [LINEAR] = {8, 8, VKB_LAYOUT_LINEAR, VKB_I8},
    [VECTOR] = {1, 8, VKB_LAYOUT_VECTOR, VKB_F32},
    [ROTATION] = {8, 16, VKB_LAYOUT_TABLE, VKB_F32},
};

static void add_norm(vkb_op *op) {
    op->norm = VKB_NORM_LAYER;
    op->norm_weight = op->norm_bias = VECTOR;
    op->norm_eps = 1e-5f;
}

/* As most models have it; false: a kind that has no op. */
static bool typical(uint32_t kind, vkb_op *op) {
    *op = (vkb_op)VKB_OP_INIT;
    op->kind = kind;
    switch (kind) {
    case VKB_OP_EMBED:
        op->weight = op->position_table = op->type_table = TABLE;
        op->scale = 1;
        add_norm(op);
        return true;
    case VKB_OP_LINEAR:
        op->residual = 0;
        op->activation = VKB_ACT_GELU;
        op->weight = LINEAR;
        op->bias = VECTOR;
        return true;
    case VKB_OP_LINEAR_MAX:
        op->weight = LINEAR;
        op->bias = VECTOR;
        return true;
    case VKB_OP_ATTENTION:
        op->heads = 2;
        op->scale = 0.125f;
        return true;
    case VKB_OP_ROTATE:
        op->heads = 2;
        op->position_table = ROTATION;
        return true;
    case VKB_OP_NORM: add_norm(op); return true;
    case VKB_OP_POOL: op->pool = VKB_POOL_MEAN; return true;
    case VKB_OP_GATE: op->activation = VKB_ACT_GELU; return true;
    case VKB_OP_NORMALIZE:
    case VKB_KERNEL_QUANTIZE: return true;
    default: return false;
    }
}

/* With values and weights in f32, where the kernel works on them, else in f16. */
static vkb_vk_usage usage_of(const vkb_kernel *k, const vkb_op *op) {
    bool i8 = k->weights & 1 << VKB_WEIGHTS_I8;
    bool f16_values = k->values && !(k->values & 1), f16_weights = k->weights && !i8 && !(k->weights & 1 << VKB_WEIGHTS_F32);
    vkb_vk_usage u = {
        .task = {.kind = k->kind, .inputs = k->inputs ? k->inputs : 256, .outputs = k->min_outputs > 256 ? k->min_outputs : 256},
        .op = op,
        .tensors = i8            ? byte_tensors
                   : f16_weights ? half_tensors
                                 : tensors,
        .activations = f16_values ? VKB_F16 : VKB_F32,
        .width = 200};
    u.task.values = !f16_values ? 0 : k->values & 1 << VKB_VALUES_F16 ? VKB_VALUES_F16 : VKB_INPUT_F16;
    u.task.weights = i8                                  ? VKB_WEIGHTS_I8
                     : !f16_weights                      ? VKB_WEIGHTS_F32
                     : k->weights & 1 << VKB_WEIGHTS_F16 ? VKB_WEIGHTS_F16
                                                         : VKB_WEIGHTS_F16_TILES;
    if (k->kind == VKB_OP_LINEAR || k->kind == VKB_OP_GATE) u.task.mode = op->activation;
    if (k->kind == VKB_OP_LINEAR) u.gate = 1 + VKB_ACT_SILU;
    if (k->kind == VKB_OP_POOL) u.task.mode = op->pool;
    if (k->kind == VKB_OP_ATTENTION || k->kind == VKB_OP_ROTATE) u.head_size = k->max_head ? k->max_head : 64;
    if (k->kind == VKB_OP_ATTENTION) u.task.head_size = u.head_size;
    return u;
}

/* What the device lacks for the kernel. */
static void say_unfit(const vkb_abilities *a, const vkb_kernel *k, vkb_variant *variant) {
    static const struct {
        uint32_t need;
        const char *name;
    } needs[] = {{VKB_NEED_F16, "f16 storage and arithmetic"},
                 {VKB_NEED_ADDRESSES, "buffer addresses"},
                 {VKB_NEED_MATRIX, "matrix hardware"},
                 {VKB_NEED_MATRIX_I8, "matrix hardware for int8"},
                 {VKB_NEED_MATRIX2, "matrices of 128x128x64 by workgroups (VK_NV_cooperative_matrix2)"},
                 {VKB_NEED_DOT, "integer dot products"},
                 {VKB_NEED_HOPPER, "an NVIDIA Hopper GPU with VK_NVX_binary_import"},
                 {VKB_NEED_FRAGMENTS, "matrices of 16x16x16 that lie over subgroups of 32 as NVIDIA's do"}};
    const size_t size = sizeof variant->reason;
    uint32_t invocations = vkb_kernel_invocations(k, a);
    if (invocations > a->workgroup_invocations)
        snprintf(variant->reason, size, "it needs workgroups of %u, of at most %u", invocations, a->workgroup_invocations);
    else if (k->shared_bytes > a->shared_bytes)
        snprintf(variant->reason, size, "it needs %u bytes of shared memory, of at most %u", k->shared_bytes, a->shared_bytes);
    else if (k->subgroup & ~a->subgroup_operations)
        snprintf(variant->reason, size, "it needs subgroup operations that the device lacks");
    else
        snprintf(variant->reason, size, "it takes no op of the shape that is tried");
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++) {
        if (!(k->needs & ~a->needs & needs[i].need)) continue;
        snprintf(variant->reason, size, "it needs %s", needs[i].name);
        return;
    }
}

static vkb_status describe(vkb_vk_device *device, const vkb_kernel *kernel, vkb_variant *variant, vkb_error *error) {
    vkb_op op;
    bool has_op = typical(kernel->kind, &op);
    vkb_vk_usage usage = usage_of(kernel, has_op ? &op : NULL);
    snprintf(variant->op, sizeof variant->op, "%s",
             !usage.op                             ? ""
             : kernel->kind == VKB_KERNEL_QUANTIZE ? "QUANTIZE"
                                                   : vkb_op_name(kernel->kind));
    snprintf(variant->name, sizeof variant->name, "%s", kernel->name);
    if (!vkb_kernel_fits(kernel, &device->abilities, &usage.task)) {
        variant->state = VKB_VARIANT_UNFIT;
        say_unfit(&device->abilities, kernel, variant);
        return VKB_OK;
    }
    if (usage.op) return vkb_vk_variant_check(device, kernel, &usage, variant, error);
    variant->state = VKB_VARIANT_UNTESTED;
    return VKB_OK;
}

vkb_status vkb_vk_report(vkb_device *base, vkb_variant *variants, uint32_t capacity, uint32_t *count, vkb_error *error) {
    vkb_vk_device *device = (vkb_vk_device *)base;
    vkb_status status = VKB_OK;
    for (uint32_t i = 0; i < vkb_kernel_count && i < capacity && !status; i++)
        status = describe(device, &vkb_kernels[i], &variants[i], error);
    vkb_vk_variants_save(device);
    *count = vkb_kernel_count;
    return status;
}
