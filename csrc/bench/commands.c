/* The commands: a whole model, its ops, one linear layer, one attention. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "programs.h"

static const bench_program *find(const char *name) {
    for (size_t i = 0; i < sizeof bench_programs / sizeof *bench_programs; i++)
        if (strcmp(bench_programs[i].name, name) == 0) return &bench_programs[i];
    fprintf(stderr, "vkbert-bench: model %s is unknown; want", name);
    for (size_t i = 0; i < sizeof bench_programs / sizeof *bench_programs; i++) fprintf(stderr, " %s", bench_programs[i].name);
    fprintf(stderr, "\n");
    return NULL;
}

static int open_model(const bench_options *o, const bench_program *p, bench_run *run) {
    vkb_program_desc desc = {.values = p->values,
                             .value_count = p->value_count,
                             .ops = p->ops,
                             .op_count = p->op_count,
                             .outputs = &p->output,
                             .output_count = 1};
    return bench_open(o, p->tensors, p->tensor_count, &desc, run);
}

static double total_flops(const bench_run *run) {
    double sum = 0;
    for (uint32_t i = 0; i < run->desc.op_count; i++) sum += bench_flops(run, i);
    return sum;
}

static const char *dtype_name(const bench_options *o) { return o->dtype == VKB_I8 ? "int8" : o->dtype == VKB_F16 ? "f16" : "f32"; }

/* With one caller the medians speak of speed; several overlap, and their runs are counted. */
static void report(const bench_options *o, const bench_run *run, const bench_times *t, const char *name) {
    double rate = o->callers > 1 || o->interval > 0 ? t->rate : 1 / t->median;
    double tokens = run->batch.tokens * rate, texts = run->batch.sequences * rate, flops = total_flops(run) * rate / 1e12;
    if (o->json)
        printf("{\"model\":\"%s\",\"device\":\"%s\",\"driver\":\"%s\",\"dtype\":\"%s\",\"batch\":%u,\"tokens\":%u,\"callers\":%u,"
               "\"interval_ms\":%.3f,"
               "\"median_ms\":%.4f,\"p99_ms\":%.4f,\"min_ms\":%.4f,"
               "\"runs\":%u,\"tokens_per_second\":%.0f,\"texts_per_second\":%.1f,\"tflops\":%.3f}\n",
               name, run->info.name, run->info.driver, dtype_name(o), o->batch, o->tokens, o->callers, o->interval, t->median * 1e3,
               t->p99 * 1e3, t->least * 1e3, t->runs, tokens, texts, flops);
    else
        printf("%s, %s, %u x %u tokens on %s, %s, %u callers: %.3f ms (p99 %.3f, best %.3f, %u runs), %.0f tokens/s, %.1f texts/s, "
               "%.3f TFLOP/s\n",
               name, dtype_name(o), o->batch, o->tokens, run->info.name, run->info.driver, o->callers, t->median * 1e3, t->p99 * 1e3,
               t->least * 1e3, t->runs, tokens, texts, flops);
}

int bench_model(const bench_options *o) {
    const bench_program *p = find(o->words[1]);
    if (!p) return 2;
    bench_run run;
    bench_times times;
    int status = open_model(o, p, &run);
    if (!status) status = bench_time(o, &run, &times);
    if (!status) report(o, &run, &times, p->name);
    bench_close(&run);
    return status;
}

int bench_mixed(const bench_options *o) {
    const bench_program *p = find(o->words[1]);
    if (!p) return 2;
    bench_options room = *o; /* for 256 texts and 32 of 512 tokens */
    room.batch = 256;
    room.tokens = 64;
    bench_run run;
    int status = open_model(&room, p, &run);
    if (!status) status = bench_lengths(o, &run);
    bench_close(&run);
    return status;
}

static const char *const kinds[] = {"EMBED", "LINEAR", "ATTENTION", "NORM", "POOL", "NORMALIZE"};

typedef struct group { /* ops that do the same on the same shape */
    uint32_t kind, in, out;
    uint32_t count;
    double seconds, flops, bytes;
} group;

/* Less than a dispatch can take: another op does it by the way (vk_fold.c), and its rates mean nothing. */
static bool by_the_way(const group *g) { return g->seconds < 1e-6 * g->count; }

/* Of what the device does at best, by products or by bytes: whichever the op comes closer to. */
static double share_of_peak(const bench_peaks *peaks, const group *g) {
    return by_the_way(g) ? 0 : fmax(g->flops / peaks->flops, g->bytes / peaks->bytes) / g->seconds;
}

/* peaks may be NULL; what an op reaches beyond them raises them. */
static void print_ops(const bench_options *o, const bench_run *run, const double *seconds, bench_peaks *peaks) {
    group groups[64] = {{0}};
    uint32_t n = 0;
    double total = 0;
    for (uint32_t i = 0; i < run->desc.op_count; i++) {
        const vkb_op *op = &run->desc.ops[i];
        uint32_t in = op->input == VKB_NONE ? 0 : run->desc.values[op->input].width, out = run->desc.values[op->output].width, g = 0;
        while (g < n && (groups[g].kind != op->kind || groups[g].in != in || groups[g].out != out)) g++;
        if (g == sizeof groups / sizeof *groups) break;
        if (g == n) groups[n++] = (group){.kind = op->kind, .in = in, .out = out};
        groups[g].count++;
        groups[g].seconds += seconds[i];
        groups[g].flops += bench_flops(run, i);
        groups[g].bytes += bench_bytes(run, i);
        total += seconds[i];
    }
    for (uint32_t g = 0; g < n && peaks; g++) {
        if (by_the_way(&groups[g])) continue;
        peaks->flops = fmax(peaks->flops, groups[g].flops / groups[g].seconds);
        peaks->bytes = fmax(peaks->bytes, groups[g].bytes / groups[g].seconds);
    }
    if (!o->json)
        printf("%s, %u x %u tokens: %.3f ms in ops, one after another\n%-10s %6s %6s %5s %10s %7s %9s %8s%s\n", run->info.name, o->batch,
               o->tokens, total * 1e3, "op", "in", "out", "times", "us each", "share", "TFLOP/s", "GB/s", peaks ? "  of peak" : "");
    for (uint32_t g = 0; g < n; g++) {
        printf(o->json ? "{\"op\":\"%s\",\"in\":%u,\"out\":%u,\"times\":%u,\"us_each\":%.2f,\"share\":%.4f,\"tflops\":%.3f,\"gbytes_per_"
                         "second\":%.1f"
                       : "%-10s %6u %6u %5u %10.2f %7.4f %9.3f %8.1f",
               kinds[groups[g].kind], groups[g].in, groups[g].out, groups[g].count, groups[g].seconds * 1e6 / groups[g].count,
               groups[g].seconds / total, groups[g].flops / groups[g].seconds / 1e12, groups[g].bytes / groups[g].seconds / 1e9);
        if (peaks) printf(o->json ? ",\"of_peak\":%.4f" : " %8.2f", share_of_peak(peaks, &groups[g]));
        printf(o->json ? "}\n" : "\n");
    }
    if (peaks && !o->json)
        printf("peak: %.3f TFLOP/s, %.1f GB/s: the most of LINEARs of %u and %u and a NORM, for %u rows, and of these ops\n",
               peaks->flops / 1e12, peaks->bytes / 1e9, peaks->width, peaks->inner, peaks->rows);
}

static int profile(const bench_options *o, bench_run *run, bench_peaks *peaks) {
    double *seconds = malloc(run->desc.op_count * sizeof *seconds);
    bench_times warm;
    bench_options brief = *o;
    brief.seconds = 0;
    int status = seconds ? bench_time(&brief, run, &warm) : 1;
    if (!status) status = bench_profile(run, seconds);
    if (!status) print_ops(o, run, seconds, peaks);
    free(seconds);
    return status;
}

int bench_ops(const bench_options *o) {
    const bench_program *p = find(o->words[1]);
    if (!p) return 2;
    bench_run run;
    bench_peaks peaks;
    int status = open_model(o, p, &run);
    if (!status) status = bench_measure_peaks(o, run.info.kind, &peaks);
    if (!status) status = profile(o, &run, &peaks);
    bench_close(&run);
    return status;
}

/* EMBED makes the input, a second op works on it, POOL and NORMALIZE keep the output small. */
static int bench_one(const bench_options *o, const vkb_tensor *tensors, uint32_t tensor_count, vkb_op op, uint32_t in, uint32_t out) {
    const vkb_value values[] = {{VKB_PER_TOKEN, in}, {VKB_PER_TOKEN, out}, {VKB_PER_SEQUENCE, out}};
    vkb_op embed = VKB_OP_INIT, pool = VKB_OP_INIT;
    embed.kind = VKB_OP_EMBED;
    embed.output = 0;
    embed.weight = 0;
    embed.scale = 1;
    op.input = 0;
    op.output = 1;
    pool.kind = VKB_OP_POOL;
    pool.input = 1;
    pool.output = 2;
    pool.pool = VKB_POOL_CLS;
    const vkb_op ops[] = {embed, op, pool};
    const uint32_t output = 2;
    vkb_program_desc desc = {.values = values, .value_count = 3, .ops = ops, .op_count = 3, .outputs = &output, .output_count = 1};
    bench_run run;
    int status = bench_open(o, tensors, tensor_count, &desc, &run);
    if (!status) status = profile(o, &run, NULL);
    bench_close(&run);
    return status;
}

int bench_gemm(const bench_options *o) {
    uint32_t shape[3];
    for (int i = 0; i < 3; i++) {
        char *end;
        unsigned long v = strtoul(o->words[1 + i], &end, 10);
        if (*end || v < 1 || v > 1 << 20)
            return fprintf(stderr, "vkbert-bench: gemm: %s is not a size of 1 to 1048576\n", o->words[1 + i]), 2;
        shape[i] = (uint32_t)v;
    }
    bench_options one = *o;
    one.batch = 1;
    one.tokens = shape[0];
    const vkb_tensor tensors[] = {{1024, shape[2], VKB_LAYOUT_TABLE, VKB_F32},
                                  {shape[1], shape[2], VKB_LAYOUT_LINEAR, VKB_F32},
                                  {1, shape[1], VKB_LAYOUT_VECTOR, VKB_F32}};
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_LINEAR;
    op.weight = 1;
    op.bias = 2;
    return bench_one(&one, tensors, 3, op, shape[2], shape[1]);
}

int bench_attention(const bench_options *o) {
    uint32_t hidden = o->heads * o->head_size;
    const vkb_tensor tensors[] = {{1024, 3 * hidden, VKB_LAYOUT_TABLE, VKB_F32}};
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_ATTENTION;
    op.heads = o->heads;
    op.scale = 1 / sqrtf((float)o->head_size);
    return bench_one(o, tensors, 1, op, 3 * hidden, hidden);
}
