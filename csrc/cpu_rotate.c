/* ROTATE on the CPU: a task is some rows. */
#include <string.h>

#include "cpu.h"

enum { TASK_ROWS = 16 };

typedef struct rotate {
    const vkb_cpu_program *p;
    const vkb_op *op;
    vkb_cpu_heads heads;
    const float *table; /* [positions, 2·half]: cosines, sines; or NULL */
    uint32_t half;
} rotate;

/* The first 2·half columns of a head, by the angles whose cosines and sines are given. */
static void rotate_halves(float *restrict a, const float *restrict cosines, uint32_t half) {
    const float *sines = cosines + half;
    for (uint32_t c = 0; c < half; c++) {
        float first = a[c], second = a[half + c];
        a[c] = first * cosines[c] - second * sines[c];
        a[half + c] = second * cosines[c] + first * sines[c];
    }
}

static void rotate_neighbours(float *restrict a, const float *restrict cosines, uint32_t half) {
    const float *sines = cosines + half;
    for (uint32_t c = 0; c < half; c++) {
        float first = a[2 * c], second = a[2 * c + 1];
        a[2 * c] = first * cosines[c] - second * sines[c];
        a[2 * c + 1] = second * cosines[c] + first * sines[c];
    }
}

/* Norm and rotation of x, [heads, size]: the queries or the keys of the row at `position`. */
static void rotate_part(const rotate *r, float *x, uint32_t heads, uint32_t weight, uint32_t bias, int32_t position) {
    const vkb_op *op = r->op;
    uint32_t size = r->heads.size;
    if (op->norm) {
        uint32_t width = r->p->base.weights->tensors[weight].cols; /* one head's, or that of all heads */
        const float *w = vkb_cpu_tensor(r->p, weight), *b = vkb_cpu_tensor(r->p, bias);
        for (uint32_t i = 0; i < heads * size; i += width) r->p->kernels->norm(op->norm, x + i, width, w, b, op->norm_eps);
    }
    if (!r->table) return;
    const float *cosines = r->table + (size_t)position * 2 * r->half;
    for (uint32_t i = 0; i < heads; i++)
        (op->flags & VKB_FLAG_INTERLEAVED ? rotate_neighbours : rotate_halves)(x + (size_t)i * size, cosines, r->half);
}

static void rotate_task(void *context, uint32_t task, uint32_t worker) {
    (void)worker;
    const rotate *r = context;
    const vkb_cpu_program *p = r->p;
    const vkb_op *op = r->op;
    uint32_t width = p->base.values[op->output].width, tokens = p->batch->tokens, first = task * TASK_ROWS;
    for (uint32_t row = first, end = tokens - first < TASK_ROWS ? tokens : first + TASK_ROWS; row < end; row++) {
        float *y = vkb_cpu_value(p, op->output) + row * (size_t)p->base.slots[op->output].stride;
        memcpy(y, vkb_cpu_value(p, op->input) + row * (size_t)p->base.slots[op->input].stride, width * sizeof *y);
        rotate_part(r, y, r->heads.heads, op->norm_weight, op->norm_bias, p->batch->positions[row]);
        rotate_part(r, y + (size_t)r->heads.heads * r->heads.size, r->heads.kv_heads, op->weight, op->bias, p->batch->positions[row]);
    }
}

void vkb_cpu_rotate(const vkb_cpu_program *p, const vkb_op *op) {
    rotate r = {.p = p, .op = op, .heads = vkb_cpu_heads_of(&p->base, op), .table = vkb_cpu_tensor(p, op->position_table)};
    if (r.table) r.half = p->base.weights->tensors[op->position_table].cols / 2;
    vkb_cpu_pool_run(p->pool, vkb_cpu_ceil_div(p->batch->tokens, TASK_ROWS), rotate_task, &r);
}
