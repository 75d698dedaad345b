/*
 * A whole small encoder: against the reference; the same whatever is packed beside a text, and however often and from however many threads
 * it is run; outputs wanted or not; profiled.
 */
#include <math.h>
#include <pthread.h>

#include "encoder.h"

enum { SEQUENCES = 40, THREADS = 4, ROUNDS = 6 };

static void lengths_of(uint32_t *lengths) {
    for (uint32_t b = 0; b < SEQUENCES; b++) lengths[b] = 1 + b * b * 7 % 97;
    lengths[3] = ENCODER_POSITIONS;
}

static vkb_program *create(const fixture *f, vkb_device *device, vkb_weights **weights) {
    vkb_error error = {0};
    vkb_program *program = NULL;
    *weights = NULL;
    vkb_status status = fixture_weights(f, device, weights, &error);
    if (!status) status = fixture_program(f, *weights, &program, &error);
    REQUIRE(status == VKB_OK, "%s", error.message);
    return program;
}

static void against_reference(vkb_device *device, uint32_t dtype) {
    uint32_t lengths[SEQUENCES];
    fixture f;
    lengths_of(lengths);
    encoder_begin(&f, lengths, SEQUENCES, dtype);
    vkb_device *reference = open_device("reference");
    results want, got;
    bool have = fixture_run(&f, reference, &want, "reference");
    if (have && fixture_run(&f, device, &got, "encoder")) {
        check_near(got.data[0], want.data[0], NULL, 2e-6f, SEQUENCES, ENCODER_HIDDEN, "encoder: vectors");
        check_near(got.data[1], want.data[1], NULL, 2e-4f, f.tokens, ENCODER_HIDDEN, "encoder: rows");
        float apart = 0; /* a test of nothing if all texts gave the same */
        for (uint32_t i = 0; i < ENCODER_HIDDEN; i++) apart = fmaxf(apart, fabsf(want.data[0][i] - want.data[0][ENCODER_HIDDEN + i]));
        CHECK(apart > 0.01f, "two texts differ by %g only", (double)apart);
        results_free(&got);
    }
    if (have) results_free(&want);
    vkb_device_close(reference);
    fixture_end(&f);
}

/* The texts alone, two together, and half of them, in the program that runs them all. */
static void alone_or_not(vkb_device *device) {
    uint32_t lengths[SEQUENCES], cu[SEQUENCES + 1];
    fixture f;
    lengths_of(lengths);
    encoder_begin(&f, lengths, SEQUENCES, VKB_F32);
    vkb_weights *weights;
    vkb_program *program = create(&f, device, &weights);
    results all;
    vkb_error error = {0};
    REQUIRE(fixture_execute(&f, program, &all, &error) == VKB_OK, "%s", error.message);
    static const uint32_t counts[] = {1, 2, SEQUENCES / 2, SEQUENCES};
    for (uint32_t c = 0; c < COUNT(counts); c++) {
        for (uint32_t first = 0; first + counts[c] <= SEQUENCES; first += counts[c] == 1 ? 1 : 13) {
            float vectors[SEQUENCES * ENCODER_HIDDEN];
            vkb_batch batch = encoder_part(&f, first, counts[c], cu);
            vkb_output outputs[2] = {{vectors, COUNT(vectors)}, {NULL, 0}};
            CHECK(vkb_program_run(program, &batch, outputs, &error) == VKB_OK, "%s", error.message);
            char about[64];
            snprintf(about, sizeof about, "texts %u to %u", first, first + counts[c] - 1);
            check_near(vectors, all.data[0] + first * ENCODER_HIDDEN, NULL, 1e-6f, counts[c], ENCODER_HIDDEN, about);
        }
    }
    results again;
    REQUIRE(fixture_execute(&f, program, &again, &error) == VKB_OK, "%s", error.message);
    CHECK(!memcmp(again.data[0], all.data[0], sizeof(float) * SEQUENCES * ENCODER_HIDDEN), "the same batch gives other bits");
    results_free(&again);
    results_free(&all);
    vkb_program_destroy(program);
    vkb_weights_destroy(weights);
    fixture_end(&f);
}

static void profiled(vkb_device *device) {
    uint32_t lengths[SEQUENCES];
    fixture f;
    lengths_of(lengths);
    encoder_begin(&f, lengths, SEQUENCES, VKB_F32);
    vkb_weights *weights;
    vkb_program *program = create(&f, device, &weights);
    double seconds[FIXTURE_MAX], all = 0;
    vkb_error error = {0};
    vkb_batch batch = fixture_batch(&f);
    if (device->info.kind > VKB_DEVICE_SOFTWARE || device->info.features & VKB_FEATURE_TIMESTAMPS) {
        CHECK(vkb_program_profile(program, &batch, seconds, &error) == VKB_OK, "%s", error.message);
        for (uint32_t i = 0; i < f.op_count; i++) {
            CHECK(seconds[i] >= 0 && seconds[i] < 60, "op %u took %g s", i, seconds[i]);
            all += seconds[i];
        }
        CHECK(all > 0, "no time at all");
    }
    vkb_program_info info = {.struct_size = sizeof info};
    vkb_program_get_info(program, &info);
    CHECK(info.arena_bytes >= (uint64_t)f.tokens * ENCODER_HIDDEN * 4, "an arena of %llu bytes", (unsigned long long)info.arena_bytes);
    vkb_program_destroy(program);
    vkb_weights_destroy(weights);
    fixture_end(&f);
}

/* ---- threads ---- */

typedef struct job {
    const fixture *f;
    vkb_weights *weights;
    vkb_program *shared; /* of all threads */
    const float *want;
    uint32_t thread;
    char failure[256];
} job;

static const char *run_part(const job *j, vkb_program *program, uint32_t first, uint32_t count) {
    static _Thread_local char text[300];
    uint32_t cu[SEQUENCES + 1];
    float vectors[SEQUENCES * ENCODER_HIDDEN];
    vkb_batch batch = encoder_part(j->f, first, count, cu);
    vkb_output outputs[2] = {{vectors, COUNT(vectors)}, {NULL, 0}};
    vkb_error error = {0};
    if (vkb_program_run(program, &batch, outputs, &error)) {
        snprintf(text, sizeof text, "%s", error.message);
        return text;
    }
    for (uint32_t i = 0; i < count * ENCODER_HIDDEN; i++) {
        if (fabsf(vectors[i] - j->want[first * ENCODER_HIDDEN + i]) <= 1e-6f) continue;
        snprintf(text, sizeof text, "texts %u to %u: element %u is %g, want %g", first, first + count - 1, i, (double)vectors[i],
                 (double)j->want[first * ENCODER_HIDDEN + i]);
        return text;
    }
    return NULL;
}

/* In turn on the program that all share and on one of its own, made and destroyed each time. */
static void *work(void *user) {
    job *j = user;
    const char *failure = NULL;
    for (uint32_t round = 0; round < ROUNDS && !failure; round++) {
        uint32_t first = (j->thread * 11 + round * 5) % (SEQUENCES - 8);
        failure = run_part(j, j->shared, first, 1 + round);
        vkb_program *own = NULL;
        vkb_error error = {0};
        if (!failure && fixture_program(j->f, j->weights, &own, &error)) failure = error.message;
        if (!failure) failure = run_part(j, own, first, 8);
        vkb_program_destroy(own);
        if (failure) snprintf(j->failure, sizeof j->failure, "%.250s", failure);
    }
    return NULL;
}

static void threads(vkb_device *device) {
    uint32_t lengths[SEQUENCES];
    fixture f;
    lengths_of(lengths);
    encoder_begin(&f, lengths, SEQUENCES, VKB_F32);
    vkb_weights *weights;
    vkb_program *shared = create(&f, device, &weights);
    results all;
    vkb_error error = {0};
    REQUIRE(fixture_execute(&f, shared, &all, &error) == VKB_OK, "%s", error.message);
    pthread_t ids[THREADS];
    job jobs[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        jobs[i] = (job){.f = &f, .weights = weights, .shared = shared, .want = all.data[0], .thread = i};
        REQUIRE(!pthread_create(&ids[i], NULL, work, &jobs[i]), "no thread");
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(ids[i], NULL);
        CHECK(!jobs[i].failure[0], "thread %u: %s", i, jobs[i].failure);
    }
    results_free(&all);
    vkb_program_destroy(shared);
    vkb_weights_destroy(weights);
    fixture_end(&f);
}

int main(int argc, char **argv) {
    vkb_device *device = open_device(argc > 1 ? argv[1] : "cpu");
    against_reference(device, VKB_F32);
    against_reference(device, VKB_F16);
    alone_or_not(device);
    profiled(device);
    threads(device);
    vkb_device_close(device);
    return test_end();
}
