/*
 * fixture.h: small programs with known random numbers, run on a device and on the reference.
 *
 * fixture_begin sets the batch. A fixture's ids are 0, 1, 2, …, so that EMBED with a table of as many rows as tokens makes any [T, width]
 * that is wanted: fixture_input. All numbers are already rounded to the dtype that they are stored in.
 */
#ifndef VKB_FIXTURE_H
#define VKB_FIXTURE_H

#include "test.h"

enum { FIXTURE_MAX = 64 };

typedef struct fixture {
    uint32_t tokens, sequences;
    int32_t *ids, *type_ids, *positions; /* [T]; the last two NULL unless set */
    uint32_t *cu_seqlens, *pool_start;   /* [B + 1], [B] or NULL */
    vkb_tensor tensors[FIXTURE_MAX];
    float *data[FIXTURE_MAX]; /* of the tensors, [rows, cols] */
    uint32_t tensor_count;
    vkb_value values[FIXTURE_MAX];
    const float *known[FIXTURE_MAX]; /* of the values that fixture_input made, [T, width] */
    uint32_t value_count;
    vkb_op ops[FIXTURE_MAX];
    uint32_t op_count;
    uint32_t outputs[FIXTURE_MAX];
    uint32_t output_count;
    uint32_t activations; /* of the program */
    uint32_t flags;       /* of the program */
    uint32_t dtype;       /* of tables and LINEAR weights made from here on */
    uint32_t random;      /* state */
} fixture;

void fixture_begin(fixture *f, const uint32_t *lengths, uint32_t sequences, uint32_t seed);
void fixture_end(fixture *f);

float fixture_random(fixture *f); /* uniform in ±1 */
/* Each returns the number of what it made. Elements are uniform in ±scale. */
uint32_t fixture_tensor(fixture *f, uint32_t rows, uint32_t cols, uint32_t layout, float scale);
uint32_t fixture_vector(fixture *f, uint32_t cols, float scale);
uint32_t fixture_value(fixture *f, uint32_t scope, uint32_t width);
uint32_t fixture_input(fixture *f, uint32_t width, float scale);
/* Adds the op with a new value of this width as its output, and asks for that value. */
uint32_t fixture_op(fixture *f, vkb_op op, uint32_t scope, uint32_t width);
void fixture_output(fixture *f, uint32_t value);
/* EMBED, POOL and NORMALIZE, of this width: what compiles fastest, for tests that open many devices. Output 0: [B, width]. */
void fixture_small(fixture *f, uint32_t width);

typedef struct results { /* [output]: [rows, width] */
    float *data[FIXTURE_MAX];
} results;

vkb_batch fixture_batch(const fixture *f);
/* For tests that do it step by step. */
vkb_status fixture_weights(const fixture *f, vkb_device *device, vkb_weights **weights, vkb_error *error);
vkb_status fixture_program(const fixture *f, vkb_weights *weights, vkb_program **program, vkb_error *error);
vkb_status fixture_execute(const fixture *f, vkb_program *program, results *r, vkb_error *error);
/* All of it, with the error that it may end with. */
vkb_status fixture_try(const fixture *f, vkb_device *device, results *r, vkb_error *error);
/* The same; a failure is a failed check with what it was about. */
bool fixture_run(const fixture *f, vkb_device *device, results *r, const char *about);
void results_free(results *r);

enum { SKIPPED = 77 }; /* the status of a test that cannot run here */
/* A selector, or "cpu:1", "cpu:2", …: the CPU backend with its second best kernels, third best … Exits if it can't be opened. */
vkb_device *open_device(const char *selector);

/* Where an op's result is compared: `got` may differ from `want` by `bound` (one each element, or one for all if `bounds` is NULL). */
void check_near(const float *got, const float *want, const float *bounds, float bound, uint64_t rows, uint64_t cols, const char *about);

/* Σ² over a row, square-rooted. */
double norm_of(const float *x, uint64_t n);
double greatest(const float *x, uint64_t n); /* of the absolute values */

#endif /* VKB_FIXTURE_H */
