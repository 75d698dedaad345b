/*
 * LINEAR on the CPU. The result is cut into blocks of rows and groups of weight panels; a task is one of each. Within a task a panel stays
 * in a near cache while all rows of the block go past it.
 *
 * Where all rows are one block, as many as pass by while a panel comes from memory, reading the weights is half the work. So every worker
 * has panels of its own, in the order of memory, and while it is at one it fetches the next: at its last, the first that it will have in
 * the next op. Who is done takes from the others.
 */
#include "cpu.h"

enum {
    TASKS_PER_THREAD = 4, /* fewer and a slow thread is waited for; more cut the blocks for nothing */
};

typedef struct linear {
    const vkb_cpu_program *p;
    const vkb_op *op;
    const float *x, *residual, *bias, *norm_weight, *norm_bias;
    const void *weight; /* panels */
    float *y;
    size_t x_stride, y_stride, residual_stride;
    uint32_t rows, inputs, outputs, panels;
    uint32_t block_rows, groups, group_panels;
    const vkb_tensor *tensor;
    uint32_t together;  /* panels at a time: 1 or 2 */
    const vkb_op *next; /* the LINEAR after it, or NULL */
} linear;

/* From one quantised row to the next. */
static uint64_t i8_row_bytes(const vkb_cpu_program *p, const vkb_tensor *t) {
    return vkb_row_bytes((uint64_t)vkb_cpu_i8_depth(t->cols) * p->kernels->i8_size, VKB_CPU_SET_BYTES);
}

bool vkb_cpu_linear_scratch(const vkb_cpu_program *p, const vkb_op *op, uint64_t *floats) {
    const vkb_tensor *t = &p->base.weights->tensors[op->weight];
    if (t->dtype == VKB_I8) /* a block's vkb_cpu_i8_rows, and its rows */
        return vkb_mul(i8_row_bytes(p, t) / sizeof(float) + 2, VKB_CPU_BLOCK_ROWS, floats);
    return vkb_mul(t->dtype == VKB_F16 ? t->cols : 0, vkb_cpu_panels_together(p->kernels, t) * VKB_CPU_PANEL, floats);
}

void vkb_cpu_begin_block(const vkb_cpu_program *p, const vkb_tensor *t, const float *x, size_t x_stride, uint32_t rows, float *scratch) {
    if (t->dtype != VKB_I8) return;
    size_t row_bytes = (size_t)i8_row_bytes(p, t);
    vkb_cpu_i8_row *row = (vkb_cpu_i8_row *)(void *)scratch;
    char *q = (char *)(row + VKB_CPU_BLOCK_ROWS);
    for (uint32_t r = 0; r < rows; r++) row[r] = p->kernels->quantize(x + r * x_stride, t->cols, q + r * row_bytes);
}

static uint64_t panel_bytes(const vkb_tensor *t) {
    uint64_t cols = t->dtype == VKB_I8 ? vkb_cpu_i8_depth(t->cols) : t->cols;
    return cols * VKB_CPU_PANEL * vkb_dtype_size(t->dtype);
}

const void *vkb_cpu_panels(const vkb_cpu_program *p, const vkb_tensor *t, const void *weight, uint32_t panel, uint32_t count,
                           float *scratch) {
    const char *data = (const char *)weight + panel * panel_bytes(t);
    if (t->dtype != VKB_F16) return data;
    p->kernels->widen((const uint16_t *)(const void *)data, (uint64_t)t->cols * count * VKB_CPU_PANEL,
                      scratch); /* once for all rows of the block */
    return scratch;
}

void vkb_cpu_tile(const vkb_cpu_program *p, const vkb_tensor *t, const void *weight, const void *panel_data, uint32_t panel, uint32_t row,
                  uint32_t rows, const float *x, size_t x_stride, const float *scratch, float *c, const vkb_cpu_ahead *ahead) {
    if (t->dtype != VKB_I8) {
        p->kernels->tile(rows, x + row * x_stride, x_stride, panel_data, VKB_CPU_PANEL, t->cols, c, VKB_CPU_PANEL, ahead);
        return;
    }
    size_t row_bytes = (size_t)i8_row_bytes(p, t);
    const vkb_cpu_i8_row *row_of_block = (const vkb_cpu_i8_row *)(const void *)scratch;
    const char *q = (const char *)(row_of_block + VKB_CPU_BLOCK_ROWS) + row * row_bytes;
    vkb_cpu_i8_panel b = {panel_data, vkb_cpu_scales(t, weight) + panel * VKB_CPU_PANEL, vkb_cpu_sums(t, weight) + panel * VKB_CPU_PANEL};
    p->kernels->tile_i8(rows, q, row_bytes, row_of_block + row, &b, vkb_cpu_i8_depth(t->cols), c, VKB_CPU_PANEL, ahead);
}

/* Rows first … end − 1 of a panel's 16 outputs, made of the sums c. */
static void finish_panel(const linear *l, uint32_t panel, uint32_t first, uint32_t end, const float *c) {
    uint32_t column = panel * VKB_CPU_PANEL;
    vkb_cpu_finish finish = {.bias = l->bias ? l->bias + column : NULL,
                             .residual_stride = l->residual_stride,
                             .activation = l->op->activation,
                             .residual_first = l->op->residual_at == VKB_RESIDUAL_BEFORE_ACTIVATION,
                             .columns = l->outputs - column < VKB_CPU_PANEL ? l->outputs - column : VKB_CPU_PANEL};
    finish.residual = l->residual ? l->residual + first * l->residual_stride + column : NULL;
    l->p->kernels->finish(end - first, c, &finish, l->y + first * l->y_stride + column, l->y_stride);
}

/* Rows first … end − 1 of one or two panels' outputs. Meanwhile as much as those is fetched from `soon`. */
static void do_panels(const linear *l, uint32_t panel, uint32_t count, uint32_t first, uint32_t end, float *scratch, const char *soon) {
    enum { ROOM = VKB_CPU_BLOCK_ROWS * VKB_CPU_PANEL };
    const vkb_cpu_kernels *kernels = l->p->kernels;
    const void *w = vkb_cpu_panels(l->p, l->tensor, l->weight, panel, count, scratch);
    float c[2 * ROOM];
    for (uint32_t row = first; row < end; row++) { /* what `finish` reads and writes, of each row a line a panel */
        for (uint32_t column = panel * VKB_CPU_PANEL; column < (panel + count) * VKB_CPU_PANEL; column += VKB_CPU_PANEL) {
            __builtin_prefetch(l->y + row * l->y_stride + column, 1);
            if (l->residual) __builtin_prefetch(l->residual + row * l->residual_stride + column);
        }
    }
    uint32_t most = vkb_cpu_tile_rows(kernels, l->tensor);
    uint64_t part = count * panel_bytes(l->tensor) / vkb_cpu_ceil_div(end - first, most);
    vkb_cpu_ahead ahead = {.at = soon, .step = part / l->inputs};
    for (uint32_t row = first, n; row < end; row += n, ahead.at += part) {
        n = vkb_cpu_tile_height(end - row, most);
        float *sums = c + (row - first) * VKB_CPU_PANEL;
        if (count == 2)
            kernels->tile_pair(n, l->x + row * l->x_stride, l->x_stride, w, l->inputs, sums, ROOM, &ahead);
        else
            vkb_cpu_tile(l->p, l->tensor, l->weight, w, panel, row - first, n, l->x + first * l->x_stride, l->x_stride, scratch, sums,
                         &ahead);
    }
    for (uint32_t i = 0; i < count; i++) finish_panel(l, panel + i, first, end, c + i * ROOM);
}

static void norm_block(const linear *l, uint32_t block) {
    uint32_t first = block * l->block_rows, end = l->rows - first < l->block_rows ? l->rows : first + l->block_rows;
    for (uint32_t row = first; row < end; row++)
        l->p->kernels->norm(l->op->norm, l->y + row * l->y_stride, l->outputs, l->norm_weight, l->norm_bias, l->op->norm_eps);
}

static const char *panel_at(const linear *l, uint32_t panel) { return (const char *)l->weight + panel * panel_bytes(l->tensor); }

static void product_task(void *context, uint32_t task, uint32_t worker) {
    const linear *l = context;
    uint32_t block = task / l->groups, group = task % l->groups;
    uint32_t first = block * l->block_rows, end = l->rows - first < l->block_rows ? l->rows : first + l->block_rows;
    uint32_t panel = group * l->group_panels, last = l->panels - panel < l->group_panels ? l->panels : panel + l->group_panels;
    float *scratch = vkb_cpu_scratch(l->p, worker);
    vkb_cpu_begin_block(l->p, l->tensor, l->x + first * l->x_stride, l->x_stride, end - first, scratch);
    for (uint32_t n; panel < last; panel += n) {
        n = last - panel < l->together ? 1 : l->together;
        do_panels(l, panel, n, first, end, scratch, panel_at(l, panel + n < last ? panel + n : panel));
    }
    if (l->groups == 1 && l->op->norm) norm_block(l, block); /* while the rows are in the cache */
}

static uint32_t share_begin(const linear *l, uint32_t panels, uint32_t worker) {
    return (uint32_t)((uint64_t)panels * worker / vkb_cpu_pool_threads(l->p->pool));
}

/* The first panel that a worker will have in the next op. */
static const char *first_of_next(const linear *l, uint32_t worker, const char *otherwise) {
    if (!l->next) return otherwise;
    const vkb_tensor *t = &l->p->base.weights->tensors[l->next->weight];
    return (const char *)vkb_cpu_tensor(l->p, l->next->weight) +
           share_begin(l, vkb_cpu_ceil_div(t->rows, VKB_CPU_PANEL), worker) * panel_bytes(t);
}

static void share_task(void *context, uint32_t task, uint32_t worker) {
    (void)task;
    const linear *l = context;
    uint32_t threads = vkb_cpu_pool_threads(l->p->pool), panel;
    float *scratch = vkb_cpu_scratch(l->p, worker);
    vkb_cpu_begin_block(l->p, l->tensor, l->x, l->x_stride, l->rows, scratch);
    for (uint32_t i = 0; i < threads; i++) {
        vkb_cpu_share *share = &l->p->shares[(worker + i) % threads];
        while (atomic_load(&share->next) < share->end && (panel = atomic_fetch_add(&share->next, l->together)) < share->end) {
            uint32_t n = share->end - panel < l->together ? 1 : l->together;
            const char *own = panel_at(l, panel), *next = own + n * panel_bytes(l->tensor);
            do_panels(l, panel, n, 0, l->rows, scratch, panel + n < share->end ? next : first_of_next(l, worker, own));
        }
    }
}

static void run_shares(const linear *l) {
    uint32_t threads = vkb_cpu_pool_threads(l->p->pool);
    for (uint32_t i = 0; i < threads; i++) {
        atomic_store_explicit(&l->p->shares[i].next, share_begin(l, l->panels, i), memory_order_relaxed);
        l->p->shares[i].end = share_begin(l, l->panels, i + 1);
    }
    vkb_cpu_pool_run(l->p->pool, threads, share_task, (void *)(uintptr_t)l);
}

static const vkb_op *next_linear(const vkb_cpu_program *p, const vkb_op *op) {
    const vkb_op *end = p->base.ops + p->base.op_count;
    for (op++; op < end; op++)
        if (op->kind == VKB_OP_LINEAR) return op;
    return NULL;
}

static void norm_task(void *context, uint32_t task, uint32_t worker) {
    (void)worker;
    norm_block(context, task);
}

void vkb_cpu_linear(const vkb_cpu_program *p, const vkb_op *op) {
    const vkb_slot *slots = p->base.slots;
    const vkb_tensor *tensor = &p->base.weights->tensors[op->weight];
    linear l = {.p = p,
                .op = op,
                .rows = vkb_cpu_rows(p, op->input),
                .inputs = tensor->cols,
                .outputs = tensor->rows,
                .tensor = tensor,
                .weight = vkb_cpu_tensor(p, op->weight),
                .bias = vkb_cpu_tensor(p, op->bias),
                .norm_weight = vkb_cpu_tensor(p, op->norm_weight),
                .norm_bias = vkb_cpu_tensor(p, op->norm_bias),
                .x = vkb_cpu_value(p, op->input),
                .x_stride = slots[op->input].stride,
                .y = vkb_cpu_value(p, op->output),
                .y_stride = slots[op->output].stride};
    if (op->residual != VKB_NONE) {
        l.residual = vkb_cpu_value(p, op->residual);
        l.residual_stride = slots[op->residual].stride;
    }
    l.panels = vkb_cpu_ceil_div(l.outputs, VKB_CPU_PANEL);
    l.together = vkb_cpu_panels_together(p->kernels, tensor);
    uint32_t threads = vkb_cpu_pool_threads(p->pool), blocks = vkb_cpu_ceil_div(l.rows, VKB_CPU_BLOCK_ROWS);
    if (blocks > threads) blocks = vkb_cpu_ceil_div(blocks, threads) * threads;
    l.block_rows = vkb_cpu_ceil_div(l.rows, blocks);
    blocks = vkb_cpu_ceil_div(l.rows, l.block_rows);
    uint32_t groups = vkb_cpu_ceil_div(TASKS_PER_THREAD * threads, blocks); /* as many as give every thread its tasks */
    l.group_panels = vkb_cpu_ceil_div(l.panels, groups < l.panels ? groups : l.panels);
    l.groups = vkb_cpu_ceil_div(l.panels, l.group_panels);
    if (blocks == 1 && l.groups > 1) {
        l.next = next_linear(p, op);
        run_shares(&l);
    } else
        vkb_cpu_pool_run(p->pool, blocks * l.groups, product_task, &l);
    if (l.groups > 1 && op->norm) {
        l.block_rows = 8;
        vkb_cpu_pool_run(p->pool, vkb_cpu_ceil_div(l.rows, l.block_rows), norm_task, &l);
    }
}
