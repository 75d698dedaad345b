/*
 * The self-test of a kernel: one op, as a program uses it but small and over odd sizes, done on the device with this kernel and on the
 * reference (cpu_ref.c). Drivers do miscompile; one that does costs speed, not vectors.
 *
 * The op's input comes from EMBED and goes out by a copy, whose kernels are tested as parts of EMBED's own test. Inputs and weights are
 * multiples of 2⁻⁶, exact in every dtype.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vk_force.h"
#include "vk_internal.h"

enum { TABLE_ROWS = 61, SEQUENCES = 3, MAX_TENSORS = 12, MAX_TOKENS = 512, MAX_VALUES = 5 };

typedef struct probe { /* a program of one op, and what makes its inputs */
    const vkb_tensor *like;
    vkb_tensor tensors[MAX_TENSORS];
    vkb_value values[MAX_VALUES];
    vkb_op ops[MAX_VALUES];
    uint32_t tensor_count, value_count; /* as many ops as values */
    uint32_t activations;
    uint32_t tokens, longest;
    uint32_t cu_seqlens[SEQUENCES + 1], pool_start[SEQUENCES];
    int32_t ids[MAX_TOKENS], types[MAX_TOKENS];
} probe;

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Sequences of 1, 17 and so many tokens that there are two tiles of rows, the second not full, and more than one block of keys. */
static void fill_batch(probe *p, uint32_t tile_rows) {
    p->longest = tile_rows + 23 < 150 ? 150 : tile_rows + 23;
    p->longest = least(p->longest, MAX_TOKENS - 18);
    p->tokens = 18 + p->longest;
    memcpy(p->cu_seqlens, (uint32_t[]){0, 1, 18, p->tokens}, sizeof p->cu_seqlens);
    memcpy(p->pool_start, (uint32_t[]){0, 2, 5}, sizeof p->pool_start);
    for (uint32_t i = 0; i < p->tokens; i++) {
        p->ids[i] = (int32_t)(i * 37 % TABLE_ROWS);
        p->types[i] = (int32_t)(i & 1);
    }
}

/* As many as a kernel does attention of by the way, in sequences of 1, 4 and the rest. */
static void fill_tile(probe *p, uint32_t tile_rows) {
    fill_batch(p, tile_rows);
    p->tokens = tile_rows;
    memcpy(p->cu_seqlens, (uint32_t[]){0, 1, 5, tile_rows}, sizeof p->cu_seqlens);
}

/* A tensor in the place of one of the program's, with its layout and dtype; VKB_NONE where the program has none. */
static uint32_t tensor(probe *p, uint32_t like, uint32_t rows, uint32_t cols) {
    if (like == VKB_NONE) return VKB_NONE;
    p->tensors[p->tensor_count] = p->like[like];
    p->tensors[p->tensor_count].rows = rows;
    p->tensors[p->tensor_count].cols = cols;
    return p->tensor_count++;
}

/* [T, width], or at the reference's end of things: the sequence's rows of a table. */
static uint32_t input(probe *p, uint32_t width) {
    p->tensors[p->tensor_count] = (vkb_tensor){TABLE_ROWS, width, VKB_LAYOUT_TABLE, VKB_F32};
    p->values[p->value_count] = (vkb_value){VKB_PER_TOKEN, width};
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_EMBED;
    op.output = p->value_count;
    op.weight = p->tensor_count++;
    op.scale = 1;
    p->ops[p->value_count] = op;
    return p->value_count++;
}

static void output(probe *p, vkb_op op, uint32_t scope, uint32_t width) {
    op.output = p->value_count;
    p->values[p->value_count] = (vkb_value){scope, width};
    p->ops[p->value_count++] = op;
}

/* Of a LINEAR's input or output: no multiple of a tile, unless the kernel wants one, and as many as it wants; fewer than are stored where
   there is no more room. */
static uint32_t columns(uint32_t multiple, uint32_t fewest, uint32_t most) {
    uint32_t n = multiple && 256 % multiple ? multiple : 208;
    if (n < fewest) n += (uint32_t)vkb_align_up(fewest - n + 1, multiple ? multiple : 16);
    return most && n >= most ? most - 7 : n;
}

static void add_norm(probe *p, vkb_op *op, const vkb_op *like, uint32_t width) {
    op->norm = like->norm;
    op->norm_eps = like->norm_eps;
    op->norm_weight = tensor(p, like->norm_weight, 1, width);
    op->norm_bias = tensor(p, like->norm_bias, 1, width);
}

static void embed(probe *p, vkb_op op, const vkb_op *like, uint32_t width) {
    op.scale = like->scale;
    op.weight = tensor(p, like->weight, TABLE_ROWS, width);
    op.position_table = tensor(p, like->position_table, p->longest, width);
    op.type_table = tensor(p, like->type_table, 2, width);
    add_norm(p, &op, like, width);
    output(p, op, VKB_PER_TOKEN, width);
}

static void layer_norm(probe *p, vkb_op *op, uint32_t width) {
    op->norm = VKB_NORM_LAYER;
    op->norm_eps = 1e-5f;
    op->norm_weight = p->tensor_count;
    op->norm_bias = p->tensor_count + 1;
    for (int i = 0; i < 2; i++) p->tensors[p->tensor_count++] = (vkb_tensor){1, width, VKB_LAYOUT_VECTOR, VKB_F32};
}

/* As input(), from another LINEAR, of few inputs, and its norm: what a kernel that folds a norm reads. */
static uint32_t normed(probe *p, uint32_t width) {
    uint32_t inputs = least(width, 128);
    vkb_op op = p->ops[input(p, inputs)];
    op.kind = VKB_OP_LINEAR;
    op.input = p->value_count - 1;
    op.scale = 0;
    op.weight = p->tensor_count;
    p->tensors[p->tensor_count++] = (vkb_tensor){width, inputs, VKB_LAYOUT_LINEAR, p->activations};
    layer_norm(p, &op, width);
    output(p, op, VKB_PER_TOKEN, width);
    return p->value_count - 1;
}

/* As input(), from ATTENTION in heads of 32, or of 16. */
static uint32_t attended(probe *p, uint32_t width) {
    vkb_op op = p->ops[input(p, 3 * width)];
    op.kind = VKB_OP_ATTENTION;
    op.input = p->value_count - 1;
    op.weight = VKB_NONE;
    op.heads = width / (width % 32 ? 16 : 32);
    op.scale = 0.18f;
    output(p, op, VKB_PER_TOKEN, width);
    return p->value_count - 1;
}

/* Of the value that was made last, of twice the width. */
static void gate(probe *p, uint32_t activation, uint32_t width) {
    vkb_op op = p->ops[0];
    op.kind = VKB_OP_GATE;
    op.input = p->value_count - 1;
    op.weight = VKB_NONE;
    op.scale = 0;
    op.activation = activation;
    output(p, op, VKB_PER_TOKEN, width);
}

/* folds: the norms, in MODE's bits, that are left to the kernel. Others of its own are tested by themselves. */
static void linear(probe *p, vkb_op op, const vkb_vk_usage *u, uint32_t inputs, uint32_t outputs, uint32_t folds) {
    const vkb_op *like = u->op;
    bool bare = folds & VKB_FOLD_GATE;
    if (bare) outputs = (uint32_t)vkb_align_up(outputs, 2 * VKB_COLUMN_ALIGN);
    op.input = folds & VKB_FOLD_ATTENTION ? attended(p, inputs) : folds & VKB_FOLD_NORM_INPUT ? normed(p, inputs) : input(p, inputs);
    if (like->residual != VKB_NONE && !bare) op.residual = folds & VKB_FOLD_NORM_RESIDUAL ? normed(p, outputs) : input(p, outputs);
    op.residual_at = bare ? VKB_RESIDUAL_BEFORE_NORM : like->residual_at;
    op.activation = bare ? VKB_ACT_NONE : like->activation;
    op.weight = tensor(p, like->weight, outputs, inputs);
    op.bias = tensor(p, like->bias, 1, outputs);
    if (folds & VKB_FOLD_NORM) layer_norm(p, &op, outputs);
    output(p, op, VKB_PER_TOKEN, outputs);
    if (bare) gate(p, u->gate - 1, outputs / 2);
}

static void linear_max(probe *p, vkb_op op, const vkb_op *like, uint32_t inputs, uint32_t outputs) {
    op.input = input(p, inputs);
    op.weight = tensor(p, like->weight, outputs, inputs);
    op.bias = tensor(p, like->bias, 1, outputs);
    output(p, op, VKB_PER_SEQUENCE, outputs);
}

/* Seen by what products in int8 make of it: of an input, then of a norm's results. */
static void quantize(probe *p, vkb_op op, uint32_t width) {
    op.kind = VKB_OP_LINEAR;
    op.input = input(p, width);
    for (uint32_t i = 0; i < 2; i++) {
        op.weight = p->tensor_count;
        p->tensors[p->tensor_count++] = (vkb_tensor){width, width, VKB_LAYOUT_LINEAR, VKB_I8};
        op.norm = i ? VKB_NORM_NONE : VKB_NORM_LAYER;
        op.norm_eps = i ? 0 : 1e-5f;
        output(p, op, VKB_PER_TOKEN, width);
        op.input = p->value_count - 1;
    }
}

/* As many query heads to a key head, but few of them. */
static void set_heads(vkb_op *op, const vkb_op *like, uint32_t head_size, uint32_t *width, uint32_t *out) {
    uint32_t kv = like->kv_heads ? like->kv_heads : like->heads;
    op->head_size = head_size;
    op->kv_heads = least(kv, 2);
    op->heads = like->heads / kv * op->kv_heads;
    *out = op->heads * head_size;
    *width = *out + 2 * op->kv_heads * head_size;
}

static void attention(probe *p, vkb_op op, const vkb_op *like, uint32_t head_size) {
    uint32_t width, out;
    set_heads(&op, like, head_size, &width, &out);
    op.input = input(p, width);
    op.scale = like->scale;
    op.flags = like->flags;
    op.window = least(like->window, 40);
    op.weight = tensor(p, like->weight, op.heads, 2 * 20 + 1);
    op.bias = tensor(p, like->bias, 1, op.heads);
    op.position_table = tensor(p, like->position_table, 2 * 20 + 1, out);
    op.type_table = tensor(p, like->type_table, 2 * 20 + 1, out);
    output(p, op, VKB_PER_TOKEN, out);
}

static void rotate(probe *p, vkb_op op, const vkb_op *like, uint32_t head_size) {
    uint32_t width, out;
    set_heads(&op, like, head_size, &width, &out);
    op.input = input(p, width);
    op.flags = like->flags;
    if (like->position_table != VKB_NONE)
        op.position_table = tensor(p, like->position_table, p->longest, p->like[like->position_table].cols);
    bool whole = like->norm && like->heads > 1 && p->like[like->norm_weight].cols == like->heads * head_size;
    add_norm(p, &op, like, whole ? out : head_size);
    uint32_t keys = whole ? op.kv_heads * head_size : head_size;
    op.weight = tensor(p, like->weight, 1, keys);
    op.bias = tensor(p, like->bias, 1, keys);
    output(p, op, VKB_PER_TOKEN, width);
}

static void norm(probe *p, vkb_op op, const vkb_op *like, uint32_t width) {
    op.input = input(p, width);
    if (like->kind == VKB_OP_NORM && like->residual != VKB_NONE) {
        op.residual = input(p, width);
        op.residual_at = like->residual_at;
    }
    add_norm(p, &op, like, width);
    output(p, op, VKB_PER_TOKEN, width);
}

/* With what a kernel that folds it pools. */
static void normalize(probe *p, vkb_op op, uint32_t width, uint32_t folds) {
    if (folds & VKB_FOLD_POOL) {
        vkb_op pool = op;
        width = columns(0, 0, 0);
        pool.kind = VKB_OP_POOL;
        pool.pool = VKB_POOL_MEAN;
        pool.input = folds & VKB_FOLD_NORM_INPUT ? normed(p, width) : input(p, width);
        output(p, pool, VKB_PER_SEQUENCE, width);
        op.input = p->value_count - 1;
        output(p, op, VKB_PER_SEQUENCE, width);
        return;
    }
    op.input = input(p, width);
    output(p, op, VKB_PER_TOKEN, width);
}

/* False: a kind that is not tested by itself. */
static bool build(probe *p, const vkb_kernel *kernel, const vkb_vk_usage *u, uint32_t folds) {
    const vkb_op *like = u->op;
    uint32_t width = least(u->width, 600);
    uint32_t inputs = kernel->inputs ? kernel->inputs : columns(kernel->inputs_multiple, kernel->from_inputs, 0),
             outputs = columns(kernel->outputs_multiple, kernel->min_outputs, kernel->kind == VKB_OP_LINEAR ? kernel->max_outputs : 0);
    vkb_op op = VKB_OP_INIT;
    op.kind = kernel->kind;
    if (kernel->kind == VKB_OP_LINEAR && folds & VKB_FOLD_ATTENTION)
        fill_tile(p, kernel->tile_rows);
    else
        fill_batch(p, kernel->tile_rows);
    switch (kernel->kind) {
    case VKB_OP_EMBED: embed(p, op, like, width); return true;
    case VKB_OP_LINEAR: linear(p, op, u, inputs, outputs, folds); return true;
    case VKB_OP_LINEAR_MAX: linear_max(p, op, like, inputs, outputs); return true;
    case VKB_OP_ATTENTION: attention(p, op, like, u->head_size); return true;
    case VKB_OP_ROTATE: rotate(p, op, like, u->head_size); return true;
    case VKB_OP_NORM: norm(p, op, like, width); return true;
    case VKB_KERNEL_QUANTIZE: quantize(p, op, width); return true;
    case VKB_OP_NORMALIZE: normalize(p, op, width, folds); return true;
    case VKB_OP_POOL:
        op.input = input(p, width);
        op.pool = like->pool;
        output(p, op, VKB_PER_SEQUENCE, width);
        return true;
    case VKB_OP_GATE:
        input(p, 2 * width);
        gate(p, like->activation, width);
        return true;
    default: return false;
    }
}

/* Multiples of 2⁻⁶ within ±1, smaller for a LINEAR's weights, so that results are about 1. */
static vkb_status put_numbers(const probe *p, vkb_weights *weights, uint32_t t, vkb_error *error) {
    const vkb_tensor *shape = &p->tensors[t];
    size_t count = (size_t)shape->rows * shape->cols;
    float *x = malloc(count * sizeof *x), scale = 1.0f / 64;
    if (!x) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "self-test: out of memory");
    for (uint32_t k = shape->cols; shape->layout == VKB_LAYOUT_LINEAR && k > 4; k /= 4) scale /= 2;
    uint32_t state = 12345 + t;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = scale * (float)((int32_t)(state >> 16) % 129 - 64);
    }
    vkb_status status = vkb_weights_put(weights, t, VKB_F32, 0, x, count, error);
    free(x);
    return status;
}

static uint64_t result_count(const probe *p) {
    const vkb_value *out = &p->values[p->value_count - 1];
    return (uint64_t)(out->scope == VKB_PER_TOKEN ? p->tokens : SEQUENCES) * out->width;
}

static _Thread_local const vkb_kernel *under_test;
static _Thread_local bool taken, only_makes;

static vkb_status make_program(const probe *p, vkb_device *device, vkb_weights **weights, vkb_program **program, vkb_error *error) {
    uint32_t last = p->value_count - 1;
    vkb_program_desc desc = {.struct_size = sizeof desc,
                             .value_count = p->value_count,
                             .values = p->values,
                             .ops = p->ops,
                             .op_count = p->value_count,
                             .output_count = 1,
                             .outputs = &last,
                             .max_tokens = p->tokens,
                             .max_sequences = SEQUENCES,
                             .activations = p->activations};
    vkb_status status = vkb_weights_create(device, p->tensors, p->tensor_count, weights, error);
    for (uint32_t t = 0; t < p->tensor_count && !status && !only_makes; t++) status = put_numbers(p, *weights, t, error);
    if (!status) status = vkb_weights_seal(*weights, NULL, error);
    return status ? status : vkb_program_create(*weights, &desc, program, error);
}

/* *result: [rows, width] of the last op's output, to be freed. Where the program is only made, NULL. */
static vkb_status run_probe(const probe *p, vkb_device *device, float **result, vkb_error *error) {
    vkb_weights *weights = NULL;
    vkb_program *program = NULL;
    vkb_batch batch = {.struct_size = sizeof batch,
                       .tokens = p->tokens,
                       .sequences = SEQUENCES,
                       .ids = p->ids,
                       .type_ids = p->types,
                       .cu_seqlens = p->cu_seqlens,
                       .pool_start = p->pool_start};
    uint64_t count = result_count(p);
    vkb_status status = make_program(p, device, &weights, &program, error);
    if (!status && !only_makes) {
        *result = malloc(count * sizeof **result);
        status = *result ? vkb_program_run(program, &batch, &(vkb_output){*result, count}, error)
                         : vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "self-test: out of memory");
    }
    vkb_program_destroy(program);
    vkb_weights_destroy(weights);
    return status;
}

/*
 * How far a right result may be from the reference's, relative to 1 + its size: several roundings of what it is computed in.
 *
 * In int8 a step of a few inputs that lie halfway between two: the inputs are multiples of 2⁻⁶, of which k and 2k in a row are an exact
 * half, and a device's division may be off by a last place. Where a second product reads what a norm made of the first one's results, that
 * moves many numbers across a half: calculated on a host for these tests, by at most 0.025, while one wrong scale or lane makes 0.1 and
 * more.
 */
static float tolerance(const probe *p) {
    uint32_t products = 0;
    for (uint32_t i = 0; i < p->tensor_count; i++) products += p->tensors[i].dtype == VKB_I8;
    if (products) return products > 1 ? 5e-2f : 1e-2f;
    return p->activations == VKB_F16 ? 4e-3f : 5e-5f;
}

/* The greatest difference; where it is too much, the reason. */
static float compare(const probe *p, const float *got, const float *want, char *reason, size_t size) {
    uint32_t width = p->values[p->value_count - 1].width;
    uint64_t worst = 0;
    float most = 0;
    for (uint64_t i = 0; i < result_count(p); i++) {
        float off = fabsf(got[i] - want[i]) / (1 + fabsf(want[i]));
        if (off <= most) continue;
        most = off;
        worst = i;
    }
    if (!(most <= tolerance(p)))
        snprintf(reason, size, "wrong results: row %llu, column %llu is %.6g, want %.6g", (unsigned long long)(worst / width),
                 (unsigned long long)(worst % width), (double)got[worst], (double)want[worst]);
    return most;
}

const vkb_kernel *vkb_vk_selftest_kernel(void) { return under_test; }

bool vkb_vk_selftest_only_makes(void) { return only_makes; }

const vkb_kernel *vkb_vk_selftest_take(const vkb_kernel *kernel) {
    const vkb_kernel *before = under_test;
    under_test = kernel;
    return before;
}

bool vkb_vk_selftest_takes(const vkb_abilities *abilities, const vkb_task *task) {
    bool takes = under_test && vkb_kernel_fits(under_test, abilities, task);
    taken = taken || takes;
    return takes;
}

static vkb_status test(vkb_vk_device *device, const vkb_kernel *kernel, const vkb_vk_usage *usage, uint32_t folds, char *reason,
                       size_t size, vkb_error *error) {
    *reason = '\0';
    probe *p = calloc(1, sizeof *p);
    if (!p) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "self-test: out of memory");
    p->like = usage->tensors;
    p->activations = usage->activations;
    vkb_device *reference = NULL;
    float *want = NULL, *got = NULL, off;
    vkb_error why = {0};
    vkb_status status = VKB_OK;
    if (!build(p, kernel, usage, folds)) goto done;
    if (!only_makes) {
        status = vkb_ref_open(&(vkb_device_options){.struct_size = sizeof(vkb_device_options)}, &reference, error);
        if (!status) status = run_probe(p, reference, &want, error);
        if (status) goto done;
    }
    under_test = kernel;
    taken = false;
    status = run_probe(p, &device->base, &got, &why);
    under_test = NULL;
    if (only_makes) {
        if (error) *error = why;
        goto done;
    }
    switch (status) {
    case VKB_OK:
        if (!taken) {
            snprintf(reason, size, "its self-test has no shape that it takes");
            break;
        }
        off = compare(p, got, want, reason, size);
        vkb_log(&device->base, VKB_LOG_DEBUG, "%s: kernel \"%s\" is off by %.2g, of at most %.2g", device->base.info.name, kernel->name,
                (double)off, (double)tolerance(p));
        break;
    case VKB_ERROR_NOT_FINITE:
    case VKB_ERROR_UNSUPPORTED:
    case VKB_ERROR_VULKAN: /* a pipeline that the driver will not make */
        snprintf(reason, size, "%s", why.message);
        status = VKB_OK;
        break;
    default: /* memory, or the device is lost: says nothing about this kernel, or everything */
        if (error) *error = why;
    }
done:
    free(got);
    free(want);
    vkb_device_close(reference);
    free(p);
    return status;
}

vkb_status vkb_vk_selftest(vkb_vk_device *device, const vkb_kernel *kernel, const vkb_vk_usage *usage, char *reason, size_t size,
                           vkb_error *error) {
    bool linear = kernel->kind == VKB_OP_LINEAR;
    /* each by itself: there is one set of a norm's constants, and attention is of few rows alone */
    uint32_t apart[] = {linear && usage->op->residual != VKB_NONE ? kernel->folds & VKB_FOLD_NORM_RESIDUAL : 0,
                        linear && usage->attends ? kernel->folds & VKB_FOLD_ATTENTION : 0, linear ? kernel->folds & VKB_FOLD_NORM : 0,
                        linear && usage->gate && vkb_kernel_gates(kernel, usage->gate - 1) ? VKB_FOLD_GATE : 0};
    uint32_t others = kernel->folds & ~(uint32_t)(linear ? VKB_FOLD_NORM_RESIDUAL | VKB_FOLD_ATTENTION | VKB_FOLD_NORM : 0);
    vkb_status status = test(device, kernel, usage, others, reason, size, error);
    for (size_t i = 0; i < sizeof apart / sizeof *apart && !status && !*reason; i++)
        if (apart[i]) status = test(device, kernel, usage, apart[i], reason, size, error);
    return status;
}

vkb_status vkb_vk_selftest_make(vkb_vk_device *device, const vkb_kernel *kernel, const vkb_vk_usage *usage, vkb_error *error) {
    char reason[1]; /* nothing is compared */
    only_makes = true;
    vkb_status status = vkb_vk_selftest(device, kernel, usage, reason, sizeof reason, error);
    only_makes = false;
    return status;
}
