/*
 * A program's ops as steps, one a dispatch: EMBED one for each block of rows of its word table, LINEAR with a norm a second one that
 * normalises its output in place, all others one; what makes a value that products in int8 read, one more for the int8 form. What a step
 * binds and pushes never changes but for tiles_at, which depends on the kernel.
 */
#include <stdlib.h>

#include "vk_program.h"

static const vkb_vk_weights *weights_of(const vkb_vk_program *p) { return (const vkb_vk_weights *)p->base.weights; }

static vkb_vk_range slot_range(const vkb_vk_program *p, uint32_t value) {
    const vkb_slot *slot = &p->base.slots[value];
    return (vkb_vk_range){.buffer = p->arena.handle, .offset = slot->offset, .bytes = slot->i8_at ? slot->i8_at : slot->bytes};
}

/* Where a VECTOR begins in the binding of all vectors, in floats. */
static uint32_t vector_at(const vkb_vk_program *p, uint32_t tensor) {
    const vkb_vk_weights *w = weights_of(p);
    if (tensor == VKB_NONE) return VKB_NONE;
    return (uint32_t)((w->pieces[w->tensors[tensor].piece].offset - w->vectors.offset) / sizeof(float));
}

static uint32_t values_of(const vkb_vk_program *p, uint32_t input, uint32_t output) {
    const vkb_slot *slots = p->base.slots;
    return (slots[input].size == 2 ? VKB_INPUT_F16 : 0) | (slots[output].size == 2 ? VKB_OUTPUT_F16 : 0);
}

/* What is left without a buffer is bound to the batch, which is what VKB_BIND_BATCH wants and any unused binding may have. */
static vkb_vk_step begin_step(const vkb_vk_program *p, uint32_t op, uint32_t kind, uint32_t input, uint32_t residual, uint32_t output) {
    const vkb_vk_weights *w = weights_of(p);
    const vkb_value *values = p->base.values;
    const vkb_slot *slots = p->base.slots;
    vkb_vk_step s = {.op = op,
                     .task = {.kind = kind, .values = values_of(p, input == VKB_NONE ? output : input, output)},
                     .scope = values[output].scope,
                     .columns = slots[output].stride,
                     .input = input,
                     .residual = residual,
                     .output = output,
                     .push = p->places};
    s.task.outputs = slots[output].stride;
    s.push.per_sequence = s.scope == VKB_PER_SEQUENCE;
    s.push.bias_at = s.push.norm_weight_at = s.push.norm_bias_at = VKB_NONE;
    if (w->vectors.bytes) s.ranges[VKB_BIND_VECTORS] = vkb_vk_piece_range(w, &w->vectors);
    if (input != VKB_NONE) {
        s.ranges[VKB_BIND_INPUT] = slot_range(p, input);
        s.push.input_width = values[input].width;
        s.push.input_stride = slots[input].stride;
    }
    if (residual != VKB_NONE) {
        s.ranges[VKB_BIND_RESIDUAL] = slot_range(p, residual);
        s.push.residual_stride = slots[residual].stride;
    }
    s.ranges[VKB_BIND_OUTPUT] = slot_range(p, output);
    s.push.output_width = values[output].width;
    s.push.output_stride = slots[output].stride;
    return s;
}

static void set_norm(const vkb_vk_program *p, vkb_vk_step *s, const vkb_op *op) {
    s->push.norm = op->norm;
    s->push.norm_eps = op->norm_eps;
    s->push.norm_weight_at = vector_at(p, op->norm_weight);
    s->push.norm_bias_at = vector_at(p, op->norm_bias);
}

static void add(vkb_vk_program *p, vkb_vk_step step) { p->steps[p->step_count++] = step; }

static vkb_status bind_table(const vkb_vk_program *p, vkb_vk_step *s, uint32_t tensor, uint32_t binding, const char *name,
                             vkb_error *error) {
    if (tensor == VKB_NONE) return VKB_OK;
    const vkb_vk_weights *w = weights_of(p);
    const vkb_tensor *t = &w->base.tensors[tensor];
    const char *device = w->base.device->info.name;
    if (w->tensors[tensor].piece_count != 1)
        return vkb_fail(error, VKB_ERROR_UNSUPPORTED,
                        "%s: op %u (%s): the %s table (tensor %u) of [%u, %u] is more than a kernel can bind: %llu bytes", device, s->op,
                        vkb_op_name(s->task.kind), name, tensor, t->rows, t->cols, (unsigned long long)w->base.device->info.buffer_range);
    if (s->task.kind == VKB_OP_EMBED && w->tensors[tensor].form != s->task.weights)
        return vkb_fail(error, VKB_ERROR_UNSUPPORTED, "%s: op %u (EMBED): the %s table (tensor %u) has another dtype than the word table",
                        device, s->op, name, tensor);
    s->ranges[binding] = vkb_vk_piece_range(w, &w->pieces[w->tensors[tensor].piece]);
    return VKB_OK;
}

static vkb_status embed(vkb_vk_program *p, uint32_t i, const vkb_op *op, vkb_error *error) {
    const vkb_vk_weights *w = weights_of(p);
    const vkb_vk_tensor *words = &w->tensors[op->weight];
    vkb_vk_step s = begin_step(p, i, VKB_OP_EMBED, VKB_NONE, VKB_NONE, op->output);
    s.task.weights = words->form;
    s.push.scale = op->scale;
    s.push.has_tables = (op->position_table != VKB_NONE) | (uint32_t)(op->type_table != VKB_NONE) << 1;
    set_norm(p, &s, op);
    vkb_status status = bind_table(p, &s, op->position_table, VKB_BIND_POSITION, "position", error);
    if (!status) status = bind_table(p, &s, op->type_table, VKB_BIND_TYPE, "type", error);
    if (status) return status;
    for (uint32_t b = 0; b < words->piece_count; b++) {
        const vkb_vk_piece *piece = &w->pieces[words->piece + b];
        s.ranges[VKB_BIND_WEIGHT] = vkb_vk_piece_range(w, piece);
        s.push.row_first = piece->row_first;
        s.push.row_count = piece->rows;
        add(p, s);
    }
    return VKB_OK;
}

/* The weight of LINEAR and LINEAR_MAX. */
static void bind_weight(const vkb_vk_program *p, vkb_vk_step *s, uint32_t tensor) {
    const vkb_vk_weights *w = weights_of(p);
    s->ranges[VKB_BIND_WEIGHT] = vkb_vk_piece_range(w, &w->pieces[w->tensors[tensor].piece]);
    s->task.weights = w->tensors[tensor].form;
    s->task.inputs = s->push.input_stride;
    if (s->task.weights == VKB_WEIGHTS_I8) vkb_vk_read_i8(p, s);
}

static void set_addresses(const vkb_vk_program *p, vkb_vk_step *s, uint32_t tensor) {
    const vkb_vk_weights *w = weights_of(p);
    const vkb_vk_piece *piece = &w->pieces[w->tensors[tensor].piece];
    if (!p->arena.address) return;
    s->push.input_address = vkb_vk_address_of(p, s->input) + (s->task.weights == VKB_WEIGHTS_I8 ? p->base.slots[s->input].i8_at : 0);
    s->push.weight_address = w->blocks[piece->block].address + piece->offset;
    if (s->task.kind != VKB_OP_LINEAR) return;
    s->push.output_address = vkb_vk_address_of(p, s->output);
    if (s->residual != VKB_NONE) s->push.residual_address = vkb_vk_address_of(p, s->residual);
    s->push.vectors_address = w->blocks[w->vectors.block].address + w->vectors.offset;
}

static vkb_status linear(vkb_vk_program *p, uint32_t i, const vkb_op *op, vkb_error *error) {
    (void)error;
    vkb_vk_step s = begin_step(p, i, VKB_OP_LINEAR, op->input, op->residual, op->output);
    bind_weight(p, &s, op->weight);
    set_addresses(p, &s, op->weight);
    s.task.mode = op->activation | (op->residual != VKB_NONE ? VKB_LINEAR_RESIDUAL : 0);
    s.push.bias_at = vector_at(p, op->bias);
    s.push.residual_at = op->residual_at;
    add(p, s);
    if (op->norm == VKB_NORM_NONE) return VKB_OK;
    s = begin_step(p, i, VKB_OP_NORM, op->output, VKB_NONE, op->output);
    set_norm(p, &s, op);
    add(p, s);
    return VKB_OK;
}

static void set_heads(const vkb_vk_program *p, vkb_vk_step *s, const vkb_op *op) {
    s->push.heads = op->heads;
    s->push.kv_heads = op->kv_heads ? op->kv_heads : op->heads;
    s->push.head_size = p->base.values[op->input].width / (op->heads + 2 * s->push.kv_heads);
}

/* One of ATTENTION's tables. `there` and `f16` are its bits of the mode. */
static vkb_status attention_table(const vkb_vk_program *p, vkb_vk_step *s, uint32_t tensor, uint32_t binding, uint32_t there, uint32_t f16,
                                  uint32_t *reach, const char *name, vkb_error *error) {
    if (tensor == VKB_NONE) return VKB_OK;
    const vkb_tensor *t = &weights_of(p)->base.tensors[tensor];
    s->task.mode |= there | (t->dtype == VKB_F16 ? f16 : 0);
    *reach = (binding == VKB_BIND_WEIGHT ? t->cols : t->rows) / 2; /* the distance bias has its distances side by side */
    return bind_table(p, s, tensor, binding, name, error);
}

static vkb_status attention(vkb_vk_program *p, uint32_t i, const vkb_op *op, vkb_error *error) {
    vkb_vk_step s = begin_step(p, i, VKB_OP_ATTENTION, op->input, VKB_NONE, op->output);
    set_heads(p, &s, op);
    s.columns = op->heads;
    s.task.head_size = s.push.head_size;
    s.push.scale = op->scale;
    s.push.window = op->window;
    s.push.bias_at = vector_at(p, op->bias);
    if (s.push.kv_heads != op->heads) s.task.mode |= VKB_ATTENTION_GROUPED;
    if (op->flags & VKB_FLAG_CAUSAL) s.task.mode |= VKB_ATTENTION_CAUSAL;
    if (op->window) s.task.mode |= VKB_ATTENTION_WINDOW;
    if (op->bias != VKB_NONE) s.task.mode |= VKB_ATTENTION_SLOPES;
    vkb_status status = attention_table(p, &s, op->weight, VKB_BIND_WEIGHT, VKB_ATTENTION_DISTANCES, VKB_ATTENTION_DISTANCES_F16,
                                        &s.push.reach_weight, "distance", error);
    if (!status)
        status = attention_table(p, &s, op->position_table, VKB_BIND_POSITION, VKB_ATTENTION_POSITIONS, VKB_ATTENTION_POSITIONS_F16,
                                 &s.push.reach_position, "position", error);
    if (!status)
        status = attention_table(p, &s, op->type_table, VKB_BIND_TYPE, VKB_ATTENTION_TYPES, VKB_ATTENTION_TYPES_F16, &s.push.reach_type,
                                 "type", error);
    if (!status) add(p, s);
    return status;
}

/* A workgroup's columns are one head's, or all of q, k or v where the norm goes over these. */
static vkb_status rotate(vkb_vk_program *p, uint32_t i, const vkb_op *op, vkb_error *error) {
    const vkb_tensor *tensors = weights_of(p)->base.tensors;
    vkb_vk_step s = begin_step(p, i, VKB_OP_ROTATE, op->input, VKB_NONE, op->output);
    set_heads(p, &s, op);
    set_norm(p, &s, op);
    s.push.bias_at = vector_at(p, op->bias);
    s.push.key_weight_at = vector_at(p, op->weight);
    s.columns = op->heads + 2 * s.push.kv_heads;
    if (op->norm != VKB_NORM_NONE && op->heads > 1 && tensors[op->norm_weight].cols == op->heads * s.push.head_size) {
        s.task.mode |= VKB_ROTATE_WHOLE;
        s.columns = 3;
    }
    if (op->flags & VKB_FLAG_INTERLEAVED) s.task.mode |= VKB_ROTATE_INTERLEAVED;
    if (op->position_table != VKB_NONE) s.push.column = tensors[op->position_table].cols;
    vkb_status status = bind_table(p, &s, op->position_table, VKB_BIND_POSITION, "position", error);
    if (!status) add(p, s);
    return status;
}

static vkb_status gate(vkb_vk_program *p, uint32_t i, const vkb_op *op, vkb_error *error) {
    (void)error;
    vkb_vk_step s = begin_step(p, i, VKB_OP_GATE, op->input, VKB_NONE, op->output);
    s.task.mode = op->activation;
    add(p, s);
    return VKB_OK;
}

static vkb_status linear_max(vkb_vk_program *p, uint32_t i, const vkb_op *op, vkb_error *error) {
    (void)error;
    vkb_vk_step s = begin_step(p, i, VKB_OP_LINEAR_MAX, op->input, VKB_NONE, op->output);
    bind_weight(p, &s, op->weight);
    set_addresses(p, &s, op->weight);
    s.push.tiles_at = p->places.cu_at;
    s.push.bias_at = vector_at(p, op->bias);
    add(p, s);
    return VKB_OK;
}

static vkb_status norm(vkb_vk_program *p, uint32_t i, const vkb_op *op, vkb_error *error) {
    (void)error;
    vkb_vk_step s = begin_step(p, i, VKB_OP_NORM, op->input, op->residual, op->output);
    s.push.residual_at = op->residual_at;
    set_norm(p, &s, op);
    add(p, s);
    return VKB_OK;
}

static void quantize(vkb_vk_program *p, uint32_t i, uint32_t value) {
    vkb_vk_step s = begin_step(p, i, VKB_KERNEL_QUANTIZE, value, VKB_NONE, value);
    vkb_vk_write_i8(p, &s);
    add(p, s);
}

static vkb_status pool(vkb_vk_program *p, uint32_t i, const vkb_op *op, vkb_error *error) {
    (void)error;
    vkb_vk_step s = begin_step(p, i, VKB_OP_POOL, op->input, VKB_NONE, op->output);
    s.task.mode = op->pool;
    s.push.column = op->column;
    add(p, s);
    return VKB_OK;
}

static vkb_status normalize(vkb_vk_program *p, uint32_t i, const vkb_op *op, vkb_error *error) {
    (void)error;
    vkb_vk_step s = begin_step(p, i, VKB_OP_NORMALIZE, op->input, VKB_NONE, op->output);
    add(p, s);
    return VKB_OK;
}

typedef vkb_status (*builder)(vkb_vk_program *p, uint32_t i, const vkb_op *op, vkb_error *error);

static const builder builders[] = {
    [VKB_OP_EMBED] = embed, [VKB_OP_LINEAR] = linear, [VKB_OP_ATTENTION] = attention,
    [VKB_OP_NORM] = norm,   [VKB_OP_POOL] = pool,     [VKB_OP_NORMALIZE] = normalize,
    [VKB_OP_GATE] = gate,   [VKB_OP_ROTATE] = rotate, [VKB_OP_LINEAR_MAX] = linear_max,
};

/* The output's buffer on the host is bound later, when there is one. */
static vkb_vk_step copy_step(const vkb_vk_program *p, uint32_t value) {
    vkb_vk_step s = begin_step(p, p->base.op_count, VKB_KERNEL_COPY_OUT, value, VKB_NONE, value);
    s.columns = s.push.output_stride = s.push.output_width;
    s.task.values &= ~(uint32_t)VKB_OUTPUT_F16;
    s.ranges[VKB_BIND_OUTPUT] = (vkb_vk_range){0};
    return s;
}

vkb_status vkb_vk_steps_build(vkb_vk_program *p, vkb_error *error) {
    uint64_t capacity = 0;
    for (uint32_t i = 0; i < p->base.op_count; i++)
        capacity += 1 + (p->base.ops[i].kind == VKB_OP_EMBED ? weights_of(p)->tensors[p->base.ops[i].weight].piece_count : 2);
    p->steps = calloc(capacity, sizeof *p->steps);
    p->copies = calloc(p->base.output_count, sizeof *p->copies);
    if (!p->steps || !p->copies)
        return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_program_create: out of memory for %u ops", p->base.op_count);
    for (uint32_t i = 0; i < p->base.op_count; i++) {
        vkb_status status = builders[p->base.ops[i].kind](p, i, &p->base.ops[i], error);
        if (status) return status;
        if (vkb_vk_has_i8(p, p->base.ops[i].output)) quantize(p, i, p->base.ops[i].output);
    }
    for (uint32_t i = 0; i < p->base.output_count; i++) p->copies[i] = copy_step(p, p->base.outputs[i]);
    return VKB_OK;
}
