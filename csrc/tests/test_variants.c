/*
 * Which kernels may run: a driver that computes something else is caught; one that kills the process kills one only; the cache remembers
 * both; VKBERT_VARIANTS is obeyed. What a process finds out it keeps, so each case is a process of its own: this program with its name.
 */
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../vk_internal.h"
#include "encoder.h"
#include "intercept.h"

static const char *program, *selector, *icd;
static char folder[] = "/tmp/vkbert-test-XXXXXX";

/* ---- in the parent ---- */

/* Runs the case, with a cache or without, and returns its exit status, or minus the signal that ended it. */
static int child(const char *name, const char *cache, const char *variants, const char *drivers) {
    pid_t pid = fork();
    REQUIRE(pid >= 0, "fork");
    if (!pid) {
        if (variants) setenv("VKBERT_VARIANTS", variants, 1);
        if (drivers) {
            setenv("VK_DRIVER_FILES", drivers, 1);
            setenv("VK_ICD_FILENAMES", drivers, 1);
        }
        execl(program, program, selector, icd, name, cache ? cache : "", (char *)NULL);
        _exit(127);
    }
    int status = 0;
    REQUIRE(waitpid(pid, &status, 0) == pid, "waitpid");
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void empty_folder(void) {
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[400];
        snprintf(path, sizeof path, "%s/%.255s", folder, entry->d_name);
        if (entry->d_name[0] != '.') unlink(path);
    }
    if (dir) closedir(dir);
}

static void expect(const char *name, const char *cache, const char *variants, int want) {
    int got = child(name, cache, variants, NULL);
    CHECK(got == want, "case %s ended with %d, want %d", name, got, want);
}

static void parent(void) {
    REQUIRE(mkdtemp(folder), "%s", folder);
    expect("report", NULL, NULL, 0);
    expect("variants", NULL, "-linear*,+linear split", 0);
    expect("whole", NULL, "-embed few,-norm sums,-tensor maps", 0); /* no more than these, and what reads what they make */
    expect("beside", NULL, NULL, 0);
    expect("watched", NULL, NULL, 0);
    expect("lie", folder, NULL, 0);
    expect("lie remembered", folder, NULL, 0);
    empty_folder();
    static const char *const ways[][2] = {
        {"kill by kernel", "killed by kernel"}, {"kill by open", "killed by open"}, {"kill by look", "killed by look"}};
    for (size_t i = 0; i < COUNT(ways); i++) {
        expect(ways[i][0], folder, NULL, -SIGABRT);
        expect(ways[i][1], folder, NULL, 0);        /* left alone */
        expect(ways[i][0], folder, NULL, -SIGABRT); /* tried again */
        expect(ways[i][1], folder, NULL, 0);
        expect(ways[i][1], folder, NULL, 0); /* for good */
        empty_folder();
        expect(ways[i][0], folder, NULL, -SIGABRT); /* as if somebody had ended it */
        expect(ways[i][1], folder, NULL, 0);
        expect("nothing off", folder, NULL, 0);
        expect("nothing off", folder, NULL, 0);
        empty_folder();
    }
    expect("hang", folder, NULL, 0);
    expect("nothing off", folder, NULL, 0); /* tried again */
    empty_folder();
    expect("hang", folder, NULL, 0);
    expect("hang again", folder, NULL, 0);
    expect("hung", folder, NULL, 0); /* for good */
    empty_folder();
    expect("whole", folder, NULL, 0);
    expect("kill by look", folder, NULL, -SIGABRT); /* it was all right before: nothing is marked any more */
    expect("whole", folder, NULL, 0);
    empty_folder();
    int got = child("whole", folder, NULL, icd);
    CHECK(got == -SIGABRT, "with a driver that aborts: %d", got);
    got = child("no driver", folder, NULL, icd);
    CHECK(got == 0, "after a driver that aborts: %d", got);
    got = child("whole", folder, NULL, icd);
    CHECK(got == -SIGABRT, "with a driver that aborts again: %d", got);
    for (int i = 0; i < 2; i++) {
        got = child("no driver", folder, NULL, icd);
        CHECK(got == 0, "after a driver that aborted twice: %d", got);
    }
    expect("whole", folder, NULL, 0); /* other drivers are another matter */
    empty_folder();
    CHECK(!rmdir(folder), "%s is not empty", folder);
}

/* ---- in a child ---- */

static const char *cache;
static char logged[1 << 16]; /* line after line */

/* Kernels are tested by several threads. */
static void log_line(void *user, vkb_log_level level, const char *message) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    (void)user;
    (void)level;
    pthread_mutex_lock(&mutex);
    size_t at = strlen(logged);
    snprintf(logged + at, sizeof logged - at, "%s\n", message);
    pthread_mutex_unlock(&mutex);
}

/* Whether the log says this of the kernel. */
static bool says(const char *kernel, const char *what) {
    char text[200];
    snprintf(text, sizeof text, "\"%s\" %s", kernel, what);
    return strstr(logged, text);
}

static vkb_device *open_cached(vkb_error *error) {
    vkb_device_options options = {.struct_size = sizeof options, .selector = selector, .cache_dir = cache, .log = log_line};
    vkb_device *device = NULL;
    vkb_device_open(&options, &device, error);
    return device;
}

/* The kernel that is taken first for a LINEAR of few rows. */
static const vkb_kernel *usual_linear(const vkb_device *device) {
    const vkb_vk_device *d = (const vkb_vk_device *)device;
    return vkb_kernel_choose(&d->abilities, &(vkb_task){.kind = VKB_OP_LINEAR, .inputs = 64, .outputs = 64}, 1);
}

static void begin_linear(fixture *f) {
    static const uint32_t lengths[] = {3, 6};
    fixture_begin(f, lengths, 2, 1);
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_LINEAR;
    op.input = fixture_input(f, 40, 1);
    op.weight = fixture_tensor(f, 24, 40, VKB_LAYOUT_LINEAR, 0.3f);
    fixture_op(f, op, VKB_PER_TOKEN, 24);
}

/* A LINEAR gives the reference's results on the device. */
static void check_linear(vkb_device *device) {
    fixture f;
    begin_linear(&f);
    vkb_device *reference = open_device("reference");
    results want, got;
    if (fixture_run(&f, reference, &want, "reference") && fixture_run(&f, device, &got, "linear")) {
        check_near(got.data[0], want.data[0], NULL, 1e-5f, 9, 24, "linear");
        results_free(&got);
    }
    results_free(&want);
    vkb_device_close(reference);
    fixture_end(&f);
}

static void report(vkb_device *device) {
    uint32_t runs = 0, count = 0;
    vkb_error error = {0};
    static vkb_variant rows[256];
    REQUIRE(vkb_device_variants(device, rows, COUNT(rows), &count, &error) == VKB_OK, "%s", error.message);
    CHECK(count == vkb_kernel_count, "%u variants of %u", count, vkb_kernel_count);
    for (uint32_t i = 0; i < count; i++) {
        bool off = rows[i].state == VKB_VARIANT_OFF || rows[i].state == VKB_VARIANT_UNFIT;
        CHECK(rows[i].state != VKB_VARIANT_OFF, "%s is off: %s", rows[i].name, rows[i].reason);
        CHECK(off == (rows[i].reason[0] != 0), "%s: state %u, reason \"%s\"", rows[i].name, rows[i].state, rows[i].reason);
        runs += rows[i].state == VKB_VARIANT_RUNS;
    }
    CHECK(runs > 10, "%u variants run", runs);
    vkb_device *cpu = open_device("cpu");
    CHECK(vkb_device_variants(cpu, rows, COUNT(rows), &count, &error) == VKB_OK && !count, "%u variants of the CPU", count);
    vkb_device_close(cpu);
}

/* For make test-matrix: every kernel by matrix hardware that the device can run passes its self-test, and there is one. */
static void matrices(vkb_device *device) {
    static vkb_variant rows[256];
    uint32_t count = 0, runs = 0;
    vkb_error error = {0};
    REQUIRE(vkb_device_variants(device, rows, COUNT(rows), &count, &error) == VKB_OK, "%s", error.message);
    for (uint32_t i = 0; i < count && i < COUNT(rows); i++) {
        if (!strstr(rows[i].name, "matrix")) continue;
        CHECK(rows[i].state != VKB_VARIANT_OFF, "%s is off: %s", rows[i].name, rows[i].reason);
        runs += rows[i].state == VKB_VARIANT_RUNS;
    }
    CHECK(runs, "no kernel by matrix hardware runs");
    printf("%u kernels by matrix hardware pass their self-tests\n", runs);
}

static void obeys(vkb_device *device) {
    check_linear(device);
    CHECK(says("linear split", "tested"), "%s", logged);
    CHECK(!strstr(logged, "linear lanes"), "%s", logged);
}

static void denials(void) {
    const vkb_device_info turing = {.vendor_id = 0x10de, .device_id = 0x1e04}, ampere = {.vendor_id = 0x10de, .device_id = 0x2204},
                          arc = {.vendor_id = 0x8086, .device_id = 0x56a0};
    const vkb_kernel attention = {.kind = VKB_OP_ATTENTION, .needs = VKB_NEED_MATRIX},
                     linear = {.kind = VKB_OP_LINEAR, .needs = VKB_NEED_FRAGMENTS}, plain = {.kind = VKB_OP_LINEAR, .needs = VKB_NEED_F16};
    CHECK(vkb_vk_denied(&turing, &attention), "attention on Turing");
    CHECK(!vkb_vk_denied(&turing, &linear) && !vkb_vk_denied(&ampere, &attention) && !vkb_vk_denied(&turing, NULL), "what is right");
    CHECK(vkb_vk_denied(&arc, &linear) && !vkb_vk_denied(&arc, &plain), "matrices on Arc");
}

static void lie(bool remembered) {
    vkb_error error = {0};
    vkb_device *device = open_device(selector);
    const vkb_kernel *usual = usual_linear(device);
    vkb_device_close(device);
    if (!remembered) intercept_lie(usual->code);
    device = open_cached(&error);
    REQUIRE(device, "%s", error.message);
    check_linear(device);
    CHECK(says(usual->name, "is off: wrong results"), "%s", logged);
    CHECK(says(usual->name, "tested") == !remembered, "%s", logged);
    vkb_device_close(device);
}

static void kernel_kills(bool killed) {
    vkb_error error = {0};
    vkb_device *device = open_device(selector);
    const vkb_kernel *usual = usual_linear(device);
    vkb_device_close(device);
    intercept_crash(usual->code, NULL);
    device = open_cached(&error);
    REQUIRE(device, "%s", error.message);
    check_linear(device); /* dies here, unless the kernel is off */
    CHECK(killed, "it lived");
    CHECK(says(usual->name, "is off: a process died"), "%s", logged);
    vkb_device_close(device);
}

/* A device that never ends what it is given: an error in the end, what it may still use is left alone, and the next device takes other
   kernels. */
static void hang(const char *reason) {
    vkb_error error = {0};
    vkb_device *device = open_cached(&error);
    REQUIRE(device, "%s", error.message);
    fixture f;
    begin_linear(&f);
    results got;
    ((vkb_vk_device *)device)->patience = 500; /* software has none */
    intercept_hang(true);
    vkb_status status = fixture_try(&f, device, &got, &error);
    CHECK(status == VKB_ERROR_DEVICE_LOST && strstr(error.message, "hangs"), "status %d: %s", (int)status, error.message);
    status = fixture_try(&f, device, &got, &error);
    CHECK(status == VKB_ERROR_DEVICE_LOST && strstr(error.message, "lost earlier"), "status %d: %s", (int)status, error.message);
    static vkb_variant rows[256];
    uint32_t count = 0;
    status = vkb_device_variants(device, rows, COUNT(rows), &count, &error); /* nor is any other kernel blamed */
    CHECK(status == VKB_ERROR_DEVICE_LOST && strstr(error.message, "lost earlier"), "status %d: %s", (int)status, error.message);
    const char *blamed = strstr(logged, "a process lost the device");
    CHECK(blamed && !strstr(blamed + 1, "a process lost the device"), "%s", logged);
    int alive = intercept_alive();
    vkb_device_close(device);
    CHECK(alive > 0 && intercept_alive() == alive, "%d objects, %d after it was closed", alive, intercept_alive());
    intercept_hang(false);
    CHECK(strstr(logged, reason), "%s", logged);
    fixture_end(&f);
    device = open_cached(&error);
    REQUIRE(device, "%s", error.message);
    check_linear(device);
    vkb_device_close(device);
    fflush(stdout);
    _exit(test_failures != 0); /* without a look at what is left */
}

/* The device can't be opened, the report says why, and "auto" has the CPU. */
static void is_refused(const char *why) {
    vkb_error error = {0};
    vkb_device_info infos[8];
    uint32_t count = 0;
    vkb_device *device = open_cached(&error);
    CHECK(!device && error.status == VKB_ERROR_NO_DEVICE && strstr(error.message, why), "status %d: %s", error.status, error.message);
    CHECK(!vkb_devices(cache, infos, 8, &count, &error) && !infos[0].usable && strstr(infos[0].reason, why), "%s", infos[0].reason);
    selector = "auto";
    device = open_cached(&error);
    CHECK(device && device->info.kind == VKB_DEVICE_CPU, "auto: %s", error.message);
    CHECK(strstr(logged, "is left out: ") && strstr(logged, why), "%s", logged);
    vkb_device_close(device);
}

typedef struct user { /* a thread that opens a model and runs it */
    fixture f;
    vkb_device *device;
    results got;
    vkb_error error;
    pthread_t thread;
    atomic_bool *until; /* opens and runs it again and again; NULL: once */
} user;

static void *use(void *argument) {
    user *u = argument;
    fixture_try(&u->f, u->device, &u->got, &u->error);
    while (u->until && !*u->until && !u->error.status) {
        results_free(&u->got);
        fixture_try(&u->f, u->device, &u->got, &u->error);
    }
    return NULL;
}

/* Models that are opened at the same time, whose kernels are tested side by side as on a GPU: no pipeline is made while anything runs on
   the device, and the threads of the CPU backend go on with theirs. */
static void beside(vkb_device *device) {
    static const uint32_t lengths[] = {5, 17, 1, 40}, dtypes[] = {VKB_F32, VKB_F16, VKB_F32};
    vkb_device *cpu = open_device("cpu");
    atomic_bool opened = false;
    ((vkb_vk_device *)device)->abilities.software = false;
    user users[COUNT(dtypes)] = {{.device = device}, {.device = device}, {.device = cpu, .until = &opened}};
    for (size_t i = 0; i < COUNT(users); i++) {
        encoder_begin(&users[i].f, lengths, COUNT(lengths), dtypes[i]);
        REQUIRE(pthread_create(&users[i].thread, NULL, use, &users[i]) == 0, "no thread");
    }
    for (size_t i = 0; i < COUNT(users); i++) {
        opened = users[i].until != NULL;
        pthread_join(users[i].thread, NULL);
    }
    vkb_device *reference = open_device("reference");
    for (size_t i = 0; i < COUNT(users); i++) {
        results want;
        if (fixture_run(&users[i].f, reference, &want, "reference") && !users[i].error.status)
            check_near(users[i].got.data[0], want.data[0], NULL, 1e-5f, COUNT(lengths), ENCODER_HIDDEN, "beside another");
        CHECK(!users[i].error.status, "%s", users[i].error.message);
        results_free(&want);
        results_free(&users[i].got);
        fixture_end(&users[i].f);
    }
    vkb_device_close(reference);
    vkb_device_close(cpu);
    CHECK(strstr(logged, "\" tested in"), "%s", logged);
    CHECK(!intercept_beside(), "%u times", intercept_beside());
}

/* A run whose results were watched leaves no time for others to wait, though nobody has waited for its fence yet. */
static void watched(vkb_device *device) {
    vkb_vk_device *vk = (vkb_vk_device *)device;
    vk->patience = 20000; /* software has none, and its results are not watched */
    vk->spin_limit = 10;
    vkb_error error = {0};
    vkb_weights *weights = NULL;
    vkb_program *program = NULL;
    fixture f;
    results got;
    begin_linear(&f);
    REQUIRE(!fixture_weights(&f, device, &weights, &error), "%s", error.message);
    REQUIRE(!fixture_program(&f, weights, &program, &error), "%s", error.message);
    REQUIRE(!fixture_execute(&f, program, &got, &error), "%s", error.message);
    CHECK(!vk->owed, "%llu ms", (unsigned long long)vk->owed);
    results_free(&got);
    vkb_program_destroy(program);
    CHECK(!vk->owed, "%llu ms in the end", (unsigned long long)vk->owed);
    vkb_weights_destroy(weights);
    fixture_end(&f);
    vk->spin_limit = 0;
    vk->patience = 0;
}

static void run_case(const char *name) {
    vkb_error error = {0};
    intercept_install();
    if (!strcmp(name, "lie")) {
        lie(false);
    } else if (!strcmp(name, "lie remembered")) {
        lie(true);
    } else if (!strcmp(name, "kill by kernel")) {
        kernel_kills(false);
    } else if (!strcmp(name, "killed by kernel")) {
        kernel_kills(true);
    } else if (!strcmp(name, "kill by open")) {
        intercept_crash(NULL, "vkCreateDevice");
        open_cached(&error);
    } else if (!strcmp(name, "kill by look")) {
        intercept_crash(NULL, "vkGetPhysicalDeviceFeatures2");
        open_cached(&error);
    } else if (!strcmp(name, "hang")) {
        hang("is off: a process lost the device when it was tested; the next one tries again");
    } else if (!strcmp(name, "hang again")) {
        hang("is off: a process lost the device when it was tested, twice");
    } else if (!strncmp(name, "killed by ", 10)) {
        is_refused("a process died");
    } else if (!strcmp(name, "no driver")) {
        is_refused("a process died when it asked the Vulkan drivers");
    } else {
        vkb_device *device = open_cached(&error);
        REQUIRE(device, "%s: %s", name, error.message);
        if (!strcmp(name, "report")) report(device);
        if (!strcmp(name, "variants")) obeys(device);
        if (!strcmp(name, "beside")) beside(device);
        if (!strcmp(name, "watched")) watched(device);
        if (!strcmp(name, "matrix")) {
            matrices(device);
        } else {
            check_linear(device);
        }
        if (!strcmp(name, "hung")) CHECK(strstr(logged, "is off: a process lost the device when it was tested, twice"), "%s", logged);
        if (!strcmp(name, "nothing off")) CHECK(!strstr(logged, "is off:"), "%s", logged);
        vkb_device_close(device);
    }
}

int main(int argc, char **argv) {
    program = argv[0];
    selector = argc > 1 ? argv[1] : "vulkan:0";
    icd = argc > 2 ? argv[2] : "";
    if (argc > 4) {
        cache = argv[4][0] ? argv[4] : NULL;
        run_case(argv[3]);
        return test_failures != 0;
    }
    denials();
    parent();
    return test_end();
}
