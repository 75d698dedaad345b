/* EMBED, NORM, GATE, POOL and NORMALIZE on the CPU: what costs little beside the products. */
#include <math.h>
#include <string.h>

#include "cpu.h"

enum {
    TASK_ROWS = 32,
    STEP = 64, /* columns that are worked on at a time */
    AHEAD = 2, /* rows of a table that are fetched meanwhile */
};

typedef struct rows_op {
    const vkb_cpu_program *p;
    const vkb_op *op;
    uint32_t rows;
} rows_op;

/* Calls `task` for pieces of TASK_ROWS rows of the op's output. */
static void over_rows(const vkb_cpu_program *p, const vkb_op *op, vkb_cpu_task task) {
    rows_op r = {.p = p, .op = op, .rows = vkb_cpu_rows(p, op->output)};
    vkb_cpu_pool_run(p->pool, vkb_cpu_ceil_div(r.rows, TASK_ROWS), task, &r);
}

static uint32_t last_row(const rows_op *r, uint32_t first) { return r->rows - first < TASK_ROWS ? r->rows : first + TASK_ROWS; }

static void norm_row(const vkb_cpu_program *p, const vkb_op *op, float *y) {
    p->kernels->norm(op->norm, y, p->base.values[op->output].width, vkb_cpu_tensor(p, op->norm_weight), vkb_cpu_tensor(p, op->norm_bias),
                     op->norm_eps);
}

void vkb_cpu_table_row(const vkb_cpu_program *p, uint32_t table, uint32_t row, uint32_t first, uint32_t count, float *y) {
    const vkb_tensor *t = &p->base.weights->tensors[table];
    uint64_t start = (uint64_t)row * t->cols + first;
    if (t->dtype != VKB_F16) {
        memcpy(y, (const float *)vkb_cpu_tensor(p, table) + start, count * sizeof *y);
        return;
    }
    const uint16_t *halves = (const uint16_t *)vkb_cpu_tensor(p, table) + start;
    uint32_t whole = count / VKB_CPU_PANEL * VKB_CPU_PANEL; /* the kernel takes multiples of 16 */
    p->kernels->widen(halves, whole, y);
    for (uint32_t i = whole; i < count; i++) y[i] = vkb_f16_to_f32(halves[i]);
}

/* y[i] = (add ? y[i] : 0) + scale·x[i]; with a constant n compilers take vectors. */
static inline void take(const float *x, uint32_t n, float scale, bool add, float *y) {
    if (add)
        for (uint32_t i = 0; i < n; i++) y[i] += scale * x[i];
    else
        for (uint32_t i = 0; i < n; i++) y[i] = scale * x[i];
}

/* The same with a table's row. */
static void take_row(const vkb_cpu_program *p, uint32_t table, int32_t row, uint32_t width, float scale, bool add, float *y) {
    for (uint32_t i = 0; i < width; i += STEP) {
        uint32_t n = width - i < STEP ? width - i : STEP;
        float x[STEP];
        vkb_cpu_table_row(p, table, (uint32_t)row, i, n, x);
        if (n == STEP)
            take(x, STEP, scale, add, y + i);
        else
            take(x, n, scale, add, y + i);
    }
}

/* A table's rows are far apart, and no processor knows which is next. */
static void prefetch_row(const vkb_cpu_program *p, uint32_t table, int32_t row) {
    const vkb_tensor *t = &p->base.weights->tensors[table];
    uint64_t bytes = t->cols * (uint64_t)(t->dtype == VKB_F16 ? sizeof(uint16_t) : sizeof(float));
    const char *at = (const char *)vkb_cpu_tensor(p, table) + (uint64_t)row * bytes;
    vkb_cpu_prefetch(at, bytes);
}

static void embed_task(void *context, uint32_t task, uint32_t worker) {
    (void)worker;
    const rows_op *r = context;
    const vkb_cpu_program *p = r->p;
    const vkb_op *op = r->op;
    uint32_t width = p->base.values[op->output].width;
    for (uint32_t row = task * TASK_ROWS, end = last_row(r, row); row < end; row++) {
        float *y = vkb_cpu_value(p, op->output) + row * (size_t)p->base.slots[op->output].stride;
        if (row + AHEAD < end) prefetch_row(p, op->weight, p->batch->ids[row + AHEAD]);
        take_row(p, op->weight, p->batch->ids[row], width, op->scale, false, y);
        if (op->type_table != VKB_NONE) take_row(p, op->type_table, p->batch->type_ids[row], width, 1, true, y);
        if (op->position_table != VKB_NONE) take_row(p, op->position_table, p->batch->positions[row], width, 1, true, y);
        if (op->norm) norm_row(p, op, y);
    }
}

void vkb_cpu_embed(const vkb_cpu_program *p, const vkb_op *op) { over_rows(p, op, embed_task); }

static void norm_task(void *context, uint32_t task, uint32_t worker) {
    (void)worker;
    const rows_op *r = context;
    const vkb_cpu_program *p = r->p;
    const vkb_op *op = r->op;
    uint32_t width = p->base.values[op->output].width;
    for (uint32_t row = task * TASK_ROWS, end = last_row(r, row); row < end; row++) {
        float *y = vkb_cpu_value(p, op->output) + row * (size_t)p->base.slots[op->output].stride;
        memcpy(y, vkb_cpu_value(p, op->input) + row * (size_t)p->base.slots[op->input].stride, width * sizeof *y);
        const float *residual = NULL;
        if (op->residual != VKB_NONE) residual = vkb_cpu_value(p, op->residual) + row * (size_t)p->base.slots[op->residual].stride;
        bool after = op->residual_at == VKB_RESIDUAL_AFTER_NORM;
        for (uint32_t i = 0; i < width && residual && !after; i++) y[i] += residual[i];
        norm_row(p, op, y);
        for (uint32_t i = 0; i < width && residual && after; i++) y[i] += residual[i];
    }
}

void vkb_cpu_norm(const vkb_cpu_program *p, const vkb_op *op) { over_rows(p, op, norm_task); }

static void gate_task(void *context, uint32_t task, uint32_t worker) {
    (void)worker;
    const rows_op *r = context;
    const vkb_cpu_program *p = r->p;
    const vkb_op *op = r->op;
    uint32_t width = p->base.values[op->output].width;
    for (uint32_t row = task * TASK_ROWS, end = last_row(r, row); row < end; row++) {
        const float *x = vkb_cpu_value(p, op->input) + row * (size_t)p->base.slots[op->input].stride;
        p->kernels->gate(op->activation, x, x + width, width,
                         vkb_cpu_value(p, op->output) + row * (size_t)p->base.slots[op->output].stride);
    }
}

void vkb_cpu_gate(const vkb_cpu_program *p, const vkb_op *op) { over_rows(p, op, gate_task); }

static void normalize_task(void *context, uint32_t task, uint32_t worker) {
    (void)worker;
    const rows_op *r = context;
    const vkb_cpu_program *p = r->p;
    const vkb_op *op = r->op;
    uint32_t width = p->base.values[op->output].width;
    for (uint32_t row = task * TASK_ROWS, end = last_row(r, row); row < end; row++) {
        const float *x = vkb_cpu_value(p, op->input) + row * (size_t)p->base.slots[op->input].stride;
        float *y = vkb_cpu_value(p, op->output) + row * (size_t)p->base.slots[op->output].stride;
        double sum = 0; /* a float's square may overflow */
        for (uint32_t i = 0; i < width; i++) sum += (double)x[i] * x[i];
        double length = sqrt(sum);
        if (length < 1e-12) length = 1e-12;
        for (uint32_t i = 0; i < width; i++) y[i] = (float)(x[i] / length);
    }
}

void vkb_cpu_normalize(const vkb_cpu_program *p, const vkb_op *op) { over_rows(p, op, normalize_task); }

/* Rows begin … end − 1 of a sequence that starts at row `first`, columns of one step. The sums are double: sequences may be long. */
static void pool_columns(uint32_t mode, const float *x, size_t stride, uint32_t first, uint32_t begin, uint32_t end, uint32_t n, float *y) {
    double sum[STEP] = {0}, weights = 0;
    x += begin * stride;
    if (mode == VKB_POOL_MAX) {
        for (uint32_t j = 0; j < n; j++) y[j] = x[j];
        for (uint32_t i = begin + 1; i < end; i++) {
            x += stride;
            for (uint32_t j = 0; j < n; j++) y[j] = x[j] > y[j] || isnan(x[j]) ? x[j] : y[j];
        }
        return;
    }
    for (uint32_t i = begin; i < end; i++, x += stride) {
        double weight = mode == VKB_POOL_WEIGHTED_MEAN ? (double)(i - first) + 1 : 1;
        weights += weight;
        for (uint32_t j = 0; j < n; j++) sum[j] += weight * x[j];
    }
    double divisor = mode == VKB_POOL_MEAN_SQRT_LEN ? sqrt(weights) : weights;
    for (uint32_t j = 0; j < n; j++) y[j] = (float)(sum[j] / divisor);
}

static void pool_task(void *context, uint32_t sequence, uint32_t worker) {
    (void)worker;
    const rows_op *r = context;
    const vkb_cpu_program *p = r->p;
    const vkb_op *op = r->op;
    const vkb_batch *batch = p->batch;
    uint32_t first = batch->cu_seqlens[sequence], end = batch->cu_seqlens[sequence + 1], begin = first;
    if (batch->pool_start) begin = batch->pool_start[sequence] < end - first ? first + batch->pool_start[sequence] : end;
    if (op->pool == VKB_POOL_CLS && begin < end) end = begin + 1;
    if (op->pool == VKB_POOL_LAST && begin < end) begin = end - 1;

    uint32_t width = p->base.values[op->input].width;
    const float *x = vkb_cpu_value(p, op->input);
    float *y = vkb_cpu_value(p, op->output) + sequence * (size_t)p->base.slots[op->output].stride + op->column;
    if (begin == end) {
        memset(y, 0, width * sizeof *y);
        return;
    }
    for (uint32_t i = 0; i < width; i += STEP)
        pool_columns(op->pool, x + i, p->base.slots[op->input].stride, first, begin, end, width - i < STEP ? width - i : STEP, y + i);
}

void vkb_cpu_pooling(const vkb_cpu_program *p, const vkb_op *op) {
    rows_op r = {.p = p, .op = op, .rows = p->batch->sequences};
    vkb_cpu_pool_run(p->pool, r.rows, pool_task, &r);
}
