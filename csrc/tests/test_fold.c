/*
 * Small batches, for which steps do by the way what others would have done (vk_fold.c): a layer of an encoder and every mode of POOL
 * against the reference, in f32 and in f16, with the kernels that the device would take and with each that folds.
 */
#include <math.h>

#include "../vk_force.h"
#include "../vk_program.h"
#include "fixture.h"

enum { HIDDEN = 128, LAYERS = 2, VOCABULARY = 97, LONGEST = 128 };

/* The first is small; the others are what some kernels for few rows are made for. */
static const struct shape {
    uint32_t hidden, heads, inner;
} shapes[] = {{HIDDEN, 4, 320}, {384, 12, 1536}, {384, 6, 1536}, {768, 12, 3072}, {1024, 16, 4096}};

static vkb_device *device, *reference;

static void add_norm(fixture *f, vkb_op *op, uint32_t norm, uint32_t width) {
    op->norm = norm;
    op->norm_eps = 1e-6f;
    op->norm_weight = fixture_vector(f, width, 0.5f);
    for (uint32_t i = 0; i < width; i++) f->data[op->norm_weight][i] += 1;
    op->norm_bias = fixture_vector(f, width, 0.3f);
}

static uint32_t linear(fixture *f, uint32_t input, uint32_t width, uint32_t activation, uint32_t residual, uint32_t norm) {
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_LINEAR;
    op.input = input;
    op.residual = residual;
    op.activation = activation;
    op.weight = fixture_tensor(f, width, f->values[input].width, VKB_LAYOUT_LINEAR, 3 / sqrtf((float)f->values[input].width));
    op.bias = fixture_vector(f, width, 0.3f);
    if (norm != VKB_NORM_NONE) add_norm(f, &op, norm, width);
    op.output = fixture_value(f, VKB_PER_TOKEN, width);
    f->ops[f->op_count++] = op;
    return op.output;
}

static uint32_t layer(fixture *f, const struct shape *shape, uint32_t x, uint32_t norm) {
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_ATTENTION;
    op.input = linear(f, x, 3 * shape->hidden, VKB_ACT_NONE, VKB_NONE, VKB_NORM_NONE);
    op.heads = shape->heads;
    op.scale = 1 / sqrtf((float)shape->hidden / (float)shape->heads);
    op.output = fixture_value(f, VKB_PER_TOKEN, shape->hidden);
    f->ops[f->op_count++] = op;
    uint32_t middle = linear(f, op.output, shape->hidden, VKB_ACT_NONE, x, norm);
    uint32_t inner = linear(f, middle, shape->inner, VKB_ACT_GELU, VKB_NONE, VKB_NORM_NONE);
    return linear(f, inner, shape->hidden, VKB_ACT_NONE, middle, norm);
}

static void pooled(fixture *f, uint32_t x, uint32_t mode) {
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_POOL;
    op.input = x;
    op.pool = mode;
    op.output = fixture_value(f, VKB_PER_SEQUENCE, f->values[x].width);
    f->ops[f->op_count++] = op;
    vkb_op normalize = VKB_OP_INIT;
    normalize.kind = VKB_OP_NORMALIZE;
    normalize.input = op.output;
    fixture_op(f, normalize, VKB_PER_SEQUENCE, f->values[x].width);
}

static void encoder(fixture *f, const struct shape *shape, const uint32_t *lengths, uint32_t sequences, uint32_t dtype, uint32_t norm,
                    uint32_t mode) {
    fixture_begin(f, lengths, sequences, 5);
    f->dtype = f->activations = dtype;
    for (uint32_t i = 0; i < f->tokens; i++) f->ids[i] = (int32_t)((i * 2654435761u >> 7) % VOCABULARY);
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_EMBED;
    op.scale = 1;
    op.weight = fixture_tensor(f, VOCABULARY, shape->hidden, VKB_LAYOUT_TABLE, 1);
    if (sequences != 2) op.position_table = fixture_tensor(f, LONGEST, shape->hidden, VKB_LAYOUT_TABLE, 0.5f);
    if (sequences > 1) {
        op.type_table = fixture_tensor(f, 2, shape->hidden, VKB_LAYOUT_TABLE, 0.5f);
        f->type_ids = malloc(f->tokens * sizeof *f->type_ids);
        REQUIRE(f->type_ids, "out of memory");
        for (uint32_t i = 0; i < f->tokens; i++) f->type_ids[i] = i % 3 == 1;
    }
    add_norm(f, &op, norm, shape->hidden);
    op.output = fixture_value(f, VKB_PER_TOKEN, shape->hidden);
    f->ops[f->op_count++] = op;
    uint32_t x = op.output;
    for (uint32_t i = 0; i < LAYERS; i++) x = layer(f, shape, x, norm);
    pooled(f, x, mode);
}

/* The elements of unit vectors of so many columns are about 0.1. */
static void compare(const fixture *f, float bound, const char *about) {
    results got, want;
    if (!fixture_run(f, reference, &want, "reference")) return;
    if (fixture_run(f, device, &got, about)) {
        check_near(got.data[0], want.data[0], NULL, bound, f->sequences, f->values[f->outputs[0]].width, about);
        results_free(&got);
    }
    results_free(&want);
}

static const struct {
    uint32_t count, lengths[6];
} batches[] = {{1, {16}},        {1, {1}},  {3, {5, 3, 8}},       {2, {4, 7}}, {1, {17}},
               {3, {30, 1, 33}}, {1, {65}}, {4, {60, 2, 17, 49}}, {1, {128}},  {2, {128, 9}}};

static void encoders(uint32_t dtype, const char *about) {
    bool software = device->info.kind == VKB_DEVICE_SOFTWARE;
    for (uint32_t i = 0; i < COUNT(batches); i += software ? 3 : 1) {
        fixture f;
        char text[160];
        snprintf(text, sizeof text, "%s, %s, batch %u", about, dtype == VKB_F16 ? "f16" : "f32", i);
        encoder(&f, &shapes[0], batches[i].lengths, batches[i].count, dtype, i % 3 == 2 ? VKB_NORM_RMS : VKB_NORM_LAYER,
                i % (VKB_POOL_LAST + 1));
        compare(&f, dtype == VKB_F16 ? 2e-3f : 2e-6f, text);
        fixture_end(&f);
    }
}

/* The first few batches, of up to 64 tokens, by what the device takes for them. */
static void wide_encoders(void) {
    enum { FEW = 6 };
    bool software = device->info.kind == VKB_DEVICE_SOFTWARE;
    for (uint32_t i = 0; i < COUNT(shapes) * FEW; i += software ? 7 : 1) {
        fixture f;
        char text[160];
        uint32_t shape = i / FEW, b = i % FEW;
        snprintf(text, sizeof text, "usual, hidden %u, %u heads, batch %u", shapes[shape].hidden, shapes[shape].heads, b);
        encoder(&f, &shapes[shape], batches[b].lengths, batches[b].count, VKB_F16, b == 2 ? VKB_NORM_RMS : VKB_NORM_LAYER, VKB_POOL_MEAN);
        compare(&f, 2e-3f, text);
        fixture_end(&f);
    }
}

/* POOL of what a LINEAR has normalised; the first rows of a sequence may be left out, all of them too. */
static void pools(uint32_t dtype, const char *about) {
    static const uint32_t lengths[] = {1, 9, 40, 2}, starts[] = {0, 2, 39, 2}, widths[] = {16, 80, 256};
    for (uint32_t mode = 0; mode <= VKB_POOL_LAST; mode++) {
        fixture f;
        char text[160];
        snprintf(text, sizeof text, "%s, %s, pool %u", about, dtype == VKB_F16 ? "f16" : "f32", mode);
        fixture_begin(&f, lengths, COUNT(lengths), mode);
        f.dtype = f.activations = dtype;
        f.pool_start = malloc(sizeof starts);
        REQUIRE(f.pool_start, "out of memory");
        memcpy(f.pool_start, starts, sizeof starts);
        uint32_t x = fixture_input(&f, 64, 1);
        pooled(&f, linear(&f, x, widths[mode % COUNT(widths)], VKB_ACT_NONE, VKB_NONE, mode % 2 ? VKB_NORM_LAYER : VKB_NORM_NONE), mode);
        compare(&f, dtype == VKB_F16 ? 2e-3f : 2e-6f, text);
        fixture_end(&f);
    }
}

/* How many steps of the program are left out, in its largest batches, for the one before them. */
static uint32_t folded_by_makers(const vkb_program *program) {
    const vkb_vk_program *p = (const vkb_vk_program *)program;
    uint8_t folded[FIXTURE_MAX];
    uint32_t n = 0;
    vkb_vk_folds_find(p, p->class_count - 1, 0, folded);
    for (uint32_t i = 0; i < p->step_count; i++) n += folded[i] == VKB_FOLDED_BY_MAKER;
    return n;
}

static vkb_op gate_op(uint32_t input, uint32_t activation) {
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_GATE;
    op.input = input;
    op.activation = activation;
    return op;
}

static const char *const dtype_names[] = {[VKB_F32] = "f32", [VKB_F16] = "f16", [VKB_I8] = "int8"};

/* What a kernel does together with the LINEAR before it: of widths that are whole tiles, of nothing that anybody else wants. */
static void gate_shapes(const vkb_kernel *kernel, vkb_task task, uint32_t rows, uint32_t inputs, uint32_t dtype) {
    static const uint32_t widths[] = {64, 128, 320, 256, 104, 64, 128}; /* nobody wants x after the last, but its LINEAR */
    fixture f;
    char about[160];
    fixture_begin(&f, &rows, 1, rows + inputs);
    f.dtype = f.activations = dtype == VKB_I8 ? VKB_F16 : dtype;
    uint32_t x = fixture_input(&f, inputs, 1), want = 0;
    f.dtype = dtype;
    for (uint32_t i = 0; i < COUNT(widths); i++) {
        bool active = i == 1 && rows == 130; /* the LINEAR has an activation of its own */
        task.mode = active ? VKB_ACT_RELU : VKB_ACT_NONE;
        task.outputs = (uint32_t)vkb_align_up(2 * widths[i], VKB_COLUMN_ALIGN);
        if (!vkb_kernel_fits(kernel, &((const vkb_vk_device *)device)->abilities, &task)) continue;
        uint32_t both = linear(&f, x, 2 * widths[i], task.mode, VKB_NONE, VKB_NORM_NONE);
        if (i % 2) f.ops[f.op_count - 1].bias = VKB_NONE;
        uint32_t activation = (i + rows) % (VKB_ACT_SIGMOID + 1);
        if (i != 3 && !vkb_kernel_gates(kernel, activation)) activation = i % 2 ? VKB_ACT_GELU : VKB_ACT_SILU; /* all do these */
        fixture_op(&f, gate_op(both, activation), VKB_PER_TOKEN, widths[i]);
        if (i == 2 && rows == 65) fixture_output(&f, both);
        want += widths[i] % 64 == 0 && !active && !(i == 2 && rows == 65) && vkb_kernel_gates(kernel, activation);
    }
    snprintf(about, sizeof about, "gates, %s, %u rows of %u, %s", kernel->name, rows, inputs, dtype_names[dtype]);
    vkb_error error = {0};
    vkb_weights *weights = NULL;
    vkb_program *program = NULL;
    results right, got;
    vkb_kernel_force(kernel);
    vkb_status status = fixture_weights(&f, device, &weights, &error);
    if (!status) status = fixture_program(&f, weights, &program, &error);
    if (!status) status = fixture_execute(&f, program, &got, &error);
    vkb_kernel_force(NULL);
    CHECK(!status, "%s: %s", about, error.message);
    if (!status) CHECK(folded_by_makers(program) == want, "%s: %u are folded, want %u", about, folded_by_makers(program), want);
    if (!status && fixture_run(&f, reference, &right, "reference")) {
        for (uint32_t o = 0; o < f.output_count; o++)
            check_near(got.data[o], right.data[o], NULL, dtype == VKB_F32 ? 3e-5f : 3e-2f, rows, f.values[f.outputs[o]].width, about);
        results_free(&right);
    }
    if (!status) results_free(&got);
    vkb_program_destroy(program);
    vkb_weights_destroy(weights);
    fixture_end(&f);
}

static void gates(uint32_t dtype) {
    static const uint32_t sizes[][2] = {
        {1, 64}, {65, 100}, {130, 257}, {9001, 128}}; /* the last: a cubin's workgroups have several tiles */
    const vkb_abilities *abilities = &((const vkb_vk_device *)device)->abilities;
    bool tiles = dtype == VKB_F16 && abilities->needs & VKB_NEED_MATRIX;
    vkb_task task = {.kind = VKB_OP_LINEAR,
                     .weights = dtype == VKB_I8    ? VKB_WEIGHTS_I8
                                : tiles            ? VKB_WEIGHTS_F16_TILES
                                : dtype == VKB_F16 ? VKB_WEIGHTS_F16
                                                   : VKB_WEIGHTS_F32,
                     .values = dtype == VKB_F32 ? 0 : VKB_VALUES_F16,
                     .inputs = 256,
                     .outputs = 256};
    for (uint32_t i = 0; i < vkb_kernel_count; i++) {
        const vkb_kernel *kernel = &vkb_kernels[i];
        uint32_t multiple = kernel->inputs_multiple ? kernel->inputs_multiple : 1;
        task.inputs = (uint32_t)vkb_align_up(256, multiple);
        if (!kernel->gates || !vkb_kernel_fits(kernel, abilities, &task)) continue;
        for (uint32_t s = 0; s < COUNT(sizes) - !kernel->functions[0]; s++)
            gate_shapes(kernel, task, sizes[s][0], (uint32_t)vkb_align_up(sizes[s][1], multiple), dtype);
        printf("gates by %s\n", kernel->name);
    }
}

/* With VKB_PROGRAM_DETERMINISTIC a text has the same bits alone as in a batch. */
static void deterministic(uint32_t dtype) {
    static const uint32_t lengths[] = {7, 16, 40, 3, 65};
    fixture f;
    encoder(&f, &shapes[0], lengths, COUNT(lengths), dtype, VKB_NORM_LAYER, VKB_POOL_MEAN);
    f.flags = VKB_PROGRAM_DETERMINISTIC;
    vkb_weights *weights = NULL;
    vkb_program *program = NULL;
    vkb_error error = {0};
    float all[COUNT(lengths) * HIDDEN], one[HIDDEN];
    vkb_batch batch = fixture_batch(&f);
    vkb_output output = {all, COUNT(all)};
    bool ok = !fixture_weights(&f, device, &weights, &error) && !fixture_program(&f, weights, &program, &error) &&
              !vkb_program_run(program, &batch, &output, &error);
    CHECK(ok, "%s", error.message);
    for (uint32_t b = 0; b < COUNT(lengths) && ok; b++) {
        uint32_t cu[] = {0, lengths[b]};
        batch = (vkb_batch){.struct_size = sizeof batch,
                            .tokens = lengths[b],
                            .sequences = 1,
                            .ids = f.ids + f.cu_seqlens[b],
                            .type_ids = f.type_ids + f.cu_seqlens[b],
                            .cu_seqlens = cu};
        output = (vkb_output){one, COUNT(one)};
        ok = !vkb_program_run(program, &batch, &output, &error);
        CHECK(ok, "%s", error.message);
        CHECK(!memcmp(one, all + b * HIDDEN, sizeof one), "text %u alone has other bits than in a batch, %s", b,
              dtype == VKB_F16 ? "f16" : "f32");
    }
    vkb_program_destroy(program);
    vkb_weights_destroy(weights);
    fixture_end(&f);
}

int main(int argc, char **argv) {
    device = open_device(argc > 1 ? argv[1] : "vulkan:0");
    reference = open_device("reference");
    const vkb_abilities *abilities = &((const vkb_vk_device *)device)->abilities;
    uint32_t folding = 0;
    wide_encoders();
    gates(VKB_I8);
    for (uint32_t dtype = VKB_F32; dtype <= VKB_F16; dtype++) {
        encoders(dtype, "usual");
        deterministic(dtype);
        gates(dtype);
        for (uint32_t i = 0; i < vkb_kernel_count; i++) {
            const vkb_kernel *k = &vkb_kernels[i];
            vkb_task task = {.kind = k->kind,
                             .weights = dtype == VKB_F32 ? VKB_WEIGHTS_F32 : VKB_WEIGHTS_F16_TILES,
                             .values = dtype == VKB_F16 ? VKB_VALUES_F16 : 0};
            if (!(k->folds & ~(uint32_t)VKB_FOLD_NORM) || !vkb_kernel_fits(k, abilities, &task))
                continue; /* norms after LINEAR, and of QUANTIZE: test_half.c, test_int8.c */
            vkb_kernel_force(k);
            pools(dtype, k->name);
            encoders(dtype, k->name);
            vkb_kernel_force(NULL);
            folding++;
        }
    }
    CHECK(folding >= 2, "%u kernels fold", folding);
    vkb_device_close(reference);
    vkb_device_close(device);
    return test_end();
}
