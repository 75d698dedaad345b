/*
 * The Nth Vulkan call, or the Nth allocation, fails, for every N: a clean error, no object or memory left behind, and the next good run
 * succeeds. The program is linked so that the library's malloc, calloc and realloc come here first (-Wl,--wrap).
 */
#include <math.h>
#include <pthread.h>
#include <sched.h>

#include "../vk_program.h"
#include "fixture.h"
#include "intercept.h"

static uint32_t allocations, fail_allocation; /* 0: none fails */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);

static bool allocation_fails(void) { return ++allocations == fail_allocation; }
void *__wrap_malloc(size_t size) { return allocation_fails() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t count, size_t size) { return allocation_fails() ? NULL : __real_calloc(count, size); }
void *__wrap_realloc(void *p, size_t size) { return allocation_fails() ? NULL : __real_realloc(p, size); }

enum { ROWS = 6, WIDTH = 64, SEQUENCES = 2 }; /* so wide that the output per sequence is direct; the one per token is copied */

static const vkb_tensor tensors[] = {
    {ROWS, WIDTH, VKB_LAYOUT_TABLE, VKB_F32}, {WIDTH, WIDTH, VKB_LAYOUT_LINEAR, VKB_F16}, {1, WIDTH, VKB_LAYOUT_VECTOR, VKB_F32}};
static uint32_t waits; /* lives in which a fault cost no more than a frame, so that a run had to wait for another's */
static float numbers[WIDTH * WIDTH], want[SEQUENCES * WIDTH];
static const char *selector;

static vkb_status create_program(vkb_weights *weights, vkb_program **program, vkb_error *error) {
    static const vkb_value values[] = {
        {VKB_PER_TOKEN, WIDTH}, {VKB_PER_TOKEN, WIDTH}, {VKB_PER_SEQUENCE, WIDTH}, {VKB_PER_SEQUENCE, WIDTH}};
    static const uint32_t outputs[] = {3, 1};
    vkb_op ops[4] = {VKB_OP_INIT, VKB_OP_INIT, VKB_OP_INIT, VKB_OP_INIT};
    for (uint32_t i = 0; i < 4; i++) {
        ops[i].input = i ? i - 1 : VKB_NONE;
        ops[i].output = i;
    }
    ops[0].kind = VKB_OP_EMBED;
    ops[0].weight = 0;
    ops[0].scale = 1;
    ops[1].kind = VKB_OP_LINEAR;
    ops[1].weight = 1;
    ops[1].bias = 2;
    ops[1].norm = VKB_NORM_LAYER;
    ops[1].norm_eps = 1e-5f;
    ops[2].kind = VKB_OP_POOL;
    ops[2].pool = VKB_POOL_MEAN;
    ops[3].kind = VKB_OP_NORMALIZE;
    vkb_program_desc desc = {.struct_size = sizeof desc,
                             .value_count = 4,
                             .values = values,
                             .ops = ops,
                             .op_count = 4,
                             .output_count = 2,
                             .outputs = outputs,
                             .max_tokens = ROWS,
                             .max_sequences = SEQUENCES};
    return vkb_program_create(weights, &desc, program, error);
}

typedef struct second {
    vkb_program *program;
    const vkb_batch *batch;
    const vkb_output *outputs;
    vkb_error *error;
    vkb_status status;
    atomic_bool done;
} second;

static void *run_second(void *user) {
    second *s = user;
    s->status = vkb_program_run(s->program, s->batch, s->outputs, s->error);
    atomic_store(&s->done, true);
    return NULL;
}

/* Whether some run waits for this frame, because there was no memory for another. */
static bool is_awaited(vkb_vk_program *p, const vkb_vk_frame *frame) {
    vkb_mutex_lock(p->frame_mutex);
    bool awaited = frame->users > 1;
    vkb_mutex_unlock(p->frame_mutex);
    return awaited;
}

/* A run while another has the program's first frame: it makes one of its own. */
static vkb_status run_beside(vkb_program *program, const vkb_batch *batch, const vkb_output *outputs, vkb_error *error) {
    vkb_vk_frame *taken;
    if (strncmp(selector, "vulkan", 6) != 0) return vkb_program_run(program, batch, outputs, error);
    vkb_vk_program *p = (vkb_vk_program *)program;
    vkb_status status = vkb_vk_frame_acquire(p, &taken, error);
    if (status) return status;
    second s = {.program = program, .batch = batch, .outputs = outputs, .error = error};
    pthread_t thread;
    int failed = pthread_create(&thread, NULL, run_second, &s);
    REQUIRE(!failed, "no thread");
    bool waited = false;
    while (!atomic_load(&s.done) && !waited) {
        sched_yield();
        waited = is_awaited(p, taken);
    }
    waits += waited;
    vkb_vk_frame_release(p, taken);
    pthread_join(thread, NULL);
    return s.status;
}

/* All that a program does in its life; what was made is released whatever happens. */
static vkb_status live(float *vectors, vkb_error *error) {
    static const int32_t ids[] = {0, 1, 2, 3, 4, 5};
    static const uint32_t cu_seqlens[] = {0, 2, ROWS};
    vkb_device *device = NULL;
    vkb_weights *weights = NULL;
    vkb_program *program = NULL;
    vkb_device_options options = {.struct_size = sizeof options, .selector = selector, .threads = 2};
    vkb_batch batch = {.struct_size = sizeof batch, .tokens = ROWS, .sequences = SEQUENCES, .ids = ids, .cu_seqlens = cu_seqlens};
    float tokens[ROWS * WIDTH];
    vkb_output outputs[] = {{vectors, SEQUENCES * WIDTH}, {tokens, ROWS * WIDTH}};
    double seconds[4];
    vkb_status status = vkb_device_open(&options, &device, error);
    if (!status) status = vkb_weights_create(device, tensors, COUNT(tensors), &weights, error);
    for (uint32_t t = 0; t < COUNT(tensors) && !status; t++)
        status = vkb_weights_put(weights, t, VKB_F32, 0, numbers, (uint64_t)tensors[t].rows * tensors[t].cols, error);
    if (!status) status = vkb_weights_seal(weights, NULL, error);
    if (!status) status = create_program(weights, &program, error);
    if (!status) status = vkb_program_run(program, &batch, outputs, error);
    if (!status) status = run_beside(program, &batch, outputs, error);
    if (!status) status = vkb_program_profile(program, &batch, seconds, error);
    vkb_program_destroy(program);
    vkb_weights_destroy(weights);
    vkb_device_close(device);
    return status;
}

/* With a fault. It may be one that costs nothing (a cache that can't be saved): then the result is right. */
static vkb_status live_with(const char *what, uint32_t n) {
    float got[SEQUENCES * WIDTH] = {0};
    vkb_error error = {0};
    vkb_status status = live(got, &error);
    const char *call = intercept_failed() ? intercept_failed() : "";
    CHECK(status ? error.message[0] && error.status == (int32_t)status : !memcmp(got, want, sizeof got), "%s %u %s: status %d: %s", what, n,
          call, (int)status, error.message);
    CHECK(intercept_alive() == 0, "%s %u %s: %d objects are left", what, n, call, intercept_alive());
    return status;
}

static void each_call(VkResult result, vkb_status want_status) {
    intercept_arm(0, VK_SUCCESS);
    live_with("no fault", 0);
    uint32_t calls = intercept_calls(), errors = 0;
    waits = 0;
    CHECK(calls > 30, "%u calls", calls);
    for (uint32_t n = 1; n <= calls; n++) {
        intercept_arm(n, result);
        vkb_status status = live_with("call", n);
        REQUIRE(intercept_failed(), "call %u was not made", n);
        bool looking = !strcmp(intercept_failed(), "vkEnumeratePhysicalDevices"); /* which then finds none */
        CHECK(!status || status == (looking ? VKB_ERROR_NO_DEVICE : want_status) || status == want_status,
              "call %u (%s) gives status %d, want %d", n, intercept_failed(), (int)status, (int)want_status);
        errors += status != VKB_OK;
    }
    CHECK(errors + waits >= calls - 4, "%u faults in %u calls gave an error, %u a wait", errors, calls, waits);
    intercept_arm(0, VK_SUCCESS);
    CHECK(live_with("after all", 0) == VKB_OK, "after all");
}

static void each_allocation(void) {
    allocations = fail_allocation = 0;
    live_with("no fault", 0);
    uint32_t count = allocations, errors = 0;
    waits = 0;
    CHECK(count > 10, "%u allocations", count);
    for (uint32_t n = 1; n <= count; n++) {
        allocations = 0;
        fail_allocation = n;
        vkb_status status = live_with("allocation", n);
        CHECK(!status || status == VKB_ERROR_OUT_OF_HOST_MEMORY, "allocation %u: status %d", n, (int)status);
        errors += status != VKB_OK;
    }
    fail_allocation = 0;
    CHECK(errors + waits >= count - 2, "%u faults in %u allocations gave an error, %u a wait", errors, count, waits);
    CHECK(live_with("after all", 0) == VKB_OK, "after all");
}

int main(int argc, char **argv) {
    selector = argc > 1 ? argv[1] : "cpu";
    for (uint32_t i = 0; i < COUNT(numbers); i++) numbers[i] = sinf((float)(i * i));
    intercept_install();
    vkb_error error = {0};
    REQUIRE(live(want, &error) == VKB_OK, "%s", error.message);
    each_allocation();
    if (!strncmp(selector, "vulkan", 6)) {
        each_call(VK_ERROR_OUT_OF_DEVICE_MEMORY, VKB_ERROR_OUT_OF_DEVICE_MEMORY);
        each_call(VK_ERROR_OUT_OF_HOST_MEMORY, VKB_ERROR_OUT_OF_HOST_MEMORY);
        each_call(VK_ERROR_DEVICE_LOST, VKB_ERROR_DEVICE_LOST);
    }
    return test_end();
}
