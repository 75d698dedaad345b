/*
 * ATTENTION on the CPU. A task is one head over one chunk of a sequence's queries: the keys are copied into panels, then for each tile of
 * queries scores, softmax and weighted sum, each through the same product kernel as LINEAR. The scores of one tile of queries are all that
 * is ever there.
 *
 * Scratch of a worker, n = the tokens of the sequence rounded up to 16, d = head size:
 *   keys    [n / 16, d, 16]
 *   values  [n, d rounded up to 16], only where d is not a multiple of 16: else they are read where they lie
 *   scores  [tile_rows, n]
 */
#include <string.h>

#include "cpu.h"

typedef struct attention {
    const vkb_cpu_program *p;
    const float *qkv; /* [T, 3H] */
    float *out;       /* [T, H] */
    size_t qkv_stride, out_stride;
    uint32_t hidden, heads, head_size;
    float scale;
} attention;

static uint64_t padded(uint64_t n) { return vkb_align_up(n, VKB_CPU_PANEL); }

bool vkb_cpu_attention_scratch(const vkb_cpu_program *p, const vkb_op *op, uint64_t *floats) {
    uint64_t d = p->base.values[op->output].width / op->heads;
    uint64_t per_token = d + (d % VKB_CPU_PANEL ? padded(d) : 0) + p->kernels->tile_rows;
    return vkb_mul(padded(p->base.max_tokens), per_token, floats);
}

static void pack_keys(const float *k, size_t stride, uint32_t tokens, uint32_t d, float *panels) {
    for (uint32_t first = 0; first < tokens; first += VKB_CPU_PANEL, panels += (size_t)d * VKB_CPU_PANEL) {
        uint32_t n = tokens - first < VKB_CPU_PANEL ? tokens - first : VKB_CPU_PANEL;
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t j = 0; j < d; j++) panels[j * VKB_CPU_PANEL + i] = k[(first + i) * stride + j];
        for (uint32_t i = n; i < VKB_CPU_PANEL; i++)
            for (uint32_t j = 0; j < d; j++) panels[j * VKB_CPU_PANEL + i] = 0;
    }
}

static void pack_values(const float *v, size_t stride, uint32_t tokens, uint32_t d, float *rows) {
    size_t room = padded(d);
    for (uint32_t i = 0; i < tokens; i++, rows += room) {
        memcpy(rows, v + i * stride, d * sizeof *v);
        memset(rows + d, 0, (room - d) * sizeof *v);
    }
}

static void attention_task(void *context, uint32_t task, uint32_t worker) {
    const attention *a = context;
    const vkb_cpu_kernels *kernels = a->p->kernels;
    const vkb_cpu_chunk *chunk = &a->p->chunks[task / a->heads];
    uint32_t d = a->head_size, column = task % a->heads * d, tokens = chunk->end - chunk->first;
    size_t n = padded(tokens), v_stride = a->qkv_stride;
    const float *k = a->qkv + chunk->first * a->qkv_stride + a->hidden + column, *v = k + a->hidden;

    float *keys = vkb_cpu_scratch(a->p, worker), *scores = keys + n * d;
    pack_keys(k, a->qkv_stride, tokens, d, keys);
    if (d % VKB_CPU_PANEL) {
        float *values = scores;
        scores += n * padded(d);
        pack_values(v, a->qkv_stride, tokens, d, values);
        v = values;
        v_stride = padded(d);
    }
    for (uint32_t done = 0; done < chunk->count; done += kernels->tile_rows) {
        uint32_t rows = chunk->count - done < kernels->tile_rows ? chunk->count - done : kernels->tile_rows;
        size_t query = (size_t)chunk->begin + done;
        const float *q = a->qkv + query * a->qkv_stride + column;
        for (size_t j = 0; j < n; j += VKB_CPU_PANEL) kernels->tile(rows, q, a->qkv_stride, keys + j * d, VKB_CPU_PANEL, d, scores + j, n);
        float inverse[VKB_CPU_MAX_TILE];
        for (uint32_t r = 0; r < rows; r++) inverse[r] = 1 / kernels->softmax(scores + r * n, tokens, a->scale);
        for (uint32_t j = 0; j < d; j += VKB_CPU_PANEL) {
            float c[VKB_CPU_MAX_TILE * VKB_CPU_PANEL];
            kernels->tile(rows, scores, n, v + j, v_stride, tokens, c, VKB_CPU_PANEL);
            uint32_t columns = d - j < VKB_CPU_PANEL ? d - j : VKB_CPU_PANEL;
            for (uint32_t r = 0; r < rows; r++) {
                float *y = a->out + (query + r) * a->out_stride + column + j;
                for (uint32_t i = 0; i < columns; i++) y[i] = c[r * VKB_CPU_PANEL + i] * inverse[r];
            }
        }
    }
}

void vkb_cpu_attention(const vkb_cpu_program *p, const vkb_op *op) {
    uint32_t hidden = p->base.values[op->output].width;
    attention a = {.p = p,
                   .qkv = vkb_cpu_value(p, op->input),
                   .qkv_stride = p->base.slots[op->input].stride,
                   .out = vkb_cpu_value(p, op->output),
                   .out_stride = p->base.slots[op->output].stride,
                   .hidden = hidden,
                   .heads = op->heads,
                   .head_size = hidden / op->heads,
                   .scale = op->scale};
    vkb_cpu_pool_run(p->pool, p->chunk_count * op->heads, attention_task, &a);
}
