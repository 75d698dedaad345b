/*
 * Programs whose values per token are f16, against the reference, with every kernel that there is for them: LINEAR in the sizes that each
 * kernel takes, ATTENTION with its options, and the ops on rows. Inputs are numbers of f16, sums are f32: a result may be off by the
 * rounding of what is stored, 2⁻¹¹ of it, and by what f32 arithmetic adds.
 */
#include <math.h>

#include "../vk_force.h"
#include "../vk_internal.h"
#include "kernels.h"

static const uint32_t mixed[] = {1, 2, 3, 7, 17, 31, 33, 100, 64, 65, 5, 129};
static const double unit = 1.0 / (1 << 11);
static vkb_device *device, *reference;
static const char *only = ""; /* kernels whose names have this */

/* Which takes long to compile: there some shapes and options stand for all. */
static bool software(void) { return device->info.kind == VKB_DEVICE_SOFTWARE; }

static void begin(fixture *f, const uint32_t *lengths, uint32_t sequences, uint32_t seed) {
    fixture_begin(f, lengths, sequences, seed);
    f->dtype = VKB_F16;
    f->activations = VKB_F16;
}

/* slack[output]: what an element may be off beside the rounding of the result. */
static void compare(const fixture *f, const char *kernel, const float *slack) {
    results got, want;
    if (!fixture_run(f, reference, &want, "reference")) return;
    if (fixture_run(f, device, &got, kernel)) {
        for (uint32_t o = 0; o < f->output_count; o++) {
            const vkb_value *v = &f->values[f->outputs[o]];
            uint64_t rows = v->scope == VKB_PER_TOKEN ? f->tokens : f->sequences, count = rows * v->width;
            float *bounds = malloc(count * sizeof *bounds);
            REQUIRE(bounds, "out of memory");
            for (uint64_t i = 0; i < count; i++) bounds[i] = (float)(unit * fabs((double)want.data[o][i])) + slack[o];
            char about[160];
            snprintf(about, sizeof about, "%s: f16, output %u of width %u", kernel, o, v->width);
            check_near(got.data[o], want.data[o], bounds, 0, rows, v->width, about);
            free(bounds);
        }
        results_free(&got);
    }
    results_free(&want);
}

/* ---- LINEAR ---- */

static const uint32_t outputs[] = {1, 33, 64, 100, 129, 200, 256, 300, 384, 500};

static void add_linear(fixture *f, uint32_t input, uint32_t width, uint32_t i, float *slack) {
    uint32_t k = f->values[input].width;
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_LINEAR;
    op.input = input;
    op.activation = i % (VKB_ACT_SIGMOID + 1);
    if (i % 3 == 0) {
        op.residual = fixture_input(f, width, 1);
        op.residual_at = i % 2;
    }
    op.weight = fixture_tensor(f, width, k, VKB_LAYOUT_LINEAR, 2 / sqrtf((float)k));
    if (i % 4) op.bias = fixture_vector(f, width, 1);
    if (i % 5 == 3) {
        op.norm = i % 2 ? VKB_NORM_LAYER : VKB_NORM_RMS;
        op.norm_eps = 1e-2f;
        op.norm_weight = fixture_vector(f, width, 1);
        if (i % 3) op.norm_bias = fixture_vector(f, width, 1);
    }
    slack[f->output_count] = op.norm ? 8e-3f : 8e-5f; /* what is normalised has been rounded, the division may be by 0.3; GELU */
    fixture_op(f, op, VKB_PER_TOKEN, width);
}

static vkb_task linear_task(uint32_t outputs, uint32_t inputs, uint32_t mode) {
    bool matrix = ((const vkb_vk_device *)device)->abilities.needs & VKB_NEED_MATRIX;
    return (vkb_task){.kind = VKB_OP_LINEAR,
                      .mode = mode,
                      .weights = matrix ? VKB_WEIGHTS_F16_TILES : VKB_WEIGHTS_F16,
                      .values = VKB_VALUES_F16,
                      .inputs = (uint32_t)vkb_align_up(inputs, VKB_COLUMN_ALIGN),
                      .outputs = (uint32_t)vkb_align_up(outputs, VKB_COLUMN_ALIGN)};
}

/* What of these sizes the kernel takes; all if it is NULL. Returns how many. */
static uint32_t linear_shape(const vkb_kernel *kernel, uint32_t rows, uint32_t inputs) {
    fixture f;
    float slack[FIXTURE_MAX];
    begin(&f, &rows, 1, rows * 1000 + inputs);
    uint32_t x = fixture_input(&f, inputs, 1), n = 0;
    for (uint32_t i = 0; i < COUNT(outputs); i += kernel && software() ? 4 : 1) {
        vkb_task task = linear_task(outputs[i], inputs, (i + rows) % (VKB_ACT_SIGMOID + 1));
        if (kernel && !vkb_kernel_fits(kernel, &((const vkb_vk_device *)device)->abilities, &task)) continue;
        add_linear(&f, x, outputs[i], i + rows, slack);
        n++;
    }
    vkb_kernel_force(kernel);
    if (n) compare(&f, kernel ? kernel->name : "usual", slack);
    vkb_kernel_force(NULL);
    fixture_end(&f);
    return n;
}

static void linear(void) {
    static const uint32_t shapes[][2] = {{1, 1}, {3, 384}, {17, 100}, {64, 128}, {100, 257}, {129, 64}, {130, 768}, {257, 250}};
    for (uint32_t s = 0; s < COUNT(shapes); s++) linear_shape(NULL, shapes[s][0], shapes[s][1]);
    for (uint32_t i = 0; i < vkb_kernel_count && device->info.kind <= VKB_DEVICE_SOFTWARE; i++) {
        uint32_t n = 0;
        if (vkb_kernels[i].kind != VKB_OP_LINEAR || !strstr(vkb_kernels[i].name, only)) continue;
        for (uint32_t s = software(); s < COUNT(shapes); s += software() ? 3 : 1)
            n += linear_shape(&vkb_kernels[i], shapes[s][0], shapes[s][1]);
        if (vkb_kernels[i].functions[0]) n += linear_shape(&vkb_kernels[i], 9001, 384); /* a workgroup makes more than one tile */
        if (n) printf("%s: %u layers\n", vkb_kernels[i].name, n);
    }
}

/* Every norm and residual after a LINEAR, by a kernel that does the norm; by whatever kernels if it is NULL. */
static uint32_t normed_shape(const vkb_kernel *kernel, uint32_t rows, uint32_t inputs, uint32_t width) {
    fixture f;
    float slack[FIXTURE_MAX];
    uint32_t n = 0;
    vkb_task task = linear_task(width, inputs, VKB_ACT_NONE);
    if (kernel && !vkb_kernel_fits(kernel, &((const vkb_vk_device *)device)->abilities, &task)) return 0;
    begin(&f, &rows, 1, rows * 1000 + inputs);
    uint32_t x = fixture_input(&f, inputs, 1), residual = fixture_input(&f, width, 1);
    for (uint32_t norm = VKB_NORM_NONE; norm <= VKB_NORM_RMS; norm++)
        for (uint32_t added = 0; added < 2; added++) {
            vkb_op op = VKB_OP_INIT;
            op.kind = VKB_OP_LINEAR;
            op.input = x;
            op.residual = added ? residual : VKB_NONE;
            op.residual_at = added && norm % 2 ? VKB_RESIDUAL_BEFORE_ACTIVATION : VKB_RESIDUAL_BEFORE_NORM;
            op.weight = fixture_tensor(&f, width, inputs, VKB_LAYOUT_LINEAR, 2 / sqrtf((float)inputs));
            if (n != 2) op.bias = fixture_vector(&f, width, 1);
            op.norm = norm;
            op.norm_eps = norm ? 1e-6f : 0;
            if (norm && n != 3) op.norm_weight = fixture_vector(&f, width, 1);
            if (norm && n != 4) op.norm_bias = fixture_vector(&f, width, 1);
            slack[f.output_count] = !norm ? 8e-5f : kernel ? 1e-4f : 8e-3f; /* with a kernel nothing is rounded before the norm */
            fixture_op(&f, op, VKB_PER_TOKEN, width);
            n++;
        }
    vkb_kernel_force(kernel);
    compare(&f, kernel ? kernel->name : "usual", slack);
    vkb_kernel_force(NULL);
    fixture_end(&f);
    return n;
}

static void normed(void) {
    static const uint32_t rows[] = {1, 63, 129, 300, 9001}, inputs[] = {1, 100, 384, 1536}, widths[] = {321, 380, 384};
    normed_shape(NULL, 63, 100, 321);
    for (uint32_t i = 0; i < vkb_kernel_count && device->info.kind <= VKB_DEVICE_SOFTWARE; i++) {
        const vkb_kernel *k = &vkb_kernels[i];
        uint32_t n = 0;
        if (k->kind != VKB_OP_LINEAR || !(k->folds & VKB_FOLD_NORM) || !strstr(k->name, only)) continue;
        for (uint32_t s = 0; s < COUNT(rows) * COUNT(inputs); s++)
            n += normed_shape(k, rows[s / COUNT(inputs)], inputs[s % COUNT(inputs)], widths[s % COUNT(widths)]);
        if (n) printf("%s: %u layers with norms\n", k->name, n);
    }
}

/* ---- ATTENTION ---- */

typedef struct shape {
    uint32_t heads, kv_heads, size;
} shape;

static const shape shapes[] = {{2, 0, 8}, {3, 1, 16}, {4, 2, 24}, {3, 0, 32}, {2, 1, 64}, {3, 0, 80}, {2, 0, 128}, {1, 0, 256}, {5, 0, 64}};

typedef struct option {
    int32_t bias, positions, types; /* radius of each table; −1: none */
    bool alibi;
    uint32_t window, flags;
} option;

static const option options[] = {
    {-1, -1, -1, false, 0, 0},
    {40, -1, -1, false, 0, 0},
    {-1, -1, -1, true, 0, 0},
    {-1, 20, 130, false, 0, 0},
    {-1, -1, -1, false, 1, 0},
    {-1, -1, -1, false, 70, 0},
    {-1, -1, -1, false, 0, VKB_FLAG_CAUSAL},
    {9, 15, 15, true, 33, VKB_FLAG_CAUSAL},
};

static uint32_t add_table(fixture *f, int32_t radius, uint32_t width) {
    return radius < 0 ? VKB_NONE : fixture_tensor(f, 2 * (uint32_t)radius + 1, width, VKB_LAYOUT_TABLE, 1);
}

static uint32_t mode_of(const shape *s, const option *o) {
    return (s->kv_heads ? VKB_ATTENTION_GROUPED : 0) | (o->flags ? VKB_ATTENTION_CAUSAL : 0) | (o->window ? VKB_ATTENTION_WINDOW : 0) |
           (o->bias >= 0 ? VKB_ATTENTION_DISTANCES : 0) | (o->alibi ? VKB_ATTENTION_SLOPES : 0) |
           (o->positions >= 0 ? VKB_ATTENTION_POSITIONS : 0) | (o->types >= 0 ? VKB_ATTENTION_TYPES : 0);
}

static uint32_t attention_shape(const vkb_kernel *kernel, const shape *s, const uint32_t *lengths, uint32_t sequences, uint32_t turn) {
    uint32_t kv = s->kv_heads ? s->kv_heads : s->heads, width = s->heads * s->size, n = 0;
    uint32_t step = software() ? (kernel ? 7 : 4) : 1;
    fixture f;
    float slack[FIXTURE_MAX];
    begin(&f, lengths, sequences, s->size);
    uint32_t x = fixture_input(&f, (s->heads + 2 * kv) * s->size, 1);
    for (uint32_t i = turn % step; i < COUNT(options); i += step) {
        const option *o = &options[i];
        vkb_task task = {.kind = VKB_OP_ATTENTION, .mode = mode_of(s, o), .values = VKB_VALUES_F16, .head_size = s->size};
        if (kernel && !vkb_kernel_fits(kernel, &((const vkb_vk_device *)device)->abilities, &task)) continue;
        vkb_op op = VKB_OP_INIT;
        op.kind = VKB_OP_ATTENTION;
        op.input = x;
        op.heads = s->heads;
        op.kv_heads = s->kv_heads;
        op.head_size = s->size;
        op.scale = 3 / sqrtf((float)s->size);
        op.window = o->window;
        op.flags = o->flags;
        if (o->bias >= 0) op.weight = fixture_tensor(&f, s->heads, 2 * (uint32_t)o->bias + 1, VKB_LAYOUT_TABLE, 3);
        if (o->alibi) op.bias = fixture_vector(&f, s->heads, 1);
        op.position_table = add_table(&f, o->positions, width);
        op.type_table = add_table(&f, o->types, width);
        slack[f.output_count] = 1.5e-3f; /* the softmax's weights, rounded too; values are at most 1 */
        fixture_op(&f, op, VKB_PER_TOKEN, width);
        n++;
    }
    vkb_kernel_force(kernel);
    if (n) compare(&f, kernel ? kernel->name : "usual", slack);
    vkb_kernel_force(NULL);
    fixture_end(&f);
    return n;
}

static void attention(void) {
    static const uint32_t single[] = {300};
    static uint32_t many[800]; /* a workgroup does more than it is dealt at first */
    for (uint32_t i = 0; i < COUNT(many); i++) many[i] = 1 + i * i % 97 + (i % 50 ? 0 : 200);
    for (uint32_t s = 0; s < COUNT(shapes); s++) attention_shape(NULL, &shapes[s], mixed, COUNT(mixed), s);
    for (uint32_t i = 0; i < vkb_kernel_count && device->info.kind <= VKB_DEVICE_SOFTWARE; i++) {
        uint32_t n = 0;
        if (vkb_kernels[i].kind != VKB_OP_ATTENTION || !strstr(vkb_kernels[i].name, only)) continue;
        for (uint32_t s = software() ? i % 2 : 0; s < COUNT(shapes); s += software() ? 4 : 1) {
            n += attention_shape(&vkb_kernels[i], &shapes[s], mixed, COUNT(mixed), s + i);
            if (vkb_kernels[i].functions[0]) n += attention_shape(&vkb_kernels[i], &shapes[s], many, COUNT(many), s + i);
            if (shapes[s].size == 32) n += attention_shape(&vkb_kernels[i], &shapes[s], single, 1, s + i);
        }
        if (n) printf("%s: %u layers\n", vkb_kernels[i].name, n);
    }
}

/* ---- the rest ---- */

static const uint32_t widths[] = {8, 24, 33, 64, 100, 384, 1000};

static vkb_op norm_of_width(fixture *f, uint32_t kind, uint32_t width, uint32_t i) {
    vkb_op op = VKB_OP_INIT;
    op.kind = kind;
    op.norm = i % 2 ? VKB_NORM_LAYER : VKB_NORM_RMS;
    op.norm_eps = 1e-2f;
    op.norm_weight = fixture_vector(f, width, 1);
    if (i % 3) op.norm_bias = fixture_vector(f, width, 1);
    return op;
}

static void rows(void) {
    for (uint32_t kind = VKB_OP_EMBED; kind <= VKB_OP_GATE; kind++) {
        if (kind == VKB_OP_LINEAR || kind == VKB_OP_ATTENTION) continue;
        fixture f;
        float slack[FIXTURE_MAX];
        begin(&f, mixed, COUNT(mixed), 60 + kind);
        for (uint32_t i = 0; i < COUNT(widths); i++) {
            vkb_op op = VKB_OP_INIT;
            uint32_t width = kind == VKB_OP_GATE ? (widths[i] + 7) / 8 * 8 : widths[i];
            if (kind == VKB_OP_EMBED || kind == VKB_OP_NORM) op = norm_of_width(&f, kind, width, i);
            op.kind = kind;
            if (kind == VKB_OP_EMBED) {
                op.scale = 1.25f;
                op.weight = fixture_tensor(&f, f.tokens, width, VKB_LAYOUT_TABLE, 1);
                op.position_table = fixture_tensor(&f, 130, width, VKB_LAYOUT_TABLE, 1);
            } else {
                op.input = fixture_input(&f, kind == VKB_OP_GATE ? 2 * width : width, 1);
            }
            if (kind == VKB_OP_NORM && i % 2) op.residual = fixture_input(&f, width, 1);
            if (kind == VKB_OP_NORM && i % 4 == 3) op.residual_at = VKB_RESIDUAL_AFTER_NORM;
            if (kind == VKB_OP_POOL) op.pool = i % (VKB_POOL_LAST + 1);
            if (kind == VKB_OP_GATE) op.activation = i % (VKB_ACT_SIGMOID + 1);
            slack[f.output_count] = 3e-5f;
            fixture_op(&f, op, kind == VKB_OP_POOL ? VKB_PER_SEQUENCE : VKB_PER_TOKEN, width);
        }
        compare(&f, vkb_op_name(kind), slack);
        fixture_end(&f);
    }
}

static void rotate(void) {
    static const struct {
        uint32_t heads, kv_heads, size, columns, flags, norm;
    } table[] = {{3, 0, 32, 32, 0, VKB_NORM_NONE},
                 {4, 2, 64, 16, 0, VKB_NORM_RMS},
                 {2, 1, 24, 20, VKB_FLAG_INTERLEAVED, VKB_NORM_LAYER},
                 {2, 1, 128, 128, 0, VKB_NORM_RMS}};
    fixture f;
    float slack[FIXTURE_MAX];
    begin(&f, mixed, COUNT(mixed), 71);
    for (uint32_t i = 0; i < COUNT(table); i++) {
        uint32_t kv = table[i].kv_heads ? table[i].kv_heads : table[i].heads, width = (table[i].heads + 2 * kv) * table[i].size;
        vkb_op op = VKB_OP_INIT;
        op.kind = VKB_OP_ROTATE;
        op.heads = table[i].heads;
        op.kv_heads = table[i].kv_heads;
        op.head_size = table[i].size;
        op.flags = table[i].flags;
        op.input = fixture_input(&f, width, 1);
        f.dtype = VKB_F32;
        op.position_table = fixture_tensor(&f, 130, table[i].columns, VKB_LAYOUT_TABLE, 1);
        f.dtype = VKB_F16;
        op.norm = table[i].norm;
        if (op.norm) {
            op.norm_eps = 1e-2f;
            op.norm_weight = fixture_vector(&f, table[i].size, 1);
            op.weight = fixture_vector(&f, table[i].size, 1);
        }
        slack[f.output_count] = 3e-5f;
        fixture_op(&f, op, VKB_PER_TOKEN, width);
    }
    compare(&f, "ROTATE", slack);
    fixture_end(&f);
}

static void linear_max(void) {
    static const uint32_t sizes[][2] = {{7, 64}, {200, 100}, {1000, 128}};
    fixture f;
    float slack[FIXTURE_MAX];
    begin(&f, mixed, COUNT(mixed), 81);
    for (uint32_t i = 0; i < COUNT(sizes); i++) {
        vkb_op op = VKB_OP_INIT;
        op.kind = VKB_OP_LINEAR_MAX;
        op.input = fixture_input(&f, sizes[i][1], 1);
        op.weight = fixture_tensor(&f, sizes[i][0], sizes[i][1], VKB_LAYOUT_LINEAR, 4 / sqrtf((float)sizes[i][1]));
        if (i % 2) op.bias = fixture_vector(&f, sizes[i][0], 1);
        slack[f.output_count] = 3e-5f;
        fixture_op(&f, op, VKB_PER_SEQUENCE, sizes[i][0]);
    }
    compare(&f, "LINEAR_MAX", slack);
    fixture_end(&f);
}

/* A program with a head that f16 can't hold side by side takes f32: and gives its results to f32's last places. */
static void odd_heads(void) {
    fixture f;
    begin(&f, mixed, COUNT(mixed), 91);
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_ATTENTION;
    op.heads = 2;
    op.scale = 1;
    op.input = fixture_input(&f, 3 * 2 * 7, 1);
    fixture_op(&f, op, VKB_PER_TOKEN, 14);
    results got, want;
    if (fixture_run(&f, reference, &want, "reference")) {
        if (fixture_run(&f, device, &got, "odd heads")) {
            check_near(got.data[0], want.data[0], NULL, 1e-5f, f.tokens, 14, "odd heads");
            results_free(&got);
        }
        results_free(&want);
    }
    fixture_end(&f);
}

int main(int argc, char **argv) {
    device = open_device(argc > 1 ? argv[1] : "vulkan:0");
    if (argc > 2) only = argv[2];
    reference = open_device("reference");
    if (strncmp(only, "attention", 9) != 0) {
        linear();
        normed();
    }
    attention();
    rows();
    rotate();
    linear_max();
    odd_heads();
    vkb_device_close(device);
    vkb_device_close(reference);
    return test_end();
}
