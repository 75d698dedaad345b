/* bench.h: the harness. It uses the public API alone (but for kernels.c), and measures what users run: the programs of programs.h are made
 * by package bert. */
#ifndef VKB_BENCH_H
#define VKB_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "../../include/vkbert.h"

enum { BENCH_MAX_CALLERS = 64 };

typedef struct bench_options {
    const char *device;
    const char *cache_dir; /* NULL = none */
    uint32_t dtype;        /* vkb_dtype: how weights are stored */
    uint32_t batch, tokens;
    uint32_t first;            /* lengths: how many of the file */
    uint32_t heads, head_size; /* attention */
    double seconds;            /* measured for about so long */
    double interval;           /* milliseconds of rest before each run */
    uint32_t callers;          /* threads */
    bool json, verbose;
    const char *words[4]; /* what is not an option: the command and its arguments */
    int word_count;
} bench_options;

/* A program on a device, with random weights, and a batch of full-length sequences for it. */
typedef struct bench_run {
    vkb_device *device;
    vkb_device_info info;
    vkb_weights *weights;
    vkb_program *program;
    vkb_program_desc desc;
    const vkb_tensor *tensors;
    vkb_batch batch;
    int32_t *ids;
    uint32_t *cu_seqlens;
    vkb_output *outputs;
} bench_run;

typedef struct bench_times {
    double median, p99, least; /* seconds */
    uint32_t runs;
    double rate; /* runs a second, of all callers */
} bench_times;

typedef struct bench_peaks {     /* what a device does at best, as measured: a large LINEAR, a large NORM, or an op that does more */
    uint32_t rows, width, inner; /* LINEAR: width to inner and back */
    double flops, bytes;         /* a second */
} bench_peaks;

/* Each returns 0, or 1 after one line on stderr. */
int bench_parse(int argc, char **argv, bench_options *o);
int bench_open(const bench_options *o, const vkb_tensor *tensors, uint32_t tensor_count, const vkb_program_desc *desc, bench_run *run);
int bench_time(const bench_options *o, bench_run *run, bench_times *times);
int bench_profile(bench_run *run, double *op_seconds); /* [op_count], medians of several runs */
void bench_close(bench_run *run);

/* What op `i` has to do for this batch, and the bytes that it must at least move: inputs and weights read once, outputs written once. */
double bench_flops(const bench_run *run, uint32_t i);
double bench_bytes(const bench_run *run, uint32_t i);

/* peak.c: with the dtype and the device of `o`, which is of this kind. */
int bench_measure_peaks(const bench_options *o, uint32_t kind, bench_peaks *peaks);

int bench_open_device(const bench_options *o, vkb_device **device);

int bench_model(const bench_options *o);     /* model NAME */
int bench_ops(const bench_options *o);       /* ops NAME */
int bench_gemm(const bench_options *o);      /* gemm M N K */
int bench_attention(const bench_options *o); /* attention */
int bench_mixed(const bench_options *o);     /* lengths NAME FILE */
int bench_kernels(const bench_options *o);   /* kernels */
int bench_variants(const bench_options *o);  /* variants */

/* lengths.c: of an open model with room for many texts */
int bench_lengths(const bench_options *o, bench_run *run);

/* From now on this row of the table of Vulkan kernels is taken for all that it can do. */
int bench_force(const char *kernel);

#endif /* VKB_BENCH_H */
