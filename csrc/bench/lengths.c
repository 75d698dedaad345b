/* Texts of mixed lengths: as one corpus, which may be packed in any order, and some texts a call in the order of the file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"

enum { MOST = 1 << 16, PASSES = 3, CORPUS_TOKENS = 4096 };

static int descending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x < y) - (x > y);
}

static double now(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The first `most` lengths of a file, one a line, into lengths; their number. */
static uint32_t read_lengths(const char *path, uint32_t most, uint32_t *lengths) {
    FILE *file = fopen(path, "r");
    uint32_t n = 0;
    while (file && n < most && fscanf(file, "%u", &lengths[n]) == 1) n++;
    if (file) fclose(file);
    return n;
}

/* Packs texts into batches of at most `texts` texts and `tokens` tokens, in the order given, and runs them; seconds, or −1. */
static double pass(bench_run *run, const uint32_t *lengths, uint32_t count, uint32_t texts, uint32_t tokens) {
    vkb_error error = {0};
    double start = now();
    for (uint32_t i = 0; i < count;) {
        vkb_batch batch = run->batch;
        batch.sequences = batch.tokens = 0;
        while (i < count && batch.sequences < texts && batch.tokens + lengths[i] <= tokens) {
            run->cu_seqlens[++batch.sequences] = batch.tokens += lengths[i++];
        }
        if (!batch.sequences || vkb_program_run(run->program, &batch, run->outputs, &error)) {
            fprintf(stderr, "vkbert-bench: a text of %u tokens: %s\n", lengths[i < count ? i : count - 1], error.message);
            return -1;
        }
    }
    return now() - start;
}

int bench_lengths(const bench_options *o, bench_run *run) {
    uint32_t *lengths = malloc(MOST * sizeof *lengths), *sorted = malloc(MOST * sizeof *sorted);
    uint32_t count = lengths && sorted ? read_lengths(o->words[2], o->first < MOST ? o->first : MOST, lengths) : 0;
    int status = count ? 0 : (fprintf(stderr, "vkbert-bench: no lengths in %s\n", o->words[2]), 1);
    double corpus = 0, calls = 0, total = 0;
    if (!status) {
        for (uint32_t i = 0; i < count; i++) total += lengths[i];
        memcpy(sorted, lengths, count * sizeof *sorted);
        qsort(sorted, count, sizeof *sorted, descending);
    }
    for (int i = 0; i < PASSES && !status; i++) {
        double one = pass(run, sorted, count, run->desc.max_sequences, CORPUS_TOKENS);
        double other = one < 0 ? -1 : pass(run, lengths, count, o->batch, run->desc.max_tokens);
        status = other < 0;
        if (!i || one < corpus) corpus = one;
        if (!i || other < calls) calls = other;
        if (!status && (one + other) * (i + 1) > o->seconds) break;
    }
    if (!status && o->json)
        printf("{\"texts\":%u,\"tokens\":%.0f,\"corpus_tokens_per_second\":%.0f,\"per_call\":%u,\"calls_tokens_per_second\":%.0f}\n", count,
               total, total / corpus, o->batch, total / calls);
    else if (!status)
        printf("%u texts, %.0f tokens on %s: as one corpus %.0f tokens/s; %u texts a call %.0f tokens/s\n", count, total, run->info.name,
               total / corpus, o->batch, total / calls);
    free(lengths);
    free(sorted);
    return status;
}
