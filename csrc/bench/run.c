/* Opening a program with random weights, and what its ops have to do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../cpu.h"
#include "bench.h"

enum { CHUNK = 1 << 16, PROFILES = 5 };

static int failed(const char *what, const vkb_error *error) {
    fprintf(stderr, "vkbert-bench: %s: %s\n", what, error->message);
    return 1;
}

/* Uniform in [-0.02, 0.02), the same numbers every time (xorshift, Marsaglia 2003). */
static float next_random(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return ((float)(*state >> 8) / 16777216.0f - 0.5f) * 0.04f;
}

static int fill(bench_run *run, uint32_t count) {
    vkb_error error = {0};
    float *chunk = malloc(CHUNK * sizeof *chunk);
    if (!chunk) return fprintf(stderr, "vkbert-bench: out of memory\n"), 1;
    uint32_t state = 2463534242u;
    for (uint32_t t = 0; t < count; t++) {
        uint64_t elements = (uint64_t)run->tensors[t].rows * run->tensors[t].cols;
        for (uint64_t first = 0; first < elements; first += CHUNK) {
            uint64_t n = elements - first < CHUNK ? elements - first : CHUNK;
            for (uint64_t i = 0; i < n; i++) chunk[i] = next_random(&state);
            if (vkb_weights_put(run->weights, t, VKB_F32, first, chunk, n, &error)) {
                free(chunk);
                return failed("weights", &error);
            }
        }
    }
    free(chunk);
    return vkb_weights_seal(run->weights, NULL, &error) ? failed("weights", &error) : 0;
}

static int make_batch(bench_run *run, uint32_t batch, uint32_t tokens) {
    uint32_t total = batch * tokens, vocabulary = 1;
    for (uint32_t i = 0; i < run->desc.op_count; i++)
        if (run->desc.ops[i].kind == VKB_OP_EMBED) vocabulary = run->tensors[run->desc.ops[i].weight].rows;
    run->ids = malloc(total * sizeof *run->ids);
    run->cu_seqlens = malloc((batch + 1) * sizeof *run->cu_seqlens);
    run->outputs = calloc(run->desc.output_count, sizeof *run->outputs);
    if (!run->ids || !run->cu_seqlens || !run->outputs) return fprintf(stderr, "vkbert-bench: out of memory\n"), 1;
    for (uint32_t i = 0; i < total; i++) run->ids[i] = (int32_t)(i * 2654435761u % vocabulary);
    for (uint32_t b = 0; b <= batch; b++) run->cu_seqlens[b] = b * tokens;
    for (uint32_t i = 0; i < run->desc.output_count; i++) {
        const vkb_value *v = &run->desc.values[run->desc.outputs[i]];
        run->outputs[i].capacity = (uint64_t)(v->scope == VKB_PER_TOKEN ? total : batch) * v->width;
        run->outputs[i].data = malloc(run->outputs[i].capacity * sizeof(float));
        if (!run->outputs[i].data) return fprintf(stderr, "vkbert-bench: out of memory\n"), 1;
    }
    run->batch =
        (vkb_batch){.struct_size = sizeof run->batch, .tokens = total, .sequences = batch, .ids = run->ids, .cu_seqlens = run->cu_seqlens};
    return 0;
}

static void print_log(void *user, vkb_log_level level, const char *message) {
    (void)user;
    (void)level;
    fprintf(stderr, "%s\n", message);
}

static vkb_status open_device(const vkb_device_options *options, vkb_device **device, vkb_error *error) {
    if (strncmp(options->selector, "cpu:", 4) != 0) return vkb_device_open(options, device, error);
    const vkb_cpu_kernels *kernels = vkb_cpu_kernel_set((uint32_t)strtoul(options->selector + 4, NULL, 10));
    if (!kernels) return vkb_fail(error, VKB_ERROR_NO_DEVICE, "this machine can run no such kernels");
    return vkb_cpu_open_with(kernels, options, device, error);
}

int bench_open_device(const bench_options *o, vkb_device **device) {
    vkb_error error = {0};
    vkb_device_options options = {
        .struct_size = sizeof options, .selector = o->device, .cache_dir = o->cache_dir, .log = o->verbose ? print_log : NULL};
    return open_device(&options, device, &error) ? failed(o->device, &error) : 0;
}

int bench_open(const bench_options *o, const vkb_tensor *tensors, uint32_t tensor_count, const vkb_program_desc *desc, bench_run *run) {
    *run = (bench_run){.info.struct_size = sizeof run->info, .desc = *desc};
    vkb_error error = {0};
    if (bench_open_device(o, &run->device)) return 1;
    vkb_device_get_info(run->device, &run->info);

    vkb_tensor *stored = malloc(tensor_count * sizeof *stored);
    if (!stored) return fprintf(stderr, "vkbert-bench: out of memory\n"), 1;
    memcpy(stored, tensors, tensor_count * sizeof *stored);
    for (uint32_t i = 0; i < tensor_count; i++)
        if (stored[i].layout != VKB_LAYOUT_VECTOR)
            stored[i].dtype = o->dtype == VKB_I8 && stored[i].layout == VKB_LAYOUT_TABLE ? VKB_F16 : o->dtype;
    run->tensors = stored;
    if (vkb_weights_create(run->device, stored, tensor_count, &run->weights, &error)) return failed("weights", &error);
    if (fill(run, tensor_count)) return 1;

    if ((uint64_t)o->batch * o->tokens > INT32_MAX) return fprintf(stderr, "vkbert-bench: --batch times --tokens is too large\n"), 1;
    run->desc.struct_size = sizeof run->desc;
    run->desc.activations = o->dtype == VKB_F32 ? VKB_F32 : VKB_F16;
    run->desc.max_tokens = o->batch * o->tokens;
    run->desc.max_sequences = o->batch;
    if (vkb_program_create(run->weights, &run->desc, &run->program, &error)) return failed("program", &error);
    return make_batch(run, o->batch, o->tokens);
}

void bench_close(bench_run *run) {
    for (uint32_t i = 0; run->outputs && i < run->desc.output_count; i++) free(run->outputs[i].data);
    free(run->outputs);
    free(run->ids);
    free(run->cu_seqlens);
    vkb_program_destroy(run->program);
    vkb_weights_destroy(run->weights);
    vkb_device_close(run->device);
    free((void *)run->tensors);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int bench_profile(bench_run *run, double *op_seconds) {
    vkb_error error = {0};
    uint32_t ops = run->desc.op_count;
    double *all = malloc((size_t)ops * PROFILES * sizeof *all), *one = malloc(ops * sizeof *one);
    int status = !all || !one;
    for (int p = 0; p < PROFILES && !status; p++) {
        status = vkb_program_profile(run->program, &run->batch, one, &error) != VKB_OK;
        for (uint32_t i = 0; i < ops && !status; i++) all[i * PROFILES + p] = one[i];
    }
    for (uint32_t i = 0; i < ops && !status; i++) {
        qsort(all + i * PROFILES, PROFILES, sizeof *all, ascending);
        op_seconds[i] = all[i * PROFILES + PROFILES / 2];
    }
    free(all);
    free(one);
    return status ? failed("profile", &error) : 0;
}

double bench_flops(const bench_run *run, uint32_t i) {
    const vkb_op *op = &run->desc.ops[i];
    const vkb_value *values = run->desc.values;
    double tokens = run->batch.tokens, length = tokens / run->batch.sequences;
    if (op->kind == VKB_OP_ATTENTION) return 4.0 * tokens * length * values[op->output].width;
    if (op->kind != VKB_OP_LINEAR) return 0;
    double rows = values[op->output].scope == VKB_PER_TOKEN ? tokens : run->batch.sequences;
    return 2.0 * rows * values[op->input].width * values[op->output].width;
}

static double value_bytes(const bench_run *run, uint32_t value) {
    if (value == VKB_NONE) return 0;
    const vkb_value *v = &run->desc.values[value];
    double size = run->desc.activations == VKB_F16 && v->scope == VKB_PER_TOKEN ? 2 : 4;
    return size * v->width * (v->scope == VKB_PER_TOKEN ? run->batch.tokens : run->batch.sequences);
}

double bench_bytes(const bench_run *run, uint32_t i) {
    const vkb_op *op = &run->desc.ops[i];
    double bytes = value_bytes(run, op->input) + value_bytes(run, op->output) + value_bytes(run, op->residual);
    if (op->kind == VKB_OP_EMBED) bytes += value_bytes(run, op->output); /* a table row a token */
    if (op->kind == VKB_OP_LINEAR) {
        const vkb_tensor *w = &run->tensors[op->weight];
        bytes += (double)w->rows * w->cols * (w->dtype == VKB_I8 ? 1 : w->dtype == VKB_F16 ? 2 : 4);
    }
    return bytes;
}
