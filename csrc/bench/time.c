/* Timing: the same batch again and again, from one thread or from several that share the program. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench.h"

#if defined(_WIN32)
#include <windows.h>
typedef HANDLE thread;
#else
#include <pthread.h>
typedef pthread_t thread;
#endif

enum { MAX_RUNS = 100000 };
static const double warm_up = 0.3; /* seconds; a GPU that was idle runs at a fraction of its clock */

static double now(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct caller {
    const bench_options *options;
    const bench_run *run;
    vkb_output *outputs; /* its own */
    double *seconds;     /* [MAX_RUNS] of each run, after the warm-up */
    uint32_t runs;
    double elapsed; /* in which they were done */
    vkb_error error;
} caller;

static void pause_for(double milliseconds) {
#if defined(_WIN32)
    Sleep((DWORD)milliseconds);
#else
    struct timespec t = {(time_t)(milliseconds / 1e3), (long)((milliseconds - 1e3 * (double)(long)(milliseconds / 1e3)) * 1e6)};
    nanosleep(&t, NULL);
#endif
}

/* Warm-up without pauses, then runs for as long as was asked for, at least three. */
static void call(caller *c) {
    double start = now(), measured = 0;
    while (now() - start < warm_up)
        if (vkb_program_run(c->run->program, &c->run->batch, c->outputs, &c->error)) return;
    for (start = now(); c->runs < MAX_RUNS && (c->runs < 3 || measured < c->options->seconds); measured = now() - start) {
        if (c->options->interval > 0) pause_for(c->options->interval);
        double from = now();
        if (vkb_program_run(c->run->program, &c->run->batch, c->outputs, &c->error)) return;
        c->seconds[c->runs++] = now() - from;
    }
    c->elapsed = measured;
}

#if defined(_WIN32)
static DWORD WINAPI entry(void *user) {
    call(user);
    return 0;
}
static int start_thread(thread *t, caller *c) { return (*t = CreateThread(NULL, 0, entry, c, 0, NULL)) == NULL; }
static void join_thread(thread t) {
    WaitForSingleObject(t, INFINITE);
    CloseHandle(t);
}
#else
static void *entry(void *user) {
    call(user);
    return NULL;
}
static int start_thread(thread *t, caller *c) { return pthread_create(t, NULL, entry, c); }
static void join_thread(thread t) { pthread_join(t, NULL); }
#endif

static int prepare(caller *c, const bench_options *o, const bench_run *run) {
    *c = (caller){.options = o, .run = run};
    c->seconds = malloc(MAX_RUNS * sizeof *c->seconds);
    c->outputs = calloc(run->desc.output_count, sizeof *c->outputs);
    if (!c->seconds || !c->outputs) return 1;
    for (uint32_t i = 0; i < run->desc.output_count; i++) {
        c->outputs[i].capacity = run->outputs[i].capacity;
        c->outputs[i].data = malloc(c->outputs[i].capacity * sizeof(float));
        if (!c->outputs[i].data) return 1;
    }
    return 0;
}

static void release(caller *c) {
    for (uint32_t i = 0; c->outputs && i < c->run->desc.output_count; i++) free(c->outputs[i].data);
    free(c->outputs);
    free(c->seconds);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of all callers' runs. */
static int sum_up(const caller *callers, uint32_t count, bench_times *times) {
    uint32_t n = 0;
    double rate = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (callers[i].error.status) return fprintf(stderr, "vkbert-bench: run: %s\n", callers[i].error.message), 1;
        n += callers[i].runs;
        rate += callers[i].runs / callers[i].elapsed;
    }
    double *seconds = malloc(n * sizeof *seconds);
    if (!seconds) return fprintf(stderr, "vkbert-bench: out of memory\n"), 1;
    n = 0;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t r = 0; r < callers[i].runs; r++) seconds[n++] = callers[i].seconds[r];
    qsort(seconds, n, sizeof *seconds, ascending);
    *times =
        (bench_times){.median = seconds[n / 2], .p99 = seconds[(uint32_t)((n - 1) * 0.99)], .least = seconds[0], .runs = n, .rate = rate};
    free(seconds);
    return 0;
}

int bench_time(const bench_options *o, bench_run *run, bench_times *times) {
    caller callers[BENCH_MAX_CALLERS];
    thread threads[BENCH_MAX_CALLERS];
    uint32_t count = 0, started = 1;
    int failed = 0;
    for (; count < o->callers && !failed; count++) failed = prepare(&callers[count], o, run);
    while (started < count && !failed) {
        failed = start_thread(&threads[started], &callers[started]);
        started += !failed;
    }
    if (failed)
        fprintf(stderr, "vkbert-bench: out of memory\n");
    else
        call(&callers[0]); /* on this thread */
    for (uint32_t i = 1; i < started; i++) join_thread(threads[i]);
    if (!failed) failed = sum_up(callers, count, times);
    for (uint32_t i = 0; i < count; i++) release(&callers[i]);
    return failed;
}
