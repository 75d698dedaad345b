#include <math.h>

#include "encoder.h"

static void add_norm(fixture *f, vkb_op *op) {
    op->norm = VKB_NORM_LAYER;
    op->norm_eps = 1e-12f;
    op->norm_weight = fixture_vector(f, ENCODER_HIDDEN, 1);
    op->norm_bias = fixture_vector(f, ENCODER_HIDDEN, 0.3f);
    for (uint32_t i = 0; i < ENCODER_HIDDEN; i++) f->data[op->norm_weight][i] = 1 + 0.3f * f->data[op->norm_weight][i];
}

static uint32_t add(fixture *f, vkb_op op, uint32_t scope, uint32_t width) {
    op.output = fixture_value(f, scope, width);
    f->ops[f->op_count++] = op;
    return op.output;
}

static uint32_t linear(fixture *f, uint32_t input, uint32_t width, uint32_t activation, uint32_t residual) {
    uint32_t k = f->values[input].width;
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_LINEAR;
    op.input = input;
    op.residual = residual;
    op.activation = activation;
    op.weight = fixture_tensor(f, width, k, VKB_LAYOUT_LINEAR, 3 / sqrtf((float)k));
    op.bias = fixture_vector(f, width, 0.3f);
    if (residual != VKB_NONE) add_norm(f, &op);
    return add(f, op, VKB_PER_TOKEN, width);
}

static uint32_t layer(fixture *f, uint32_t x) {
    uint32_t qkv = linear(f, x, 3 * ENCODER_HIDDEN, VKB_ACT_NONE, VKB_NONE);
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_ATTENTION;
    op.input = qkv;
    op.heads = ENCODER_HEADS;
    op.scale = 1 / sqrtf((float)ENCODER_HIDDEN / ENCODER_HEADS);
    uint32_t seen = add(f, op, VKB_PER_TOKEN, ENCODER_HIDDEN);
    uint32_t middle = linear(f, seen, ENCODER_HIDDEN, VKB_ACT_NONE, x);
    uint32_t inner = linear(f, middle, ENCODER_INNER, VKB_ACT_GELU, VKB_NONE);
    return linear(f, inner, ENCODER_HIDDEN, VKB_ACT_NONE, middle);
}

void encoder_begin(fixture *f, const uint32_t *lengths, uint32_t sequences, uint32_t dtype) {
    fixture_begin(f, lengths, sequences, 77);
    f->dtype = dtype;
    for (uint32_t i = 0; i < f->tokens; i++) f->ids[i] = (int32_t)((i * 2654435761u >> 7) % ENCODER_VOCABULARY);
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_EMBED;
    op.scale = 1;
    op.weight = fixture_tensor(f, ENCODER_VOCABULARY, ENCODER_HIDDEN, VKB_LAYOUT_TABLE, 1);
    op.position_table = fixture_tensor(f, ENCODER_POSITIONS, ENCODER_HIDDEN, VKB_LAYOUT_TABLE, 0.3f);
    op.type_table = fixture_tensor(f, 2, ENCODER_HIDDEN, VKB_LAYOUT_TABLE, 0.3f);
    add_norm(f, &op);
    uint32_t x = add(f, op, VKB_PER_TOKEN, ENCODER_HIDDEN);
    for (uint32_t i = 0; i < ENCODER_LAYERS; i++) x = layer(f, x);
    op = (vkb_op)VKB_OP_INIT;
    op.kind = VKB_OP_POOL;
    op.input = x;
    op.pool = VKB_POOL_MEAN;
    uint32_t pooled = add(f, op, VKB_PER_SEQUENCE, ENCODER_HIDDEN);
    op = (vkb_op)VKB_OP_INIT;
    op.kind = VKB_OP_NORMALIZE;
    op.input = pooled;
    fixture_output(f, add(f, op, VKB_PER_SEQUENCE, ENCODER_HIDDEN));
    fixture_output(f, x);
}

vkb_batch encoder_part(const fixture *f, uint32_t first, uint32_t count, uint32_t *cu) {
    uint32_t start = f->cu_seqlens[first];
    for (uint32_t b = 0; b <= count; b++) cu[b] = f->cu_seqlens[first + b] - start;
    return (vkb_batch){.struct_size = sizeof(vkb_batch), .tokens = cu[count], .sequences = count, .ids = f->ids + start, .cu_seqlens = cu};
}
