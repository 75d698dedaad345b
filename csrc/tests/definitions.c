#include <math.h>

#include "definitions.h"

enum { LONGEST = 512 };

static double activate(uint32_t activation, double x) {
    switch (activation) {
    case VKB_ACT_GELU: return x / 2 * erfc(-x / sqrt(2));
    case VKB_ACT_GELU_TANH: return x / 2 * (1 + tanh(0.7978845608028654 * (x + 0.044715 * pow(x, 3))));
    case VKB_ACT_RELU: return fmax(x, 0);
    case VKB_ACT_SILU: return x / (1 + exp(-x));
    case VKB_ACT_TANH: return tanh(x);
    case VKB_ACT_SIGMOID: return 1 / (1 + exp(-x));
    default: return x;
    }
}

static double at(const fixture *f, uint32_t tensor, size_t element, double without) {
    return tensor == VKB_NONE ? without : (double)f->data[tensor][element];
}

static double value_at(const fixture *f, uint32_t value, uint32_t row, uint32_t column) {
    return value == VKB_NONE ? 0 : (double)f->known[value][(size_t)row * f->values[value].width + column];
}

static void normed(const fixture *f, const vkb_op *op, uint32_t weight, uint32_t bias, double *x, uint32_t n) {
    double mean = 0, squares = 0;
    for (uint32_t i = 0; i < n; i++) {
        mean += x[i] / n;
        squares += x[i] * x[i] / n;
    }
    double variance = op->norm == VKB_NORM_RMS ? squares : squares - mean * mean;
    if (op->norm == VKB_NORM_RMS) mean = 0;
    for (uint32_t i = 0; i < n; i++) x[i] = (x[i] - mean) / sqrt(variance + (double)op->norm_eps) * at(f, weight, i, 1) + at(f, bias, i, 0);
}

static double product(const fixture *f, const vkb_op *op, uint32_t row, uint32_t column) {
    uint32_t n = f->values[op->input].width;
    double sum = at(f, op->bias, column, 0);
    for (uint32_t k = 0; k < n; k++) sum += value_at(f, op->input, row, k) * (double)f->data[op->weight][(size_t)column * n + k];
    return sum;
}

static void linear_row(const fixture *f, const vkb_op *op, uint32_t row, double *y, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        double x = product(f, op, row, i), residual = value_at(f, op->residual, row, i);
        if (op->residual_at == VKB_RESIDUAL_BEFORE_ACTIVATION) x += residual;
        y[i] = activate(op->activation, x);
        if (op->residual_at == VKB_RESIDUAL_BEFORE_NORM) y[i] += residual;
    }
    if (op->norm) normed(f, op, op->norm_weight, op->norm_bias, y, n);
}

static void norm_row(const fixture *f, const vkb_op *op, uint32_t row, double *y, uint32_t n) {
    bool after = op->residual_at == VKB_RESIDUAL_AFTER_NORM;
    for (uint32_t i = 0; i < n; i++) y[i] = value_at(f, op->input, row, i) + (after ? 0 : value_at(f, op->residual, row, i));
    normed(f, op, op->norm_weight, op->norm_bias, y, n);
    for (uint32_t i = 0; i < n && after; i++) y[i] += value_at(f, op->residual, row, i);
}

static void gate_row(const fixture *f, const vkb_op *op, uint32_t row, double *y, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) y[i] = activate(op->activation, value_at(f, op->input, row, i)) * value_at(f, op->input, row, n + i);
}

static void linear_max_row(const fixture *f, const vkb_op *op, uint32_t sequence, double *y, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        y[i] = 0;
        for (uint32_t row = f->cu_seqlens[sequence]; row < f->cu_seqlens[sequence + 1]; row++)
            y[i] = fmax(y[i], log(1 + fmax(product(f, op, row, i), 0)));
    }
}

static uint32_t sequence_of(const fixture *f, uint32_t row) {
    uint32_t b = 0;
    while (row >= f->cu_seqlens[b + 1]) b++;
    return b;
}

static uint32_t key_heads(const vkb_op *op) { return op->kv_heads ? op->kv_heads : op->heads; }
static uint32_t head_size(const fixture *f, const vkb_op *op) { return f->values[op->input].width / (op->heads + 2 * key_heads(op)); }

static void rotate_row(const fixture *f, const vkb_op *op, uint32_t row, double *y, uint32_t n) {
    uint32_t d = head_size(f, op), heads = op->heads + key_heads(op); /* of q and k, side by side */
    for (uint32_t i = 0; i < n; i++) y[i] = value_at(f, op->input, row, i);
    if (op->norm) {
        uint32_t wq = f->tensors[op->norm_weight].cols, wk = f->tensors[op->weight].cols, i = 0;
        for (; i < op->heads * d; i += wq) normed(f, op, op->norm_weight, op->norm_bias, y + i, wq);
        for (; i < heads * d; i += wk) normed(f, op, op->weight, op->bias, y + i, wk);
    }
    if (op->position_table == VKB_NONE) return;
    uint32_t half = f->tensors[op->position_table].cols / 2;
    uint32_t position = f->positions ? (uint32_t)f->positions[row] : row - f->cu_seqlens[sequence_of(f, row)];
    for (uint32_t h = 0; h < heads; h++)
        for (uint32_t c = 0; c < half; c++) {
            uint32_t first = h * d + c, second = first + half;
            if (op->flags & VKB_FLAG_INTERLEAVED) second = (first = h * d + 2 * c) + 1;
            double cosine = f->data[op->position_table][position * 2 * half + c], a = y[first], b = y[second];
            double sine = f->data[op->position_table][position * 2 * half + half + c];
            y[first] = a * cosine - b * sine;
            y[second] = b * cosine + a * sine;
        }
}

static size_t entry(int distance, uint32_t entries) {
    int radius = (int)entries / 2;
    return (size_t)((distance < -radius ? -radius : distance > radius ? radius : distance) + radius);
}

/* Of rows i and j of the batch, in one sequence; columns q and k of the input are where the head's vectors begin. */
static double score(const fixture *f, const vkb_op *op, uint32_t head, uint32_t i, uint32_t j, uint32_t q, uint32_t k) {
    uint32_t d = head_size(f, op), width = op->heads * d;
    int apart = (int)i - (int)j;
    double sum = 0, bias = 0;
    for (uint32_t c = 0; c < d; c++) {
        double qc = value_at(f, op->input, i, q + c), kc = value_at(f, op->input, j, k + c);
        sum += qc * kc;
        if (op->position_table != VKB_NONE)
            sum += qc * at(f, op->position_table, entry(apart, f->tensors[op->position_table].rows) * width + head * d + c, 0);
        if (op->type_table != VKB_NONE)
            sum += kc * at(f, op->type_table, entry(apart, f->tensors[op->type_table].rows) * width + head * d + c, 0);
    }
    if (op->weight != VKB_NONE) {
        uint32_t entries = f->tensors[op->weight].cols;
        bias += at(f, op->weight, head * entries + entry(-apart, entries), 0);
    }
    return (double)op->scale * sum + bias - at(f, op->bias, head, 0) * abs(apart);
}

static void attention_row(const fixture *f, const vkb_op *op, uint32_t row, double *y, uint32_t n) {
    uint32_t d = head_size(f, op), kv = key_heads(op), b = sequence_of(f, row);
    for (uint32_t i = 0; i < n; i++) y[i] = 0;
    for (uint32_t h = 0; h < op->heads; h++) {
        uint32_t k = (op->heads + h / (op->heads / kv)) * d, v = k + kv * d;
        double scores[LONGEST], max = -INFINITY, sum = 0;
        for (uint32_t j = f->cu_seqlens[b]; j < f->cu_seqlens[b + 1]; j++) {
            bool far = op->window && (uint32_t)abs((int)j - (int)row) > op->window;
            bool seen = !far && (j <= row || !(op->flags & VKB_FLAG_CAUSAL));
            double s = scores[j - f->cu_seqlens[b]] = seen ? score(f, op, h, row, j, h * d, k) : -INFINITY;
            max = fmax(max, s);
        }
        for (uint32_t j = f->cu_seqlens[b]; j < f->cu_seqlens[b + 1]; j++) {
            double weight = exp(scores[j - f->cu_seqlens[b]] - max);
            sum += weight;
            for (uint32_t c = 0; c < d; c++) y[h * d + c] += weight * value_at(f, op->input, j, v + c);
        }
        for (uint32_t c = 0; c < d; c++) y[h * d + c] /= sum;
    }
}

float *defined_result(const fixture *f, const vkb_op *op) {
    static void (*const definitions[])(const fixture *, const vkb_op *, uint32_t, double *, uint32_t) = {
        [VKB_OP_LINEAR] = linear_row, [VKB_OP_ATTENTION] = attention_row, [VKB_OP_NORM] = norm_row,
        [VKB_OP_GATE] = gate_row,     [VKB_OP_ROTATE] = rotate_row,       [VKB_OP_LINEAR_MAX] = linear_max_row,
    };
    const vkb_value *v = &f->values[op->output];
    uint32_t rows = v->scope == VKB_PER_TOKEN ? f->tokens : f->sequences, width = v->width;
    for (uint32_t b = 0; b < f->sequences; b++)
        REQUIRE(f->cu_seqlens[b + 1] - f->cu_seqlens[b] <= LONGEST, "sequence %u is longer than %d", b, LONGEST);
    float *all = calloc((size_t)rows * width, sizeof *all);
    double *y = calloc(width, sizeof *y);
    REQUIRE(all && y, "out of memory");
    for (uint32_t r = 0; r < rows; r++) {
        definitions[op->kind](f, op, r, y, width);
        for (uint32_t i = 0; i < width; i++) all[(size_t)r * width + i] = (float)y[i];
    }
    free(y);
    return all;
}
