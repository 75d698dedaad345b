/*
 * Which kernels may run on a device. A row of the table is off where this list, VKBERT_VARIANTS or its self-test says so; the first use of
 * a kernel with some constants tests it. What was found is kept for the process, by device and driver, and in the cache's folder.
 *
 * VKBERT_VARIANTS, for tests: patterns of names, separated by commas, later ones first. "-linear matrix*" forbids; "+linear split" takes
 * what it names before all others wherever it can run, however many rows there are.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vk_force.h"
#include "vk_program.h"

enum { REASON = 160, MAX_TUNED = 128 };

typedef struct finding { /* about a row of the table */
    bool failed;         /* its self-test: to be remembered */
    bool suspect;        /* a process died when it was tested: to be remembered until it passes, or another one dies */
    char reason[REASON]; /* where it is off */
} finding;

typedef struct test { /* a self-test that was passed, or a tuning */
    uint64_t key;     /* the row and all that decides its code; the task and its size class */
    uint32_t row;
} test;

struct vkb_vk_variants {
    vkb_vk_variants *next; /* of the process's list; kept to its end */
    uint8_t uuid[16];
    uint32_t driver_version;
    vkb_mutex *mutex;
    bool alone;           /* tests run one after another */
    bool loaded, changed; /* from, since the cache's file */
    uint8_t *rows;        /* [vkb_kernel_count]: vkb_row */
    finding *findings;    /* [vkb_kernel_count] */
    test *passed;         /* what was tested and is right */
    uint32_t passed_count, passed_capacity;
    test tuned[MAX_TUNED]; /* the fastest kernel, by tune_key */
    uint32_t tuned_count;
};

/* `*` stands for any text. */
static bool matches(const char *pattern, size_t length, const char *name) {
    if (!length) return !*name;
    if (*pattern == '*') return matches(pattern + 1, length - 1, name) || (*name && matches(pattern, length, name + 1));
    return *pattern == *name && matches(pattern + 1, length - 1, name + 1);
}

/* ---- States ---- */

static void turn_off(vkb_vk_variants *v, uint32_t row, const char *reason) {
    if (v->rows[row] == VKB_ROW_OFF) return;
    v->rows[row] = VKB_ROW_OFF;
    snprintf(v->findings[row].reason, REASON, "%s", reason);
}

static void apply_rules(vkb_vk_variants *v, const vkb_device_info *info) {
    for (uint32_t i = 0; i < vkb_kernel_count; i++) {
        const char *reason = vkb_vk_denied(info, &vkb_kernels[i]);
        if (reason) turn_off(v, i, reason);
    }
    const char *rule = getenv("VKBERT_VARIANTS");
    for (size_t length; rule && *rule; rule += length + (rule[length] == ',')) {
        length = strcspn(rule, ",");
        if (length < 2 || (*rule != '-' && *rule != '+')) continue;
        for (uint32_t i = 0; i < vkb_kernel_count; i++) {
            if (!matches(rule + 1, length - 1, vkb_kernels[i].name)) continue;
            v->rows[i] = VKB_ROW_USUAL;
            if (*rule == '+')
                v->rows[i] = VKB_ROW_FIRST;
            else
                turn_off(v, i, "forbidden by VKBERT_VARIANTS");
        }
    }
}

/* What reads what another kernel makes goes with it. */
static void apply_needs(vkb_vk_variants *v) {
    for (uint32_t maker = 0; maker < vkb_kernel_count; maker++)
        for (uint32_t i = 0; i < vkb_kernel_count && v->rows[maker] == VKB_ROW_OFF; i++)
            if (vkb_kernels[i].made_by && vkb_kernels[i].made_by == vkb_kernels[maker].kind)
                turn_off(v, i, "the kernel that makes what it reads is off");
}

static void free_variants(vkb_vk_variants *v) {
    vkb_mutex_destroy(v->mutex);
    free(v->rows);
    free(v->findings);
    free(v->passed);
    free(v);
}

static vkb_vk_variants *create_variants(const vkb_vk_device *device) {
    vkb_vk_variants *v = calloc(1, sizeof *v);
    if (!v) return NULL;
    memcpy(v->uuid, device->base.info.uuid, sizeof v->uuid);
    v->driver_version = device->physical.driver_version;
    v->mutex = vkb_mutex_create();
    v->rows = calloc(vkb_kernel_count, sizeof *v->rows);
    v->findings = calloc(vkb_kernel_count, sizeof *v->findings);
    if (!v->mutex || !v->rows || !v->findings) {
        free_variants(v);
        return NULL;
    }
    apply_rules(v, &device->base.info);
    apply_needs(v);
    return v;
}

static int row_named(const char *name) {
    for (uint32_t i = 0; i < vkb_kernel_count; i++)
        if (strcmp(vkb_kernels[i].name, name) == 0) return (int)i;
    return -1;
}

static bool has_passed(const vkb_vk_variants *v, uint64_t key) {
    for (uint32_t i = 0; i < v->passed_count; i++)
        if (v->passed[i].key == key) return true;
    return false;
}

static void note_passed(vkb_vk_variants *v, uint64_t key, uint32_t row) {
    if (v->passed_count == v->passed_capacity) {
        uint32_t capacity = 2 * v->passed_capacity + 32;
        test *grown = realloc(v->passed, capacity * sizeof *grown);
        if (!grown) return; /* it will be tested again */
        v->passed = grown;
        v->passed_capacity = capacity;
    }
    v->passed[v->passed_count++] = (test){key, row};
    v->findings[row].suspect = false;
}

static void note_off(vkb_vk_variants *v, vkb_vk_device *device, uint32_t row, const char *reason) {
    turn_off(v, row, reason);
    vkb_log(&device->base, VKB_LOG_WARNING, "%s: kernel \"%s\" is off: %s", device->base.info.name, vkb_kernels[row].name, reason);
}

static void note_failed(vkb_vk_variants *v, vkb_vk_device *device, uint32_t row, const char *reason) {
    v->findings[row].failed = true;
    note_off(v, device, row, reason);
}

/* ---- The file: a line for each fact ---- */

static void load(vkb_vk_variants *v, vkb_vk_device *device) {
    size_t bytes;
    char *text = vkb_vk_cache_read(device, "variants", &bytes);
    char *end = text ? text + bytes : NULL, *stop;
    for (char *line = text; line < end && (stop = memchr(line, '\n', (size_t)(end - line))); line = stop + 1) {
        unsigned long long key;
        char name[64], reason[REASON];
        *stop = '\0';
        if (sscanf(line, "passed %llx %63[^\n]", &key, name) == 2) {
            int row = row_named(name);
            if (row >= 0 && !has_passed(v, key)) note_passed(v, key, (uint32_t)row);
        } else if (sscanf(line, "fastest %llx %63[^\n]", &key, name) == 2) {
            int row = row_named(name);
            if (row >= 0 && v->tuned_count < MAX_TUNED) v->tuned[v->tuned_count++] = (test){key, (uint32_t)row};
        } else if (sscanf(line, "suspect %63[^\n]", name) == 1) {
            int row = row_named(name);
            if (row >= 0) v->findings[row].suspect = true;
        } else if (sscanf(line, "failed %63[^\t]\t%159[^\n]", name, reason) == 2) {
            int row = row_named(name);
            if (row >= 0) note_failed(v, device, (uint32_t)row, reason);
        }
    }
    free(text);
    v->loaded = true;
}

static void save(vkb_vk_variants *v, vkb_vk_device *device) {
    size_t room = ((size_t)v->passed_count + v->tuned_count + vkb_kernel_count) * (REASON + 96), at = 0;
    char *text = malloc(room);
    if (!text) return;
    for (uint32_t i = 0; i < v->passed_count; i++)
        at += (size_t)snprintf(text + at, room - at, "passed %016llx %.63s\n", (unsigned long long)v->passed[i].key,
                               vkb_kernels[v->passed[i].row].name);
    for (uint32_t i = 0; i < v->tuned_count; i++)
        at += (size_t)snprintf(text + at, room - at, "fastest %016llx %.63s\n", (unsigned long long)v->tuned[i].key,
                               vkb_kernels[v->tuned[i].row].name);
    for (uint32_t i = 0; i < vkb_kernel_count; i++)
        if (v->findings[i].failed)
            at += (size_t)snprintf(text + at, room - at, "failed %.63s\t%s\n", vkb_kernels[i].name, v->findings[i].reason);
        else if (v->findings[i].suspect)
            at += (size_t)snprintf(text + at, room - at, "suspect %.63s\n", vkb_kernels[i].name);
    vkb_vk_cache_write(device, "variants", text, at);
    free(text);
}

static const char several[] = "several kernels";

static char *marker_path(const vkb_vk_device *device) {
    return vkb_vk_cache_path(device->cache_folder, "testing", vkb_vk_cache_key(&device->physical), "");
}

/* What happened may have been somebody else's doing: the kernel is off in this process and tested again by the next one, and stays off when
   it happens again. */
static void note_suspect(vkb_vk_variants *v, vkb_vk_device *device, uint32_t row, const char *what) {
    bool again = v->findings[row].suspect;
    char reason[REASON];
    snprintf(reason, sizeof reason, "%s when it was tested%s", what, again ? ", twice" : "; the next one tries again");
    if (again)
        note_failed(v, device, row, reason);
    else
        note_off(v, device, row, reason);
    v->findings[row].suspect = !again;
    v->changed = true;
}

/* A process died in the middle of tests, or lost the device. Of several that were tested side by side, the one that did it is
 * found by testing one after another from now on. */
static void note_killer(vkb_vk_variants *v, vkb_vk_device *device) {
    char name[VKB_MARKER_TEXT];
    char *path = marker_path(device);
    if (path && vkb_marker_died(path, name)) {
        v->alone = v->alone || !strcmp(name, several);
        int row = row_named(name);
        if (row >= 0) note_suspect(v, device, (uint32_t)row, VKB_DIED);
        v->changed = true;
        remove(path);
    }
    for (uint32_t i = 0; i < vkb_kernel_count; i++) v->alone = v->alone || v->findings[i].suspect;
    free(path);
}

/* ---- The process's list ---- */

static _Atomic(vkb_vk_variants *) list;

static vkb_vk_variants *find(const vkb_vk_device *device) {
    for (vkb_vk_variants *v = atomic_load(&list); v; v = v->next)
        if (v->driver_version == device->physical.driver_version && !memcmp(v->uuid, device->base.info.uuid, sizeof v->uuid)) return v;
    return NULL;
}

vkb_status vkb_vk_variants_open(vkb_vk_device *device, vkb_error *error) {
    vkb_vk_variants *v = find(device);
    if (!v) {
        v = create_variants(device);
        if (!v) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "%s: out of memory", device->base.info.name);
        v->next = atomic_load(&list);
        while (!atomic_compare_exchange_weak(&list, &v->next, v)) continue; /* two of one device do no harm: the later one is found */
    }
    device->variants = v;
    device->abilities.rows = v->rows;
    vkb_mutex_lock(v->mutex);
    if (device->cache_folder && !v->loaded) load(v, device);
    note_killer(v, device);
    vkb_mutex_unlock(v->mutex);
    return VKB_OK;
}

/* ---- Tests at first use ---- */

vkb_vk_usage vkb_vk_usage_of(const vkb_vk_program *p, const vkb_vk_step *s) {
    vkb_vk_usage u = {
        .task = s->task, .tensors = p->base.weights->tensors, .activations = p->base.activations, .head_size = s->push.head_size};
    if (s->op >= p->base.op_count) return u; /* an output's copy */
    u.op = &p->base.ops[s->op];
    u.inputs = u.op->input == VKB_NONE ? 0 : p->base.values[u.op->input].width;
    u.width = p->base.values[u.op->kind == VKB_OP_POOL ? u.op->input : u.op->output].width;
    for (const vkb_op *before = p->base.ops; before < u.op && s->task.kind == VKB_OP_LINEAR; before++)
        if (before->output == u.op->input) u.attends = before->kind == VKB_OP_ATTENTION;
    const vkb_op *after = u.op + 1;
    bool gated = s->task.kind == VKB_OP_LINEAR && !s->task.mode && s->op + 1 < p->base.op_count && after->kind == VKB_OP_GATE;
    if (gated && after->input == u.op->output) u.gate = 1 + after->activation;
    return u;
}

static uint64_t key_of(const vkb_kernel *kernel, const vkb_vk_usage *u) {
    bool attends = u->attends && kernel->folds & VKB_FOLD_ATTENTION;
    uint32_t gate = u->gate && vkb_kernel_gates(kernel, u->gate - 1) ? u->gate : 0;
    const uint32_t words[] = {u->task.mode, u->task.weights, u->task.values, u->head_size, attends, gate};
    uint64_t key = vkb_vk_hash(VKB_VK_HASH_START, kernel->name, strlen(kernel->name));
    return vkb_vk_hash(key, words, sizeof words);
}

static uint64_t tune_key(const vkb_vk_usage *u, uint32_t rows) {
    const uint32_t words[] = {rows, u->op ? u->op->norm : VKB_NORM_NONE};
    uint64_t key = vkb_vk_hash(VKB_VK_HASH_START, &u->task, sizeof u->task);
    return vkb_vk_hash(key, words, sizeof words);
}

/* NULL: not tuned, or off by now. */
static const vkb_kernel *fastest(const vkb_vk_variants *v, uint64_t key) {
    for (uint32_t i = 0; i < v->tuned_count; i++)
        if (v->tuned[i].key == key && v->rows[v->tuned[i].row] == VKB_ROW_USUAL) return &vkb_kernels[v->tuned[i].row];
    return NULL;
}

static void log_test(const vkb_vk_device *device, const vkb_kernel *kernel, double start) {
    vkb_log(&device->base, VKB_LOG_DEBUG, "%s: kernel \"%s\" tested in %.1f ms", device->base.info.name, kernel->name,
            1e3 * (vkb_seconds() - start));
}

/* The caller holds the mutex. Afterwards the row is off, or this use of it has passed. */
static vkb_status run_test(vkb_vk_variants *v, vkb_vk_device *device, const vkb_kernel *kernel, const vkb_vk_usage *u, vkb_error *error) {
    vkb_status status = vkb_vk_alive(device, error); /* else it is not the kernel's fault */
    if (status) return status;
    uint32_t row = (uint32_t)(kernel - vkb_kernels);
    char reason[REASON];
    char *path = marker_path(device);
    vkb_marker *marker = vkb_marker_begin(path, kernel->name);
    free(path);
    double start = vkb_seconds();
    status = vkb_vk_selftest(device, kernel, u, reason, sizeof reason, error);
    vkb_marker_end(marker);
    log_test(device, kernel, start);
    if (status == VKB_ERROR_DEVICE_LOST) note_suspect(v, device, row, "a process lost the device");
    if (status) return status;
    if (reason[0])
        note_failed(v, device, row, reason);
    else
        note_passed(v, key_of(kernel, u), row);
    v->changed = true;
    return status;
}

/* ---- Many tests at once: most of their time goes to the compiler. First what it makes of all of them, for nothing runs meanwhile ---- */

enum { MAX_PENDING = 64, MAX_THREADS = 8 };

typedef struct pending {
    const vkb_kernel *kernel;
    vkb_vk_usage usage;
    vkb_status status;
    vkb_error error;
    char reason[REASON];
} pending;

typedef struct pending_list {
    vkb_vk_device *device;
    pending tests[MAX_PENDING];
    uint32_t count;
} pending_list;

static void make_one(vkb_vk_device *device, pending *t) { t->status = vkb_vk_selftest_make(device, t->kernel, &t->usage, &t->error); }

static void test_one(vkb_vk_device *device, pending *t) {
    double start = vkb_seconds();
    if (t->status == VKB_ERROR_DEVICE_LOST) return; /* any other failure is the test's to find */
    t->status = vkb_vk_selftest(device, t->kernel, &t->usage, t->reason, sizeof t->reason, &t->error);
    log_test(device, t->kernel, start);
}

typedef struct shared_work {
    pending_list *list;
    void (*one)(vkb_vk_device *device, pending *test);
    atomic_uint next;
} shared_work;

static void work(void *context) {
    shared_work *w = context;
    for (uint32_t i; (i = atomic_fetch_add(&w->next, 1)) < w->list->count;) w->one(w->list->device, &w->list->tests[i]);
}

/* On threads of its own: a turn of the CPU backend's would keep its models waiting for the compiler. */
static void do_all(pending_list *l, void (*one)(vkb_vk_device *device, pending *test)) {
    shared_work w = {.list = l, .one = one};
    uint32_t threads = vkb_cpu_count() < MAX_THREADS ? vkb_cpu_count() : MAX_THREADS, started = 0;
    vkb_thread *others[MAX_THREADS];
    while (started + 1 < threads && started + 1 < l->count && (others[started] = vkb_thread_start(work, &w))) started++;
    work(&w);
    while (started) vkb_thread_join(others[--started]);
}

static void add_pending(pending_list *l, const vkb_kernel *kernel, const vkb_vk_usage *u) {
    if (!kernel || l->count == MAX_PENDING) return;
    uint64_t key = key_of(kernel, u);
    bool known = has_passed(l->device->variants, key);
    for (uint32_t j = 0; j < l->count && !known; j++) known = key_of(l->tests[j].kernel, &l->tests[j].usage) == key;
    if (!known) l->tests[l->count++] = (pending){.kernel = kernel, .usage = *u};
}

/* What the program's steps would take, as far as it is not tested: each use once. EMBED is a part of every test and not among them. */
static void find_pending(pending_list *l, const vkb_vk_program *p) {
    for (uint32_t c = 0; c < p->class_count; c++) {
        for (uint32_t i = 0; i < p->step_count && l->count < MAX_PENDING; i++) {
            vkb_vk_usage u = vkb_vk_usage_of(p, &p->steps[i]);
            if (u.task.kind == VKB_OP_EMBED) continue;
            const vkb_kernel *kernels[VKB_VK_CANDIDATES];
            uint32_t count = vkb_vk_tune_candidates(l->device, &u.task, p->thresholds[c], kernels);
            if (fastest(l->device->variants, tune_key(&u, p->thresholds[c]))) count = 0;
            for (uint32_t k = 0; k < count; k++) add_pending(l, kernels[k], &u);
            add_pending(l, vkb_kernel_choose(&l->device->abilities, &u.task, p->thresholds[c]), &u);
        }
    }
}

static const double tune_seconds = 1; /* of a program's creation; what is left keeps the table's choice until the next one */

/* The caller holds the mutex. Candidates that did not pass their test are off, or left for later. */
static vkb_status tune_all(vkb_vk_variants *v, vkb_vk_device *device, const vkb_vk_program *p, vkb_error *error) {
    vkb_status status = VKB_OK;
    double until = vkb_seconds() + tune_seconds;
    for (uint32_t c = 0; c < p->class_count && !status; c++) {
        for (uint32_t i = 0; i < p->step_count && !status; i++) {
            vkb_vk_usage u = vkb_vk_usage_of(p, &p->steps[i]);
            uint32_t rows = p->thresholds[c], passed = 0;
            const vkb_kernel *kernels[VKB_VK_CANDIDATES], *best = NULL;
            uint32_t count = vkb_vk_tune_candidates(device, &u.task, rows, kernels);
            uint64_t key = tune_key(&u, rows);
            if (count < 2 || fastest(v, key) || v->tuned_count == MAX_TUNED || vkb_seconds() > until) continue;
            for (uint32_t k = 0; k < count; k++)
                if (has_passed(v, key_of(kernels[k], &u))) kernels[passed++] = kernels[k];
            if (passed < 2) continue;
            const vkb_kernel *usual = vkb_kernel_choose(&device->abilities, &u.task, rows);
            status = vkb_vk_tune(device, &u, vkb_vk_class_most(p, c), kernels, passed, usual, &best, error);
            if (best) v->tuned[v->tuned_count++] = (test){key, (uint32_t)(best - vkb_kernels)};
            v->changed = true;
        }
    }
    return status;
}

/* The caller holds the mutex. */
static vkb_status test_all(vkb_vk_variants *v, pending_list *l, vkb_error *error) {
    vkb_status status = VKB_OK;
    char *path = marker_path(l->device);
    vkb_marker *marker = vkb_marker_begin(path, several);
    do_all(l, make_one);
    do_all(l, test_one);
    bool lost = vkb_vk_alive(l->device, NULL) != VKB_OK;
    if (lost)
        vkb_marker_leave(marker);
    else
        vkb_marker_end(marker);
    v->alone = v->alone || lost; /* so that the next device tells which of them it was */
    free(path);
    for (uint32_t i = 0; i < l->count; i++) {
        const pending *t = &l->tests[i];
        if (t->status && !status) {
            status = t->status;
            if (error) *error = t->error;
        }
        if (t->status) continue;
        if (t->reason[0])
            note_failed(v, l->device, (uint32_t)(t->kernel - vkb_kernels), t->reason);
        else
            note_passed(v, key_of(t->kernel, &t->usage), (uint32_t)(t->kernel - vkb_kernels));
        v->changed = true;
    }
    return status;
}

vkb_status vkb_vk_variants_prepare(vkb_vk_program *p, vkb_error *error) {
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    vkb_vk_variants *v = device->variants;
    if (vkb_vk_selftest_kernel() || vkb_kernel_forced() || device->abilities.software) return VKB_OK;
    vkb_vk_usage embed = vkb_vk_usage_of(p, &p->steps[0]);
    const vkb_kernel *kernel;
    vkb_status status = vkb_vk_variant_choose(device, &embed, 1, &kernel, error);
    pending_list *l = status ? NULL : calloc(1, sizeof *l);
    if (!l) return status ? status : vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "%s: out of memory", device->base.info.name);
    l->device = device;
    vkb_mutex_lock(v->mutex);
    find_pending(l, p);
    if (l->count > 1 && !v->alone) status = test_all(v, l, error);
    if (!status) status = tune_all(v, device, p, error);
    vkb_mutex_unlock(v->mutex);
    free(l);
    return status;
}

vkb_status vkb_vk_variant_choose(vkb_vk_device *device, const vkb_vk_usage *u, uint32_t rows, const vkb_kernel **kernel, vkb_error *error) {
    const vkb_kernel *under_test = vkb_vk_selftest_kernel();
    vkb_vk_variants *v = device->variants;
    vkb_status status = VKB_OK;
    if (vkb_vk_selftest_takes(&device->abilities, &u->task)) {
        *kernel = under_test;
        return VKB_OK;
    }
    if (!under_test) vkb_mutex_lock(v->mutex); /* else this thread holds it */
    do {
        vkb_abilities abilities = device->abilities;
        if (under_test && !vkb_kernel_forced())
            abilities.needs &= ~(uint32_t)VKB_NEED_MATRIX_I8; /* what else is wrong is not to be its fault */
        *kernel = vkb_kernel_choose(&abilities, &u->task, rows);
        const vkb_kernel *tuned = under_test ? NULL : fastest(v, tune_key(u, rows));
        if (tuned && !vkb_kernel_forced() && vkb_kernel_fits(tuned, &device->abilities, &u->task)) *kernel = tuned;
        if (!*kernel || under_test || !u->op || vkb_kernel_forced() == *kernel || has_passed(v, key_of(*kernel, u))) break;
        status = run_test(v, device, *kernel, u, error);
    } while (!status && v->rows[*kernel - vkb_kernels] == VKB_ROW_OFF);
    if (!under_test) vkb_mutex_unlock(v->mutex);
    return status;
}

vkb_status vkb_vk_variant_check(vkb_vk_device *device, const vkb_kernel *kernel, const vkb_vk_usage *u, vkb_variant *variant,
                                vkb_error *error) {
    vkb_vk_variants *v = device->variants;
    uint32_t row = (uint32_t)(kernel - vkb_kernels);
    vkb_status status = VKB_OK;
    vkb_mutex_lock(v->mutex);
    if (v->rows[row] != VKB_ROW_OFF && !has_passed(v, key_of(kernel, u))) status = run_test(v, device, kernel, u, error);
    variant->state = v->rows[row] == VKB_ROW_OFF ? VKB_VARIANT_OFF : VKB_VARIANT_RUNS;
    if (variant->state == VKB_VARIANT_OFF) snprintf(variant->reason, sizeof variant->reason, "%s", v->findings[row].reason);
    vkb_mutex_unlock(v->mutex);
    return status;
}

void vkb_vk_variants_save(vkb_vk_device *device) {
    vkb_vk_variants *v = device->variants;
    if (vkb_vk_selftest_kernel()) return;
    vkb_mutex_lock(v->mutex);
    if (v->changed) save(v, device);
    v->changed = false;
    vkb_mutex_unlock(v->mutex);
}
