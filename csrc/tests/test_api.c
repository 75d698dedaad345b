/* Wrong calls: each is an error with a message that says what, changes nothing, and the next good call succeeds. Objects released in any
 * order. */
#include "../../include/vkbert.h"

#include "encoder.h"

static vkb_device *device;
static vkb_weights *weights;
static vkb_program *program;
static fixture f;

/* The call must fail with this status and a message that holds `part`. */
static void refused(vkb_status got, vkb_status want, const vkb_error *error, const char *part, const char *about) {
    CHECK(got == want, "%s: status %d, want %d: %s", about, (int)got, (int)want, error->message);
    CHECK(error->status == (int32_t)want, "%s: error.status %d", about, error->status);
    CHECK(strstr(error->message, part), "%s: the message is \"%s\", want \"%s\" in it", about, error->message, part);
    CHECK(!strchr(error->message, '\n') && strlen(error->message) < sizeof error->message, "%s: not one line: %s", about, error->message);
}

/* ---- devices ---- */

static void devices(void) {
    vkb_error e = {0};
    uint32_t count = 0, again = 0;
    refused(vkb_devices(NULL, NULL, 1, &count, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "null", "devices without room");
    refused(vkb_devices(NULL, NULL, 0, NULL, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "null", "devices without count");
    CHECK(vkb_devices(NULL, NULL, 0, &count, NULL) == VKB_OK && count >= 3, "%u devices", count);
    vkb_device_info infos[32] = {{0}}, one;
    CHECK(vkb_devices(NULL, infos, 32, &again, &e) == VKB_OK && again == count, "%u devices, then %u", count, again);
    CHECK(vkb_devices(NULL, &one, 1, &again, &e) == VKB_OK && again == count && !strcmp(one.name, infos[0].name), "one row of %u", again);
    for (uint32_t i = 0; i < count && i < 32; i++) {
        CHECK(infos[i].struct_size == sizeof *infos && infos[i].kind <= VKB_DEVICE_NONE, "row %u: kind %u", i, infos[i].kind);
        CHECK(infos[i].usable ? infos[i].name[0] && infos[i].selector[0] : infos[i].reason[0], "row %u: neither usable nor a reason", i);
    }
    CHECK(!strcmp(infos[count - 2].selector, "cpu") && !strcmp(infos[count - 1].selector, "reference"), "cpu and reference are not last");

    static const struct {
        const char *selector, *part;
    } bad[] = {
        {"vulkan:99", "vulkan:99"}, {"vulkan:no such name", "no such"}, {"cuda", "cuda"}, {"vulkan:", "vulkan:"}, {"cpu:0", "cpu:0"}};
    for (uint32_t i = 0; i < COUNT(bad); i++) {
        vkb_device_options options = {.struct_size = sizeof options, .selector = bad[i].selector};
        vkb_device *d = (vkb_device *)&options; /* not NULL, so that it is seen to be set */
        refused(vkb_device_open(&options, &d, &e), VKB_ERROR_NO_DEVICE, &e, bad[i].part, bad[i].selector);
        CHECK(!d, "%s: a device all the same", bad[i].selector);
    }
    vkb_device_options options = {.struct_size = 3, .selector = "cpu"};
    vkb_device *d;
    refused(vkb_device_open(&options, &d, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "struct_size", "options of another size");
    refused(vkb_device_open(NULL, NULL, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "NULL", "open to nowhere");
    CHECK(vkb_device_open(&options, &d, NULL) == VKB_ERROR_INVALID_ARGUMENT, "without an error to fill");

    vkb_device_info info = {.struct_size = 1, .kind = 77};
    vkb_device_get_info(device, &info);
    CHECK(info.kind == 77, "an info of another size was written to");
    info.struct_size = sizeof info;
    vkb_device_get_info(device, &info);
    CHECK(info.usable && info.name[0], "the open device's info");
    vkb_device_get_info(NULL, &info);
    vkb_device_get_info(device, NULL);
    vkb_device_close(NULL);
    vkb_weights_destroy(NULL);
    vkb_program_destroy(NULL);
}

/* ---- weights ---- */

static void weights_calls(void) {
    vkb_error e = {0};
    vkb_weights *w = NULL;
    vkb_tensor good = {4, 5, VKB_LAYOUT_LINEAR, VKB_F32};
    static const struct {
        vkb_tensor tensor;
        const char *part;
    } bad[] = {{{0, 5, VKB_LAYOUT_LINEAR, VKB_F32}, "[0, 5]"},
               {{4, 0, VKB_LAYOUT_LINEAR, VKB_F32}, "[4, 0]"},
               {{4, 5, 9, VKB_F32}, "layout 9"},
               {{2, 5, VKB_LAYOUT_VECTOR, VKB_F32}, "1 row"},
               {{1, 5, VKB_LAYOUT_VECTOR, VKB_F16}, "dtype"},
               {{4, 5, VKB_LAYOUT_LINEAR, VKB_BF16}, "dtype"},
               {{4, 5, VKB_LAYOUT_LINEAR, 7}, "dtype 7"},
               {{UINT32_MAX, 5, VKB_LAYOUT_TABLE, VKB_F32}, "large"},
               {{4, UINT32_MAX, VKB_LAYOUT_LINEAR, VKB_F32}, "large"}};
    for (uint32_t i = 0; i < COUNT(bad); i++) {
        vkb_tensor two[2] = {good, bad[i].tensor};
        refused(vkb_weights_create(device, two, 2, &w, &e), VKB_ERROR_INVALID_ARGUMENT, &e, bad[i].part, "a bad tensor");
        CHECK(!w && strstr(e.message, "tensor 1"), "a bad tensor: %s", e.message);
    }
    vkb_tensor huge = {INT32_MAX, INT32_MAX, VKB_LAYOUT_TABLE, VKB_F32};
    CHECK(vkb_weights_create(device, &huge, 1, &w, &e) != VKB_OK && e.message[0] && !w, "2⁶⁴ bytes of weights");
    refused(vkb_weights_create(NULL, &good, 1, &w, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "null", "no device");
    refused(vkb_weights_create(device, NULL, 1, &w, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "null", "no tensors");
    refused(vkb_weights_create(device, &good, 0, &w, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "no tensors", "no tensors");
    refused(vkb_weights_create(device, &good, 1, NULL, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "null", "nowhere");

    REQUIRE(vkb_weights_create(device, &good, 1, &w, &e) == VKB_OK, "%s", e.message);
    float x[20] = {0};
    refused(vkb_weights_put(w, 1, VKB_F32, 0, x, 1, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "tensor 1", "no such tensor");
    refused(vkb_weights_put(w, 0, (vkb_dtype)9, 0, x, 1, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "dtype", "no such dtype");
    refused(vkb_weights_put(w, 0, VKB_F32, 0, x, 21, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "20", "too many elements");
    refused(vkb_weights_put(w, 0, VKB_F32, 19, x, 2, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "19", "past the end");
    refused(vkb_weights_put(w, 0, VKB_F32, UINT64_MAX, x, 2, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "20", "past the end by an overflow");
    refused(vkb_weights_put(w, 0, VKB_F32, 0, NULL, 1, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "null", "from nowhere");
    refused(vkb_weights_put(NULL, 0, VKB_F32, 0, x, 1, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "null", "to nothing");
    CHECK(vkb_weights_put(w, 0, VKB_F32, 20, x, 0, &e) == VKB_OK, "nothing at the end: %s", e.message);
    vkb_program *p = NULL;
    vkb_program_desc desc = {.struct_size = sizeof desc};
    refused(vkb_program_create(w, &desc, &p, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "not sealed", "a program before the seal");
    x[3] = (float)(1e30 * 1e30);
    x[7] = x[3] - x[3];
    CHECK(vkb_weights_put(w, 0, VKB_F32, 0, x, 20, &e) == VKB_OK, "%s", e.message);
    vkb_weights_info info = {.struct_size = sizeof info};
    CHECK(vkb_weights_seal(w, &info, &e) == VKB_OK && info.non_finite == 2 && info.first_non_finite == 0 && info.bytes >= 80,
          "sealed: %llu not finite, the first in tensor %u, %llu bytes", (unsigned long long)info.non_finite, info.first_non_finite,
          (unsigned long long)info.bytes);
    refused(vkb_weights_put(w, 0, VKB_F32, 0, x, 1, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "sealed", "after the seal");
    CHECK(vkb_weights_seal(w, NULL, &e) != VKB_OK || vkb_weights_seal(w, NULL, NULL) == VKB_OK,
          "a second seal is neither refused nor harmless");
    CHECK(vkb_weights_seal(NULL, NULL, &e) == VKB_ERROR_INVALID_ARGUMENT, "sealing nothing");
    vkb_weights_destroy(w);
}

/* Elements put in pieces, from every dtype and at odd addresses, are the same as put at once. */
static void pieces(void) {
    static const struct {
        vkb_dtype dtype;
        size_t size;
    } sources[] = {{VKB_F32, 4}, {VKB_F16, 2}, {VKB_BF16, 2}};
    const uint32_t rows = 5, cols = 33;
    for (uint32_t s = 0; s < COUNT(sources); s++) {
        fixture g;
        fixture_begin(&g, &rows, 1, s);
        fixture_input(&g, cols, 1);
        fixture_output(&g, 0);
        uint8_t bytes[5 * 33 * 4 + 1];
        for (uint32_t i = 0; i < rows * cols; i++) { /* whole eighths: exact in each */
            float v = (float)(int)(g.data[0][i] * 8) / 8;
            union {
                float f;
                uint32_t u;
            } bits = {v};
            uint16_t half = sources[s].dtype == VKB_F16 ? vkb_f32_to_f16(v) : (uint16_t)(bits.u >> 16);
            memcpy(bytes + 1 + i * sources[s].size, sources[s].size == 4 ? (const void *)&v : (const void *)&half, sources[s].size);
            g.data[0][i] = v;
        }
        vkb_error e = {0};
        vkb_weights *w = NULL;
        vkb_program *p = NULL;
        REQUIRE(vkb_weights_create(device, g.tensors, 1, &w, &e) == VKB_OK, "%s", e.message);
        for (uint32_t first = 0, n; first < rows * cols; first += n) {
            n = 1 + first * 7 % 50;
            if (n > rows * cols - first) n = rows * cols - first;
            CHECK(vkb_weights_put(w, 0, sources[s].dtype, first, bytes + 1 + first * sources[s].size, n, &e) == VKB_OK, "%s", e.message);
        }
        REQUIRE(vkb_weights_seal(w, NULL, &e) == VKB_OK && fixture_program(&g, w, &p, &e) == VKB_OK, "%s", e.message);
        results r;
        CHECK(fixture_execute(&g, p, &r, &e) == VKB_OK, "%s", e.message);
        CHECK(!memcmp(r.data[0], g.data[0], rows * cols * sizeof(float)), "dtype %d: not what was put", (int)sources[s].dtype);
        results_free(&r);
        vkb_program_destroy(p);
        vkb_weights_destroy(w);
        fixture_end(&g);
    }
}

/* ---- programs ---- */

/* Ops of the encoder, by place */
enum { EMBED = 0, QKV = 1, ATTENTION = 2, OUT = 3, POOLED = 16, UNIT = 17 };

#define EDITS(X) /* name, op, edit, part of the message */ \
    X(unknown_kind, EMBED, op->kind = 99, "kind 99") \
    X(input_of_embed, EMBED, op->input = 0, "input is set") \
    X(no_input, QKV, op->input = VKB_NONE, "input") \
    X(input_out_of_range, QKV, op->input = 500, "value 500") \
    X(input_not_written, QKV, op->input = 3, "no op before it writes") \
    X(output_out_of_range, QKV, op->output = 500, "value 500") \
    X(output_twice, ATTENTION, op->output = 0, "written already") \
    X(weight_missing, QKV, op->weight = VKB_NONE, "weight is missing") \
    X(weight_out_of_range, QKV, op->weight = 500, "tensor 500") \
    X(weight_of_other_layout, QKV, op->weight = 0, "layout") \
    X(weight_of_other_shape, QKV, op->weight = f.ops[OUT].weight, "want [180, 60]") \
    X(bias_of_other_shape, QKV, op->bias = f.ops[OUT].bias, "bias") \
    X(bias_of_other_shape_attention, ATTENTION, op->bias = 3, "want [1, ") \
    X(unknown_activation, QKV, op->activation = 99, "activation 99") \
    X(residual_of_other_shape, OUT, op->residual = 1, "residual") \
    X(residual_not_written, OUT, op->residual = 9, "residual") \
    X(residual_of_attention, ATTENTION, op->residual = 0, "residual is set") \
    X(unknown_norm, OUT, op->norm = 7, "norm 7") \
    X(norm_eps_zero, OUT, op->norm_eps = 0, "norm_eps") \
    X(norm_eps_negative, OUT, op->norm_eps = -1, "norm_eps") \
    X(norm_fields_without_norm, OUT, op->norm = 0, "norm is none") \
    X(norm_weight_of_other_shape, OUT, op->norm_weight = f.ops[QKV].bias, "norm_weight") \
    X(scale_zero, EMBED, op->scale = 0, "scale") \
    X(scale_of_linear, QKV, op->scale = 1, "scale is set") \
    X(attention_scale_zero, ATTENTION, op->scale = 0, "scale") \
    X(no_heads, ATTENTION, op->heads = 0, "0 heads") \
    X(heads_do_not_divide, ATTENTION, op->heads = 7, "7 heads") \
    X(heads_of_linear, QKV, op->heads = 1, "heads, kv_heads or head_size is set") \
    X(attention_of_no_qkv, ATTENTION, op->input = 0, "want") \
    X(table_of_other_shape, EMBED, op->position_table = f.ops[QKV].weight, "position_table") \
    X(unknown_pool, POOLED, op->pool = 9, "pool 9") \
    X(pool_column, POOLED, op->column = 1, "column") \
    X(unknown_flags, ATTENTION, op->flags = 0x84, "flags 0x84") \
    X(pool_of_sequences, UNIT, op->kind = VKB_OP_POOL, "not per token") \
    X(normalize_of_other_shape, UNIT, op->input = 1, "output")

/* POOL ops of widths 4, then 6 at columns 6 (a gap) and 4 (no multiple of it). */
static void pools(void) {
    static const uint32_t columns[] = {6, 4};
    const uint32_t length = 3;
    for (uint32_t i = 0; i < COUNT(columns); i++) {
        fixture g;
        vkb_error e = {0};
        vkb_weights *w = NULL;
        vkb_program *p = NULL;
        fixture_begin(&g, &length, 1, 1);
        uint32_t inputs[] = {fixture_input(&g, 4, 1), fixture_input(&g, 6, 1)}, out = fixture_value(&g, VKB_PER_SEQUENCE, 12);
        for (uint32_t at = 0; at < 2; at++) {
            vkb_op op = VKB_OP_INIT;
            op.kind = VKB_OP_POOL;
            op.input = inputs[at];
            op.output = out;
            op.column = at ? columns[i] : 0;
            g.ops[g.op_count++] = op;
        }
        fixture_output(&g, out);
        REQUIRE(!fixture_weights(&g, device, &w, &e), "%s", e.message);
        refused(fixture_program(&g, w, &p, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "column", "columns of other widths");
        vkb_weights_destroy(w);
        fixture_end(&g);
    }
}

/* Values whose places overflow when they are aligned. The table is never touched, which takes no memory on a CPU. */
static void overflows(void) {
    enum { MOST = 5 };
    const uint32_t width = (1u << 30) + 1;
    vkb_device_info info = {.struct_size = sizeof info};
    vkb_weights *w = NULL;
    vkb_program *p = NULL;
    vkb_error e = {0};
    vkb_value values[MOST];
    vkb_op ops[MOST];
    uint32_t outputs[MOST];
    vkb_tensor table = {1, width, VKB_LAYOUT_TABLE, VKB_F16};
    vkb_device_get_info(device, &info);
    if (info.kind != VKB_DEVICE_CPU || vkb_weights_create(device, &table, 1, &w, &e)) return;
    REQUIRE(!vkb_weights_seal(w, NULL, &e), "%s", e.message);
    for (uint32_t i = 0; i < MOST; i++) {
        values[i] = (vkb_value){VKB_PER_TOKEN, width};
        ops[i] = (vkb_op)VKB_OP_INIT;
        ops[i].kind = i ? VKB_OP_NORMALIZE : VKB_OP_EMBED;
        ops[i].input = i ? i - 1 : VKB_NONE;
        ops[i].weight = i ? VKB_NONE : 0;
        ops[i].scale = i ? 0 : 1;
        outputs[i] = ops[i].output = i;
    }
    for (uint32_t n = MOST - 1; n <= MOST; n++) {
        vkb_program_desc d = {.struct_size = sizeof d,
                              .value_count = n,
                              .values = values,
                              .ops = ops,
                              .op_count = n,
                              .output_count = n,
                              .outputs = outputs,
                              .max_tokens = (1u << 30) - 1,
                              .max_sequences = 1};
        refused(vkb_program_create(w, &d, &p, &e), VKB_ERROR_OUT_OF_HOST_MEMORY, &e, "overflow", "values of 2^62 bytes");
    }
    vkb_weights_destroy(w);
}

#define EDIT_FUNCTION(name, at, edit, part) \
    static void edit_##name(vkb_op *op) { edit; }
EDITS(EDIT_FUNCTION)

static void programs(void) {
    static const struct {
        const char *name;
        uint32_t at;
        void (*edit)(vkb_op *op);
        const char *part;
    } edits[] = {
#define EDIT_ROW(name, at, edit, part) {#name, at, edit_##name, part},
        EDITS(EDIT_ROW)};
    vkb_error e = {0};
    vkb_program *p;
    REQUIRE(f.ops[POOLED].kind == VKB_OP_POOL && f.ops[UNIT].kind == VKB_OP_NORMALIZE && f.op_count == 18, "the encoder's ops are others");
    for (uint32_t i = 0; i < COUNT(edits); i++) {
        fixture g = f;
        edits[i].edit(&g.ops[edits[i].at]);
        p = (vkb_program *)&g;
        refused(fixture_program(&g, weights, &p, &e), VKB_ERROR_INVALID_ARGUMENT, &e, edits[i].part, edits[i].name);
        CHECK(!p, "%s: a program all the same", edits[i].name);
    }

    vkb_program_desc good = {.struct_size = sizeof good,
                             .value_count = f.value_count,
                             .values = f.values,
                             .ops = f.ops,
                             .op_count = f.op_count,
                             .output_count = 1,
                             .outputs = f.outputs,
                             .max_tokens = 10,
                             .max_sequences = 10};
    static const uint32_t nowhere = 500;
    static const vkb_value no_width[64] = {{0, 0}}, odd_scope[64] = {{9, 60}};
#define DESC(part, ...) \
    do { \
        vkb_program_desc d = good; \
        __VA_ARGS__; \
        refused(vkb_program_create(weights, &d, &p, &e), VKB_ERROR_INVALID_ARGUMENT, &e, part, #__VA_ARGS__); \
    } while (0)
    DESC("struct_size", d.struct_size = 5);
    DESC("no values", d.values = NULL);
    DESC("no values", d.value_count = 0);
    DESC("no values", d.ops = NULL);
    DESC("no values", d.op_count = 0);
    DESC("no values", d.outputs = NULL);
    DESC("no values", d.output_count = 0);
    DESC("limits", d.max_tokens = 0);
    DESC("limits", d.max_sequences = 0);
    DESC("limits", d.max_sequences = 11);
    DESC("activations", d.activations = VKB_BF16);
    DESC("flags", d.flags = 2);
    DESC("limits", d.max_tokens = UINT32_MAX);
    DESC("output 0", d.outputs = &nowhere);
    DESC("width 0", d.values = no_width);
    DESC("scope 9", d.values = odd_scope);
    refused(vkb_program_create(NULL, &good, &p, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "null", "no weights");
    refused(vkb_program_create(weights, NULL, &p, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "null", "no description");
    refused(vkb_program_create(weights, &good, NULL, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "NULL", "nowhere");
    good.max_tokens = INT32_MAX;
    good.max_sequences = 1;
    CHECK(vkb_program_create(weights, &good, &p, &e) != VKB_OK && e.message[0] && !p, "an arena for 2³¹ tokens: %s", e.message);
}

/* ---- batches ---- */

static void batches(void) {
    vkb_error e = {0};
    float vectors[8 * ENCODER_HIDDEN];
    vkb_output outputs[2] = {{vectors, COUNT(vectors)}, {NULL, 0}};
    int32_t ids[] = {1, 2, 3, 4, 5, 6}, negative[] = {1, 2, -1, 4, 5, 6}, high[] = {1, 2, 3, 4, 5, ENCODER_VOCABULARY};
    int32_t types[] = {0, 1, 0, 1, 0, 2}, places[] = {0, 1, 2, 3, 4, ENCODER_POSITIONS};
    uint32_t cu[] = {0, 2, 6}, late[] = {1, 2, 6}, early[] = {0, 2, 5}, flat[] = {0, 0, 6}, falling[] = {0, 7, 6};
    vkb_batch good = {.struct_size = sizeof good, .tokens = 6, .sequences = 2, .ids = ids, .cu_seqlens = cu};
#define BATCH(part, ...) \
    do { \
        vkb_batch b = good; \
        __VA_ARGS__; \
        refused(vkb_program_run(program, &b, outputs, &e), VKB_ERROR_INVALID_ARGUMENT, &e, part, #__VA_ARGS__); \
    } while (0)
    BATCH("struct_size", b.struct_size = 1);
    BATCH("NULL", b.ids = NULL);
    BATCH("NULL", b.cu_seqlens = NULL);
    BATCH("0 tokens", b.tokens = 0);
    BATCH("0 sequences", b.sequences = 0);
    BATCH("tokens", b.tokens = f.tokens + 1);
    BATCH("sequences", b.sequences = f.sequences + 1);
    BATCH("cu_seqlens", b.cu_seqlens = late);
    BATCH("cu_seqlens", b.cu_seqlens = early);
    BATCH("cu_seqlens[1]", b.cu_seqlens = flat);
    BATCH("cu_seqlens[1]", b.cu_seqlens = falling);
    BATCH("ids[2]", b.ids = negative);
    BATCH("211 rows", b.ids = high);
    BATCH("type_ids[5]", b.type_ids = types);
    BATCH("positions[5]", b.positions = places);
    outputs[0].capacity = 2 * ENCODER_HIDDEN - 1;
    BATCH("output 0", (void)b);
    outputs[0].capacity = COUNT(vectors);
    refused(vkb_program_run(NULL, &good, outputs, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "null", "no program");
    refused(vkb_program_run(program, NULL, outputs, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "null", "no batch");
    refused(vkb_program_run(program, &good, NULL, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "null", "no outputs");
    refused(vkb_program_profile(program, &good, NULL, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "null", "no times");
    CHECK(vkb_program_run(program, &good, outputs, &e) == VKB_OK, "the good one: %s", e.message);
    outputs[0].data = NULL;
    CHECK(vkb_program_run(program, &good, outputs, &e) == VKB_OK, "no output wanted: %s", e.message);

    uint32_t long_one[] = {0, ENCODER_POSITIONS + 1};
    vkb_batch b = {.struct_size = sizeof b, .tokens = ENCODER_POSITIONS + 1, .sequences = 1, .ids = f.ids, .cu_seqlens = long_one};
    refused(vkb_program_run(program, &b, outputs, &e), VKB_ERROR_INVALID_ARGUMENT, &e, "128 rows", "more tokens than positions");
}

/* NaN and infinity in the weights reach no caller: the run is an error, the next program works. */
static void not_finite(void) {
    const uint32_t rows = 3;
    fixture g;
    fixture_begin(&g, &rows, 1, 1);
    fixture_input(&g, 5, 1);
    fixture_output(&g, 0);
    float nan = strtof("nan", NULL), inf = strtof("inf", NULL);
    const float bad[] = {nan, inf, -inf};
    for (uint32_t i = 0; i < 5 * COUNT(bad); i++) { /* in every column */
        float *number = &g.data[0][5 + i / COUNT(bad)], before = *number;
        *number = bad[i % COUNT(bad)];
        vkb_error e = {0};
        vkb_weights *w = NULL;
        vkb_program *p = NULL;
        results r = {{0}};
        REQUIRE(fixture_weights(&g, device, &w, &e) == VKB_OK && fixture_program(&g, w, &p, &e) == VKB_OK, "%s", e.message);
        refused(fixture_execute(&g, p, &r, &e), VKB_ERROR_NOT_FINITE, &e, "row 1", "a value that is not finite");
        results_free(&r);
        vkb_program_destroy(p);
        vkb_weights_destroy(w);
        *number = before;
    }
    fixture_end(&g);
}

/* ---- lifetimes ---- */

static void any_order(const char *selector) {
    static const uint32_t lengths[] = {5, 2};
    fixture g;
    fixture_begin(&g, lengths, COUNT(lengths), 1);
    fixture_small(&g, 33);
    for (uint32_t order = 0; order < 6; order++) {
        static const uint8_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
        vkb_device *d = open_device(selector);
        vkb_weights *w = NULL;
        vkb_program *p = NULL, *other = NULL;
        vkb_error e = {0};
        results r;
        REQUIRE(fixture_weights(&g, d, &w, &e) == VKB_OK && fixture_program(&g, w, &p, &e) == VKB_OK &&
                    fixture_program(&g, w, &other, &e) == VKB_OK,
                "%s", e.message);
        vkb_program_destroy(other);
        for (uint32_t i = 0; i < 3; i++) {
            if (orders[order][i] == 0) vkb_device_close(d);
            if (orders[order][i] == 1) vkb_weights_destroy(w);
            if (orders[order][i] == 2) {
                CHECK(fixture_execute(&g, p, &r, &e) == VKB_OK, "order %u: %s", order, e.message); /* whatever was released before */
                results_free(&r);
                vkb_program_destroy(p);
            }
        }
    }
    fixture_end(&g);
}

static void version(void) {
    CHECK(vkb_abi() == VKB_ABI, "abi %llx, want %llx", (unsigned long long)vkb_abi(), (unsigned long long)VKB_ABI);
    char want[32];
    snprintf(want, sizeof want, "%d.%d.%d", VKB_VERSION_MAJOR, VKB_VERSION_MINOR, VKB_VERSION_PATCH);
    CHECK(!strcmp(vkb_version(), want), "version %s, want %s", vkb_version(), want);
}

int main(int argc, char **argv) {
    const char *selector = argc > 1 ? argv[1] : "cpu";
    static const uint32_t lengths[] = {5, 100, 1, 30};
    vkb_error e = {0};
    device = open_device(selector);
    encoder_begin(&f, lengths, COUNT(lengths), VKB_F32);
    REQUIRE(fixture_weights(&f, device, &weights, &e) == VKB_OK && fixture_program(&f, weights, &program, &e) == VKB_OK, "%s", e.message);
    version();
    devices();
    weights_calls();
    pieces();
    programs();
    pools();
    overflows();
    batches();
    not_finite();
    any_order(selector);
    results r;
    CHECK(fixture_execute(&f, program, &r, &e) == VKB_OK, "after all that: %s", e.message);
    results_free(&r);
    vkb_program_destroy(program);
    vkb_weights_destroy(weights);
    vkb_device_close(device);
    fixture_end(&f);
    return test_end();
}
