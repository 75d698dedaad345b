/*
 * The reference: what every other kernel is compared with. One thread, no vectors, each op written as its definition reads. All arithmetic
 * is f64, and an op's result is rounded to f32 once, when it is stored; weights are held as they were put, f32, [rows, cols].
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"

enum { /* LINEAR and ATTENTION take some sums side by side, each in its own order: they do not wait for one another */
       ROWS = 4,
       COLUMNS = 4,
};

typedef struct ref_weights {
    vkb_weights base;
    float **data; /* [count], each [rows, cols] */
} ref_weights;

typedef struct ref_program {
    vkb_program base;
    float *arena;
    double *x;      /* [ROWS, widest input of LINEAR] */
    double *y;      /* [ROWS, widest value] */
    double *scores; /* [max_tokens] */
    const vkb_batch *batch;
} ref_program;

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
    if (!w->data) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_weights_create: out of memory for %u tensors", weights->count);
    for (uint32_t i = 0; i < weights->count; i++) {
        const vkb_tensor *t = &weights->tensors[i];
        uint64_t bytes = (uint64_t)t->rows * t->cols; /* of two numbers below 2³¹ */
        w->data[i] = vkb_mul(bytes, sizeof(float), &bytes) && bytes <= SIZE_MAX ? calloc(bytes, 1) : NULL;
        if (!w->data[i])
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

static vkb_status weights_seal(vkb_weights *weights, vkb_error *error) {
    (void)weights;
    (void)error;
    return VKB_OK;
}

static void weights_free(vkb_weights *weights) {
    ref_weights *w = (ref_weights *)weights;
    for (uint32_t i = 0; w->data && i < weights->count; i++) free(w->data[i]);
    free(w->data);
}

/* ---- Rows and tensors ---- */

static float *row_of(const ref_program *p, uint32_t value, uint32_t row) {
    const vkb_slot *slot = &p->base.slots[value];
    return p->arena + slot->offset / sizeof(float) + (size_t)row * slot->stride;
}

static uint32_t rows_of(const ref_program *p, uint32_t value) {
    return p->base.values[value].scope == VKB_PER_TOKEN ? p->batch->tokens : p->batch->sequences;
}

static uint32_t width_of(const ref_program *p, uint32_t value) { return p->base.values[value].width; }

static const float *tensor_of(const ref_program *p, uint32_t tensor) {
    return tensor == VKB_NONE ? NULL : ((const ref_weights *)p->base.weights)->data[tensor];
}

/* The op's norm, if it has one, over a row of its output's width; then the row is rounded and stored. */
static void finish_row(const ref_program *p, const vkb_op *op, const double *y, uint32_t row) {
    uint32_t width = width_of(p, op->output);
    float *out = row_of(p, op->output, row);
    if (op->norm == VKB_NORM_NONE) {
        for (uint32_t i = 0; i < width; i++) out[i] = (float)y[i];
        return;
    }
    const float *weight = tensor_of(p, op->norm_weight), *bias = tensor_of(p, op->norm_bias);
    double mean = 0, variance = 0;
    for (uint32_t i = 0; i < width; i++) mean += y[i];
    mean /= width;
    for (uint32_t i = 0; i < width; i++) variance += (y[i] - mean) * (y[i] - mean);
    variance /= width;
    double deviation = sqrt(variance + (double)op->norm_eps);
    for (uint32_t i = 0; i < width; i++) out[i] = (float)((y[i] - mean) / deviation * (weight ? weight[i] : 1) + (bias ? bias[i] : 0));
}

/* ---- Ops ---- */

static void embed(const ref_program *p, const vkb_op *op) {
    uint32_t width = width_of(p, op->output);
    const float *words = tensor_of(p, op->weight), *positions = tensor_of(p, op->position_table), *types = tensor_of(p, op->type_table);
    for (uint32_t row = 0; row < p->batch->tokens; row++) {
        const float *word = words + (size_t)p->batch->ids[row] * width;
        for (uint32_t i = 0; i < width; i++) {
            p->y[i] = (double)op->scale * word[i];
            if (positions) p->y[i] += positions[(size_t)p->batch->positions[row] * width + i];
            if (types) p->y[i] += types[(size_t)p->batch->type_ids[row] * width + i];
        }
        finish_row(p, op, p->y, row);
    }
}

static double activate(uint32_t activation, double x) {
    const double sqrt_half = 0.70710678118654752440, sqrt_2_over_pi = 0.79788456080286535588;
    switch (activation) {
    case VKB_ACT_GELU: return 0.5 * x * (1 + erf(x * sqrt_half));
    case VKB_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt_2_over_pi * (x + 0.044715 * x * x * x)));
    case VKB_ACT_RELU: return x < 0 ? 0 : x;
    case VKB_ACT_SILU: return x / (1 + exp(-x));
    case VKB_ACT_TANH: return tanh(x);
    case VKB_ACT_SIGMOID: return 1 / (1 + exp(-x));
    default: return x;
    }
}

/* y[r][c] = Σ x[r][k]·w[c][k]. The rows of x and y lie `inputs` and `outputs` apart. */
static void products(const double *x, const float *w, uint32_t inputs, uint32_t outputs, double *y) {
    double sum[ROWS][COLUMNS] = {{0}};
    for (uint32_t k = 0; k < inputs; k++)
        for (uint32_t r = 0; r < ROWS; r++)
            for (uint32_t c = 0; c < COLUMNS; c++) sum[r][c] += x[(size_t)r * inputs + k] * w[(size_t)c * inputs + k];
    for (uint32_t r = 0; r < ROWS; r++)
        for (uint32_t c = 0; c < COLUMNS; c++) y[(size_t)r * outputs + c] = sum[r][c];
}

static void linear(const ref_program *p, const vkb_op *op) {
    uint32_t inputs = width_of(p, op->input), outputs = width_of(p, op->output), rows = rows_of(p, op->input);
    const float *w = tensor_of(p, op->weight), *bias = tensor_of(p, op->bias);
    for (uint32_t first = 0; first < rows; first += ROWS) {
        uint32_t n = rows - first < ROWS ? rows - first : ROWS;
        for (uint32_t r = 0; r < ROWS; r++) /* the last row stands in for those past the end */
            for (uint32_t k = 0; k < inputs; k++) p->x[(size_t)r * inputs + k] = row_of(p, op->input, first + (r < n ? r : n - 1))[k];
        uint32_t c = 0;
        for (; c + COLUMNS <= outputs; c += COLUMNS) products(p->x, w + (size_t)c * inputs, inputs, outputs, p->y + c);
        for (; c < outputs; c++)
            for (uint32_t r = 0; r < n; r++) {
                double sum = 0;
                for (uint32_t k = 0; k < inputs; k++) sum += p->x[(size_t)r * inputs + k] * w[(size_t)c * inputs + k];
                p->y[(size_t)r * outputs + c] = sum;
            }
        for (uint32_t r = 0; r < n; r++) {
            double *y = p->y + (size_t)r * outputs;
            const float *residual = op->residual == VKB_NONE ? NULL : row_of(p, op->residual, first + r);
            for (uint32_t i = 0; i < outputs; i++)
                y[i] = activate(op->activation, y[i] + (bias ? bias[i] : 0)) + (residual ? residual[i] : 0);
            finish_row(p, op, y, first + r);
        }
    }
}

/* scores[i] = scale·q·kᵢ for the keys of rows first … end − 1, whose row i starts at keys + i·stride */
static void attention_scores(const float *q, const float *keys, size_t stride, uint32_t tokens, uint32_t head_size, double scale,
                             double *scores) {
    uint32_t i = 0;
    for (; i + COLUMNS <= tokens; i += COLUMNS) {
        double sum[COLUMNS] = {0};
        for (uint32_t j = 0; j < head_size; j++)
            for (uint32_t c = 0; c < COLUMNS; c++) sum[c] += (double)q[j] * keys[(i + c) * stride + j];
        for (uint32_t c = 0; c < COLUMNS; c++) scores[i + c] = scale * sum[c];
    }
    for (; i < tokens; i++) {
        double sum = 0;
        for (uint32_t j = 0; j < head_size; j++) sum += (double)q[j] * keys[i * stride + j];
        scores[i] = scale * sum;
    }
}

/* One query of one head, whose columns start at `column`: a row of the output. */
static void attend(const ref_program *p, const vkb_op *op, uint32_t query, uint32_t first, uint32_t end, uint32_t column) {
    uint32_t hidden = width_of(p, op->output), head_size = hidden / op->heads, tokens = end - first;
    size_t stride = p->base.slots[op->input].stride;
    const float *keys = row_of(p, op->input, first) + hidden + column, *values = keys + hidden;
    attention_scores(row_of(p, op->input, query) + column, keys, stride, tokens, head_size, op->scale, p->scores);

    double max = p->scores[0], sum = 0;
    for (uint32_t i = 1; i < tokens; i++) max = p->scores[i] > max ? p->scores[i] : max;
    for (uint32_t i = 0; i < tokens; i++) sum += p->scores[i] = exp(p->scores[i] - max);

    double y[VKB_MAX_HEAD] = {0};
    for (uint32_t i = 0; i < tokens; i++)
        for (uint32_t j = 0; j < head_size; j++) y[j] += p->scores[i] * values[i * stride + j];
    float *out = row_of(p, op->output, query) + column;
    for (uint32_t j = 0; j < head_size; j++) out[j] = (float)(y[j] / sum);
}

static void attention(const ref_program *p, const vkb_op *op) {
    uint32_t head_size = width_of(p, op->output) / op->heads;
    const uint32_t *cu = p->batch->cu_seqlens;
    for (uint32_t b = 0; b < p->batch->sequences; b++)
        for (uint32_t query = cu[b]; query < cu[b + 1]; query++)
            for (uint32_t head = 0; head < op->heads; head++) attend(p, op, query, cu[b], cu[b + 1], head * head_size);
}

static void norm(const ref_program *p, const vkb_op *op) {
    uint32_t width = width_of(p, op->output), rows = rows_of(p, op->output);
    for (uint32_t row = 0; row < rows; row++) {
        const float *x = row_of(p, op->input, row), *residual = op->residual == VKB_NONE ? NULL : row_of(p, op->residual, row);
        for (uint32_t i = 0; i < width; i++) p->y[i] = (double)x[i] + (residual ? residual[i] : 0);
        finish_row(p, op, p->y, row);
    }
}

/* One column over rows begin … end − 1 (at least one) of a sequence that starts at row `first`. */
static double pool_column(const ref_program *p, const vkb_op *op, uint32_t column, uint32_t first, uint32_t begin, uint32_t end) {
    double sum = 0, weights = 0, max = -INFINITY;
    for (uint32_t i = begin; i < end; i++) {
        double x = row_of(p, op->input, i)[column];
        double weight = op->pool == VKB_POOL_WEIGHTED_MEAN ? (double)(i - first) + 1 : 1;
        sum += weight * x;
        weights += weight;
        if (x > max || isnan(x)) max = x;
    }
    switch (op->pool) {
    case VKB_POOL_CLS: return row_of(p, op->input, begin)[column];
    case VKB_POOL_LAST: return row_of(p, op->input, end - 1)[column];
    case VKB_POOL_MAX: return max;
    case VKB_POOL_MEAN_SQRT_LEN: return sum / sqrt(weights);
    default: return sum / weights;
    }
}

static void pool(const ref_program *p, const vkb_op *op) {
    uint32_t width = width_of(p, op->input);
    for (uint32_t b = 0; b < p->batch->sequences; b++) {
        uint32_t first = p->batch->cu_seqlens[b], end = p->batch->cu_seqlens[b + 1];
        uint32_t skip = p->batch->pool_start ? p->batch->pool_start[b] : 0;
        float *out = row_of(p, op->output, b) + op->column;
        for (uint32_t i = 0; i < width; i++) out[i] = skip < end - first ? (float)pool_column(p, op, i, first, first + skip, end) : 0;
    }
}

static void normalize(const ref_program *p, const vkb_op *op) {
    uint32_t width = width_of(p, op->output), rows = rows_of(p, op->output);
    for (uint32_t row = 0; row < rows; row++) {
        const float *x = row_of(p, op->input, row);
        float *y = row_of(p, op->output, row);
        double sum = 0;
        for (uint32_t i = 0; i < width; i++) sum += (double)x[i] * x[i];
        double length = sqrt(sum);
        if (length < 1e-12) length = 1e-12;
        for (uint32_t i = 0; i < width; i++) y[i] = (float)(x[i] / length);
    }
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
    program->host_bytes = sizeof(double) * (2 * ROWS * widest + program->max_tokens);
    if (!p->arena || !p->x || !p->y || !p->scores)
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
}

static vkb_status program_run(vkb_program *program, const vkb_batch *batch, const vkb_output *outputs, double *op_seconds,
                              vkb_error *error) {
    static void (*const ops[])(const ref_program *, const vkb_op *) = {
        [VKB_OP_EMBED] = embed, [VKB_OP_LINEAR] = linear, [VKB_OP_ATTENTION] = attention,
        [VKB_OP_NORM] = norm,   [VKB_OP_POOL] = pool,     [VKB_OP_NORMALIZE] = normalize,
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
