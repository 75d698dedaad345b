/* Programs on the CPU: memory, and the ops one after another. */
#include <stdlib.h>
#include <string.h>

#include "cpu.h"

vkb_status vkb_cpu_program_init(vkb_program *program, vkb_error *error) {
    vkb_cpu_program *p = (vkb_cpu_program *)program;
    const vkb_cpu_device *device = (const vkb_cpu_device *)program->weights->device;
    p->kernels = device->kernels;
    p->pool = device->pool;

    uint64_t floats = 0, scratch_bytes = 0, bytes = 0;
    bool fits = true, attends = false;
    for (uint32_t i = 0; i < program->op_count && fits; i++) {
        const vkb_op *op = &program->ops[i];
        uint64_t need = 0;
        if (op->kind == VKB_OP_LINEAR || op->kind == VKB_OP_LINEAR_MAX) fits = vkb_cpu_linear_scratch(p, op, &need);
        if (op->kind == VKB_OP_ATTENTION) fits = attends = vkb_cpu_attention_scratch(p, op, &need);
        if (need > floats) floats = need;
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
}

static void cut_into_chunks(vkb_cpu_program *p, const vkb_batch *batch) {
    p->chunk_count = 0;
    for (uint32_t b = 0; b < batch->sequences; b++) {
        uint32_t first = batch->cu_seqlens[b], end = batch->cu_seqlens[b + 1];
        for (uint32_t begin = first; begin < end; begin += VKB_CPU_QUERIES)
            p->chunks[p->chunk_count++] = (vkb_cpu_chunk){
                .first = first, .end = end, .begin = begin, .count = end - begin < VKB_CPU_QUERIES ? end - begin : VKB_CPU_QUERIES};
    }
}

vkb_status vkb_cpu_program_run(vkb_program *program, const vkb_batch *batch, const vkb_output *outputs, double *op_seconds,
                               vkb_error *error) {
    static void (*const ops[])(const vkb_cpu_program *, const vkb_op *) = {
        [VKB_OP_EMBED] = vkb_cpu_embed, [VKB_OP_LINEAR] = vkb_cpu_linear, [VKB_OP_ATTENTION] = vkb_cpu_attention,
        [VKB_OP_NORM] = vkb_cpu_norm,   [VKB_OP_POOL] = vkb_cpu_pooling,  [VKB_OP_NORMALIZE] = vkb_cpu_normalize,
        [VKB_OP_GATE] = vkb_cpu_gate,   [VKB_OP_ROTATE] = vkb_cpu_rotate, [VKB_OP_LINEAR_MAX] = vkb_cpu_linear_max,
    };
    (void)error;
    vkb_cpu_program *p = (vkb_cpu_program *)program;
    p->batch = batch;
    if (p->chunks) cut_into_chunks(p, batch);
    vkb_cpu_pool_begin(p->pool);
    for (uint32_t i = 0; i < program->op_count; i++) {
        if (i) vkb_cpu_pool_pause(p->pool);
        double start = op_seconds ? vkb_seconds() : 0;
        ops[program->ops[i].kind](p, &program->ops[i]);
        if (op_seconds) op_seconds[i] = vkb_seconds() - start;
    }
    vkb_cpu_pool_end(p->pool);
    for (uint32_t i = 0; outputs && i < program->output_count; i++) {
        if (!outputs[i].data) continue;
        uint32_t value = program->outputs[i], rows = vkb_cpu_rows(p, value), width = program->values[value].width;
        const float *from = vkb_cpu_value(p, value);
        for (uint32_t r = 0; r < rows; r++)
            memcpy(outputs[i].data + (size_t)r * width, from + (size_t)r * program->slots[value].stride, width * sizeof *from);
    }
    p->batch = NULL;
    return VKB_OK;
}
