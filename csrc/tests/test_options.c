/*
 * What other architectures than BERT need, with every kernel: GATE, ROTATE, LINEAR_MAX, the RMS norm, the places of a residual, and
 * ATTENTION's options, over odd shapes, against their definitions: the reference must give those to the last places of f32, the device
 * within its bounds.
 */
#include <math.h>

#include "definitions.h"
#include "kernels.h"

static const uint32_t mixed[] = {1, 2, 3, 7, 17, 31, 33, 100, 64, 65, 5};
static const uint32_t single[] = {300};
static const double unit = 1.0 / (1 << 24); /* half a last place of f32 */
static vkb_device *reference;

static void check_within(const float *got, const float *want, double bound, uint64_t count, uint32_t width, const char *who,
                         const char *op) {
    uint64_t bad = 0, worst = 0;
    double most = 0;
    for (uint64_t i = 0; i < count; i++) {
        double off = fabs((double)got[i] - want[i]);
        if (vkb_is_finite(got[i]) && off <= bound) continue;
        bad++;
        if (off > most) {
            most = off;
            worst = i;
        }
    }
    CHECK(bad == 0, "%s: %s: %llu of %llu are off; at [%llu, %llu] got %.9g, want %.9g, bound %.3g", who, op, (unsigned long long)bad,
          (unsigned long long)count, (unsigned long long)(worst / width), (unsigned long long)(worst % width), (double)got[worst],
          (double)want[worst], bound);
}

/* `bounds`: of the device, one for each output. */
static void compare(const fixture *f, vkb_device *device, const char *kernel, const float *bounds) {
    results exact, got;
    bool ran = fixture_run(f, reference, &exact, "reference");
    CHECK(ran, "the reference failed");
    if (!ran) return;
    ran = fixture_run(f, device, &got, kernel);
    CHECK(ran, "%s failed", kernel);
    for (uint32_t o = 0; o < f->output_count; o++) {
        const vkb_op *op = f->ops;
        while (op->output != f->outputs[o]) op++;
        const vkb_value *v = &f->values[op->output];
        uint64_t count = (uint64_t)(v->scope == VKB_PER_TOKEN ? f->tokens : f->sequences) * v->width;
        float *want = defined_result(f, op);
        char about[64];
        snprintf(about, sizeof about, "%s, output %u of width %u", vkb_op_name(op->kind), o, v->width);
        check_within(exact.data[o], want, 4 * unit * (greatest(want, count) + 1e-3), count, v->width, "reference", about);
        if (ran) check_within(got.data[o], want, (double)bounds[o], count, v->width, kernel, about);
        free(want);
    }
    if (ran) results_free(&got);
    results_free(&exact);
}

/* ---- GATE, NORM and LINEAR ---- */

static const uint32_t widths[] = {1, 2, 3, 7, 17, 31, 33, 60, 100, 255, 257, 384};

static void gate(vkb_device *device, const char *kernel, void *user) {
    (void)user;
    fixture f;
    float bounds[FIXTURE_MAX];
    fixture_begin(&f, mixed, COUNT(mixed), 21);
    for (uint32_t i = 0; i < COUNT(widths); i++) {
        vkb_op op = VKB_OP_INIT;
        op.kind = VKB_OP_GATE;
        op.input = fixture_input(&f, 2 * widths[i], 4);
        op.activation = i % (VKB_ACT_SIGMOID + 1);
        bounds[f.output_count] = 1e-5f; /* of up to 16 */
        fixture_op(&f, op, VKB_PER_TOKEN, widths[i]);
    }
    compare(&f, device, kernel, bounds);
    fixture_end(&f);
}

static void add_norm(fixture *f, vkb_op *op, uint32_t norm, uint32_t width, uint32_t i) {
    op->norm = norm;
    op->norm_eps = 1e-2f; /* so that a row of little variance does not ask for more places than there are */
    if (i % 4) op->norm_weight = fixture_vector(f, width, 2);
    if (i % 3) op->norm_bias = fixture_vector(f, width, 1);
}

static void norms(vkb_device *device, const char *kernel, void *user) {
    (void)user;
    for (uint32_t norm = VKB_NORM_LAYER; norm <= VKB_NORM_RMS; norm++)
        for (uint32_t residual_at = 0; residual_at <= VKB_RESIDUAL_AFTER_NORM; residual_at += VKB_RESIDUAL_AFTER_NORM) {
            fixture f;
            float bounds[FIXTURE_MAX];
            fixture_begin(&f, mixed, COUNT(mixed), 22 + norm);
            for (uint32_t i = 0; i < COUNT(widths); i++) {
                vkb_op op = VKB_OP_INIT;
                op.kind = VKB_OP_NORM;
                op.input = fixture_input(&f, widths[i], 3);
                if (residual_at || i % 2) op.residual = fixture_input(&f, widths[i], 1);
                op.residual_at = residual_at;
                add_norm(&f, &op, norm, widths[i], i);
                bounds[f.output_count] = 2e-5f;
                fixture_op(&f, op, VKB_PER_TOKEN, widths[i]);
            }
            compare(&f, device, kernel, bounds);
            fixture_end(&f);
        }
}

static void linears(vkb_device *device, const char *kernel, void *user) {
    (void)user;
    for (uint32_t residual_at = 0; residual_at <= VKB_RESIDUAL_BEFORE_ACTIVATION; residual_at++) {
        fixture f;
        float bounds[FIXTURE_MAX];
        fixture_begin(&f, mixed, COUNT(mixed), 25);
        for (uint32_t i = 0; i < COUNT(widths); i++) {
            vkb_op op = VKB_OP_INIT;
            f.dtype = i % 2 ? VKB_F16 : VKB_F32;
            op.kind = VKB_OP_LINEAR;
            op.input = fixture_input(&f, 37, 1);
            op.residual = fixture_input(&f, widths[i], 1);
            op.residual_at = residual_at;
            op.activation = VKB_ACT_SIGMOID - i % VKB_ACT_SIGMOID;
            op.weight = fixture_tensor(&f, widths[i], 37, VKB_LAYOUT_LINEAR, 0.3f);
            if (i % 3) op.bias = fixture_vector(&f, widths[i], 1);
            if (i % 4 == 1) add_norm(&f, &op, VKB_NORM_RMS, widths[i], i);
            bounds[f.output_count] = op.norm ? 1e-4f : 2e-5f; /* a norm may divide by 0.1 */
            fixture_op(&f, op, VKB_PER_TOKEN, widths[i]);
        }
        compare(&f, device, kernel, bounds);
        fixture_end(&f);
    }
}

/* ---- LINEAR_MAX ---- */

static void linear_max(vkb_device *device, const char *kernel, void *user) {
    static const uint32_t outputs[] = {1, 7, 16, 17, 33, 255, 1000}, inputs[] = {1, 3, 17, 60, 100};
    uint32_t dtype = *(const uint32_t *)user;
    fixture f;
    float bounds[FIXTURE_MAX];
    fixture_begin(&f, mixed, COUNT(mixed), 31 + dtype);
    f.dtype = dtype;
    for (uint32_t i = 0; i < COUNT(outputs); i++) {
        uint32_t n = inputs[i % COUNT(inputs)];
        vkb_op op = VKB_OP_INIT;
        op.kind = VKB_OP_LINEAR_MAX;
        op.input = fixture_input(&f, n, 1);
        op.weight = fixture_tensor(&f, outputs[i], n, VKB_LAYOUT_LINEAR, 4 / sqrtf((float)n));
        if (i % 2) op.bias = fixture_vector(&f, outputs[i], 1);
        if (i == 3) f.data[op.bias][0] = -1000; /* nothing is above 0 */
        bounds[f.output_count] = 3e-5f;
        fixture_op(&f, op, VKB_PER_SEQUENCE, outputs[i]);
    }
    compare(&f, device, kernel, bounds);
    fixture_end(&f);
}

/* ---- ROTATE ---- */

typedef struct rotation {
    uint32_t heads, kv_heads, size, columns, flags, norm;
    bool whole, bias; /* the norm's vectors span all heads; they have biases */
} rotation;

static const rotation rotations[] = {
    {1, 0, 2, 2, 0, VKB_NORM_NONE, false, false},
    {3, 0, 32, 32, 0, VKB_NORM_NONE, false, false},
    {3, 0, 33, 32, VKB_FLAG_INTERLEAVED, VKB_NORM_NONE, false, false},
    {4, 2, 64, 16, 0, VKB_NORM_RMS, false, false},
    {6, 1, 17, 6, VKB_FLAG_INTERLEAVED, VKB_NORM_RMS, false, false},
    {5, 5, 7, 6, 0, VKB_NORM_LAYER, true, true},
    {4, 2, 20, 20, 0, VKB_NORM_RMS, true, true},
    {1, 1, 100, 100, VKB_FLAG_INTERLEAVED, VKB_NORM_LAYER, false, true},
    {2, 1, 256, 256, 0, VKB_NORM_RMS, false, true},
    {2, 2, 1, 0, 0, VKB_NORM_LAYER, true, true}, /* norm alone */
    {3, 1, 31, 0, 0, VKB_NORM_RMS, false, false},
};

static void add_rotation(fixture *f, const rotation *r) {
    uint32_t kv = r->kv_heads ? r->kv_heads : r->heads;
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_ROTATE;
    op.heads = r->heads;
    op.kv_heads = r->kv_heads;
    op.head_size = r->columns % 4 ? r->size : 0;
    op.flags = r->flags;
    op.input = fixture_input(f, (r->heads + 2 * kv) * r->size, 1);
    if (r->columns) op.position_table = fixture_tensor(f, 120, r->columns, VKB_LAYOUT_TABLE, 1); /* any numbers will do */
    op.norm = r->norm;
    if (r->norm) {
        uint32_t q = r->whole ? r->heads * r->size : r->size, k = r->whole ? kv * r->size : r->size;
        op.norm_eps = 1e-2f;
        op.norm_weight = fixture_vector(f, q, 2);
        op.weight = fixture_vector(f, k, 2);
        if (r->bias) op.norm_bias = fixture_vector(f, q, 1);
        if (r->bias) op.bias = fixture_vector(f, k, 1);
    }
    fixture_op(f, op, VKB_PER_TOKEN, f->values[op.input].width);
}

static void rotate(vkb_device *device, const char *kernel, void *user) {
    (void)user;
    for (uint32_t given = 0; given < 2; given++) {
        fixture f;
        float bounds[FIXTURE_MAX];
        fixture_begin(&f, mixed, COUNT(mixed), 41);
        for (uint32_t i = 0; i < COUNT(rotations); i++) {
            add_rotation(&f, &rotations[i]);
            bounds[i] = rotations[i].norm ? 2e-5f : 5e-7f;
        }
        if (given) {
            f.positions = calloc(f.tokens, sizeof *f.positions);
            REQUIRE(f.positions, "out of memory");
            for (uint32_t t = 0; t < f.tokens; t++) f.positions[t] = (int32_t)(t * 7 % 120);
        }
        compare(&f, device, kernel, bounds);
        fixture_end(&f);
    }
}

/* A sequence longer than the table of angles is refused. */
static void rotate_limit(vkb_device *device) {
    for (uint32_t tokens = 120; tokens <= 121; tokens++) {
        fixture f;
        results r;
        vkb_error error = {0};
        vkb_weights *weights = NULL;
        vkb_program *program = NULL;
        fixture_begin(&f, &tokens, 1, 42);
        add_rotation(&f, &rotations[1]);
        REQUIRE(!fixture_weights(&f, device, &weights, &error) && !fixture_program(&f, weights, &program, &error), "%s", error.message);
        vkb_status status = fixture_execute(&f, program, &r, &error), want = tokens > 120 ? VKB_ERROR_INVALID_ARGUMENT : VKB_OK;
        CHECK(status == want, "%u tokens: status %d: %s", tokens, (int)status, error.message);
        results_free(&r);
        vkb_program_destroy(program);
        vkb_weights_destroy(weights);
        fixture_end(&f);
    }
}

/* ---- ATTENTION ---- */

typedef struct shape {
    uint32_t heads, kv_heads, size;
    bool said; /* its size, and not 0 */
} shape;

static const shape shapes[] = {
    {1, 0, 1, true},  {2, 1, 3, false},  {3, 3, 7, true},   {4, 2, 16, true},   {6, 2, 17, false}, {3, 1, 32, true},
    {4, 4, 33, true}, {2, 1, 64, false}, {2, 2, 100, true}, {1, 1, 128, false}, {2, 1, 256, true},
};

typedef struct option {
    int32_t bias, positions, types; /* radius of each table; −1: none */
    bool alibi;
    uint32_t window, flags, dtype;
} option;

static const option options[] = {
    {-1, -1, -1, false, 0, 0, VKB_F32},
    {6, -1, -1, false, 0, 0, VKB_F32},
    {128, -1, -1, false, 0, 0, VKB_F16},
    {-1, -1, -1, true, 0, 0, VKB_F32},
    {-1, 20, -1, false, 0, 0, VKB_F32},
    {-1, -1, 20, false, 0, 0, VKB_F32},
    {-1, 130, 90, false, 0, 0, VKB_F16},
    {-1, -1, -1, false, 1, 0, VKB_F32},
    {-1, -1, -1, false, 16, 0, VKB_F32},
    {-1, -1, -1, false, 70, 0, VKB_F32},
    {-1, -1, -1, false, 0, VKB_FLAG_CAUSAL, VKB_F32},
    {-1, -1, -1, false, 12, VKB_FLAG_CAUSAL, VKB_F32},
    {-1, -1, -1, false, UINT32_MAX - 1, 0, VKB_F32},
    {0, 0, 0, true, 40, 0, VKB_F32},
    {9, 15, 15, true, 33, VKB_FLAG_CAUSAL, VKB_F16},
};

static uint32_t add_table(fixture *f, int32_t radius, uint32_t width) {
    return radius < 0 ? VKB_NONE : fixture_tensor(f, 2 * (uint32_t)radius + 1, width, VKB_LAYOUT_TABLE, 1);
}

/* As in test_attention.c: an error of the scores is one of the softmax's weights, relatively; for each product that a score is made of. */
static float attention_bound(const shape *s, const option *o, float scale) {
    double d = s->size, score = (double)scale * d / 2 * (1 + (o->positions >= 0) + (o->types >= 0)); /* ‖q‖·‖k‖ is about d / 3 */
    double bias = (o->bias >= 0 ? 3 : 0) + (o->alibi ? 300 : 0);
    return (float)(2 * (4 * sqrt(d) * unit * score + 4 * unit * (score + bias)) + 60 * unit);
}

/* Each combination of options is a pipeline of its own, which lavapipe takes a second to compile: there every third shape has a third of
   the options, in turn, so that each option is seen. */
static uint32_t stride(const vkb_device *device) { return device->info.kind == VKB_DEVICE_SOFTWARE ? 3 : 1; }

static void attention_over(vkb_device *device, const char *kernel, const shape *s, const uint32_t *lengths, uint32_t sequences) {
    uint32_t kv = s->kv_heads ? s->kv_heads : s->heads, width = s->heads * s->size;
    fixture f;
    float bounds[FIXTURE_MAX];
    fixture_begin(&f, lengths, sequences, s->size);
    uint32_t x = fixture_input(&f, (s->heads + 2 * kv) * s->size, 1);
    uint32_t step = stride(device);
    for (uint32_t i = (uint32_t)(s - shapes) / step % step; i < COUNT(options); i += step) {
        const option *o = &options[i];
        vkb_op op = VKB_OP_INIT;
        f.dtype = o->dtype;
        op.kind = VKB_OP_ATTENTION;
        op.input = x;
        op.heads = s->heads;
        op.kv_heads = s->kv_heads;
        op.head_size = s->said ? s->size : 0;
        op.scale = 3 / sqrtf((float)s->size);
        op.window = o->window;
        op.flags = o->flags;
        if (o->bias >= 0) op.weight = fixture_tensor(&f, s->heads, 2 * (uint32_t)o->bias + 1, VKB_LAYOUT_TABLE, 3);
        if (o->alibi) op.bias = fixture_vector(&f, s->heads, 1);
        op.position_table = add_table(&f, o->positions, width);
        op.type_table = add_table(&f, o->types, width);
        for (uint32_t h = 0; h < s->heads && o->alibi; h++) f.data[op.bias][h] = ldexpf(1, -(int)h - 1);
        bounds[f.output_count] = attention_bound(s, o, op.scale);
        fixture_op(&f, op, VKB_PER_TOKEN, width);
    }
    compare(&f, device, kernel, bounds);
    fixture_end(&f);
}

static void attention(vkb_device *device, const char *kernel, void *user) {
    const shape *s = &shapes[*(const uint32_t *)user];
    attention_over(device, kernel, s, mixed, COUNT(mixed));
    if (s->size == 32 || s->size == 7) attention_over(device, kernel, s, single, 1);
}

int main(int argc, char **argv) {
    vkb_device *device = open_device(argc > 1 ? argv[1] : "cpu");
    reference = open_device("reference");
    with_each_kernel(device, VKB_OP_GATE, 0, gate, NULL);
    with_each_kernel(device, VKB_OP_NORM, 0, norms, NULL);
    with_each_kernel(device, VKB_OP_LINEAR, 0, linears, NULL);
    for (uint32_t dtype = VKB_F32; dtype <= VKB_F16; dtype++) with_each_kernel(device, VKB_OP_LINEAR_MAX, 0, linear_max, &dtype);
    with_each_kernel(device, VKB_OP_ROTATE, 0, rotate, NULL);
    rotate_limit(device);
    for (uint32_t i = 0; i < COUNT(shapes); i += stride(device)) with_each_kernel(device, VKB_OP_ATTENTION, shapes[i].size, attention, &i);
    vkb_device_close(device);
    vkb_device_close(reference);
    return test_end();
}
