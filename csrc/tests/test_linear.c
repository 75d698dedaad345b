/*
 * LINEAR against the reference, with every kernel: odd sizes in every dimension, f32 and f16 weights, all activations, with and without
 * bias, residual and norm. A product may be off by 4·√K·2⁻²⁴·‖x‖·‖w‖.
 */
#include <math.h>

#include "kernels.h"

static const uint32_t sizes[] = {1, 2, 3, 7, 17, 31, 33, 100, 255, 257, 1024};
static const double unit = 1.0 / (1 << 24); /* half a last place of f32 */
static vkb_device *reference;

typedef struct linear {
    uint32_t activation;
    bool bias, residual, norm;
} linear;

/* What bounds the error of element [row, column] before the norm. */
static double product_bound(const fixture *f, const vkb_op *op, uint32_t row, uint32_t column) {
    const vkb_tensor *w = &f->tensors[op->weight];
    double x = norm_of(f->known[op->input] + (size_t)row * w->cols, w->cols),
           y = norm_of(f->data[op->weight] + (size_t)column * w->cols, w->cols);
    double bias = op->bias == VKB_NONE ? 0 : fabs((double)f->data[op->bias][column]);
    double residual = op->residual == VKB_NONE ? 0 : fabs((double)f->known[op->residual][(size_t)row * w->rows + column]);
    double bound = 4 * sqrt(w->cols) * unit * x * y;
    double size = x * y / sqrt(w->cols) + bias;                       /* about the greatest that the activation sees */
    if (op->activation) bound = 1.2 * bound + 2e-7 + 4 * unit * size; /* no activation is steeper than 1.13 */
    return bound + 2 * unit * (size + residual);
}

/* Bounds for the result of `op`; `plain`: the same without its norm, from the reference. */
static void find_bounds(const fixture *f, const vkb_op *op, const float *plain, uint32_t rows, uint32_t cols, float *bounds) {
    for (uint32_t r = 0; r < rows; r++) {
        float *b = bounds + (size_t)r * cols;
        for (uint32_t c = 0; c < cols; c++) b[c] = (float)product_bound(f, op, r, c);
        if (!op->norm) continue;
        double mean = 0, squares = 0, most = greatest(b, cols) + 4 * unit * greatest(plain + (size_t)r * cols, cols);
        for (uint32_t c = 0; c < cols; c++) mean += plain[(size_t)r * cols + c] / (double)cols;
        for (uint32_t c = 0; c < cols; c++) squares += pow(plain[(size_t)r * cols + c] - mean, 2);
        double deviation = sqrt(squares / cols + op->norm_eps);
        for (uint32_t c = 0; c < cols; c++) { /* an error moves the element, the mean and the deviation */
            double y = fabs(plain[(size_t)r * cols + c] - mean) / deviation,
                   w = op->norm_weight == VKB_NONE ? 1 : fabs((double)f->data[op->norm_weight][c]);
            double bias = op->norm_bias == VKB_NONE ? 0 : fabs((double)f->data[op->norm_bias][c]);
            b[c] = (float)(w * (2 + y) * most / deviation + 8 * unit * (w * y + bias) + 1e-30);
        }
    }
}

static uint32_t add_linear(fixture *f, uint32_t input, uint32_t width, linear l) {
    uint32_t k = f->values[input].width;
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_LINEAR;
    op.input = input;
    op.activation = l.activation;
    if (l.residual) op.residual = fixture_input(f, width, 1);
    op.weight = fixture_tensor(f, width, k, VKB_LAYOUT_LINEAR, 2 / sqrtf((float)k));
    if (l.bias) op.bias = fixture_vector(f, width, 1);
    if (l.norm) {
        op.norm = VKB_NORM_LAYER;
        op.norm_eps = 1e-5f;
        op.norm_weight = fixture_vector(f, width, 2);
        op.norm_bias = width % 2 ? fixture_vector(f, width, 1) : VKB_NONE;
    }
    return fixture_op(f, op, VKB_PER_TOKEN, width);
}

/* Ops without a norm beside those with one: the reference's values before the norm. */
static const float *plain_of(const fixture *f, const vkb_op *op, results *scratch) {
    fixture bare = *f;
    bare.ops[op - f->ops].norm = VKB_NORM_NONE;
    bare.ops[op - f->ops].norm_weight = bare.ops[op - f->ops].norm_bias = VKB_NONE;
    bare.ops[op - f->ops].norm_eps = 0;
    bare.output_count = 1;
    bare.outputs[0] = op->output;
    return fixture_run(&bare, reference, scratch, "reference without norm") ? scratch->data[0] : NULL;
}

static void compare(const fixture *f, vkb_device *device, const char *kernel) {
    results got, want;
    char about[128];
    snprintf(about, sizeof about, "%s: %u rows", kernel, f->tokens);
    bool ok = fixture_run(f, reference, &want, "reference");
    if (ok && fixture_run(f, device, &got, about)) {
        for (uint32_t o = 0; o < f->output_count; o++) {
            const vkb_op *op = f->ops;
            while (op->output != f->outputs[o]) op++;
            const vkb_tensor *w = &f->tensors[op->weight];
            float *bounds = calloc((size_t)f->tokens * w->rows, sizeof *bounds);
            REQUIRE(bounds, "out of memory");
            results scratch = {{0}};
            const float *plain = op->norm ? plain_of(f, op, &scratch) : want.data[o];
            if (plain) find_bounds(f, op, plain, f->tokens, w->rows, bounds);
            snprintf(about, sizeof about, "%s: %u × %u × %u, %s, activation %u%s", kernel, f->tokens, w->rows, w->cols,
                     w->dtype == VKB_F16 ? "f16" : "f32", op->activation, op->norm ? ", norm" : "");
            if (plain) check_near(got.data[o], want.data[o], bounds, 0, f->tokens, w->rows, about);
            results_free(&scratch);
            free(bounds);
        }
        results_free(&got);
    }
    if (ok) results_free(&want);
}

/* One batch of rows times all widths. */
static void one_shape(vkb_device *device, const char *kernel, uint32_t rows, uint32_t k, uint32_t dtype) {
    fixture f;
    fixture_begin(&f, &rows, 1, rows * 1000 + k);
    f.dtype = dtype;
    uint32_t x = fixture_input(&f, k, 1);
    for (uint32_t i = 0; i < COUNT(sizes); i++)
        add_linear(
            &f, x, sizes[i],
            (linear){
                .activation = dtype == VKB_F16 ? VKB_ACT_GELU : VKB_ACT_NONE, .bias = i % 2, .residual = i % 3 == 0, .norm = i % 4 == 3});
    compare(&f, device, kernel);
    fixture_end(&f);
}

static void shapes(vkb_device *device, const char *kernel, void *user) {
    static const uint32_t rows_and_k[][2] = {{1, 1},   {2, 257},  {3, 33},  {7, 100},   {17, 31},   {31, 255}, {33, 7},
                                             {100, 3}, {255, 17}, {257, 2}, {257, 257}, {100, 100}, {14, 1024}};
    (void)user;
    for (uint32_t i = 0; i < COUNT(rows_and_k); i++)
        one_shape(device, kernel, rows_and_k[i][0], rows_and_k[i][1], i % 3 == 2 ? VKB_F16 : VKB_F32);
}

/* All activations, far out too: weights are large enough that arguments reach ±60. */
static void activations(vkb_device *device) {
    const uint32_t rows = 33;
    for (uint32_t scale = 1; scale <= 16; scale *= 16) {
        fixture f;
        fixture_begin(&f, &rows, 1, scale);
        uint32_t x = fixture_input(&f, 100, (float)scale);
        for (uint32_t a = VKB_ACT_NONE; a <= VKB_ACT_SIGMOID; a++)
            add_linear(&f, x, 33, (linear){.activation = a, .bias = true, .residual = a % 2});
        compare(&f, device, "activations");
        fixture_end(&f);
    }
}

/* GELU at chosen places, against values of erfc: weight 1, so that the argument is exact. */
static void gelu_exact(vkb_device *device) {
    const uint32_t rows = 2001;
    fixture f;
    fixture_begin(&f, &rows, 1, 1);
    uint32_t x = fixture_input(&f, 1, 1);
    for (uint32_t i = 0; i < rows; i++) f.data[0][i] = ((float)i - 1000) / 100;
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_LINEAR;
    op.input = x;
    op.activation = VKB_ACT_GELU;
    op.weight = fixture_tensor(&f, 1, 1, VKB_LAYOUT_LINEAR, 0);
    f.data[op.weight][0] = 1;
    fixture_op(&f, op, VKB_PER_TOKEN, 1);
    results r;
    if (fixture_run(&f, device, &r, "gelu")) {
        for (uint32_t i = 0; i < rows; i++) {
            double v = f.data[0][i], want = 0.5 * v * erfc(-v / sqrt(2));
            CHECK(fabs(r.data[0][i] - want) <= 2e-7 + unit * fabs(want), "gelu(%g) is %.9g, want %.9g", v, (double)r.data[0][i], want);
        }
        results_free(&r);
    }
    fixture_end(&f);
}

/* Of sequences rather than tokens, as after pooling. */
static void per_sequence(vkb_device *device, const char *kernel, void *user) {
    (void)user;
    static const uint32_t lengths[] = {3, 1, 7, 2, 1, 1, 4};
    fixture f;
    fixture_begin(&f, lengths, COUNT(lengths), 3);
    uint32_t x = fixture_input(&f, 60, 1);
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_POOL;
    op.input = x;
    op.pool = VKB_POOL_MEAN;
    uint32_t pooled = fixture_op(&f, op, VKB_PER_SEQUENCE, 60);
    op = (vkb_op)VKB_OP_INIT;
    op.kind = VKB_OP_LINEAR;
    op.input = pooled;
    op.activation = VKB_ACT_TANH;
    op.weight = fixture_tensor(&f, 33, 60, VKB_LAYOUT_LINEAR, 0.3f);
    op.bias = fixture_vector(&f, 33, 1);
    fixture_op(&f, op, VKB_PER_SEQUENCE, 33);
    results got, want;
    if (fixture_run(&f, reference, &want, "reference")) {
        if (fixture_run(&f, device, &got, kernel)) {
            check_near(got.data[1], want.data[1], NULL, 2e-6f, COUNT(lengths), 33, kernel);
            results_free(&got);
        }
        results_free(&want);
    }
    fixture_end(&f);
}

int main(int argc, char **argv) {
    vkb_device *device = open_device(argc > 1 ? argv[1] : "cpu");
    reference = open_device("reference");
    uint32_t rows = with_each_kernel(device, VKB_OP_LINEAR, 0, shapes, NULL);
    CHECK(device->info.kind > VKB_DEVICE_SOFTWARE || rows >= 4, "%u kernels", rows);
    with_each_kernel(device, VKB_OP_LINEAR, 0, per_sequence, NULL);
    activations(device);
    gelu_exact(device);
    vkb_device_close(device);
    vkb_device_close(reference);
    return test_end();
}
