/*
 * cpu_ref.h: what the files of the reference share. The reference is what every other kernel is compared with: one thread, no vectors, each
 * op written as its definition reads. All arithmetic is f64, and an op's result is rounded to f32 once, when it is stored; weights are held
 * as they were put, f32, [rows, cols]. Those stored as int8 are held as their integers, whose products and sums are exact in f64.
 */
#ifndef VKB_CPU_REF_H
#define VKB_CPU_REF_H

#include "cpu.h"

enum { /* LINEAR and ATTENTION take some sums side by side, each in its own order: they do not wait for one another */
       ROWS = 4,
       COLUMNS = 4,
};

typedef struct ref_weights {
    vkb_weights base;
    float **data;   /* [count], each [rows, cols] */
    float **scales; /* [count], of tensors stored as int8 each [rows]; else NULL */
} ref_weights;

typedef struct ref_program {
    vkb_program base;
    float *arena;
    double *x;      /* [ROWS, widest value] */
    double *y;      /* [ROWS, widest value] */
    int8_t *q;      /* [widest value] */
    double *scores; /* [max_tokens] */
    const vkb_batch *batch;
} ref_program;

static inline float *row_of(const ref_program *p, uint32_t value, uint32_t row) {
    const vkb_slot *slot = &p->base.slots[value];
    return p->arena + slot->offset / sizeof(float) + (size_t)row * slot->stride;
}

static inline uint32_t rows_of(const ref_program *p, uint32_t value) {
    return p->base.values[value].scope == VKB_PER_TOKEN ? p->batch->tokens : p->batch->sequences;
}

static inline uint32_t width_of(const ref_program *p, uint32_t value) { return p->base.values[value].width; }

/* VKB_NONE gives NULL */
static inline const float *tensor_of(const ref_program *p, uint32_t tensor) {
    return tensor == VKB_NONE ? NULL : ((const ref_weights *)p->base.weights)->data[tensor];
}

/* cpu_ref_ops.c: x = norm(x), with weight and bias where they are not NULL */
void vkb_ref_norm_row(const vkb_op *op, double *x, uint32_t width, const float *weight, const float *bias);

/* cpu_ref_ops.c, cpu_ref_attention.c: each does one op of the batch at hand */
void vkb_ref_embed(const ref_program *p, const vkb_op *op);
void vkb_ref_linear(const ref_program *p, const vkb_op *op);
void vkb_ref_norm(const ref_program *p, const vkb_op *op);
void vkb_ref_pool(const ref_program *p, const vkb_op *op);
void vkb_ref_normalize(const ref_program *p, const vkb_op *op);
void vkb_ref_gate(const ref_program *p, const vkb_op *op);
void vkb_ref_linear_max(const ref_program *p, const vkb_op *op);
void vkb_ref_attention(const ref_program *p, const vkb_op *op);
void vkb_ref_rotate(const ref_program *p, const vkb_op *op);

#endif /* VKB_CPU_REF_H */
