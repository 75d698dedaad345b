/* EMBED, NORM, POOL and NORMALIZE against the reference, with every kernel, over odd widths and lengths; and what they do at the edges. */
#include <math.h>

#include "kernels.h"

static const uint32_t widths[] = {1, 2, 3, 7, 17, 31, 33, 60, 100, 255, 257, 384};
static const uint32_t mixed[] = {1, 2, 3, 7, 17, 31, 33, 100, 1};
static vkb_device *reference;

static void compare(const fixture *f, vkb_device *device, const char *kernel, const float *bounds) {
    results got, want;
    if (!fixture_run(f, reference, &want, "reference")) return;
    if (fixture_run(f, device, &got, kernel)) {
        for (uint32_t o = 0; o < f->output_count; o++) {
            const vkb_value *v = &f->values[f->outputs[o]];
            char about[128];
            snprintf(about, sizeof about, "%s: output %u of width %u", kernel, o, v->width);
            check_near(got.data[o], want.data[o], NULL, bounds[o], v->scope == VKB_PER_TOKEN ? f->tokens : f->sequences, v->width, about);
        }
        results_free(&got);
    }
    results_free(&want);
}

/* ---- EMBED ---- */

static void add_embed(fixture *f, uint32_t width, uint32_t tables, bool norm) {
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_EMBED;
    op.scale = 1.25f;
    op.weight = fixture_tensor(f, f->tokens, width, VKB_LAYOUT_TABLE, 1);
    if (tables & 1) op.position_table = fixture_tensor(f, 120, width, VKB_LAYOUT_TABLE, 1);
    if (tables & 2) op.type_table = fixture_tensor(f, 2, width, VKB_LAYOUT_TABLE, 1);
    if (norm) {
        op.norm = VKB_NORM_LAYER;
        op.norm_eps = 1e-3f;
        op.norm_weight = width % 2 ? fixture_vector(f, width, 1) : VKB_NONE;
        op.norm_bias = fixture_vector(f, width, 1);
    }
    fixture_op(f, op, VKB_PER_TOKEN, width);
}

static void embed(vkb_device *device, const char *kernel, void *user) {
    uint32_t dtype = *(const uint32_t *)user;
    for (uint32_t positions = 0; positions < 2; positions++) {
        fixture f;
        float bounds[FIXTURE_MAX];
        fixture_begin(&f, mixed, COUNT(mixed), 1 + dtype);
        f.dtype = dtype;
        for (uint32_t i = 0; i < COUNT(widths); i++) add_embed(&f, widths[i], i % 4, i % 3 != 0);
        for (uint32_t o = 0; o < f.output_count; o++)
            bounds[o] = f.ops[o].norm ? 3e-5f : 5e-7f; /* a row of three may have little variance */
        if (positions) {                               /* not the default ones; ids in another order */
            f.positions = calloc(f.tokens, sizeof *f.positions);
            f.type_ids = calloc(f.tokens, sizeof *f.type_ids);
            REQUIRE(f.positions && f.type_ids, "out of memory");
            for (uint32_t t = 0; t < f.tokens; t++) {
                f.positions[t] = (int32_t)(t * 7 % 120);
                f.type_ids[t] = (int32_t)(t / 3 % 2);
                f.ids[t] = (int32_t)((t * 31 + 5) % f.tokens);
            }
        }
        compare(&f, device, kernel, bounds);
        fixture_end(&f);
    }
}

/* ---- NORM ---- */

static void norm(vkb_device *device, const char *kernel, void *user) {
    (void)user;
    fixture f;
    float bounds[FIXTURE_MAX];
    fixture_begin(&f, mixed, COUNT(mixed), 2);
    for (uint32_t i = 0; i < COUNT(widths); i++) {
        vkb_op op = VKB_OP_INIT;
        op.kind = VKB_OP_NORM;
        op.input = fixture_input(&f, widths[i], 3);
        if (i % 2) op.residual = fixture_input(&f, widths[i], 1);
        op.norm = VKB_NORM_LAYER;
        op.norm_eps = i % 3 ? 1e-12f : 1e-1f;
        op.norm_weight = i % 4 ? fixture_vector(&f, widths[i], 2) : VKB_NONE;
        op.norm_bias = i % 4 < 2 ? VKB_NONE : fixture_vector(&f, widths[i], 1);
        bounds[f.output_count] = widths[i] < 17 ? 2e-3f : 1e-5f; /* of two or three elements the variance may be next to nothing */
        fixture_op(&f, op, VKB_PER_TOKEN, widths[i]);
    }
    compare(&f, device, kernel, bounds);
    fixture_end(&f);
}

/* A row of equal elements has no variance: the result is the bias, whatever eps; a mean far from zero must not drown the rest. */
static void norm_edges(vkb_device *device, const char *kernel, void *user) {
    (void)user;
    const uint32_t rows = 5;
    fixture f;
    fixture_begin(&f, &rows, 1, 3);
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_NORM;
    op.input = fixture_input(&f, 64, 1);
    op.norm = VKB_NORM_LAYER;
    op.norm_eps = 1e-12f;
    op.norm_bias = fixture_vector(&f, 64, 1);
    for (uint32_t c = 0; c < 64; c++) {
        f.data[0][c] = 0;
        f.data[0][64 + c] = 2; /* sums of powers of two are exact */
        f.data[0][2 * 64 + c] = 1000 + (float)(c % 2);
    }
    fixture_op(&f, op, VKB_PER_TOKEN, 64);
    results r;
    if (fixture_run(&f, device, &r, kernel)) {
        for (uint32_t c = 0; c < 64; c++) {
            float bias = f.data[op.norm_bias][c], far = bias + (c % 2 ? 1 : -1);
            CHECK(fabsf(r.data[0][c] - bias) < 1e-6f && fabsf(r.data[0][64 + c] - bias) < 1e-6f, "%s: %g, %g, want %g", kernel,
                  (double)r.data[0][c], (double)r.data[0][64 + c], (double)bias);
            CHECK(fabsf(r.data[0][2 * 64 + c] - far) < 1e-5f, "%s: %g, want %g", kernel, (double)r.data[0][2 * 64 + c], (double)far);
        }
        results_free(&r);
    }
    fixture_end(&f);
}

/* ---- POOL ---- */

static const char *const pool_names[] = {"cls", "max", "mean", "mean_sqrt_len", "weighted_mean", "last"};

/* All six modes side by side in one output, from the given starts on. */
static void pool_from(vkb_device *device, const char *kernel, uint32_t width, const uint32_t *starts) {
    fixture f;
    fixture_begin(&f, mixed, COUNT(mixed), width);
    uint32_t x = fixture_input(&f, width, 2), out = fixture_value(&f, VKB_PER_SEQUENCE, width * (uint32_t)COUNT(pool_names));
    if (starts) {
        f.pool_start = calloc(f.sequences, sizeof *f.pool_start);
        REQUIRE(f.pool_start, "out of memory");
        memcpy(f.pool_start, starts, f.sequences * sizeof *starts);
    }
    for (uint32_t mode = 0; mode < COUNT(pool_names); mode++) {
        vkb_op op = VKB_OP_INIT;
        op.kind = VKB_OP_POOL;
        op.input = x;
        op.output = out;
        op.pool = mode;
        op.column = mode * width;
        f.ops[f.op_count++] = op;
    }
    fixture_output(&f, out);
    compare(&f, device, kernel, &(float){2e-5f}); /* the sum of 100 rows of up to 2, over √rows */
    fixture_end(&f);
}

static void pool(vkb_device *device, const char *kernel, void *user) {
    (void)user;
    static const uint32_t starts[] = {0, 1, 2, 7, 3, 30, 40, 99, 1}; /* some leave one row, some none, one is past the end */
    for (uint32_t i = 0; i < COUNT(widths); i += 2) {
        pool_from(device, kernel, widths[i], NULL);
        pool_from(device, kernel, widths[i], starts);
    }
    pool_from(device, kernel, 1024, starts); /* on the CPU such rows are a cache line apart */
}

/* What no rows give, by definition and not by comparison. */
static void pool_nothing(vkb_device *device, const char *kernel, void *user) {
    (void)user;
    for (uint32_t mode = 0; mode < COUNT(pool_names); mode++) {
        static const uint32_t lengths[] = {3, 2};
        fixture f;
        fixture_begin(&f, lengths, 2, 11);
        f.pool_start = calloc(2, sizeof *f.pool_start);
        REQUIRE(f.pool_start, "out of memory");
        f.pool_start[0] = 3;
        vkb_op op = VKB_OP_INIT;
        op.kind = VKB_OP_POOL;
        op.input = fixture_input(&f, 5, 1);
        op.pool = mode;
        fixture_op(&f, op, VKB_PER_SEQUENCE, 5);
        results r;
        if (fixture_run(&f, device, &r, kernel)) {
            for (uint32_t c = 0; c < 5; c++)
                CHECK(r.data[0][c] == 0, "%s: %s of no rows gives %g", kernel, pool_names[mode], (double)r.data[0][c]);
            CHECK(r.data[0][5] != 0, "%s: %s of the next sequence gives 0", kernel, pool_names[mode]);
            results_free(&r);
        }
        fixture_end(&f);
    }
}

/* ---- NORMALIZE ---- */

static void normalize(vkb_device *device, const char *kernel, void *user) {
    (void)user;
    static const float scales[] = {1, 0, 1e-30f, 1e30f, 1e-14f, 1e-6f, 3e-13f};
    fixture f;
    float bounds[FIXTURE_MAX];
    fixture_begin(&f, mixed, COUNT(mixed), 4);
    for (uint32_t i = 0; i < COUNT(widths); i++) {
        vkb_op op = VKB_OP_INIT;
        op.kind = VKB_OP_NORMALIZE;
        op.input = fixture_input(&f, widths[i], 1);
        float *x = f.data[f.ops[f.op_count - 1].weight];
        for (uint32_t r = 0; r < f.tokens; r++)
            for (uint32_t c = 0; c < widths[i]; c++) x[r * widths[i] + c] *= scales[r % COUNT(scales)];
        bounds[f.output_count] = 4e-7f;
        fixture_op(&f, op, VKB_PER_TOKEN, widths[i]);
    }
    compare(&f, device, kernel, bounds);
    results r;
    if (fixture_run(&f, device, &r, kernel)) {
        for (uint32_t row = 0; row < f.tokens; row++) {
            double length = norm_of(r.data[11] + (size_t)row * 384, 384); /* the width of 384 */
            float scale = scales[row % COUNT(scales)];
            if (scale == 0) CHECK(length == 0, "%s: a row of zeros gives length %g", kernel, length);
            if (scale >= 1e-6f) CHECK(fabs(length - 1) < 1e-6, "%s: row %u has length %.9g", kernel, row, length);
        }
        results_free(&r);
    }
    fixture_end(&f);
}

/* What a kernel writes past a value's width must not reach the next one: sigmoid(0) is not 0, and NORMALIZE sums over whole rows. */
static void padding(vkb_device *device, const char *kernel, void *user) {
    (void)user;
    fixture f;
    fixture_begin(&f, mixed, COUNT(mixed), 6);
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_LINEAR;
    op.input = fixture_input(&f, 17, 1);
    op.weight = fixture_tensor(&f, 33, 17, VKB_LAYOUT_LINEAR, 0.3f);
    op.activation = VKB_ACT_SIGMOID;
    uint32_t value = fixture_op(&f, op, VKB_PER_TOKEN, 33);
    op = (vkb_op)VKB_OP_INIT;
    op.kind = VKB_OP_NORMALIZE;
    op.input = value;
    fixture_op(&f, op, VKB_PER_TOKEN, 33);
    compare(&f, device, kernel, (float[]){1e-6f, 1e-6f});
    fixture_end(&f);
}

int main(int argc, char **argv) {
    vkb_device *device = open_device(argc > 1 ? argv[1] : "cpu");
    reference = open_device("reference");
    bool vulkan = device->info.kind <= VKB_DEVICE_SOFTWARE;
    for (uint32_t dtype = VKB_F32; dtype <= VKB_F16; dtype++)
        CHECK(with_each_kernel(device, VKB_OP_EMBED, 0, embed, &dtype) || !vulkan, "no kernel for EMBED");
    CHECK(with_each_kernel(device, VKB_OP_NORM, 0, norm, NULL) || !vulkan, "no kernel for NORM");
    CHECK(with_each_kernel(device, VKB_OP_POOL, 0, pool, NULL) || !vulkan, "no kernel for POOL");
    CHECK(with_each_kernel(device, VKB_OP_NORMALIZE, 0, normalize, NULL) || !vulkan, "no kernel for NORMALIZE");
    with_each_kernel(device, VKB_OP_NORM, 0, norm_edges, NULL);
    with_each_kernel(device, VKB_OP_LINEAR, 0, padding, NULL);
    with_each_kernel(device, VKB_OP_POOL, 0, pool_nothing, NULL);
    vkb_device_close(device);
    vkb_device_close(reference);
    return test_end();
}
