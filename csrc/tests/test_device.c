/*
 * The Vulkan device's report; its pipeline cache: a damaged, foreign or unwritable file costs nothing but time, and is said in one line;
 * and the frames of a program that several threads run.
 */
#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../vk_program.h"
#include "fixture.h"

enum { WIDTH = 33, WIDE = 64, THREADS = 5, RUNS = 40, MOST = 9 };

static char folder[] = "/tmp/vkbert-test-XXXXXX";

typedef struct lines {
    uint32_t count;
    char last[300];
} lines;

static void log_line(void *user, vkb_log_level level, const char *message) {
    lines *l = user;
    if (level < VKB_LOG_WARNING) return;
    l->count++;
    snprintf(l->last, sizeof l->last, "%s", message);
    CHECK(!strchr(message, '\n'), "more than a line: %s", message);
}

/* Opens with the cache, runs, closes; the vectors go to `vectors`. */
static bool run_with(const char *selector, const char *cache, lines *l, float *vectors) {
    static const uint32_t lengths[] = {5, 9};
    fixture f;
    fixture_begin(&f, lengths, 2, 1);
    fixture_small(&f, WIDTH);
    *l = (lines){0};
    vkb_device_options options = {.struct_size = sizeof options, .selector = selector, .cache_dir = cache, .log = log_line, .log_user = l};
    vkb_error error = {0};
    vkb_device *device = NULL;
    bool ok = vkb_device_open(&options, &device, &error) == VKB_OK;
    CHECK(ok, "%s", error.message);
    results r = {{0}};
    ok = ok && fixture_run(&f, device, &r, "with a cache");
    if (ok) memcpy(vectors, r.data[0], 2 * WIDTH * sizeof *vectors);
    results_free(&r);
    vkb_device_close(device);
    fixture_end(&f);
    return ok;
}

/* The one file of pipelines in the folder; its path and bytes. */
static uint32_t find_file(char *path, size_t size, long *bytes) {
    uint32_t count = 0;
    DIR *dir = opendir(folder);
    REQUIRE(dir, "%s", folder);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (strncmp(entry->d_name, "pipelines-", 10)) continue;
        snprintf(path, size, "%s/%s", folder, entry->d_name);
        struct stat info;
        *bytes = stat(path, &info) ? -1 : (long)info.st_size;
        count++;
    }
    closedir(dir);
    return count;
}

static uint8_t *read_all(const char *path, long bytes) {
    uint8_t *data = malloc((size_t)bytes);
    FILE *file = fopen(path, "rb");
    REQUIRE(data && file && fread(data, 1, (size_t)bytes, file) == (size_t)bytes, "%s", path);
    fclose(file);
    return data;
}

static void write_all(const char *path, const uint8_t *data, long bytes) {
    FILE *file = fopen(path, "wb");
    REQUIRE(file && fwrite(data, 1, (size_t)bytes, file) == (size_t)bytes && !fclose(file), "%s", path);
}

typedef struct damage {
    const char *name;
    long at;    /* this byte is changed; -1: none */
    long bytes; /* kept of the file; 0 = all, and more where it says so */
    long more;
} damage;

static void cache(const char *selector) {
    float want[2 * WIDTH], got[2 * WIDTH];
    lines l;
    char path[600];
    long bytes;
    REQUIRE(mkdtemp(folder), "%s", folder);
    if (!run_with(selector, NULL, &l, want)) return;
    CHECK(find_file(path, sizeof path, &bytes) == 0, "a file without a cache folder");
    run_with(selector, folder, &l, got);
    CHECK(l.count == 0, "a first use warns: %s", l.last);
    REQUIRE(find_file(path, sizeof path, &bytes) == 1 && bytes > 64, "%ld bytes of cache", bytes);
    uint8_t *data = read_all(path, bytes);
    run_with(selector, folder, &l, got);
    CHECK(l.count == 0, "a second use warns: %s", l.last);
    CHECK(!memcmp(got, want, sizeof got), "other vectors from the cache");

    const damage rows[] = {{"magic", 0, 0, 0},          {"vendor", 8, 0, 0},       {"driver", 16, 0, 0},
                           {"uuid", 24, 0, 0},          {"kernels", 40, 0, 0},     {"length", 48, 0, 0},
                           {"checksum", 56, 0, 0},      {"first byte", 64, 0, 0},  {"last byte", bytes - 1, 0, 0},
                           {"cut", -1, bytes - 1, 0},   {"header cut", -1, 30, 0}, {"empty", -1, -1, 0},
                           {"one byte more", -1, 0, 1}, {"great length", 54, 0, 0}};
    for (uint32_t i = 0; i < COUNT(rows); i++) {
        uint8_t *bad = calloc(1, (size_t)bytes + 1);
        REQUIRE(bad, "out of memory");
        memcpy(bad, data, (size_t)bytes);
        if (rows[i].at >= 0) bad[rows[i].at] ^= 0x40;
        write_all(path, bad, (rows[i].bytes < 0 ? 0 : rows[i].bytes ? rows[i].bytes : bytes) + rows[i].more);
        free(bad);
        memset(got, 0, sizeof got);
        run_with(selector, folder, &l, got);
        CHECK(!memcmp(got, want, sizeof got), "%s: other vectors", rows[i].name);
        CHECK(l.count == 1 && strstr(l.last, "ignored"), "%s: %u warnings, the last \"%s\"", rows[i].name, l.count, l.last);
        long now;
        REQUIRE(find_file(path, sizeof path, &now) == 1, "%s: files", rows[i].name);
        run_with(selector, folder, &l, got); /* it was made anew */
        CHECK(l.count == 0 && !memcmp(got, want, sizeof got), "%s: not replaced: %s", rows[i].name, l.last);
    }
    free(data);

    char nowhere[700];
    snprintf(nowhere, sizeof nowhere, "%s/no/such/folder", folder);
    run_with(selector, nowhere, &l, got);
    CHECK(l.count == 1 && strstr(l.last, "can't be written") && !memcmp(got, want, sizeof got), "no folder: %u warnings, %s", l.count,
          l.last);
    snprintf(nowhere, sizeof nowhere, "%s", path); /* a file where a folder should be */
    run_with(selector, nowhere, &l, got);
    CHECK(l.count == 1 && !memcmp(got, want, sizeof got), "a file for a folder: %u warnings, %s", l.count, l.last);
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char name[600];
        snprintf(name, sizeof name, "%s/%s", folder, entry->d_name);
        bool known = !strncmp(entry->d_name, "pipelines-", 10) || !strncmp(entry->d_name, "variants-", 9);
        if (strstr(entry->d_name, ".bin") ? known && !strstr(entry->d_name, ".tmp") : !strncmp(entry->d_name, "looked-", 7)) unlink(name);
    }
    if (dir) closedir(dir);
    CHECK(!rmdir(folder), "temporary files are left in %s", folder);
}

/* ---- frames ---- */

typedef struct runner {
    vkb_program *program;
    uint32_t number;
    char failure[300];
} runner;

/* Batches of one sequence: the ids `first` and so many after it, of which fixture_small makes the mean of their rows. */
static vkb_status run_one(vkb_program *program, uint32_t first, uint32_t count, float *vector, vkb_error *error) {
    int32_t ids[MOST];
    uint32_t cu[] = {0, count};
    for (uint32_t i = 0; i < count; i++) ids[i] = (int32_t)((first + i) % MOST);
    vkb_batch batch = {.struct_size = sizeof batch, .tokens = count, .sequences = 1, .ids = ids, .cu_seqlens = cu};
    vkb_output output = {vector, WIDE};
    return vkb_program_run(program, &batch, &output, error);
}

static float alone[MOST][MOST][WIDE]; /* [first][count − 1] */

static void *run_many(void *user) {
    runner *r = user;
    float vector[WIDE];
    vkb_error error = {0};
    for (uint32_t i = 0; i < RUNS && !r->failure[0]; i++) {
        uint32_t first = (i * 7 + r->number) % MOST, count = 1 + (i * 5 + r->number * 3) % MOST;
        if (run_one(r->program, first, count, vector, &error))
            snprintf(r->failure, sizeof r->failure, "%s", error.message);
        else if (memcmp(vector, alone[first][count - 1], sizeof vector) != 0)
            snprintf(r->failure, sizeof r->failure, "run %u: another vector than alone", i);
    }
    return NULL;
}

/* Every thread's results are those of its own batches. `spin`: as on a GPU, where the results themselves are watched. */
static void frames(const char *selector, double spin) {
    static const uint32_t lengths[] = {MOST};
    fixture f;
    fixture_begin(&f, lengths, 1, 3);
    fixture_small(&f, WIDE);
    vkb_device *device = open_device(selector);
    ((vkb_vk_device *)device)->spin_limit = spin;
    vkb_weights *weights = NULL;
    vkb_program *program = NULL;
    vkb_error error = {0};
    REQUIRE(!fixture_weights(&f, device, &weights, &error) && !fixture_program(&f, weights, &program, &error), "%s", error.message);
    const vkb_vk_program *p = (const vkb_vk_program *)program;
    for (uint32_t first = 0; first < MOST; first++)
        for (uint32_t count = 1; count <= MOST; count++)
            CHECK(!run_one(program, first, count, alone[first][count - 1], &error), "%s", error.message);
    CHECK(p->direct[0] && p->frame_count == 1, "%u frames for one thread", p->frame_count);
    pthread_t ids[THREADS];
    runner runners[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        runners[i] = (runner){.program = program, .number = i};
        int failed = pthread_create(&ids[i], NULL, run_many, &runners[i]);
        REQUIRE(!failed, "no thread");
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(ids[i], NULL);
        CHECK(!runners[i].failure[0], "thread %u, spinning for %g s: %s", i, spin, runners[i].failure);
    }
    CHECK(p->frame_count <= VKB_VK_MAX_FRAMES, "%u frames", p->frame_count);
    for (uint32_t i = 0; i < p->frame_count; i++) CHECK(p->frames[i]->users == 0, "frame %u has %u users", i, p->frames[i]->users);
    vkb_program_destroy(program);
    vkb_weights_destroy(weights);
    vkb_device_close(device);
    fixture_end(&f);
}

static void report(const char *selector) {
    vkb_device *device = open_device(selector);
    const vkb_device_info *i = &device->info;
    CHECK(i->kind <= VKB_DEVICE_SOFTWARE && i->usable && !strncmp(i->selector, "vulkan:", 7), "kind %u, %s", i->kind, i->selector);
    CHECK(i->api_version >= (1u << 22 | 2u << 12) && i->driver[0] && i->vendor_id, "version %x, driver %s", i->api_version, i->driver);
    CHECK(i->subgroup_size >= 1 && i->subgroup_min <= i->subgroup_size && i->subgroup_size <= i->subgroup_max, "subgroups of %u … %u … %u",
          i->subgroup_min, i->subgroup_size, i->subgroup_max);
    CHECK(i->workgroup_invocations >= 128 && i->shared_bytes >= 16384 && i->buffer_range >= 1 << 27,
          "%u invocations, %u bytes shared, ranges of %llu", i->workgroup_invocations, i->shared_bytes,
          (unsigned long long)i->buffer_range);
    CHECK(i->memory_bytes && i->memory_available <= i->memory_bytes, "memory %llu, free %llu", (unsigned long long)i->memory_bytes,
          (unsigned long long)i->memory_available);
    char name[300];
    snprintf(name, sizeof name, "vulkan:%.200s", i->name); /* the name opens the same one */
    vkb_device *again = open_device(name);
    CHECK(!strcmp(again->info.name, i->name), "%s opens %s", name, again->info.name);
    vkb_device_close(again);
    vkb_device_close(device);
}

int main(int argc, char **argv) {
    const char *selector = argc > 1 ? argv[1] : "vulkan:0";
    report(selector);
    cache(selector);
    frames(selector, 0);
    frames(selector, 1e-3);
    return test_end();
}
