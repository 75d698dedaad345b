/*
 * ATTENTION against the reference, with every kernel: packed sequences of many lengths, head sizes from 1 to 256, peaked and flat scores;
 * and that a sequence's result does not depend on what is packed beside it.
 *
 * The bound: a score may be off by 4·√d·2⁻²⁴·‖q‖·‖k‖·scale and a few roundings; a weight of the softmax by twice that, relatively; the
 * result by that times the greatest value, and a few roundings more.
 */
#include <math.h>

#include "../vk_force.h"
#include "kernels.h"

static const uint32_t head_sizes[] = {1, 2, 3, 7, 17, 31, 32, 33, 60, 64, 100, 128, 255, 256};
static const uint32_t mixed[] = {1, 2, 3, 7, 17, 31, 33, 100, 64, 65, 5};
static const double unit = 1.0 / (1 << 24);
static vkb_device *reference;

static double greatest_norm(const float *x, uint32_t rows, uint32_t stride, uint32_t n) {
    double top = 0;
    for (uint32_t r = 0; r < rows; r++) top = fmax(top, norm_of(x + (size_t)r * stride, n));
    return top;
}

static double bound_of(const fixture *f, const vkb_op *op) {
    uint32_t width = f->values[op->input].width, hidden = width / 3, d = hidden / op->heads;
    const float *x = f->known[op->input];
    double bound = 0;
    for (uint32_t h = 0; h < op->heads; h++) {
        double q = greatest_norm(x + h * d, f->tokens, width, d), k = greatest_norm(x + hidden + h * d, f->tokens, width, d), v = 0;
        for (uint32_t r = 0; r < f->tokens; r++) v = fmax(v, greatest(x + (size_t)r * width + 2 * hidden + h * d, d));
        double score = q * k * (double)op->scale;
        bound = fmax(bound, v * (2 * (4 * sqrt(d) * unit * score + 4 * unit * score) + 40 * unit));
    }
    return bound;
}

static void add_attention(fixture *f, uint32_t heads, uint32_t head_size, float peak) {
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_ATTENTION;
    op.input = fixture_input(f, 3 * heads * head_size, 1);
    op.heads = heads;
    op.scale = peak / sqrtf((float)head_size);
    fixture_op(f, op, VKB_PER_TOKEN, heads * head_size);
}

static void compare(const fixture *f, vkb_device *device, const char *kernel) {
    results got, want;
    if (!fixture_run(f, reference, &want, "reference")) return;
    if (fixture_run(f, device, &got, kernel)) {
        for (uint32_t o = 0; o < f->output_count; o++) {
            const vkb_op *op = &f->ops[2 * o + 1]; /* each has its EMBED before it */
            uint32_t hidden = f->values[op->output].width;
            char about[128];
            snprintf(about, sizeof about, "%s: %u tokens, %u heads of %u", kernel, f->tokens, op->heads, hidden / op->heads);
            check_near(got.data[o], want.data[o], NULL, (float)bound_of(f, op), f->tokens, hidden, about);
        }
        results_free(&got);
    }
    results_free(&want);
}

/* `user`: the head size. One program: some numbers of heads, flat scores and peaked ones. */
static void shapes(vkb_device *device, const char *kernel, void *user) {
    uint32_t d = *(const uint32_t *)user;
    fixture f;
    fixture_begin(&f, mixed, COUNT(mixed), d);
    add_attention(&f, 1, d, 1);
    add_attention(&f, 3, d, 8);
    if (d <= 33) add_attention(&f, 5, d, 1);
    compare(&f, device, kernel);
    fixture_end(&f);
    if (d != 32 && d != 7) return;
    static const uint32_t single[] = {257};
    fixture_begin(&f, single, 1, d);
    add_attention(&f, 2, d, 2);
    compare(&f, device, kernel);
    fixture_end(&f);
}

/* Each sequence alone gives what it gave among the others. */
static void neighbours(vkb_device *device, const char *kernel, void *user) {
    (void)user;
    fixture f;
    fixture_begin(&f, mixed, COUNT(mixed), 5);
    add_attention(&f, 2, 20, 4);
    results all, one;
    if (fixture_run(&f, device, &all, kernel)) {
        for (uint32_t b = 0; b < f.sequences; b++) {
            fixture alone = f;
            uint32_t first = f.cu_seqlens[b], cu_seqlens[2] = {0, f.cu_seqlens[b + 1] - first};
            alone.tokens = cu_seqlens[1];
            alone.sequences = 1;
            alone.cu_seqlens = cu_seqlens;
            alone.ids = f.ids + first;
            if (!fixture_run(&alone, device, &one, kernel)) continue;
            check_near(one.data[0], all.data[0] + (size_t)first * 40, NULL, 1e-6f, alone.tokens, 40, kernel);
            results_free(&one);
        }
        results_free(&all);
    }
    fixture_end(&f);
}

/* Scores of ±10⁴ and of 0 give weights of 0 and 1 or equal ones, never NaN. */
static void extremes(vkb_device *device, const char *kernel, void *user) {
    (void)user;
    static const float scales[] = {0, 100};
    for (uint32_t i = 0; i < COUNT(scales); i++) {
        fixture f;
        fixture_begin(&f, mixed, COUNT(mixed), 9);
        vkb_op op = VKB_OP_INIT;
        op.kind = VKB_OP_ATTENTION;
        op.input = fixture_input(&f, 3 * 16, scales[i]);
        op.heads = 1;
        op.scale = 1;
        fixture_op(&f, op, VKB_PER_TOKEN, 16);
        results r;
        if (fixture_run(&f, device, &r, kernel)) {
            for (uint32_t t = 0; t < f.tokens * 16; t++)
                CHECK(vkb_is_finite(r.data[0][t]) && fabsf(r.data[0][t]) <= 1.0001f * scales[i], "%s: element %u is %g", kernel, t,
                      (double)r.data[0][t]);
            results_free(&r);
        }
        fixture_end(&f);
    }
}

int main(int argc, char **argv) {
    vkb_device *device = open_device(argc > 1 ? argv[1] : "cpu");
    reference = open_device("reference");
    for (uint32_t i = 0; i < COUNT(head_sizes); i++) {
        uint32_t d = head_sizes[i], rows = with_each_kernel(device, VKB_OP_ATTENTION, d, shapes, &d);
        CHECK(device->info.kind > VKB_DEVICE_SOFTWARE || rows >= 1, "head size %u: %u kernels", d, rows);
    }
    with_each_kernel(device, VKB_OP_ATTENTION, 20, neighbours, NULL);
    with_each_kernel(device, VKB_OP_ATTENTION, 16, extremes, NULL);
    vkb_device_close(device);
    vkb_device_close(reference);
    return test_end();
}
