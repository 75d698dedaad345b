/*
 * Programs on the CPU: memory, and the ops one after another. A large batch goes through them in pieces of whole sequences, so that what
 * one op writes is still in a cache when the next reads it.
 */
#include <stdlib.h>
#include <string.h>

#include "cpu.h"

enum { PIECE_ROWS = 6 * VKB_CPU_BLOCK_ROWS }; /* of a thread: fewer and reading the weights shows, more and the last cache is too small */

vkb_status vkb_cpu_program_init(vkb_program *program, vkb_error *error) {
    vkb_cpu_program *p = (vkb_cpu_program *)program;
    const vkb_cpu_device *device = (const vkb_cpu_device *)program->weights->device;
    p->kernels = device->kernels;
    p->pool = device->pool;

    uint64_t floats = 0, scratch_bytes = 0, bytes = 0;
    bool fits = true, attends = false, products = false;
    for (uint32_t i = 0; i < program->op_count && fits; i++) {
        const vkb_op *op = &program->ops[i];
        uint64_t need = 0;
        if (op->kind == VKB_OP_LINEAR || op->kind == VKB_OP_LINEAR_MAX) fits = vkb_cpu_linear_scratch(p, op, &need);
        if (op->kind == VKB_OP_ATTENTION) fits = attends = vkb_cpu_attention_scratch(p, op, &need);
        if (need > floats) floats = need;
        products |= op->kind == VKB_OP_LINEAR && program->values[op->input].scope == VKB_PER_TOKEN;
    }
    fits = fits && floats < UINT64_MAX / 64 &&
           vkb_mul(vkb_align_up(floats, 16) * sizeof(float), vkb_cpu_pool_threads(p->pool), &scratch_bytes);
    fits = fits && vkb_add(scratch_bytes, vkb_cpu_pool_threads(p->pool) * sizeof *p->shares, &scratch_bytes) &&
           vkb_add(vkb_align_up(program->arena_bytes, 64), scratch_bytes, &bytes) && bytes < SIZE_MAX - 64;
    p->arena = fits ? vkb_pages_alloc(bytes) : NULL;
    p->arena_bytes = bytes;
    if (!p->arena)
        return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY,
                        "vkb_program_create: out of memory: %llu bytes for the intermediate results of %u tokens, %llu for %u threads",
                        (unsigned long long)program->arena_bytes, program->max_tokens, (unsigned long long)scratch_bytes,
                        vkb_cpu_pool_threads(p->pool));
    p->scratch = p->arena + vkb_align_up(program->arena_bytes, 64) / sizeof(float);
    p->scratch_floats = vkb_align_up(floats, 16);
    p->shares = (vkb_cpu_share *)(void *)vkb_cpu_scratch(p, vkb_cpu_pool_threads(p->pool)); /* behind the last */
    program->host_bytes = scratch_bytes;
    p->piece_rows = products ? PIECE_ROWS * vkb_cpu_pool_threads(p->pool) : UINT32_MAX;
    uint64_t ends = (uint64_t)program->max_sequences + 1;
    p->cu_seqlens = malloc(ends * sizeof *p->cu_seqlens);
    if (!p->cu_seqlens)
        return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_program_create: out of memory for %u sequences", program->max_sequences);
    program->host_bytes += ends * sizeof *p->cu_seqlens;
    if (attends) {
        uint64_t chunks = (uint64_t)program->max_sequences + program->max_tokens / VKB_CPU_QUERIES;
        p->chunks = malloc(chunks * sizeof *p->chunks);
        if (!p->chunks)
            return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_program_create: out of memory for %u sequences",
                            program->max_sequences);
        program->host_bytes += chunks * sizeof *p->chunks;
    }
    return VKB_OK;
}

void vkb_cpu_program_free(vkb_program *program) {
    vkb_cpu_program *p = (vkb_cpu_program *)program;
    vkb_pages_free(p->arena, p->arena_bytes);
    free(p->chunks);
    free(p->cu_seqlens);
}

static void cut_into_chunks(vkb_cpu_program *p) {
    const vkb_batch *batch = p->batch;
    p->chunk_count = 0;
    for (uint32_t b = 0; b < batch->sequences; b++) {
        uint32_t first = batch->cu_seqlens[b], end = batch->cu_seqlens[b + 1];
        for (uint32_t begin = first; begin < end; begin += VKB_CPU_QUERIES)
            p->chunks[p->chunk_count++] = (vkb_cpu_chunk){
                .first = first, .end = end, .begin = begin, .count = end - begin < VKB_CPU_QUERIES ? end - begin : VKB_CPU_QUERIES};
    }
}

/* Sequences `first` … of a batch, up to the one that has the row before `end`, as a batch of their own. */
static vkb_batch piece_of(const vkb_batch *batch, uint32_t first, uint32_t end, uint32_t *cu_seqlens) {
    uint32_t begin = batch->cu_seqlens[first], n = 0;
    cu_seqlens[0] = 0;
    do {
        n++;
        cu_seqlens[n] = batch->cu_seqlens[first + n] - begin;
    } while (batch->cu_seqlens[first + n] < end);
    vkb_batch piece = *batch;
    piece.tokens = cu_seqlens[n];
    piece.sequences = n;
    piece.cu_seqlens = cu_seqlens;
    piece.ids += begin;
    if (piece.type_ids) piece.type_ids += begin;
    if (piece.positions) piece.positions += begin;
    if (piece.pool_start) piece.pool_start += first;
    return piece;
}

/* The ops on the batch at hand. */
static void run_ops(vkb_cpu_program *p, double *op_seconds) {
    static void (*const ops[])(const vkb_cpu_program *, const vkb_op *) = {
        [VKB_OP_EMBED] = vkb_cpu_embed, [VKB_OP_LINEAR] = vkb_cpu_linear, [VKB_OP_ATTENTION] = vkb_cpu_attention,
        [VKB_OP_NORM] = vkb_cpu_norm,   [VKB_OP_POOL] = vkb_cpu_pooling,  [VKB_OP_NORMALIZE] = vkb_cpu_normalize,
        [VKB_OP_GATE] = vkb_cpu_gate,   [VKB_OP_ROTATE] = vkb_cpu_rotate, [VKB_OP_LINEAR_MAX] = vkb_cpu_linear_max,
    };
    if (p->chunks) cut_into_chunks(p);
    for (uint32_t i = 0; i < p->base.op_count; i++) {
        if (i) vkb_cpu_pool_pause(p->pool);
        double start = op_seconds ? vkb_seconds() : 0;
        ops[p->base.ops[i].kind](p, &p->base.ops[i]);
        if (op_seconds) op_seconds[i] += vkb_seconds() - start;
    }
}

/* The results of the batch at hand, which begins with this sequence and this token of the whole one. */
static void copy_out(const vkb_cpu_program *p, const vkb_output *outputs, uint32_t sequence, uint32_t token) {
    for (uint32_t i = 0; outputs && i < p->base.output_count; i++) {
        if (!outputs[i].data) continue;
        uint32_t value = p->base.outputs[i], rows = vkb_cpu_rows(p, value), width = p->base.values[value].width;
        const float *from = vkb_cpu_value(p, value);
        float *to = outputs[i].data + (size_t)(p->base.values[value].scope == VKB_PER_TOKEN ? token : sequence) * width;
        for (uint32_t r = 0; r < rows; r++)
            memcpy(to + (size_t)r * width, from + (size_t)r * p->base.slots[value].stride, width * sizeof *from);
    }
}

vkb_status vkb_cpu_program_run(vkb_program *program, const vkb_batch *batch, const vkb_output *outputs, double *op_seconds,
                               vkb_error *error) {
    (void)error;
    vkb_cpu_program *p = (vkb_cpu_program *)program;
    uint32_t pieces = vkb_cpu_ceil_div(batch->tokens, p->piece_rows);
    for (uint32_t i = 0; op_seconds && i < program->op_count; i++) op_seconds[i] = 0;
    for (uint32_t i = 1, first = 0; i <= pieces; i++) { /* of about equal size: a last one of few rows would wait for the weights */
        uint32_t token = batch->cu_seqlens[first], end = (uint32_t)((uint64_t)batch->tokens * i / pieces);
        if (token >= end) continue; /* the sequence before was a long one */
        vkb_batch piece = piece_of(batch, first, end, p->cu_seqlens);
        p->batch = &piece;
        vkb_cpu_pool_begin(p->pool);
        run_ops(p, op_seconds);
        vkb_cpu_pool_end(p->pool);
        copy_out(p, outputs, first, token);
        first += piece.sequences;
    }
    p->batch = NULL;
    return VKB_OK;
}
