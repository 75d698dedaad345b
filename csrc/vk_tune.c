/*
 * A short tuning. Which LINEAR kernel is best for many rows depends on the device; the table's order was found on one. So those that passed
 * their self-tests are timed on the device, in a program's shapes, at first use. Small batches keep the table's choice: what counts there
 * is which steps fold into one another (vk_fold.c), which a kernel alone does not show.
 */
#include <stdlib.h>

#include "vk_force.h"
#include "vk_internal.h"

enum { TUNED_ROWS = 1024, MOST_ROWS = 32768, MOST_ROWS_SLOW = 2048, MAX_CANDIDATES = 8, ROUNDS = 4, TABLE_ROWS = 64 };
static const double warm_seconds = 0.03; /* an idle card's clock is a fraction of a busy one's */

uint32_t vkb_vk_tune_candidates(const vkb_vk_device *device, const vkb_task *task, uint32_t rows, const vkb_kernel *candidates[]) {
    uint32_t count = 0;
    bool matrices = false; /* what does without is several times slower, and not worth compiling */
    if (task->kind != VKB_OP_LINEAR || rows < TUNED_ROWS || device->abilities.software || !device->cache_folder) return 0;
    for (uint32_t i = 0; i < vkb_kernel_count && count < MAX_CANDIDATES; i++) {
        const vkb_kernel *k = &vkb_kernels[i];
        if (device->abilities.rows[i] == VKB_ROW_FIRST) return 0; /* asked for by VKBERT_VARIANTS */
        if (k->software || k->max_rows || device->abilities.rows[i] == VKB_ROW_OFF || !vkb_kernel_fits(k, &device->abilities, task))
            continue;
        bool by_matrices = k->needs & VKB_NEED_ANY_MATRIX;
        if (by_matrices && !matrices) count = 0;
        matrices = matrices || by_matrices;
        if (by_matrices == matrices) candidates[count++] = k;
    }
    return count;
}

typedef struct trial { /* one candidate, as a program of EMBED and LINEAR */
    vkb_weights *weights;
    vkb_program *program;
    double best; /* seconds of the LINEAR */
} trial;

static vkb_status create(vkb_vk_device *device, const vkb_vk_usage *u, uint32_t rows, trial *t, vkb_error *error) {
    const vkb_op *like = u->op;
    vkb_tensor tensors[4] = {{TABLE_ROWS, u->inputs, VKB_LAYOUT_TABLE, VKB_F32},
                             u->tensors[like->weight],
                             {1, u->width, VKB_LAYOUT_VECTOR, VKB_F32},
                             {TABLE_ROWS, u->width, VKB_LAYOUT_TABLE, VKB_F32}};
    vkb_value values[3] = {{VKB_PER_TOKEN, u->inputs}, {VKB_PER_TOKEN, u->width}, {VKB_PER_TOKEN, u->width}};
    vkb_op ops[3] = {VKB_OP_INIT, VKB_OP_INIT, VKB_OP_INIT};
    for (uint32_t i = 0; i < 3; i++) ops[i].output = i;
    for (uint32_t i = 0; i < 2; i++) {
        ops[i].kind = VKB_OP_EMBED;
        ops[i].weight = i ? 3 : 0;
        ops[i].scale = 1;
    }
    ops[2].kind = VKB_OP_LINEAR;
    ops[2].input = 0;
    ops[2].weight = 1;
    ops[2].bias = like->bias == VKB_NONE ? VKB_NONE : 2;
    ops[2].residual = like->residual == VKB_NONE ? VKB_NONE : 1;
    ops[2].residual_at = like->residual_at;
    ops[2].activation = like->activation;
    ops[2].norm = like->norm; /* which some do by the way */
    ops[2].norm_eps = like->norm_eps;
    uint32_t output = 2;
    vkb_program_desc desc = {.struct_size = sizeof desc,
                             .value_count = 3,
                             .values = values,
                             .ops = ops,
                             .op_count = 3,
                             .output_count = 1,
                             .outputs = &output,
                             .max_tokens = rows,
                             .max_sequences = 1,
                             .activations = u->activations};
    vkb_status status = vkb_weights_create(&device->base, tensors, 4, &t->weights, error);
    if (!status) status = vkb_weights_seal(t->weights, NULL, error);
    return status ? status : vkb_program_create(t->weights, &desc, &t->program, error);
}

static vkb_status time_once(trial *t, const vkb_batch *batch, vkb_error *error) {
    double seconds[3];
    vkb_status status = vkb_program_profile(t->program, batch, seconds, error);
    if (!status && seconds[2] < t->best) t->best = seconds[2];
    return status;
}

vkb_status vkb_vk_tune(vkb_vk_device *device, const vkb_vk_usage *u, uint32_t rows, const vkb_kernel *const *candidates, uint32_t count,
                       const vkb_kernel *usual, const vkb_kernel **best, vkb_error *error) {
    trial trials[MAX_CANDIDATES] = {{0}};
    uint32_t most = 0;
    uint32_t limit = device->base.info.kind == VKB_DEVICE_DISCRETE ? MOST_ROWS : MOST_ROWS_SLOW;
    if (rows > limit) rows = limit;
    uint32_t cu_seqlens[2] = {0, rows};
    int32_t *ids = calloc(rows, sizeof *ids);
    vkb_status status = ids ? VKB_OK : vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "%s: out of memory", device->base.info.name);
    vkb_batch batch = {.struct_size = sizeof batch, .tokens = rows, .sequences = 1, .ids = ids, .cu_seqlens = cu_seqlens};
    *best = NULL;
    for (uint32_t i = 0; i < count && !status; i++) {
        trials[i].best = 1e9;
        const vkb_kernel *before = vkb_vk_selftest_take(candidates[i]);
        status = create(device, u, rows, &trials[i], error);
        vkb_vk_selftest_take(before);
    }
    for (double until = vkb_seconds() + warm_seconds; !status && vkb_seconds() < until;) status = time_once(&trials[0], &batch, error);
    for (uint32_t i = 0; i < count; i++) trials[i].best = 1e9;
    for (uint32_t round = 0; round < ROUNDS; round++)
        for (uint32_t i = 0; i < count && !status; i++) status = time_once(&trials[i], &batch, error);
    for (uint32_t i = 0; i < count; i++) {
        if (!status)
            vkb_log(&device->base, VKB_LOG_DEBUG, "%s: \"%s\", %u x %u: %.1f us for %u rows", device->base.info.name, candidates[i]->name,
                    u->inputs, u->width, 1e6 * trials[i].best, rows);
        if (trials[i].best < trials[most].best) most = i;
        vkb_program_destroy(trials[i].program);
        vkb_weights_destroy(trials[i].weights);
    }
    if (!status) *best = candidates[most];
    for (uint32_t i = 0; i < count && !status; i++) /* the table decides what is about as fast */
        if (candidates[i] == usual && trials[most].best > 0.95 * trials[i].best) *best = usual;
    free(ids);
    return status;
}
