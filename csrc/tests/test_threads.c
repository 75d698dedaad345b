/*
 * The CPU backend's threads: programs of several devices, with one, two and far more threads than processors, run at once from many
 * threads, while others are opened and closed; every result has the bits of a run alone.
 */
#include <pthread.h>

#include "encoder.h"

enum { CALLERS = 8, RUNS = 12 };

typedef struct caller {
    const fixture *f;
    vkb_program *program;
    const results *want;
    bool same;
    pthread_t thread;
} caller;

static void *call(void *argument) {
    caller *c = argument;
    c->same = true;
    for (int i = 0; i < RUNS; i++) {
        results r;
        vkb_error e = {0};
        bool ok = fixture_execute(c->f, c->program, &r, &e) == VKB_OK;
        c->same = c->same && ok && !memcmp(r.data[0], c->want->data[0], (size_t)c->f->sequences * ENCODER_HIDDEN * sizeof(float)) &&
                  !memcmp(r.data[1], c->want->data[1], (size_t)c->f->tokens * ENCODER_HIDDEN * sizeof(float));
        results_free(&r);
    }
    return NULL;
}

static vkb_device *open_threads(uint32_t threads) {
    vkb_device_options options = {.struct_size = sizeof options, .selector = "cpu", .threads = threads};
    vkb_device *device = NULL;
    vkb_error e = {0};
    REQUIRE(vkb_device_open(&options, &device, &e) == VKB_OK, "%u threads: %s", threads, e.message);
    vkb_device_info info = {.struct_size = sizeof info};
    vkb_device_get_info(device, &info);
    CHECK(info.threads == threads, "%u threads, want %u", info.threads, threads);
    return device;
}

/* Opens and closes devices, whose threads come and go beside the runs. */
static void *churn(void *argument) {
    bool *opened = argument;
    for (uint32_t i = 0; i < 20; i++) { /* no CHECK: it counts, on this thread too */
        vkb_device_options options = {.struct_size = sizeof options, .selector = "cpu", .threads = 1 + i % 9};
        vkb_device *device = NULL;
        *opened = vkb_device_open(&options, &device, NULL) == VKB_OK && *opened;
        vkb_device_close(device);
    }
    return NULL;
}

int main(void) {
    /* one thread takes them in three pieces, two in two, the others in one */
    static const uint32_t lengths[] = {5, 17, 1, 40, 33, 128, 128, 127, 100, 128}, threads[] = {1, 2, 3, 32};
    fixture f;
    encoder_begin(&f, lengths, COUNT(lengths), VKB_F32);
    f.type_ids = malloc(f.tokens * sizeof *f.type_ids);
    f.positions = malloc(f.tokens * sizeof *f.positions);
    f.pool_start = malloc(f.sequences * sizeof *f.pool_start);
    REQUIRE(f.type_ids && f.positions && f.pool_start, "no memory");
    for (uint32_t i = 0; i < f.tokens; i++) {
        f.type_ids[i] = i % 3 == 0;
        f.positions[i] = (int32_t)(i * 7 % ENCODER_POSITIONS);
    }
    for (uint32_t b = 0; b < f.sequences; b++) f.pool_start[b] = lengths[b] > 20 ? b : 0;
    vkb_error e = {0};
    vkb_weights *weights[COUNT(threads)];
    vkb_program *programs[COUNT(threads)];
    results want = {{0}};
    for (uint32_t i = 0; i < COUNT(threads); i++) {
        vkb_device *device = open_threads(threads[i]);
        REQUIRE(fixture_weights(&f, device, &weights[i], &e) == VKB_OK && fixture_program(&f, weights[i], &programs[i], &e) == VKB_OK, "%s",
                e.message);
        vkb_device_close(device);
        if (i == 0) REQUIRE(fixture_execute(&f, programs[0], &want, &e) == VKB_OK, "%s", e.message);
    }
    caller callers[CALLERS];
    pthread_t other;
    bool opened = true;
    REQUIRE(pthread_create(&other, NULL, churn, &opened) == 0, "no thread");
    for (uint32_t i = 0; i < CALLERS; i++) {
        callers[i] = (caller){.f = &f, .program = programs[i % COUNT(programs)], .want = &want};
        REQUIRE(pthread_create(&callers[i].thread, NULL, call, &callers[i]) == 0, "no thread");
    }
    for (uint32_t i = 0; i < CALLERS; i++) {
        pthread_join(callers[i].thread, NULL);
        CHECK(callers[i].same, "%u threads: another result than alone", threads[i % COUNT(threads)]);
    }
    pthread_join(other, NULL);
    CHECK(opened, "a device did not open beside the runs");
    for (uint32_t i = 0; i < COUNT(threads); i++) {
        vkb_program_destroy(programs[i]);
        vkb_weights_destroy(weights[i]);
    }
    results_free(&want);
    vkb_device *again = open_threads(2); /* after the last pool has gone */
    vkb_device_close(again);
    fixture_end(&f);
    return test_end();
}
