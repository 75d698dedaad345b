#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

static const char usage[] = "usage: vkbert-bench COMMAND [options]\n"
                            "\n"
                            "  model minilm-l6|base|large   a whole model with random weights: time, tokens/s, TFLOP/s\n"
                            "  ops   minilm-l6|base|large   the time of each of its ops, TFLOP/s, GB/s, share, and of the peak\n"
                            "  lengths minilm-l6|… FILE     texts of the lengths in a file, one a line: as one corpus, and --batch a call\n"
                            "  gemm  M N K                  one linear layer: [M, K] times [N, K] transposed, plus bias\n"
                            "  attention                    one attention op (--batch, --tokens, --heads, --head-size)\n"
                            "  kernels                      the table of Vulkan kernels\n"
                            "  variants                     which of them the device can run, and the self-test of each\n"
                            "\n"
                            "  --batch N        sequences (32)\n"
                            "  --tokens N       tokens of each (128)\n"
                            "  --first N        lengths: how many of the file (1000)\n"
                            "  --heads N        (12)          --head-size N   (32)\n"
                            "  --dtype T        f32, f16 or int8 (tables then f16): how weights are stored (f32)\n"
                            "  --device D       auto, cpu, reference, vulkan, vulkan:N, vulkan:NAME (auto); cpu:1, cpu:2, …: the second\n"
                            "                   best kernels of the CPU, the third best, …\n"
                            "  --cache-dir DIR  an existing folder for compiled kernels (none)\n"
                            "  --kernel NAME    take this Vulkan kernel for all that it can do (see kernels)\n"
                            "  --seconds S      measure for about so long (2)\n"
                            "  --callers N      threads that share the program (1)\n"
                            "  --interval MS    rest before each run (0)\n"
                            "  --json           one JSON object instead of text\n"
                            "  --verbose        what the library logs, on stderr\n";

static int number(const char *name, const char *text, double least, double most, double *value) {
    char *end = NULL;
    *value = text ? strtod(text, &end) : 0;
    if (text && *text && !*end && *value >= least && *value <= most) return 0;
    fprintf(stderr, "vkbert-bench: %s is %s, want a number of %g to %g\n", name, text ? text : "missing", least, most);
    return 1;
}

static int integer(const char *name, const char *text, uint32_t *value) {
    double v;
    if (number(name, text, 1, 1 << 24, &v)) return 1;
    *value = (uint32_t)v;
    return 0;
}

static int dtype(const char *text, uint32_t *value) {
    if (text && strcmp(text, "f32") == 0)
        *value = VKB_F32;
    else if (text && strcmp(text, "f16") == 0)
        *value = VKB_F16;
    else if (text && strcmp(text, "int8") == 0)
        *value = VKB_I8;
    else
        return fprintf(stderr, "vkbert-bench: --dtype is %s, want f32, f16 or int8\n", text ? text : "missing"), 1;
    return 0;
}

int bench_parse(int argc, char **argv, bench_options *o) {
    *o = (bench_options){.device = "auto",
                         .dtype = VKB_F32,
                         .batch = 32,
                         .tokens = 128,
                         .first = 1000,
                         .heads = 12,
                         .head_size = 32,
                         .seconds = 2,
                         .callers = 1};
    const struct {
        const char *name;
        uint32_t *value;
    } integers[] = {{"--batch", &o->batch}, {"--tokens", &o->tokens},       {"--first", &o->first},
                    {"--heads", &o->heads}, {"--head-size", &o->head_size}, {"--callers", &o->callers}};
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i], *next = i + 1 < argc ? argv[i + 1] : NULL;
        if (strncmp(arg, "--", 2) != 0) {
            if (o->word_count == (int)(sizeof o->words / sizeof *o->words)) return fprintf(stderr, "vkbert-bench: too many arguments\n"), 1;
            o->words[o->word_count++] = arg;
            continue;
        }
        if (strcmp(arg, "--json") == 0) {
            o->json = true;
            continue;
        }
        if (strcmp(arg, "--verbose") == 0) {
            o->verbose = true;
            continue;
        }
        int failed = -1;
        for (size_t n = 0; n < sizeof integers / sizeof *integers; n++)
            if (strcmp(arg, integers[n].name) == 0) failed = integer(arg, next, integers[n].value);
        if (strcmp(arg, "--dtype") == 0) failed = dtype(next, &o->dtype);
        if (strcmp(arg, "--seconds") == 0) failed = number(arg, next, 0, 3600, &o->seconds);
        if (strcmp(arg, "--interval") == 0) failed = number(arg, next, 0, 60000, &o->interval);
        if (strcmp(arg, "--device") == 0 && next) failed = (o->device = next, 0);
        if (strcmp(arg, "--cache-dir") == 0 && next) failed = (o->cache_dir = next, 0);
        if (strcmp(arg, "--kernel") == 0 && next) failed = bench_force(next);
        if (failed < 0) fprintf(stderr, "vkbert-bench: %s is unknown or has no value\n", arg);
        if (failed) return 1;
        i++;
    }
    if (o->callers > BENCH_MAX_CALLERS) return fprintf(stderr, "vkbert-bench: --callers is over %d\n", BENCH_MAX_CALLERS), 1;
    return 0;
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        int words;
        int (*run)(const bench_options *);
    } commands[] = {{"model", 2, bench_model},         {"ops", 2, bench_ops},       {"gemm", 4, bench_gemm},
                    {"attention", 1, bench_attention}, {"lengths", 3, bench_mixed}, {"kernels", 1, bench_kernels},
                    {"variants", 1, bench_variants}};
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)) return fputs(usage, stdout) < 0;
    bench_options o;
    if (bench_parse(argc, argv, &o)) return 2;
    for (size_t i = 0; o.word_count && i < sizeof commands / sizeof *commands; i++)
        if (strcmp(o.words[0], commands[i].name) == 0 && o.word_count == commands[i].words) return commands[i].run(&o);
    fputs(usage, stderr);
    return 2;
}
