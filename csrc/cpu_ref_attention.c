/* ATTENTION and ROTATE of the reference. */
#include <math.h>

#include "cpu_ref.h"

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

static double dot(const float *a, const float *b, uint32_t n) {
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += (double)a[i] * b[i];
    return sum;
}

/* The row (or column) of a table of 2R + 1 distances that holds `distance`. */
static uint32_t entry_of(int64_t distance, uint32_t entries) {
    int64_t radius = entries / 2;
    if (distance < -radius) return 0;
    return (uint32_t)(distance > radius ? 2 * radius : distance + radius);
}

/* What head `head` adds to the score of query row i with key row j, whose vectors are q and k. */
static double score_bias(const ref_program *p, const vkb_op *op, uint32_t head, uint32_t head_size, uint32_t i, uint32_t j, const float *q,
                         const float *k) {
    const vkb_tensor *tensors = p->base.weights->tensors;
    const float *biases = tensor_of(p, op->weight), *slopes = tensor_of(p, op->bias);
    const float *positions = tensor_of(p, op->position_table), *types = tensor_of(p, op->type_table);
    int64_t distance = (int64_t)i - j; /* from key to query */
    size_t width = width_of(p, op->output), column = (size_t)head * head_size;
    double sum = 0;
    if (biases) {
        uint32_t entries = tensors[op->weight].cols;
        sum += biases[(size_t)head * entries + entry_of(-distance, entries)];
    }
    if (slopes) sum -= slopes[head] * fabs((double)distance);
    if (positions) {
        const float *row = positions + entry_of(distance, tensors[op->position_table].rows) * width;
        sum += op->scale * dot(q, row + column, head_size);
    }
    if (types) {
        const float *row = types + entry_of(distance, tensors[op->type_table].rows) * width;
        sum += op->scale * dot(k, row + column, head_size);
    }
    return sum;
}

/* One query of one head, in a sequence of rows first … end − 1: a piece of a row of the output. */
static void attend(const ref_program *p, const vkb_op *op, uint32_t query, uint32_t first, uint32_t end, uint32_t head) {
    vkb_cpu_heads h = vkb_cpu_heads_of(&p->base, op);
    size_t stride = p->base.slots[op->input].stride;
    if (op->window && query - first > op->window) first = query - op->window;
    if (op->window && end - 1 - query > op->window) end = query + op->window + 1;
    if (op->flags & VKB_FLAG_CAUSAL) end = query + 1;
    uint32_t tokens = end - first, kv_head = head / (h.heads / h.kv_heads);

    const float *q = row_of(p, op->input, query) + (size_t)head * h.size;
    const float *keys = row_of(p, op->input, first) + ((size_t)h.heads + kv_head) * h.size;
    const float *values = keys + (size_t)h.kv_heads * h.size;
    attention_scores(q, keys, stride, tokens, h.size, op->scale, p->scores);
    bool biased = op->weight != VKB_NONE || op->bias != VKB_NONE || op->position_table != VKB_NONE || op->type_table != VKB_NONE;
    for (uint32_t i = 0; i < tokens && biased; i++) p->scores[i] += score_bias(p, op, head, h.size, query, first + i, q, keys + i * stride);

    double max = p->scores[0], sum = 0;
    for (uint32_t i = 1; i < tokens; i++) max = p->scores[i] > max ? p->scores[i] : max;
    for (uint32_t i = 0; i < tokens; i++) sum += p->scores[i] = exp(p->scores[i] - max);

    double y[VKB_MAX_HEAD] = {0};
    for (uint32_t i = 0; i < tokens; i++)
        for (uint32_t j = 0; j < h.size; j++) y[j] += p->scores[i] * values[i * stride + j];
    float *out = row_of(p, op->output, query) + (size_t)head * h.size;
    for (uint32_t j = 0; j < h.size; j++) out[j] = (float)(y[j] / sum);
}

void vkb_ref_attention(const ref_program *p, const vkb_op *op) {
    const uint32_t *cu = p->batch->cu_seqlens;
    for (uint32_t b = 0; b < p->batch->sequences; b++)
        for (uint32_t query = cu[b]; query < cu[b + 1]; query++)
            for (uint32_t head = 0; head < op->heads; head++) attend(p, op, query, cu[b], cu[b + 1], head);
}

/* The first 2·half columns of a head, by the angles whose cosines and sines are given. */
static void rotate_head(double *x, const float *cosines, uint32_t half, bool interleaved) {
    const float *sines = cosines + half;
    for (uint32_t c = 0; c < half; c++) {
        double *a = x + (interleaved ? 2 * c : c), *b = interleaved ? a + 1 : a + half, old = *a;
        *a = old * cosines[c] - *b * sines[c];
        *b = *b * cosines[c] + old * sines[c];
    }
}

/* Norm and rotation of x, [heads, size]: the queries or the keys of the row at `position`. */
static void rotate_part(const ref_program *p, const vkb_op *op, double *x, uint32_t heads, uint32_t size, uint32_t weight, uint32_t bias,
                        int32_t position) {
    if (op->norm != VKB_NORM_NONE) {
        uint32_t width = p->base.weights->tensors[weight].cols; /* one head's, or that of all heads */
        for (uint32_t i = 0; i < heads * size; i += width) vkb_ref_norm_row(op, x + i, width, tensor_of(p, weight), tensor_of(p, bias));
    }
    if (op->position_table == VKB_NONE) return;
    uint32_t columns = p->base.weights->tensors[op->position_table].cols;
    const float *cosines = tensor_of(p, op->position_table) + (size_t)position * columns;
    for (uint32_t i = 0; i < heads; i++) rotate_head(x + (size_t)i * size, cosines, columns / 2, op->flags & VKB_FLAG_INTERLEAVED);
}

void vkb_ref_rotate(const ref_program *p, const vkb_op *op) {
    vkb_cpu_heads h = vkb_cpu_heads_of(&p->base, op);
    uint32_t width = width_of(p, op->output);
    for (uint32_t row = 0; row < p->batch->tokens; row++) {
        const float *x = row_of(p, op->input, row);
        float *y = row_of(p, op->output, row);
        for (uint32_t i = 0; i < width; i++) p->y[i] = x[i];
        rotate_part(p, op, p->y, h.heads, h.size, op->norm_weight, op->norm_bias, p->batch->positions[row]);
        rotate_part(p, op, p->y + (size_t)h.heads * h.size, h.kv_heads, h.size, op->weight, op->bias, p->batch->positions[row]);
        for (uint32_t i = 0; i < width; i++) y[i] = (float)p->y[i];
    }
}
