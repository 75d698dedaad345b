/* Everything that a program or a batch can have wrong, found before anything is allocated or run. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static const char *const op_names[] = {"EMBED", "LINEAR", "ATTENTION", "NORM", "POOL", "NORMALIZE", "GATE", "ROTATE", "LINEAR_MAX"};
enum { OP_KINDS = sizeof op_names / sizeof *op_names };

const char *vkb_op_name(uint32_t kind) { return kind < OP_KINDS ? op_names[kind] : "unknown op"; }

/* Which fields a kind of op uses; the others must be empty. */
enum field {
    INPUT = 1 << 0,
    RESIDUAL = 1 << 1,
    WEIGHT = 1 << 2,
    BIAS = 1 << 3,
    POSITIONS = 1 << 4,
    TYPES = 1 << 5,
    NORM = 1 << 6,
    ACTIVATION = 1 << 7,
    HEADS = 1 << 8,
    SCALE = 1 << 9,
    POOL = 1 << 10,
    WINDOW = 1 << 11,
};
static const unsigned fields[OP_KINDS] = {
    [VKB_OP_EMBED] = WEIGHT | POSITIONS | TYPES | NORM | SCALE,
    [VKB_OP_LINEAR] = INPUT | RESIDUAL | WEIGHT | BIAS | NORM | ACTIVATION,
    [VKB_OP_ATTENTION] = INPUT | WEIGHT | BIAS | POSITIONS | TYPES | HEADS | SCALE | WINDOW,
    [VKB_OP_NORM] = INPUT | RESIDUAL | NORM,
    [VKB_OP_POOL] = INPUT | POOL,
    [VKB_OP_NORMALIZE] = INPUT,
    [VKB_OP_GATE] = INPUT | ACTIVATION,
    [VKB_OP_ROTATE] = INPUT | WEIGHT | BIAS | POSITIONS | NORM | HEADS,
    [VKB_OP_LINEAR_MAX] = INPUT | WEIGHT | BIAS,
};

typedef struct checker {
    const vkb_weights *weights;
    const vkb_program_desc *desc;
    uint8_t *written; /* [value_count] */
    uint32_t *pooled; /* [value_count]: columns that POOL ops wrote so far, which makes the value written */
    uint32_t i;       /* the op at hand */
    const vkb_op *op;
    vkb_error *error;
} checker;

#define FAIL(c, format, ...) \
    vkb_fail((c)->error, VKB_ERROR_INVALID_ARGUMENT, "op %u (%s): " format, (c)->i, vkb_op_name((c)->op->kind), __VA_ARGS__)

static vkb_status check_unused(const checker *c) {
    const vkb_op *op = c->op;
    unsigned used = fields[op->kind];
    const struct {
        unsigned field;
        bool set;
        const char *name;
    } rows[] = {
        {INPUT, op->input != VKB_NONE, "input"},
        {RESIDUAL, op->residual != VKB_NONE, "residual"},
        {WEIGHT, op->weight != VKB_NONE, "weight"},
        {BIAS, op->bias != VKB_NONE, "bias"},
        {POSITIONS, op->position_table != VKB_NONE, "position_table"},
        {TYPES, op->type_table != VKB_NONE, "type_table"},
        {NORM, op->norm || op->norm_weight != VKB_NONE || op->norm_bias != VKB_NONE || op->norm_eps != 0, "norm"},
        {ACTIVATION, op->activation != 0, "activation"},
        {HEADS, op->heads != 0 || op->kv_heads != 0 || op->head_size != 0, "heads, kv_heads or head_size"},
        {SCALE, op->scale != 0, "scale"},
        {POOL, op->pool != 0 || op->column != 0, "pool or column"},
        {WINDOW, op->window != 0, "window"},
        {RESIDUAL, op->residual_at != 0, "residual_at"},
        {HEADS, op->flags != 0, "flags"},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        if (rows[r].set && !(used & rows[r].field)) return FAIL(c, "%s is set, but this op has none", rows[r].name);
    return VKB_OK;
}

static vkb_status check_readable(const checker *c, uint32_t value, const char *name) {
    if (value >= c->desc->value_count) return FAIL(c, "%s is value %u, but there are %u", name, value, c->desc->value_count);
    if (!c->written[value]) return FAIL(c, "%s is value %u, which no op before it writes", name, value);
    return VKB_OK;
}

/* The tensor must exist and have this layout and these columns; rows = 0: any. VKB_NONE passes where `optional`. */
static vkb_status check_tensor(const checker *c, uint32_t tensor, const char *name, bool optional, uint32_t layout, uint32_t rows,
                               uint32_t cols) {
    if (tensor == VKB_NONE) return optional ? VKB_OK : FAIL(c, "%s is missing", name);
    if (tensor >= c->weights->count) return FAIL(c, "%s is tensor %u, but there are %u", name, tensor, c->weights->count);
    const vkb_tensor *t = &c->weights->tensors[tensor];
    if (t->layout != layout) return FAIL(c, "%s (tensor %u) has layout %u, want %u", name, tensor, t->layout, layout);
    if (t->cols != cols || (rows && t->rows != rows))
        return FAIL(c, "%s (tensor %u) is [%u, %u], want [%u, %u]", name, tensor, t->rows, t->cols, rows ? rows : t->rows, cols);
    return VKB_OK;
}

static vkb_status check_norm(const checker *c, uint32_t width, bool required) {
    const vkb_op *op = c->op;
    if (op->norm == VKB_NORM_NONE && !required) {
        if (op->norm_weight != VKB_NONE || op->norm_bias != VKB_NONE || op->norm_eps != 0)
            return FAIL(c, "%s", "norm is none, but its fields are set");
        return VKB_OK;
    }
    if (op->norm != VKB_NORM_LAYER && op->norm != VKB_NORM_RMS) return FAIL(c, "norm %u is unknown", op->norm);
    if (!(op->norm_eps > 0) || !vkb_is_finite(op->norm_eps)) return FAIL(c, "norm_eps is %g, want > 0", (double)op->norm_eps);
    vkb_status status = check_tensor(c, op->norm_weight, "norm_weight", true, VKB_LAYOUT_VECTOR, 1, width);
    return status ? status : check_tensor(c, op->norm_bias, "norm_bias", true, VKB_LAYOUT_VECTOR, 1, width);
}

static vkb_status check_shape(const checker *c, uint32_t value, const char *name, uint32_t scope, uint32_t width) {
    const vkb_value *v = &c->desc->values[value];
    if (v->scope != scope || v->width != width)
        return FAIL(c, "%s (value %u) has scope %u, width %u; want scope %u, width %u", name, value, v->scope, v->width, scope, width);
    return VKB_OK;
}

static vkb_status check_embed(const checker *c, const vkb_value *out) {
    const vkb_op *op = c->op;
    if (out->scope != VKB_PER_TOKEN) return FAIL(c, "output (value %u) is not per token", op->output);
    if (!vkb_is_finite(op->scale) || op->scale == 0) return FAIL(c, "scale is %g", (double)op->scale);
    vkb_status status = check_tensor(c, op->weight, "weight", false, VKB_LAYOUT_TABLE, 0, out->width);
    if (!status) status = check_tensor(c, op->position_table, "position_table", true, VKB_LAYOUT_TABLE, 0, out->width);
    if (!status) status = check_tensor(c, op->type_table, "type_table", true, VKB_LAYOUT_TABLE, 0, out->width);
    return status ? status : check_norm(c, out->width, false);
}

static vkb_status check_linear(const checker *c, const vkb_value *in, const vkb_value *out) {
    const vkb_op *op = c->op;
    if (op->activation > VKB_ACT_SIGMOID) return FAIL(c, "activation %u is unknown", op->activation);
    vkb_status status = check_shape(c, op->output, "output", in->scope, out->width);
    if (!status) status = check_tensor(c, op->weight, "weight", false, VKB_LAYOUT_LINEAR, out->width, in->width);
    if (!status) status = check_tensor(c, op->bias, "bias", true, VKB_LAYOUT_VECTOR, 1, out->width);
    return status ? status : check_norm(c, out->width, false);
}

/* The heads of ATTENTION and ROTATE: q|k|v must be the input's width. */
typedef struct head_shape {
    uint32_t heads, kv_heads, size;
} head_shape;

static vkb_status check_heads(const checker *c, const vkb_value *in, head_shape *shape) {
    const vkb_op *op = c->op;
    if (in->scope != VKB_PER_TOKEN) return FAIL(c, "input (value %u) is not per token", op->input);
    uint32_t kv = op->kv_heads ? op->kv_heads : op->heads;
    if (!op->heads || op->heads > UINT16_MAX || kv > op->heads || op->heads % kv)
        return FAIL(c, "%u heads over %u key heads", op->heads, kv);
    uint32_t all = op->heads + 2 * kv, size = op->head_size ? op->head_size : in->width / all;
    if (!size || size > VKB_MAX_HEAD) return FAIL(c, "head size %u, want 1 to %u", size, VKB_MAX_HEAD);
    if (size * all != in->width)
        return FAIL(c, "input (value %u) has width %u, want %u + 2 * %u heads of %u", op->input, in->width, op->heads, kv, size);
    *shape = (head_shape){op->heads, kv, size};
    return VKB_OK;
}

/* A table of distances, one entry for each of −R … R along its columns or its rows. */
static vkb_status check_odd(const checker *c, uint32_t count, const char *name) {
    return count % 2 ? VKB_OK : FAIL(c, "%s has %u distances, want an odd number", name, count);
}

static vkb_status check_attention(const checker *c, const vkb_value *in) {
    const vkb_op *op = c->op;
    head_shape h = {0};
    vkb_status status = check_heads(c, in, &h);
    if (!status) status = check_shape(c, op->output, "output", VKB_PER_TOKEN, h.heads * h.size);
    if (status) return status;
    if (!vkb_is_finite(op->scale) || !(op->scale > 0)) return FAIL(c, "scale is %g, want > 0", (double)op->scale);
    if (op->flags & VKB_FLAG_INTERLEAVED) return FAIL(c, "%s", "VKB_FLAG_INTERLEAVED is ROTATE's");
    const vkb_tensor *tensors = c->weights->tensors;
    if (op->weight != VKB_NONE && op->weight < c->weights->count) {
        status = check_tensor(c, op->weight, "weight", true, VKB_LAYOUT_TABLE, h.heads, tensors[op->weight].cols);
        if (!status) status = check_odd(c, tensors[op->weight].cols, "weight");
    } else {
        status = check_tensor(c, op->weight, "weight", true, VKB_LAYOUT_TABLE, h.heads, 1);
    }
    if (!status) status = check_tensor(c, op->bias, "bias", true, VKB_LAYOUT_VECTOR, 1, h.heads);
    const struct {
        uint32_t tensor;
        const char *name;
    } tables[] = {{op->position_table, "position_table"}, {op->type_table, "type_table"}};
    for (size_t t = 0; t < sizeof tables / sizeof *tables && !status; t++) {
        status = check_tensor(c, tables[t].tensor, tables[t].name, true, VKB_LAYOUT_TABLE, 0, h.heads * h.size);
        if (!status && tables[t].tensor != VKB_NONE) status = check_odd(c, tensors[tables[t].tensor].rows, tables[t].name);
    }
    return status;
}

/* A norm's vector is one head wide, or as wide as all of q (or of k). */
static vkb_status check_head_norm(const checker *c, uint32_t tensor, const char *name, uint32_t heads, uint32_t size, bool whole) {
    return check_tensor(c, tensor, name, true, VKB_LAYOUT_VECTOR, 1, whole ? heads * size : size);
}

static vkb_status check_rotate(const checker *c, const vkb_value *in) {
    const vkb_op *op = c->op;
    head_shape h = {0};
    vkb_status status = check_heads(c, in, &h);
    if (!status) status = check_shape(c, op->output, "output", VKB_PER_TOKEN, in->width);
    if (status) return status;
    if (op->flags & VKB_FLAG_CAUSAL) return FAIL(c, "%s", "VKB_FLAG_CAUSAL is ATTENTION's");
    if (op->position_table != VKB_NONE) {
        uint32_t cols = op->position_table < c->weights->count ? c->weights->tensors[op->position_table].cols : 0;
        status = check_tensor(c, op->position_table, "position_table", true, VKB_LAYOUT_TABLE, 0, cols);
        if (status) return status;
        if (cols % 2 || cols > h.size) return FAIL(c, "position_table has %u columns, want an even number up to %u", cols, h.size);
        if (c->weights->tensors[op->position_table].dtype != VKB_F32) return FAIL(c, "%s", "position_table is not stored as f32");
    }
    if (op->norm == VKB_NORM_NONE) {
        if (op->weight != VKB_NONE || op->bias != VKB_NONE) return FAIL(c, "%s", "norm is none, but weight or bias is set");
        return check_norm(c, h.size, false);
    }
    if (op->norm_weight == VKB_NONE || op->weight == VKB_NONE) return FAIL(c, "%s", "norm without norm_weight and weight");
    if (op->norm_weight >= c->weights->count)
        return FAIL(c, "norm_weight is tensor %u, but there are %u", op->norm_weight, c->weights->count);
    bool whole = h.heads > 1 && c->weights->tensors[op->norm_weight].cols == h.heads * h.size;
    status = check_norm(c, whole ? h.heads * h.size : h.size, true);
    if (!status) status = check_head_norm(c, op->weight, "weight", h.kv_heads, h.size, whole);
    return status ? status : check_head_norm(c, op->bias, "bias", h.kv_heads, h.size, whole);
}

static vkb_status check_linear_max(const checker *c, const vkb_value *in, const vkb_value *out) {
    const vkb_op *op = c->op;
    if (in->scope != VKB_PER_TOKEN) return FAIL(c, "input (value %u) is not per token", op->input);
    vkb_status status = check_shape(c, op->output, "output", VKB_PER_SEQUENCE, out->width);
    if (!status) status = check_tensor(c, op->weight, "weight", false, VKB_LAYOUT_LINEAR, out->width, in->width);
    return status ? status : check_tensor(c, op->bias, "bias", true, VKB_LAYOUT_VECTOR, 1, out->width);
}

static vkb_status check_gate(const checker *c, const vkb_value *in) {
    const vkb_op *op = c->op;
    if (op->activation > VKB_ACT_SIGMOID) return FAIL(c, "activation %u is unknown", op->activation);
    if (in->width % 2) return FAIL(c, "input (value %u) has width %u, which has no halves", op->input, in->width);
    return check_shape(c, op->output, "output", in->scope, in->width / 2);
}

/* Where the residual may come in, by kind of op. */
static vkb_status check_residual(const checker *c) {
    const vkb_op *op = c->op;
    uint32_t other = op->kind == VKB_OP_LINEAR ? VKB_RESIDUAL_BEFORE_ACTIVATION : VKB_RESIDUAL_AFTER_NORM;
    if (op->residual_at == VKB_RESIDUAL_BEFORE_NORM || (op->residual_at == other && op->residual != VKB_NONE)) return VKB_OK;
    return FAIL(c, "residual_at is %u", op->residual_at);
}

static vkb_status check_pool(checker *c, const vkb_value *in, const vkb_value *out) {
    const vkb_op *op = c->op;
    if (op->pool > VKB_POOL_LAST) return FAIL(c, "pool %u is unknown", op->pool);
    if (in->scope != VKB_PER_TOKEN) return FAIL(c, "input (value %u) is not per token", op->input);
    if (out->scope != VKB_PER_SEQUENCE) return FAIL(c, "output (value %u) is not per sequence", op->output);
    if (op->column > out->width || in->width > out->width - op->column || op->column % in->width || out->width % in->width)
        return FAIL(c, "columns %u … do not fit a width of %u", op->column, out->width);
    if (op->column != c->pooled[op->output]) return FAIL(c, "column is %u, want %u, the next one", op->column, c->pooled[op->output]);
    c->pooled[op->output] += in->width;
    return VKB_OK;
}

static vkb_status check_op(checker *c) {
    const vkb_op *op = c->op;
    const uint32_t flags = VKB_FLAG_CAUSAL | VKB_FLAG_INTERLEAVED;
    if (op->kind >= OP_KINDS) return vkb_fail(c->error, VKB_ERROR_INVALID_ARGUMENT, "op %u: kind %u is unknown", c->i, op->kind);
    if (op->flags & ~flags) return FAIL(c, "flags 0x%x, known are 0x%x", op->flags, flags);
    vkb_status status = check_unused(c);
    if (!status && op->kind != VKB_OP_EMBED) status = check_readable(c, op->input, "input");
    if (!status && op->residual != VKB_NONE) status = check_readable(c, op->residual, "residual");
    if (status) return status;
    if (op->output >= c->desc->value_count) return FAIL(c, "output is value %u, but there are %u", op->output, c->desc->value_count);
    if (c->written[op->output] || (c->pooled[op->output] && op->kind != VKB_OP_POOL))
        return FAIL(c, "output is value %u, which is written already", op->output);

    const vkb_value *out = &c->desc->values[op->output], *in = op->kind == VKB_OP_EMBED ? NULL : &c->desc->values[op->input];
    switch (op->kind) {
    case VKB_OP_EMBED: status = check_embed(c, out); break;
    case VKB_OP_LINEAR: status = check_linear(c, in, out); break;
    case VKB_OP_ATTENTION: status = check_attention(c, in); break;
    case VKB_OP_NORM:
        status = check_shape(c, op->output, "output", in->scope, in->width);
        if (!status) status = check_norm(c, in->width, true);
        break;
    case VKB_OP_POOL: status = check_pool(c, in, out); break;
    case VKB_OP_NORMALIZE: status = check_shape(c, op->output, "output", in->scope, in->width); break;
    case VKB_OP_GATE: status = check_gate(c, in); break;
    case VKB_OP_ROTATE: status = check_rotate(c, in); break;
    case VKB_OP_LINEAR_MAX: status = check_linear_max(c, in, out); break;
    }
    if (!status && op->residual != VKB_NONE) status = check_shape(c, op->residual, "residual", out->scope, out->width);
    if (!status) status = check_residual(c);
    if (status) return status;
    c->written[op->output] = op->kind != VKB_OP_POOL || (op->column + in->width == out->width);
    return VKB_OK;
}

vkb_status vkb_check_program(const vkb_weights *weights, const vkb_program_desc *desc, vkb_error *error) {
    if (!weights || !desc) return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_program_create: null pointer");
    if (desc->struct_size != sizeof *desc)
        return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_program_create: struct_size is %u, want %zu", desc->struct_size,
                        sizeof *desc);
    if (!weights->sealed) return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_program_create: the weights are not sealed");
    if (!desc->values || !desc->ops || !desc->outputs || !desc->value_count || !desc->op_count || !desc->output_count)
        return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_program_create: no values, no ops or no outputs");
    if (!desc->max_tokens || desc->max_tokens > INT32_MAX || !desc->max_sequences || desc->max_sequences > desc->max_tokens)
        return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_program_create: limits of %u tokens and %u sequences", desc->max_tokens,
                        desc->max_sequences);
    if (desc->activations != VKB_F32 && desc->activations != VKB_F16)
        return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_program_create: activations of dtype %u, want %d or %d", desc->activations,
                        VKB_F32, VKB_F16);
    if (desc->flags & ~(uint32_t)VKB_PROGRAM_DETERMINISTIC)
        return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_program_create: flags 0x%x, known are 0x%x", desc->flags,
                        (unsigned)VKB_PROGRAM_DETERMINISTIC);
    for (uint32_t i = 0; i < desc->value_count; i++)
        if (desc->values[i].scope > VKB_PER_SEQUENCE || !desc->values[i].width || desc->values[i].width > INT32_MAX)
            return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "value %u: scope %u, width %u", i, desc->values[i].scope,
                            desc->values[i].width);

    checker c = {.weights = weights, .desc = desc, .error = error};
    c.written = calloc(desc->value_count, sizeof *c.written);
    c.pooled = calloc(desc->value_count, sizeof *c.pooled);
    vkb_status status = VKB_OK;
    if (!c.written || !c.pooled) status = vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_program_create: out of memory");
    for (c.i = 0; c.i < desc->op_count && !status; c.i++) {
        c.op = &desc->ops[c.i];
        status = check_op(&c);
    }
    for (uint32_t i = 0; i < desc->output_count && !status; i++)
        if (desc->outputs[i] >= desc->value_count || !c.written[desc->outputs[i]])
            status = vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "output %u is value %u, which no op writes", i, desc->outputs[i]);
    free(c.written);
    free(c.pooled);
    return status;
}

static vkb_status check_ids(const int32_t *ids, uint32_t tokens, uint32_t limit, const char *name, const char *table, vkb_error *error) {
    for (uint32_t i = 0; ids && i < tokens; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= limit)
            return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "batch: %s[%u] is %d, but the %s has %u rows", name, i, ids[i], table,
                            limit);
    return VKB_OK;
}

vkb_status vkb_check_batch(const vkb_program *p, const vkb_batch *batch, vkb_error *error) {
    if (batch->struct_size != sizeof *batch)
        return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "batch: struct_size is %u, want %zu", batch->struct_size, sizeof *batch);
    if (!batch->ids || !batch->cu_seqlens) return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "batch: ids or cu_seqlens is NULL");
    if (!batch->tokens || batch->tokens > p->max_tokens || !batch->sequences || batch->sequences > p->max_sequences)
        return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "batch: %u tokens in %u sequences; want 1 to %u in 1 to %u", batch->tokens,
                        batch->sequences, p->max_tokens, p->max_sequences);
    const uint32_t *cu = batch->cu_seqlens;
    if (cu[0] != 0 || cu[batch->sequences] != batch->tokens)
        return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "batch: cu_seqlens goes from %u to %u, want 0 to %u", cu[0],
                        cu[batch->sequences], batch->tokens);
    for (uint32_t b = 0; b < batch->sequences; b++) {
        if (cu[b + 1] <= cu[b] || cu[b + 1] > batch->tokens)
            return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "batch: cu_seqlens[%u] is %u after %u; want it to rise", b + 1, cu[b + 1],
                            cu[b]);
        if (!batch->positions && cu[b + 1] - cu[b] > p->positions)
            return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "batch: sequence %u has %u tokens, but the position table has %u rows", b,
                            cu[b + 1] - cu[b], p->positions);
    }
    vkb_status status = check_ids(batch->ids, batch->tokens, p->vocabulary, "ids", "word table", error);
    if (!status) status = check_ids(batch->type_ids, batch->tokens, p->types, "type_ids", "type table", error);
    return status ? status : check_ids(batch->positions, batch->tokens, p->positions, "positions", "position table", error);
}
