#include <math.h>

#include "fixture.h"

#include "../cpu.h"

atomic_int test_failures, test_checks;

/* What the sanitizers ask for: an allocation that can't be given fails, as it does without them. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }
const char *__tsan_default_options(void) { return "allocator_may_return_null=1"; }

static void *take(size_t count, size_t size) {
    void *p = calloc(count ? count : 1, size);
    REQUIRE(p, "out of memory");
    return p;
}

void fixture_begin(fixture *f, const uint32_t *lengths, uint32_t sequences, uint32_t seed) {
    memset(f, 0, sizeof *f);
    f->random = seed * 2654435761u + 1;
    f->sequences = sequences;
    f->cu_seqlens = take(sequences + 1, sizeof *f->cu_seqlens);
    for (uint32_t b = 0; b < sequences; b++) f->cu_seqlens[b + 1] = f->tokens += lengths[b];
    f->ids = take(f->tokens, sizeof *f->ids);
    for (uint32_t i = 0; i < f->tokens; i++) f->ids[i] = (int32_t)i;
}

void fixture_end(fixture *f) {
    for (uint32_t i = 0; i < f->tensor_count; i++) free(f->data[i]);
    free(f->ids);
    free(f->type_ids);
    free(f->positions);
    free(f->cu_seqlens);
    free(f->pool_start);
}

float fixture_random(fixture *f) {
    f->random ^= f->random << 13;
    f->random ^= f->random >> 17;
    f->random ^= f->random << 5;
    return (float)(f->random >> 8) / 8388608.0f - 1.0f;
}

uint32_t fixture_tensor(fixture *f, uint32_t rows, uint32_t cols, uint32_t layout, float scale) {
    REQUIRE(f->tensor_count < FIXTURE_MAX, "too many tensors");
    uint32_t dtype = layout == VKB_LAYOUT_VECTOR ? VKB_F32 : f->dtype, t = f->tensor_count++;
    f->tensors[t] = (vkb_tensor){rows, cols, layout, dtype};
    f->data[t] = take((size_t)rows * cols, sizeof(float));
    for (size_t i = 0; i < (size_t)rows * cols; i++) {
        float x = scale * fixture_random(f);
        f->data[t][i] = dtype == VKB_F16 ? vkb_f16_to_f32(vkb_f32_to_f16(x)) : x;
    }
    return t;
}

uint32_t fixture_vector(fixture *f, uint32_t cols, float scale) { return fixture_tensor(f, 1, cols, VKB_LAYOUT_VECTOR, scale); }

uint32_t fixture_value(fixture *f, uint32_t scope, uint32_t width) {
    REQUIRE(f->value_count < FIXTURE_MAX, "too many values");
    f->values[f->value_count] = (vkb_value){scope, width};
    return f->value_count++;
}

uint32_t fixture_input(fixture *f, uint32_t width, float scale) {
    uint32_t value = fixture_value(f, VKB_PER_TOKEN, width), table = fixture_tensor(f, f->tokens, width, VKB_LAYOUT_TABLE, scale);
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_EMBED;
    op.weight = table;
    op.output = value;
    op.scale = 1;
    f->ops[f->op_count++] = op;
    f->known[value] = f->data[table];
    return value;
}

void fixture_output(fixture *f, uint32_t value) { f->outputs[f->output_count++] = value; }

uint32_t fixture_op(fixture *f, vkb_op op, uint32_t scope, uint32_t width) {
    REQUIRE(f->op_count < FIXTURE_MAX, "too many ops");
    op.output = fixture_value(f, scope, width);
    f->ops[f->op_count++] = op;
    fixture_output(f, op.output);
    return op.output;
}

void fixture_small(fixture *f, uint32_t width) {
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_POOL;
    op.input = fixture_input(f, width, 1);
    op.pool = VKB_POOL_MEAN;
    op.output = fixture_value(f, VKB_PER_SEQUENCE, width);
    f->ops[f->op_count++] = op;
    op.kind = VKB_OP_NORMALIZE;
    op.input = op.output;
    op.pool = 0;
    fixture_op(f, op, VKB_PER_SEQUENCE, width);
}

vkb_batch fixture_batch(const fixture *f) {
    return (vkb_batch){.struct_size = sizeof(vkb_batch),
                       .tokens = f->tokens,
                       .sequences = f->sequences,
                       .ids = f->ids,
                       .type_ids = f->type_ids,
                       .positions = f->positions,
                       .cu_seqlens = f->cu_seqlens,
                       .pool_start = f->pool_start};
}

vkb_status fixture_weights(const fixture *f, vkb_device *device, vkb_weights **weights, vkb_error *error) {
    vkb_status status = vkb_weights_create(device, f->tensors, f->tensor_count, weights, error);
    for (uint32_t t = 0; t < f->tensor_count && !status; t++)
        status = vkb_weights_put(*weights, t, VKB_F32, 0, f->data[t], (uint64_t)f->tensors[t].rows * f->tensors[t].cols, error);
    return status ? status : vkb_weights_seal(*weights, NULL, error);
}

vkb_status fixture_program(const fixture *f, vkb_weights *weights, vkb_program **program, vkb_error *error) {
    vkb_program_desc desc = {.struct_size = sizeof desc,
                             .value_count = f->value_count,
                             .values = f->values,
                             .ops = f->ops,
                             .op_count = f->op_count,
                             .output_count = f->output_count,
                             .outputs = f->outputs,
                             .activations = f->activations,
                             .flags = f->flags,
                             .max_tokens = f->tokens,
                             .max_sequences = f->sequences};
    return vkb_program_create(weights, &desc, program, error);
}

static uint64_t output_rows(const fixture *f, uint32_t output) {
    return f->values[f->outputs[output]].scope == VKB_PER_TOKEN ? f->tokens : f->sequences;
}

vkb_status fixture_execute(const fixture *f, vkb_program *program, results *r, vkb_error *error) {
    vkb_output outputs[FIXTURE_MAX] = {{0}};
    memset(r, 0, sizeof *r);
    for (uint32_t i = 0; i < f->output_count; i++) {
        outputs[i].capacity = output_rows(f, i) * f->values[f->outputs[i]].width;
        outputs[i].data = r->data[i] = take(outputs[i].capacity, sizeof(float));
    }
    vkb_batch batch = fixture_batch(f);
    return vkb_program_run(program, &batch, outputs, error);
}

vkb_status fixture_try(const fixture *f, vkb_device *device, results *r, vkb_error *error) {
    vkb_weights *weights = NULL;
    vkb_program *program = NULL;
    memset(r, 0, sizeof *r);
    vkb_status status = fixture_weights(f, device, &weights, error);
    if (!status) status = fixture_program(f, weights, &program, error);
    if (!status) status = fixture_execute(f, program, r, error);
    vkb_program_destroy(program);
    vkb_weights_destroy(weights);
    return status;
}

bool fixture_run(const fixture *f, vkb_device *device, results *r, const char *about) {
    vkb_error error = {0};
    vkb_status status = fixture_try(f, device, r, &error);
    CHECK(status == VKB_OK, "%s: %s", about, error.message);
    if (status) results_free(r);
    return status == VKB_OK;
}

void results_free(results *r) {
    for (uint32_t i = 0; i < FIXTURE_MAX; i++) free(r->data[i]);
    memset(r, 0, sizeof *r);
}

vkb_device *open_device(const char *selector) {
    vkb_device_options options = {.struct_size = sizeof options, .selector = selector, .threads = 2};
    vkb_device *device = NULL;
    vkb_error error = {0};
    uint32_t set = strncmp(selector, "cpu:", 4) == 0 ? (uint32_t)strtoul(selector + 4, NULL, 10) : 0;
    const vkb_cpu_kernels *kernels = vkb_cpu_kernel_set(set);
    if (!kernels) exit(SKIPPED);
    vkb_status status = set ? vkb_cpu_open_with(kernels, &options, &device, &error) : vkb_device_open(&options, &device, &error);
    REQUIRE(status == VKB_OK, "%s: %s", selector, error.message);
    return device;
}

void check_near(const float *got, const float *want, const float *bounds, float bound, uint64_t rows, uint64_t cols, const char *about) {
    uint64_t worst = 0, bad = 0;
    double ratio = -1;
    for (uint64_t i = 0; i < rows * cols; i++) {
        double limit = bounds ? bounds[i] : bound, off = fabs((double)got[i] - want[i]), r = off / limit;
        bool good = vkb_is_finite(got[i]) && vkb_is_finite(want[i]) && off <= limit;
        bad += !good;
        if (!good && !(r <= ratio)) {
            worst = i;
            ratio = r;
        }
    }
    CHECK(bad == 0, "%s: %llu of %llu × %llu are off; at [%llu, %llu] got %.9g, want %.9g, bound %.3g", about, (unsigned long long)bad,
          (unsigned long long)rows, (unsigned long long)cols, (unsigned long long)(worst / cols), (unsigned long long)(worst % cols),
          (double)got[worst], (double)want[worst], (double)(bounds ? bounds[worst] : bound));
}

double norm_of(const float *x, uint64_t n) {
    double sum = 0;
    for (uint64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    return sqrt(sum);
}

double greatest(const float *x, uint64_t n) {
    double top = 0;
    for (uint64_t i = 0; i < n; i++) top = fmax(top, fabs((double)x[i]));
    return top;
}
