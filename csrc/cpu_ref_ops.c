/* The ops of the reference, but for those of attention. */
#include <math.h>

#include "cpu_ref.h"

void vkb_ref_norm_row(const vkb_op *op, double *x, uint32_t width, const float *weight, const float *bias) {
    double mean = 0, square = 0;
    if (op->norm == VKB_NORM_LAYER)
        for (uint32_t i = 0; i < width; i++) mean += x[i];
    mean /= width;
    for (uint32_t i = 0; i < width; i++) square += (x[i] - mean) * (x[i] - mean);
    double deviation = sqrt(square / width + (double)op->norm_eps);
    for (uint32_t i = 0; i < width; i++) x[i] = (x[i] - mean) / deviation * (weight ? weight[i] : 1) + (bias ? bias[i] : 0);
}

/* The op's norm, if it has one, over a row of its output's width, and what is added after; then the row is rounded and stored. */
static void finish_row(const ref_program *p, const vkb_op *op, double *y, const float *after, uint32_t row) {
    uint32_t width = width_of(p, op->output);
    float *out = row_of(p, op->output, row);
    if (op->norm != VKB_NORM_NONE) vkb_ref_norm_row(op, y, width, tensor_of(p, op->norm_weight), tensor_of(p, op->norm_bias));
    for (uint32_t i = 0; i < width; i++) out[i] = (float)(y[i] + (after ? after[i] : 0));
}

void vkb_ref_embed(const ref_program *p, const vkb_op *op) {
    uint32_t width = width_of(p, op->output);
    const float *words = tensor_of(p, op->weight), *positions = tensor_of(p, op->position_table), *types = tensor_of(p, op->type_table);
    for (uint32_t row = 0; row < p->batch->tokens; row++) {
        const float *word = words + (size_t)p->batch->ids[row] * width;
        for (uint32_t i = 0; i < width; i++) {
            p->y[i] = (double)op->scale * word[i];
            if (positions) p->y[i] += positions[(size_t)p->batch->positions[row] * width + i];
            if (types) p->y[i] += types[(size_t)p->batch->type_ids[row] * width + i];
        }
        finish_row(p, op, p->y, NULL, row);
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

/* y[r] = W·x[r], [ROWS, outputs], for the input's rows first … first + n − 1 */
static void product_rows(const ref_program *p, const vkb_op *op, uint32_t first, uint32_t n) {
    uint32_t inputs = width_of(p, op->input), outputs = width_of(p, op->output), c = 0;
    const float *w = tensor_of(p, op->weight), *scales = ((const ref_weights *)p->base.weights)->scales[op->weight];
    float x_scales[ROWS];
    for (uint32_t r = 0; r < ROWS; r++) { /* the last row stands in for those past the end */
        const float *row = row_of(p, op->input, first + (r < n ? r : n - 1));
        if (scales) x_scales[r] = vkb_quantize(row, inputs, p->base.weights->device->i8_inputs, p->q);
        for (uint32_t k = 0; k < inputs; k++) p->x[(size_t)r * inputs + k] = scales ? p->q[k] : row[k];
    }
    for (; c + COLUMNS <= outputs; c += COLUMNS) products(p->x, w + (size_t)c * inputs, inputs, outputs, p->y + c);
    for (; c < outputs; c++)
        for (uint32_t r = 0; r < n; r++) {
            double sum = 0;
            for (uint32_t k = 0; k < inputs; k++) sum += p->x[(size_t)r * inputs + k] * w[(size_t)c * inputs + k];
            p->y[(size_t)r * outputs + c] = sum;
        }
    for (uint32_t r = 0; scales && r < n; r++)
        for (c = 0; c < outputs; c++) p->y[(size_t)r * outputs + c] *= (double)x_scales[r] * scales[c];
}

void vkb_ref_linear(const ref_program *p, const vkb_op *op) {
    uint32_t outputs = width_of(p, op->output), rows = rows_of(p, op->input);
    const float *bias = tensor_of(p, op->bias);
    bool residual_first = op->residual_at == VKB_RESIDUAL_BEFORE_ACTIVATION;
    for (uint32_t first = 0; first < rows; first += ROWS) {
        uint32_t n = rows - first < ROWS ? rows - first : ROWS;
        product_rows(p, op, first, n);
        for (uint32_t r = 0; r < n; r++) {
            double *y = p->y + (size_t)r * outputs;
            const float *residual = op->residual == VKB_NONE ? NULL : row_of(p, op->residual, first + r);
            for (uint32_t i = 0; i < outputs; i++) {
                double x = y[i] + (bias ? bias[i] : 0), add = residual ? residual[i] : 0;
                y[i] = residual_first ? activate(op->activation, x + add) : activate(op->activation, x) + add;
            }
            finish_row(p, op, y, NULL, first + r);
        }
    }
}

void vkb_ref_linear_max(const ref_program *p, const vkb_op *op) {
    uint32_t outputs = width_of(p, op->output);
    const float *bias = tensor_of(p, op->bias);
    for (uint32_t b = 0; b < p->batch->sequences; b++) {
        float *out = row_of(p, op->output, b);
        for (uint32_t i = 0; i < outputs; i++) out[i] = 0; /* which no value is less than */
        for (uint32_t first = p->batch->cu_seqlens[b], end = p->batch->cu_seqlens[b + 1]; first < end; first += ROWS) {
            uint32_t n = end - first < ROWS ? end - first : ROWS;
            product_rows(p, op, first, n);
            for (uint32_t r = 0; r < n; r++)
                for (uint32_t i = 0; i < outputs; i++) {
                    double y = log1p(activate(VKB_ACT_RELU, p->y[(size_t)r * outputs + i] + (bias ? bias[i] : 0)));
                    if (y > out[i] || isnan(y)) out[i] = (float)y;
                }
        }
    }
}

void vkb_ref_gate(const ref_program *p, const vkb_op *op) {
    uint32_t width = width_of(p, op->output), rows = rows_of(p, op->output);
    for (uint32_t row = 0; row < rows; row++) {
        const float *left = row_of(p, op->input, row), *right = left + width;
        for (uint32_t i = 0; i < width; i++) p->y[i] = activate(op->activation, left[i]) * right[i];
        finish_row(p, op, p->y, NULL, row);
    }
}

void vkb_ref_norm(const ref_program *p, const vkb_op *op) {
    uint32_t width = width_of(p, op->output), rows = rows_of(p, op->output);
    for (uint32_t row = 0; row < rows; row++) {
        const float *x = row_of(p, op->input, row), *residual = op->residual == VKB_NONE ? NULL : row_of(p, op->residual, row);
        const float *before = op->residual_at == VKB_RESIDUAL_BEFORE_NORM ? residual : NULL;
        for (uint32_t i = 0; i < width; i++) p->y[i] = (double)x[i] + (before ? before[i] : 0);
        finish_row(p, op, p->y, before ? NULL : residual, row);
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

void vkb_ref_pool(const ref_program *p, const vkb_op *op) {
    uint32_t width = width_of(p, op->input);
    for (uint32_t b = 0; b < p->batch->sequences; b++) {
        uint32_t first = p->batch->cu_seqlens[b], end = p->batch->cu_seqlens[b + 1];
        uint32_t skip = p->batch->pool_start ? p->batch->pool_start[b] : 0;
        float *out = row_of(p, op->output, b) + op->column;
        for (uint32_t i = 0; i < width; i++) out[i] = skip < end - first ? (float)pool_column(p, op, i, first, first + skip, end) : 0;
    }
}

void vkb_ref_normalize(const ref_program *p, const vkb_op *op) {
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
