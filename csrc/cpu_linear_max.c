/*
 * LINEAR_MAX on the CPU: as LINEAR, but of each tile only the greatest values are kept, so that the [T, outputs] matrix is never made. A
 * task is a group of weight panels with all rows, which go past it in blocks that fit a near cache; it alone writes its columns of the
 * output, which hold the greatest products so far until the end.
 */
#include <math.h>

#include "cpu.h"

enum { BLOCK_ROWS = VKB_CPU_BLOCK_ROWS, TASKS_PER_THREAD = 4 }; /* as LINEAR's */

typedef struct linear_max {
    const vkb_cpu_program *p;
    const float *x, *bias;
    const void *weight; /* panels */
    float *y;           /* [B, outputs] */
    size_t x_stride, y_stride;
    uint32_t inputs, outputs, panels, group_panels;
    const vkb_tensor *tensor;
} linear_max;

/* Rows first … end − 1, the first of them of `sequence`, of one panel's outputs. */
static void do_panel(const linear_max *l, uint32_t panel, uint32_t first, uint32_t end, uint32_t sequence, float *scratch) {
    const uint32_t *cu = l->p->batch->cu_seqlens;
    uint32_t column = panel * VKB_CPU_PANEL, columns = l->outputs - column < VKB_CPU_PANEL ? l->outputs - column : VKB_CPU_PANEL;
    const void *w = vkb_cpu_panels(l->p, l->tensor, l->weight, panel, 1, scratch);
    for (uint32_t row = first, n; row < end; row += n) {
        n = vkb_cpu_tile_height(end - row, vkb_cpu_tile_rows(l->p->kernels, l->tensor));
        float c[VKB_CPU_MAX_TILE * VKB_CPU_PANEL];
        vkb_cpu_tile(l->p, l->tensor, l->weight, w, panel, row - first, n, l->x + first * l->x_stride, l->x_stride, scratch, c,
                     &(vkb_cpu_ahead){.at = w});
        for (uint32_t r = 0; r < n; r++) {
            while (row + r >= cu[sequence + 1]) sequence++;
            float *y = l->y + sequence * l->y_stride + column, *x = c + r * VKB_CPU_PANEL;
            for (uint32_t i = 0; i < columns; i++) y[i] = x[i] > y[i] || isnan(x[i]) ? x[i] : y[i];
        }
    }
}

static void max_task(void *context, uint32_t group, uint32_t worker) {
    const linear_max *l = context;
    const vkb_batch *batch = l->p->batch;
    uint32_t panel = group * l->group_panels, last = l->panels - panel < l->group_panels ? l->panels : panel + l->group_panels;
    uint32_t column = panel * VKB_CPU_PANEL, end_column = last == l->panels ? l->outputs : last * VKB_CPU_PANEL;
    for (uint32_t b = 0; b < batch->sequences; b++)
        for (uint32_t i = column; i < end_column; i++) l->y[b * l->y_stride + i] = -INFINITY;

    for (uint32_t first = 0, sequence = 0; first < batch->tokens; first += BLOCK_ROWS) {
        while (first >= batch->cu_seqlens[sequence + 1]) sequence++;
        uint32_t end = batch->tokens - first < BLOCK_ROWS ? batch->tokens : first + BLOCK_ROWS;
        float *scratch = vkb_cpu_scratch(l->p, worker);
        vkb_cpu_begin_block(l->p, l->tensor, l->x + first * l->x_stride, l->x_stride, end - first, scratch);
        for (uint32_t i = panel; i < last; i++) do_panel(l, i, first, end, sequence, scratch);
    }
    for (uint32_t b = 0; b < batch->sequences; b++)
        for (uint32_t i = column; i < end_column; i++) {
            float *y = &l->y[b * l->y_stride + i], x = l->bias ? *y + l->bias[i] : *y;
            *y = x <= 0 ? 0 : log1pf(x); /* NaN stays */
        }
}

void vkb_cpu_linear_max(const vkb_cpu_program *p, const vkb_op *op) {
    const vkb_tensor *tensor = &p->base.weights->tensors[op->weight];
    linear_max l = {.p = p,
                    .x = vkb_cpu_value(p, op->input),
                    .x_stride = p->base.slots[op->input].stride,
                    .bias = vkb_cpu_tensor(p, op->bias),
                    .weight = vkb_cpu_tensor(p, op->weight),
                    .y = vkb_cpu_value(p, op->output),
                    .y_stride = p->base.slots[op->output].stride,
                    .inputs = tensor->cols,
                    .outputs = tensor->rows,
                    .panels = vkb_cpu_ceil_div(tensor->rows, VKB_CPU_PANEL),
                    .tensor = tensor};
    uint32_t groups = TASKS_PER_THREAD * vkb_cpu_pool_threads(p->pool);
    l.group_panels = vkb_cpu_ceil_div(l.panels, groups);
    vkb_cpu_pool_run(p->pool, vkb_cpu_ceil_div(l.panels, l.group_panels), max_task, &l);
}
