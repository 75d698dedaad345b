/* Programs: what is common to all backends. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static void *copy_of(const void *data, uint64_t count, size_t size) {
    uint64_t bytes;
    if (!vkb_mul(count, size, &bytes) || bytes > SIZE_MAX) return NULL;
    void *copy = malloc(bytes ? bytes : 1);
    if (copy && bytes) memcpy(copy, data, bytes);
    return copy;
}

static void free_common(vkb_program *p) {
    free(p->values);
    free(p->slots);
    free(p->ops);
    free(p->outputs);
    free(p->positions_default);
    free(p->zeros);
    vkb_mutex_destroy(p->mutex);
    vkb_weights_release(p->weights);
    free(p);
}

static void lower(const vkb_program *p, uint32_t tensor, uint32_t *limit) {
    if (tensor != VKB_NONE && p->weights->tensors[tensor].rows < *limit) *limit = p->weights->tensors[tensor].rows;
}

/* The least row counts of the tables that a batch's ids and positions index: what they are checked against. */
static void find_limits(vkb_program *p) {
    p->vocabulary = p->positions = p->types = UINT32_MAX;
    for (uint32_t i = 0; i < p->op_count; i++) {
        const vkb_op *op = &p->ops[i];
        if (op->kind == VKB_OP_EMBED) {
            lower(p, op->weight, &p->vocabulary);
            lower(p, op->type_table, &p->types);
        }
        if (op->kind == VKB_OP_EMBED || op->kind == VKB_OP_ROTATE) lower(p, op->position_table, &p->positions);
    }
}

vkb_status vkb_program_create(vkb_weights *weights, const vkb_program_desc *desc, vkb_program **program, vkb_error *error) {
    if (!program) return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_program_create: program is NULL");
    *program = NULL;
    vkb_status status = vkb_check_program(weights, desc, error);
    if (status) return status;

    const vkb_backend *backend = weights->device->backend;
    vkb_program *p = calloc(1, backend->program_size);
    if (!p) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_program_create: out of memory");
    p->weights = weights;
    atomic_fetch_add(&weights->references, 1);
    p->value_count = desc->value_count;
    p->op_count = desc->op_count;
    p->output_count = desc->output_count;
    p->max_tokens = desc->max_tokens;
    p->max_sequences = desc->max_sequences;
    p->activations = desc->activations;
    p->flags = desc->flags;
    p->values = copy_of(desc->values, desc->value_count, sizeof *desc->values);
    p->ops = copy_of(desc->ops, desc->op_count, sizeof *desc->ops);
    p->outputs = copy_of(desc->outputs, desc->output_count, sizeof *desc->outputs);
    p->slots = calloc(desc->value_count, sizeof *p->slots);
    if (!backend->concurrent) {
        p->positions_default = calloc(desc->max_tokens, sizeof *p->positions_default);
        p->zeros = calloc(desc->max_tokens, sizeof *p->zeros);
        p->mutex = vkb_mutex_create();
    }
    bool complete = backend->concurrent || (p->positions_default && p->zeros && p->mutex);
    if (!p->values || !p->ops || !p->outputs || !p->slots || !complete) {
        free_common(p);
        return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_program_create: out of memory");
    }
    if (p->activations == VKB_F16 && !(backend->takes_f16 && backend->takes_f16(p))) p->activations = VKB_F32;
    find_limits(p);
    status = vkb_plan(p, error);
    if (status) {
        free_common(p);
        return status;
    }
    status = backend->program_init(p, error);
    if (status) {
        backend->program_free(p);
        free_common(p);
        return status;
    }
    *program = p;
    return VKB_OK;
}

void vkb_program_destroy(vkb_program *program) {
    if (!program) return;
    program->weights->device->backend->program_free(program);
    free_common(program);
}

void vkb_program_get_info(const vkb_program *program, vkb_program_info *info) {
    if (!program || !info || info->struct_size != sizeof *info) return;
    info->arena_bytes = program->arena_bytes;
    info->host_bytes = program->host_bytes;
}

static uint64_t output_rows(const vkb_program *p, uint32_t output, const vkb_batch *batch) {
    return p->values[p->outputs[output]].scope == VKB_PER_TOKEN ? batch->tokens : batch->sequences;
}

static vkb_status check_outputs(const vkb_program *p, const vkb_batch *batch, const vkb_output *outputs, vkb_error *error) {
    for (uint32_t i = 0; i < p->output_count; i++) {
        uint64_t want = output_rows(p, i, batch) * p->values[p->outputs[i]].width;
        if (outputs[i].data && outputs[i].capacity < want)
            return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "output %u: room for %llu floats, want %llu", i,
                            (unsigned long long)outputs[i].capacity, (unsigned long long)want);
    }
    return VKB_OK;
}

/* Two numbers a step, which is as fast as the memory even where a compiler makes no vectors of it: a 1 added to the exponent's bits carries
   into the sign's where all of them are 1. */
static bool all_finite(const float *x, uint64_t count) {
    const uint64_t exponents = UINT64_C(0x7f8000007f800000), ones = UINT64_C(0x0080000000800000), signs = UINT64_C(0x8000000080000000);
    uint64_t carried = 0, pair;
    for (; count >= 2; x += 2, count -= 2) {
        memcpy(&pair, x, sizeof pair);
        carried |= (pair & exponents) + ones;
    }
    return !(carried & signs) && (!count || vkb_is_finite(*x));
}

/* Never NaN out: the test is one of the bits, on the host, because a shader compiler may assume that there is no NaN. */
static vkb_status check_finite(const vkb_program *p, const vkb_batch *batch, const vkb_output *outputs, vkb_error *error) {
    for (uint32_t i = 0; i < p->output_count; i++) {
        if (!outputs[i].data) continue;
        uint64_t rows = output_rows(p, i, batch), width = p->values[p->outputs[i]].width;
        for (uint64_t row = 0; row < rows; row++)
            if (!all_finite(outputs[i].data + row * width, width))
                return vkb_fail(error, VKB_ERROR_NOT_FINITE, "output %u, row %llu: a value is NaN or infinite", i, (unsigned long long)row);
    }
    return VKB_OK;
}

static const int32_t *default_positions(vkb_program *p, const vkb_batch *batch) {
    for (uint32_t b = 0; b < batch->sequences; b++)
        for (uint32_t i = batch->cu_seqlens[b]; i < batch->cu_seqlens[b + 1]; i++)
            p->positions_default[i] = (int32_t)(i - batch->cu_seqlens[b]);
    return p->positions_default;
}

/* One run at a time, with all that a batch may leave out. */
static vkb_status run_alone(vkb_program *p, const vkb_batch *batch, const vkb_output *outputs, double *op_seconds, vkb_error *error) {
    vkb_mutex_lock(p->mutex);
    vkb_batch full = *batch;
    if (!full.type_ids) full.type_ids = p->zeros;
    if (!full.positions) full.positions = default_positions(p, batch);
    vkb_status status = p->weights->device->backend->program_run(p, &full, outputs, op_seconds, error);
    vkb_mutex_unlock(p->mutex);
    return status;
}

static vkb_status run(vkb_program *p, const vkb_batch *batch, const vkb_output *outputs, double *op_seconds, vkb_error *error) {
    const vkb_backend *backend = p->weights->device->backend;
    vkb_status status = vkb_check_batch(p, batch, error);
    if (status == VKB_OK && outputs) status = check_outputs(p, batch, outputs, error);
    if (status) return status;
    status = (backend->concurrent ? backend->program_run : run_alone)(p, batch, outputs, op_seconds, error);
    if (status == VKB_OK && outputs) status = check_finite(p, batch, outputs, error);
    return status;
}

vkb_status vkb_program_run(vkb_program *program, const vkb_batch *batch, const vkb_output *outputs, vkb_error *error) {
    if (!program || !batch || !outputs) return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_program_run: null pointer");
    return run(program, batch, outputs, NULL, error);
}

vkb_status vkb_program_profile(vkb_program *program, const vkb_batch *batch, double *op_seconds, vkb_error *error) {
    if (!program || !batch || !op_seconds) return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_program_profile: null pointer");
    return run(program, batch, NULL, op_seconds, error);
}
