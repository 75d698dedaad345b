/*
 * Steps that other steps do by the way. Where the kernel of a LINEAR has whole rows it does the norm after it; where it can take both
 * halves of what a GATE reads, the GATE. The rest is for small batches, where what counts is how many dispatches follow one another: a norm
 * in place is left out where the kernels of all steps that read its value normalise what they read themselves; POOL, where NORMALIZE is all
 * that reads it and pools itself; ATTENTION likewise, before a LINEAR. Which kernels can is in the table of kernels (folds, gates), so this
 * is decided for each pair of size classes. The program, and what it computes, stays the same.
 */
#include <stdlib.h>

#include "vk_program.h"

static uint32_t producer(const vkb_vk_program *p, uint32_t reader, uint32_t value) {
    uint32_t last = VKB_NONE;
    for (uint32_t i = 0; i < reader && value != VKB_NONE; i++)
        if (p->steps[i].output == value) last = i;
    return last;
}

static bool is_output(const vkb_vk_program *p, uint32_t value) {
    for (uint32_t i = 0; i < p->base.output_count; i++)
        if (p->base.outputs[i] == value) return true;
    return false;
}

/* The norm in place that ends the making of this value. Kernels that fold it work on sixteen columns at a time. */
static uint32_t find_norm(const vkb_vk_program *p, uint32_t reader, uint32_t value) {
    uint32_t i = producer(p, reader, value);
    if (i == VKB_NONE || is_output(p, value) || p->base.values[value].width % 16) return VKB_NONE;
    const vkb_vk_step *s = &p->steps[i];
    return s->task.kind == VKB_OP_NORM && s->input == value && s->residual == VKB_NONE ? i : VKB_NONE;
}

static bool overlap(const vkb_slot *a, const vkb_slot *b) { return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes; }

static bool is_direct(const vkb_vk_program *p, uint32_t value) {
    for (uint32_t i = 0; i < p->base.output_count; i++)
        if (p->direct[i] && p->base.outputs[i] == value) return true;
    return false;
}

/* The step of this kind that makes the reader's input, if nothing else reads that and no other step writes to it. What it reads itself has
   to be there still when the reader has read it: no step up to that one writes there. */
static uint32_t find_only(const vkb_vk_program *p, uint32_t reader, uint32_t kind) {
    const vkb_vk_step *s = &p->steps[reader];
    uint32_t made_by = producer(p, reader, s->input);
    if (made_by == VKB_NONE || p->steps[made_by].task.kind != kind || is_output(p, s->input) || s->residual == s->input) return VKB_NONE;
    for (uint32_t i = 0; i < p->step_count; i++) {
        bool reads = p->steps[i].input == s->input || p->steps[i].residual == s->input;
        if ((i != reader && reads) || (i != made_by && p->steps[i].output == s->input)) return VKB_NONE;
    }
    const vkb_slot *slots = p->base.slots, *kept = &slots[p->steps[made_by].input];
    for (uint32_t i = made_by + 1; i <= reader; i++)
        if (!is_direct(p, p->steps[i].output) && overlap(kept, &slots[p->steps[i].output])) return VKB_NONE;
    return made_by;
}

static uint32_t find_pool(const vkb_vk_program *p, uint32_t reader) {
    return p->steps[reader].task.kind == VKB_OP_NORMALIZE ? find_only(p, reader, VKB_OP_POOL) : VKB_NONE;
}

/* As the kernels do it: without options, in heads of 16 to 64. */
static uint32_t find_attention(const vkb_vk_program *p, uint32_t reader) {
    uint32_t i = p->steps[reader].task.kind == VKB_OP_LINEAR ? find_only(p, reader, VKB_OP_ATTENTION) : VKB_NONE;
    if (i == VKB_NONE) return VKB_NONE;
    const vkb_vk_step *s = &p->steps[i];
    return !s->task.mode && s->task.head_size % 16 == 0 && s->task.head_size <= 64 ? i : VKB_NONE;
}

/* The norm in place right after a LINEAR, but where what is quantised does it. */
static uint32_t find_norm_after(const vkb_vk_program *p, uint32_t linear) {
    const vkb_vk_step *s = &p->steps[linear], *norm = s + 1;
    bool there = s->task.kind == VKB_OP_LINEAR && linear + 1 < p->step_count && norm->task.kind == VKB_OP_NORM;
    bool in_place = there && norm->input == s->output && norm->output == s->output && norm->residual == VKB_NONE;
    return in_place && !is_direct(p, s->output) && !vkb_vk_has_i8(p, s->output) ? linear + 1 : VKB_NONE;
}

/* The GATE that reads a bare LINEAR's output, nothing else does. Kernels take 32 or 64 columns of either half at a time. */
static uint32_t find_gate_after(const vkb_vk_program *p, uint32_t linear) {
    const vkb_vk_step *s = &p->steps[linear], *gate = s + 1;
    if (s->task.kind != VKB_OP_LINEAR || s->task.mode || linear + 1 >= p->step_count || gate->task.kind != VKB_OP_GATE) return VKB_NONE;
    bool whole = p->base.values[gate->output].width % VKB_COLUMN_ALIGN == 0;
    return whole && find_only(p, linear + 1, VKB_OP_LINEAR) == linear ? linear + 1 : VKB_NONE;
}

vkb_status vkb_vk_folds_init(vkb_vk_program *p, vkb_error *error) {
    p->folds = calloc(p->step_count, sizeof *p->folds);
    if (!p->folds) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_program_create: out of memory");
    for (uint32_t i = 0; i < p->step_count; i++) {
        vkb_vk_step *s = &p->steps[i];
        vkb_vk_folds *fold = &p->folds[i];
        fold->norm_input = find_norm(p, i, s->input);
        fold->norm_residual = find_norm(p, i, s->residual);
        fold->pool = find_pool(p, i);
        fold->attention = find_attention(p, i);
        fold->norm_after = find_norm_after(p, i);
        fold->gate_after = find_gate_after(p, i);
        if (fold->attention != VKB_NONE) s->ranges[VKB_BIND_POSITION] = p->steps[fold->attention].ranges[VKB_BIND_INPUT];
        if (fold->pool != VKB_NONE) s->ranges[VKB_BIND_RESIDUAL] = p->steps[fold->pool].ranges[VKB_BIND_INPUT];
    }
    vkb_vk_quantize_init(p);
    return VKB_OK;
}

/* What the kernel of this step, or the one that it is folded into, can fold. */
static uint32_t abilities_of(const vkb_vk_program *p, uint32_t step, uint32_t tokens, uint32_t sequences, const uint8_t *folded) {
    if (folded[step])
        for (uint32_t i = step + 1; i < p->step_count; i++)
            if (p->folds[i].pool == step) return vkb_vk_kernel_for(p, i, tokens, sequences)->folds & VKB_FOLD_NORM_INPUT;
    return vkb_vk_kernel_for(p, step, tokens, sequences)->folds;
}

/* There is one set of a norm's constants: a step folds the norm of its input or that of its residual. */
static bool all_fold(const vkb_vk_program *p, uint32_t norm, uint32_t tokens, uint32_t sequences, const uint8_t *folded) {
    uint32_t value = p->steps[norm].output, readers = 0;
    for (uint32_t i = norm + 1; i < p->step_count; i++) {
        const vkb_vk_step *s = &p->steps[i];
        if (s->input != value && s->residual != value) continue;
        const vkb_vk_folds *f = &p->folds[i];
        uint32_t need = f->norm_residual == VKB_NONE ? VKB_FOLD_NORM_INPUT : VKB_FOLD_NORM_RESIDUAL;
        if (f->norm_input != VKB_NONE && f->norm_residual != VKB_NONE) return false;
        if (!(abilities_of(p, i, tokens, sequences, folded) & need)) return false;
        readers++;
    }
    return readers > 0;
}

/* Whether the step's kernel can do the heads of the attention before it, in all batches of the class: rows of one tile. */
static bool folds_heads(const vkb_vk_program *p, uint32_t step, uint32_t tokens) {
    const vkb_kernel *k = vkb_vk_kernel_for(p, step, tokens, 0);
    uint32_t size = p->steps[p->folds[step].attention].task.head_size;
    return vkb_vk_class_most(p, tokens) <= k->tile_rows && (!k->head_multiple || size % k->head_multiple == 0);
}

void vkb_vk_folds_find(const vkb_vk_program *p, uint32_t tokens, uint32_t sequences, uint8_t *folded) {
    for (uint32_t i = 0; i < p->step_count; i++) folded[i] = VKB_NOT_FOLDED;
    for (uint32_t i = 0; i < p->step_count; i++) {
        const vkb_vk_folds *f = &p->folds[i];
        const vkb_kernel *kernel = vkb_vk_kernel_for(p, i, tokens, sequences);
        uint32_t can = kernel->folds;
        if (f->pool != VKB_NONE && can & VKB_FOLD_POOL) folded[f->pool] = VKB_FOLDED_BY_READERS;
        if (f->attention != VKB_NONE && can & VKB_FOLD_ATTENTION && folds_heads(p, i, tokens)) folded[f->attention] = VKB_FOLDED_BY_READERS;
        if (f->norm_after != VKB_NONE && can & VKB_FOLD_NORM) folded[f->norm_after] = VKB_FOLDED_BY_MAKER;
        if (f->gate_after != VKB_NONE && vkb_kernel_gates(kernel, p->steps[f->gate_after].task.mode))
            folded[f->gate_after] = VKB_FOLDED_BY_MAKER;
    }
    for (uint32_t i = 0; i < p->step_count; i++) {
        const vkb_vk_step *s = &p->steps[i];
        bool in_place = s->task.kind == VKB_OP_NORM && s->input == s->output && s->residual == VKB_NONE;
        if (in_place && !folded[i] && !is_output(p, s->output) && p->base.values[s->output].width % 16 == 0 &&
            all_fold(p, i, tokens, sequences, folded))
            folded[i] = VKB_FOLDED_BY_READERS;
    }
    vkb_vk_quantize_find(p, tokens, sequences, folded);
}

static void take_norm(const vkb_vk_program *p, const uint8_t *folded, uint32_t norm, uint32_t mode, vkb_vk_step *s) {
    if (norm == VKB_NONE || folded[norm] != (mode == VKB_FOLD_NORM ? VKB_FOLDED_BY_MAKER : VKB_FOLDED_BY_READERS)) return;
    const vkb_push *from = &p->steps[norm].push;
    s->task.mode |= mode;
    s->push.norm = from->norm;
    s->push.norm_eps = from->norm_eps;
    s->push.norm_weight_at = from->norm_weight_at;
    s->push.norm_bias_at = from->norm_bias_at;
}

/* What they read is bound from vkb_vk_folds_init on. */
static void take_attention(const vkb_vk_program *p, const vkb_vk_step *attention, vkb_vk_step *s) {
    const vkb_push *from = &attention->push;
    s->input = attention->input;
    s->task.mode |= VKB_FOLD_ATTENTION | from->head_size / 16 << 16;
    s->push.input_address = vkb_vk_address_of(p, attention->input);
    s->push.row_first = p->places.cu_at;
    s->push.heads = from->heads;
    s->push.head_size = from->head_size;
    s->push.scale = from->scale;
    s->push.row_count = from->input_stride;
}

static void take_pool(const vkb_vk_program *p, const uint8_t *folded, uint32_t number, vkb_vk_step *s) {
    const vkb_vk_step *pool = &p->steps[number];
    s->input = pool->input;
    s->task.mode |= 1 + pool->task.mode;
    s->task.values |= pool->task.values & VKB_INPUT_F16;
    s->push.input_width = pool->push.input_width;
    s->push.residual_stride = pool->push.input_stride;
    take_norm(p, folded, p->folds[number].norm_input, VKB_FOLD_NORM_INPUT, s);
}

/* Workgroups stay those of the LINEAR's own outputs. */
static void take_gate(const vkb_vk_program *p, const vkb_vk_step *gate, vkb_vk_step *s) {
    s->output = gate->output;
    s->task.mode |= VKB_FOLD_GATE | gate->task.mode;
    s->push.output_address = vkb_vk_address_of(p, gate->output);
    s->push.output_width = gate->push.output_width;
    s->push.output_stride = gate->push.output_stride;
}

vkb_vk_step vkb_vk_folds_apply(const vkb_vk_program *p, const uint8_t *folded, uint32_t step) {
    vkb_vk_step s = p->steps[step];
    const vkb_vk_folds *f = &p->folds[step];
    take_norm(p, folded, f->norm_input, VKB_FOLD_NORM_INPUT, &s);
    take_norm(p, folded, f->norm_residual, VKB_FOLD_NORM_RESIDUAL, &s);
    take_norm(p, folded, f->norm_after, VKB_FOLD_NORM, &s);
    if (f->attention != VKB_NONE && folded[f->attention]) take_attention(p, &p->steps[f->attention], &s);
    if (f->gate_after != VKB_NONE && folded[f->gate_after]) take_gate(p, &p->steps[f->gate_after], &s);
    if (f->pool != VKB_NONE && folded[f->pool]) take_pool(p, folded, f->pool, &s);
    vkb_vk_quantize_apply(p, folded, step, &s);
    return s;
}
