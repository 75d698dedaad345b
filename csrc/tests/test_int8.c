/*
 * Weights stored as int8: the reference against the definition in vkbert.h, a device against the reference, and what putting them refuses.
 * Integer sums are exact, so that a device may be off by the rounding of the last steps alone.
 */
#include <math.h>

#include "../vk_force.h"
#include "../vk_internal.h"
#include "fixture.h"

static vkb_device *reference;
static const char *only = ""; /* kernels whose names have this */
static const double unit = 1.0 / (1 << 24);

/* q of the numbers x, as doubles; returns the scale. Halves are rare enough not to matter: the numbers are random. */
static double quantized(const float *x, uint32_t n, vkb_i8_range range, double *q) {
    double size = greatest(x, n), most = 0, least = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (x[i] > most) most = x[i];
        if (x[i] < least) least = x[i];
    }
    if (range.spread) size = most - least;
    for (uint32_t i = 0; i < n; i++) q[i] = size > 0 ? rint(x[i] * (range.most / size)) : 0;
    return size / range.most;
}

static uint32_t add_linear(fixture *f, uint32_t input, uint32_t width, bool plain) {
    uint32_t k = f->values[input].width;
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_LINEAR;
    op.input = input;
    f->dtype = VKB_I8;
    op.weight = fixture_tensor(f, width, k, VKB_LAYOUT_LINEAR, 2 / sqrtf((float)k));
    f->dtype = VKB_F32;
    if (!plain) {
        op.bias = fixture_vector(f, width, 1);
        op.activation = VKB_ACT_GELU;
        op.residual = fixture_input(f, width, 1);
    }
    return fixture_op(f, op, VKB_PER_TOKEN, width);
}

/* x·Wᵀ as vkbert.h has it. A step of q may fall the other way where f32 and f64 round differently: that is a 127th of both maxima. */
static void definition(void) {
    const uint32_t rows = 9, k = 77, outputs = 21;
    fixture f;
    fixture_begin(&f, &rows, 1, 11);
    uint32_t x = fixture_input(&f, k, 3);
    add_linear(&f, x, outputs, true);
    results got;
    if (fixture_run(&f, reference, &got, "definition")) {
        double q[77], w[77];
        const float *data = f.data[f.ops[1].weight];
        uint32_t off = 0;
        for (uint32_t r = 0; r < rows; r++)
            for (uint32_t c = 0; c < outputs; c++) {
                double sum = 0, scale = quantized(f.known[x] + r * k, k, reference->i8_inputs, q) *
                                        quantized(data + c * k, k, reference->i8_weights, w);
                for (uint32_t i = 0; i < k; i++) sum += q[i] * w[i];
                double error = fabs(got.data[0][r * outputs + c] - sum * scale);
                off += error > 4 * unit * fabs(sum * scale) + 1e-9;
                CHECK(error <= 127 * scale + 1e-6, "[%u, %u] is %.9g, want %.9g", r, c, (double)got.data[0][r * outputs + c], sum * scale);
            }
        CHECK(off <= rows * outputs / 20, "%u of %u differ", off, rows * outputs);
        results_free(&got);
    }
    fixture_end(&f);
}

static const uint32_t widths[] = {1, 3, 16, 17, 31, 64, 257};

/*
 * The device's results against the reference's. Vulkan's division may be off by a few last places, so that an input that lies about halfway
 * between two steps may fall the other way: that is one step of it times a weight, max|x|/127·max|w|, in a few rows.
 */
static void compare(const fixture *f, vkb_device *device, const char *kernel, uint32_t rows, uint32_t k) {
    results got, want;
    if (!fixture_run(f, reference, &want, "reference")) return;
    if (fixture_run(f, device, &got, kernel)) {
        bool vulkan = device->info.kind <= VKB_DEVICE_SOFTWARE;
        double step = 2.0 / 127 * 2 / sqrt(k);
        for (uint32_t i = 0; i < f->output_count; i++) {
            uint32_t width = f->values[f->outputs[i]].width, off = 0;
            char about[96];
            snprintf(about, sizeof about, "%s, %u × %u × %u", kernel, rows, width, k);
            double most = greatest(want.data[i], (uint64_t)rows * width);
            double bound = f->activations == VKB_F16 ? most / (1 << 11) + 1e-4 : 2e-7 + 4 * unit * (most + 2);
            for (uint32_t r = 0; r < rows; r++) {
                bool row_off = false;
                for (uint32_t c = 0; c < width; c++)
                    row_off = row_off || fabs((double)got.data[i][r * width + c] - want.data[i][r * width + c]) > bound;
                off += row_off;
            }
            CHECK(off <= (vulkan ? (rows + 15) / 16 : 0), "%s: %u rows differ by more than %g", about, off, bound);
            check_near(got.data[i], want.data[i], NULL, (float)(bound + (vulkan ? 1.2 * step : 0)), rows, width, about);
        }
        results_free(&got);
    }
    results_free(&want);
}

static void one_shape(vkb_device *device, const char *kernel, uint32_t rows, uint32_t k, uint32_t values) {
    fixture f;
    fixture_begin(&f, &rows, 1, rows * 1000 + k);
    f.activations = values;
    uint32_t x = fixture_input(&f, k, 2);
    for (uint32_t i = 0; i < rows * k && values == VKB_F16; i++) f.data[0][i] = vkb_f16_to_f32(vkb_f32_to_f16(f.data[0][i]));
    if (rows > 2) memset(f.data[0] + k, 0, k * sizeof(float)); /* a row of zeros */
    for (uint32_t i = 0; i < COUNT(widths); i++) add_linear(&f, x, widths[i], i % 2);
    compare(&f, device, kernel, rows, k);
    fixture_end(&f);
}

static void shapes(vkb_device *device, const char *about, uint32_t values) {
    static const uint32_t rows_and_k[][2] = {{1, 1},    {2, 257}, {3, 33},   {7, 100},   {17, 31},
                                             {49, 255}, {100, 3}, {257, 64}, {130, 384}, {16, 1536}};
    for (uint32_t s = 0; s < COUNT(rows_and_k); s++) one_shape(device, about, rows_and_k[s][0], rows_and_k[s][1], values);
}

/* One of the kernels for products in int8, or for making values int8, wherever it can be taken. */
static void each_kernel(vkb_device *device, const vkb_kernel *kernel) {
    static const uint32_t rows_and_k[][2] = {{3, 33}, {49, 255}, {130, 384}, {300, 1000}};
    vkb_task task = {
        .kind = kernel->kind, .weights = kernel->kind == VKB_KERNEL_QUANTIZE ? 0 : VKB_WEIGHTS_I8, .inputs = 384, .outputs = 384};
    if (!strstr(kernel->name, only)) return;
    if ((kernel->kind != VKB_OP_LINEAR || !kernel->weights) && kernel->kind != VKB_KERNEL_QUANTIZE) return;
    if (kernel->values) task.values = VKB_VALUES_F16;
    if (!vkb_kernel_fits(kernel, &((const vkb_vk_device *)device)->abilities, &task)) return;
    vkb_kernel_force(kernel);
    for (uint32_t s = 0; s < COUNT(rows_and_k); s++) {
        task.inputs = task.outputs = (uint32_t)vkb_align_up(rows_and_k[s][1], VKB_COLUMN_ALIGN);
        if (!vkb_kernel_fits(kernel, &((const vkb_vk_device *)device)->abilities, &task)) continue;
        one_shape(device, kernel->name, rows_and_k[s][0], rows_and_k[s][1], s % 2 || kernel->values ? VKB_F16 : VKB_F32);
    }
    vkb_kernel_force(NULL);
    printf("%s\n", kernel->name);
}

/* The self-test finds a right kernel right, whatever the width: values in f16 cross halves of steps that the reference's do not. */
static void self_tests(vkb_device *base, const vkb_kernel *kernel) {
    static const uint32_t sizes[] = {16, 64, 96, 256, 384, 600};
    vkb_vk_device *device = (vkb_vk_device *)base;
    for (uint32_t i = 0; i < COUNT(sizes) && kernel->kind == VKB_KERNEL_QUANTIZE; i++) {
        vkb_vk_usage usage = {.op = &(vkb_op)VKB_OP_INIT, .activations = VKB_F16, .width = sizes[i]};
        usage.task = (vkb_task){.kind = kernel->kind, .values = VKB_VALUES_F16};
        usage.task.outputs = (uint32_t)vkb_align_up(sizes[i], VKB_COLUMN_ALIGN);
        char reason[160] = "";
        vkb_error e = {0};
        if (!vkb_kernel_fits(kernel, &device->abilities, &usage.task)) continue;
        CHECK(vkb_vk_selftest(device, kernel, &usage, reason, sizeof reason, &e) == VKB_OK && !*reason, "%s, %u wide: %s%s", kernel->name,
              sizes[i], reason, e.message);
    }
}

/* The least cosine of rows of a with those of b. */
static double least_cosine(const float *a, const float *b, uint64_t rows, uint32_t width) {
    double least = 1;
    for (uint64_t r = 0; r < rows; r++, a += width, b += width) {
        double dot = 0;
        for (uint32_t i = 0; i < width; i++) dot += (double)a[i] * b[i];
        double size = norm_of(a, width) * norm_of(b, width);
        if (size > 0 && dot / size < least) least = dot / size;
    }
    return least;
}

/* Two feed-forward networks, as they follow one another in an encoder, and a LINEAR_MAX: what steps hand on to one another in int8, the
   first's inner values and the norms' results, comes out in the second. Of a size that kernels for large tiles take, or an odd one. */
static void network(vkb_device *device, uint32_t seed, uint32_t width, uint32_t inner) {
    uint32_t lengths[6], random = seed;
    for (uint32_t b = 0; b < COUNT(lengths); b++) {
        random = random * 1664525u + 1013904223u;
        lengths[b] = 1 + (random >> 16) % (seed % 2 ? 9 : 300);
    }
    fixture f;
    fixture_begin(&f, lengths, COUNT(lengths), seed);
    f.activations = VKB_F16;
    uint32_t x = fixture_input(&f, width, 1);
    for (uint32_t layer = 0; layer < 2; layer++) {
        vkb_op op = VKB_OP_INIT;
        op.kind = VKB_OP_LINEAR;
        op.input = x;
        op.activation = VKB_ACT_GELU;
        f.dtype = VKB_I8;
        op.weight = fixture_tensor(&f, inner, width, VKB_LAYOUT_LINEAR, 3 / sqrtf((float)width));
        op.bias = fixture_vector(&f, inner, 1);
        op.output = fixture_value(&f, VKB_PER_TOKEN, inner);
        f.ops[f.op_count++] = op;
        op.activation = VKB_ACT_NONE;
        op.input = op.output;
        op.residual = x;
        op.weight = fixture_tensor(&f, width, inner, VKB_LAYOUT_LINEAR, 3 / sqrtf((float)inner));
        op.bias = fixture_vector(&f, width, 1);
        op.norm = VKB_NORM_LAYER;
        op.norm_eps = 1e-5f;
        x = fixture_op(&f, op, VKB_PER_TOKEN, width);
    }
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_LINEAR_MAX;
    op.input = x;
    op.weight = fixture_tensor(&f, 150, width, VKB_LAYOUT_LINEAR, 1);
    op.bias = fixture_vector(&f, 150, 1);
    fixture_op(&f, op, VKB_PER_SEQUENCE, 150);
    results got, want;
    if (fixture_run(&f, reference, &want, "reference")) {
        if (fixture_run(&f, device, &got, "network")) {
            for (uint32_t i = 0; i < f.output_count; i++) {
                bool tokens = f.values[f.outputs[i]].scope == VKB_PER_TOKEN;
                double cosine = least_cosine(got.data[i], want.data[i], tokens ? f.tokens : f.sequences, f.values[f.outputs[i]].width);
                CHECK(cosine >= 0.995, "seed %u, %u and %u wide: output %u has a row whose cosine is %.6f", seed, width, inner, i, cosine);
            }
            results_free(&got);
        }
        results_free(&want);
    }
    fixture_end(&f);
}

/* The same whether rows come at once or in pieces, in whatever order of rows; what is not put is zero. */
static void pieces(vkb_device *device) {
    const uint32_t rows = 3, k = 50, outputs = 7;
    fixture f;
    fixture_begin(&f, &rows, 1, 5);
    uint32_t x = fixture_input(&f, k, 1);
    add_linear(&f, x, outputs, true);
    uint32_t weight = f.ops[1].weight;
    float *data = f.data[weight];
    memset(data, 0, k * sizeof *data);                     /* row 0 is not put */
    memset(data + 6 * k + 30, 0, (k - 30) * sizeof *data); /* row 6 in part */
    results want, got;
    vkb_error e = {0};
    vkb_weights *w = NULL;
    vkb_program *p = NULL;
    REQUIRE(fixture_run(&f, device, &want, "at once"), "no result");
    REQUIRE(vkb_weights_create(device, f.tensors, f.tensor_count, &w, &e) == VKB_OK, "%s", e.message);
    CHECK(vkb_weights_put(w, 0, VKB_F32, 0, f.data[0], rows * k, &e) == VKB_OK, "%s", e.message);
    for (uint32_t first = 3 * k, n; first < 6 * k + 30; first += n) { /* rows 3, 4, 5 and the beginning of 6 in odd pieces */
        n = 6 * k + 30 - first < 37 ? 6 * k + 30 - first : 37;
        CHECK(vkb_weights_put(w, weight, VKB_F32, first, data + first, n, &e) == VKB_OK, "%s", e.message);
    }
    CHECK(vkb_weights_put(w, weight, VKB_F32, k, data + k, k, &e) == VKB_ERROR_INVALID_ARGUMENT && strstr(e.message, "order"),
          "row 1 amid row 6: %s", e.message);
    vkb_weights_destroy(w);

    REQUIRE(vkb_weights_create(device, f.tensors, f.tensor_count, &w, &e) == VKB_OK, "%s", e.message);
    CHECK(vkb_weights_put(w, 0, VKB_F32, 0, f.data[0], rows * k, &e) == VKB_OK, "%s", e.message);
    CHECK(vkb_weights_put(w, weight, VKB_F32, 3 * k + 1, data, 1, &e) == VKB_ERROR_INVALID_ARGUMENT && strstr(e.message, "order"),
          "a row from its middle: %s", e.message);
    CHECK(vkb_weights_put(w, weight, VKB_I8, 0, data, 1, &e) == VKB_ERROR_INVALID_ARGUMENT && strstr(e.message, "dtype"), "int8: %s",
          e.message);
    CHECK(vkb_weights_put(w, weight, VKB_F32, 3 * k, data + 3 * k, 3 * k, &e) == VKB_OK, "%s", e.message);
    CHECK(vkb_weights_put(w, weight, VKB_F32, k, data + k, 2 * k, &e) == VKB_OK, "%s", e.message);
    CHECK(vkb_weights_put(w, weight, VKB_F32, 6 * k, data + 6 * k, 30, &e) == VKB_OK, "%s", e.message);
    vkb_weights_info info = {.struct_size = sizeof info};
    REQUIRE(vkb_weights_seal(w, &info, &e) == VKB_OK && fixture_program(&f, w, &p, &e) == VKB_OK, "%s", e.message);
    CHECK(info.bytes >= outputs * k && info.non_finite == 0, "%llu bytes", (unsigned long long)info.bytes);
    CHECK(fixture_execute(&f, p, &got, &e) == VKB_OK, "%s", e.message);
    CHECK(!memcmp(got.data[0], want.data[0], rows * outputs * sizeof(float)), "not what was put at once");
    results_free(&got);
    results_free(&want);
    vkb_program_destroy(p);
    vkb_weights_destroy(w);
    fixture_end(&f);
}

/* A weight or an input that is not finite shows in the result. */
static void not_finite(vkb_device *device) {
    for (uint32_t tensor = 0; tensor < 2; tensor++) {
        const uint32_t rows = 5;
        fixture f;
        fixture_begin(&f, &rows, 1, 7);
        add_linear(&f, fixture_input(&f, 40, 1), 20, true);
        f.data[tensor][43] = tensor ? NAN : INFINITY;
        vkb_error e = {0};
        vkb_weights *w = NULL;
        vkb_program *p = NULL;
        results r;
        REQUIRE(fixture_weights(&f, device, &w, &e) == VKB_OK && fixture_program(&f, w, &p, &e) == VKB_OK, "%s", e.message);
        CHECK(fixture_execute(&f, p, &r, &e) == VKB_ERROR_NOT_FINITE, "tensor %u holds a number that is not finite; no error", tensor);
        results_free(&r);
        vkb_program_destroy(p);
        vkb_weights_destroy(w);
        fixture_end(&f);
    }
}

static void refused(vkb_device *device) {
    static const vkb_tensor bad[] = {
        {3, 5, VKB_LAYOUT_TABLE, VKB_I8}, {1, 5, VKB_LAYOUT_VECTOR, VKB_I8}, {3, (1 << 17) + 1, VKB_LAYOUT_LINEAR, VKB_I8}};
    vkb_error e = {0};
    vkb_weights *w = NULL;
    for (uint32_t i = 0; i < COUNT(bad); i++)
        CHECK(vkb_weights_create(device, &bad[i], 1, &w, &e) == VKB_ERROR_INVALID_ARGUMENT && !w, "tensor %u: %s", i, e.message);
}

int main(int argc, char **argv) {
    vkb_device *device = open_device(argc > 1 ? argv[1] : "cpu");
    if (argc > 2) only = argv[2];
    reference = open_device("reference");
    refused(device);
    definition();
    reference->i8_weights = device->i8_weights; /* from here on it takes the integers that the device does */
    reference->i8_inputs = device->i8_inputs;
    definition();
    bool vulkan = device->info.kind <= VKB_DEVICE_SOFTWARE;
    shapes(device, "int8", VKB_F32);
    if (vulkan) shapes(device, "int8 and f16", VKB_F16);
    for (uint32_t i = 0; i < vkb_kernel_count && vulkan; i++) each_kernel(device, &vkb_kernels[i]);
    for (uint32_t i = 0; i < vkb_kernel_count && vulkan; i++) self_tests(device, &vkb_kernels[i]);
    for (uint32_t seed = 1; seed <= 4; seed++) network(device, seed, 128, 512);
    for (uint32_t seed = 5; seed <= 8; seed++) network(device, seed, 100, 300);
    pieces(device);
    not_finite(device);
    vkb_device_close(device);
    vkb_device_close(reference);
    return test_end();
}
