/* The reference's device, weights and programs; cpu_ref.h says what it is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_ref.h"

/* ---- Device and weights ---- */

void vkb_ref_info(vkb_device_info *info) {
    *info = (vkb_device_info){.struct_size = sizeof *info,
                              .kind = VKB_DEVICE_REFERENCE,
                              .usable = 1,
                              .memory_bytes = vkb_host_memory_bytes(),
                              .memory_available = vkb_cpu_memory_available()};
    info->buffer_range = info->memory_bytes;
    snprintf(info->selector, sizeof info->selector, "reference");
    vkb_cpu_model_name(info->name, sizeof info->name);
    snprintf(info->driver, sizeof info->driver, "vkbert %s (scalar, one thread, f64)", vkb_version());
}

static void device_free(vkb_device *device) { free(device); }

static vkb_status weights_init(vkb_weights *weights, vkb_error *error) {
    ref_weights *w = (ref_weights *)weights;
    w->data = calloc(weights->count, sizeof *w->data);
    w->scales = calloc(weights->count, sizeof *w->scales);
    if (!w->data || !w->scales)
        return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_weights_create: out of memory for %u tensors", weights->count);
    for (uint32_t i = 0; i < weights->count; i++) {
        const vkb_tensor *t = &weights->tensors[i];
        uint64_t bytes = (uint64_t)t->rows * t->cols; /* of two numbers below 2³¹ */
        w->data[i] = vkb_mul(bytes, sizeof(float), &bytes) && bytes <= SIZE_MAX ? calloc(bytes, 1) : NULL;
        if (t->dtype == VKB_I8) w->scales[i] = calloc(t->rows, sizeof(float));
        if (!w->data[i] || (t->dtype == VKB_I8 && !w->scales[i]))
            return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_weights_create: out of memory for tensor %u: [%u, %u]", i, t->rows,
                            t->cols);
        weights->bytes += bytes;
    }
    return VKB_OK;
}

static vkb_status weights_put(vkb_weights *weights, uint32_t tensor, uint64_t first, const float *x, uint64_t count, vkb_error *error) {
    (void)error;
    memcpy(((ref_weights *)weights)->data[tensor] + first, x, count * sizeof *x);
    return VKB_OK;
}

static vkb_status weights_put_i8(vkb_weights *weights, uint32_t tensor, uint32_t row, const int8_t *q, float scale, vkb_error *error) {
    (void)error;
    ref_weights *w = (ref_weights *)weights;
    uint32_t cols = weights->tensors[tensor].cols;
    for (uint32_t i = 0; i < cols; i++) w->data[tensor][(size_t)row * cols + i] = q[i];
    w->scales[tensor][row] = scale;
    return VKB_OK;
}

static vkb_status weights_seal(vkb_weights *weights, vkb_error *error) {
    (void)weights;
    (void)error;
    return VKB_OK;
}

static void weights_free(vkb_weights *weights) {
    ref_weights *w = (ref_weights *)weights;
    for (uint32_t i = 0; w->data && i < weights->count; i++) free(w->data[i]);
    for (uint32_t i = 0; w->scales && i < weights->count; i++) free(w->scales[i]);
    free(w->data);
    free(w->scales);
}

/* ---- Programs ---- */

static double *doubles(uint64_t rows, uint64_t columns) {
    uint64_t count;
    return vkb_mul(rows, columns, &count) && count <= SIZE_MAX / sizeof(double) ? malloc(count * sizeof(double)) : NULL;
}

static vkb_status program_init(vkb_program *program, vkb_error *error) {
    ref_program *p = (ref_program *)program;
    uint64_t widest = 0;
    for (uint32_t i = 0; i < program->value_count; i++)
        if (program->values[i].width > widest) widest = program->values[i].width;
    if (program->arena_bytes <= SIZE_MAX) p->arena = calloc(program->arena_bytes, 1);
    p->x = doubles(ROWS, widest);
    p->y = doubles(ROWS, widest);
    p->scores = doubles(1, program->max_tokens);
    p->q = calloc(widest, sizeof *p->q);
    program->host_bytes = sizeof(double) * (2 * ROWS * widest + program->max_tokens) + widest;
    if (!p->arena || !p->x || !p->y || !p->scores || !p->q)
        return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY,
                        "vkb_program_create: out of memory: %llu bytes for intermediate results of %u tokens",
                        (unsigned long long)program->arena_bytes, program->max_tokens);
    return VKB_OK;
}

static void program_free(vkb_program *program) {
    ref_program *p = (ref_program *)program;
    free(p->arena);
    free(p->x);
    free(p->y);
    free(p->scores);
    free(p->q);
}

static vkb_status program_run(vkb_program *program, const vkb_batch *batch, const vkb_output *outputs, double *op_seconds,
                              vkb_error *error) {
    static void (*const ops[])(const ref_program *, const vkb_op *) = {
        [VKB_OP_EMBED] = vkb_ref_embed, [VKB_OP_LINEAR] = vkb_ref_linear, [VKB_OP_ATTENTION] = vkb_ref_attention,
        [VKB_OP_NORM] = vkb_ref_norm,   [VKB_OP_POOL] = vkb_ref_pool,     [VKB_OP_NORMALIZE] = vkb_ref_normalize,
        [VKB_OP_GATE] = vkb_ref_gate,   [VKB_OP_ROTATE] = vkb_ref_rotate, [VKB_OP_LINEAR_MAX] = vkb_ref_linear_max,
    };
    (void)error;
    ref_program *p = (ref_program *)program;
    p->batch = batch;
    for (uint32_t i = 0; i < program->op_count; i++) {
        double start = op_seconds ? vkb_seconds() : 0;
        ops[program->ops[i].kind](p, &program->ops[i]);
        if (op_seconds) op_seconds[i] = vkb_seconds() - start;
    }
    for (uint32_t i = 0; outputs && i < program->output_count; i++) {
        uint32_t value = program->outputs[i], width = width_of(p, value), rows = outputs[i].data ? rows_of(p, value) : 0;
        for (uint32_t r = 0; r < rows; r++) memcpy(outputs[i].data + (size_t)r * width, row_of(p, value, r), width * sizeof(float));
    }
    p->batch = NULL;
    return VKB_OK;
}

static const vkb_backend ref_backend = {
    .arena_align = sizeof(float),
    .row_tile = 1,
    .column_align = 1,
    .weights_size = sizeof(ref_weights),
    .program_size = sizeof(ref_program),
    .device_free = device_free,
    .weights_init = weights_init,
    .weights_put = weights_put,
    .weights_put_i8 = weights_put_i8,
    .weights_seal = weights_seal,
    .weights_free = weights_free,
    .program_init = program_init,
    .program_run = program_run,
    .program_free = program_free,
};

vkb_status vkb_ref_open(const vkb_device_options *options, vkb_device **device, vkb_error *error) {
    vkb_device *d = calloc(1, sizeof *d);
    if (!d) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "reference: out of memory");
    vkb_device_setup(d, &ref_backend, options);
    vkb_ref_info(&d->info);
    *device = d;
    return VKB_OK;
}
