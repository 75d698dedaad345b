/*
 * Values in int8. A product in int8 (LINEAR, LINEAR_MAX with weights in VKB_I8) reads its input's int8 form, which lies behind the value in
 * its slot and lives as long. A QUANTIZE step makes it, right after the step that makes the value. Two steps can become one: where that is
 * a NORM, the QUANTIZE normalises too; where it is a LINEAR whose results nothing else reads, as the first of a feed-forward network, that
 * quantises them while they are in registers.
 */
#include "vk_internal.h"

uint64_t vkb_vk_i8_bytes(uint64_t rows, uint64_t stride) {
    return vkb_align_up(rows * stride + rows * (stride / VKB_I8_BLOCK) * sizeof(float), VKB_VK_ALIGN);
}

bool vkb_vk_has_i8(const vkb_vk_program *p, uint32_t value) { return p->base.slots[value].i8_at != 0; }

static vkb_vk_range form(const vkb_vk_program *p, uint32_t value) {
    const vkb_slot *slot = &p->base.slots[value];
    return (vkb_vk_range){.buffer = p->arena.handle, .offset = slot->offset + slot->i8_at, .bytes = slot->bytes - slot->i8_at};
}

/* Words. check_slots saw to it that they are few: there are as many bytes as the value has elements. */
static uint32_t scales_at(const vkb_vk_program *p, uint32_t value) {
    const vkb_slot *slot = &p->base.slots[value];
    return (uint32_t)((uint64_t)slot->rows * slot->stride / sizeof(uint32_t));
}

void vkb_vk_read_i8(const vkb_vk_program *p, vkb_vk_step *s) {
    s->ranges[VKB_BIND_INPUT] = form(p, s->input);
    s->push.row_first = scales_at(p, s->input);
}

void vkb_vk_write_i8(const vkb_vk_program *p, vkb_vk_step *s) {
    s->ranges[VKB_BIND_TYPE] = form(p, s->output);
    s->push.row_count = scales_at(p, s->output);
}

/* The norm that makes the value: it is normalised by what reads it then. */
static void find_norm(vkb_vk_program *p, uint32_t quantize) {
    vkb_vk_step *s = &p->steps[quantize];
    const vkb_vk_step *before = s - 1; /* that of its op: there is one */
    if (before->task.kind != VKB_OP_NORM) return;
    p->folds[quantize].norm = quantize - 1;
    p->folds[quantize].norm_input = VKB_NONE;
    s->ranges[VKB_BIND_INPUT] = before->ranges[VKB_BIND_INPUT];
    s->ranges[VKB_BIND_RESIDUAL] = before->ranges[VKB_BIND_RESIDUAL];
}

static bool is_output(const vkb_vk_program *p, uint32_t value) {
    for (uint32_t i = 0; i < p->base.output_count; i++)
        if (p->base.outputs[i] == value) return true;
    return false;
}

/* Whether the step reads the value, and nothing of it but its int8 form. */
static bool reads_i8_alone(const vkb_vk_step *s, uint32_t value) {
    return s->task.kind == VKB_OP_LINEAR && s->task.weights == VKB_WEIGHTS_I8 && s->input == value && s->residual != value;
}

/* A LINEAR whose results are wanted in int8 alone. */
static void find_maker(vkb_vk_program *p, uint32_t quantize) {
    uint32_t value = p->steps[quantize].output, maker = quantize - 1;
    vkb_vk_step *made_by = &p->steps[maker];
    if (made_by->task.kind != VKB_OP_LINEAR || made_by->task.weights != VKB_WEIGHTS_I8 || is_output(p, value)) return;
    for (uint32_t i = 0; i < p->step_count; i++) {
        const vkb_vk_step *s = &p->steps[i];
        if (i == quantize || i == maker) continue;
        if (s->output == value || ((s->input == value || s->residual == value) && !reads_i8_alone(s, value))) return;
    }
    vkb_vk_write_i8(p, made_by);
    p->folds[maker].quantize = quantize;
    for (uint32_t i = quantize + 1; i < p->step_count; i++)
        if (p->steps[i].input == value) p->folds[i].quantized = quantize;
}

void vkb_vk_quantize_init(vkb_vk_program *p) {
    for (uint32_t i = 0; i < p->step_count; i++) p->folds[i].norm = p->folds[i].quantize = p->folds[i].quantized = VKB_NONE;
    for (uint32_t i = 0; i < p->step_count; i++) {
        if (p->steps[i].task.kind != VKB_KERNEL_QUANTIZE) continue;
        find_norm(p, i);
        find_maker(p, i);
    }
}

/* Whether all that read this QUANTIZE's form take blocks. */
static bool all_take_blocks(const vkb_vk_program *p, uint32_t quantize, uint32_t tokens, uint32_t sequences) {
    for (uint32_t i = quantize + 1; i < p->step_count; i++)
        if (p->folds[i].quantized == quantize && !(vkb_vk_kernel_for(p, i, tokens, sequences)->folds & VKB_FOLD_BLOCKS)) return false;
    return true;
}

void vkb_vk_quantize_find(const vkb_vk_program *p, uint32_t tokens, uint32_t sequences, bool *folded) {
    for (uint32_t i = 0; i < p->step_count; i++) {
        const vkb_vk_folds *f = &p->folds[i];
        uint32_t can = vkb_vk_kernel_for(p, i, tokens, sequences)->folds;
        if (f->norm != VKB_NONE) folded[f->norm] = can & VKB_FOLD_NORM;
        if (f->quantize != VKB_NONE) folded[f->quantize] = can & VKB_FOLD_QUANTIZE && all_take_blocks(p, f->quantize, tokens, sequences);
    }
}

static void take_norm(const vkb_vk_step *norm, vkb_vk_step *s) {
    uint32_t scales = s->push.row_count;
    s->push = norm->push;
    s->push.row_count = scales;
    s->input = norm->input;
    s->residual = norm->residual;
    s->task.mode |= VKB_FOLD_NORM;
}

void vkb_vk_quantize_apply(const vkb_vk_program *p, const bool *folded, uint32_t step, vkb_vk_step *s) {
    const vkb_vk_folds *f = &p->folds[step];
    if (f->norm != VKB_NONE && folded[f->norm]) take_norm(&p->steps[f->norm], s);
    if (f->quantize != VKB_NONE && folded[f->quantize]) s->task.mode |= VKB_FOLD_QUANTIZE;
    if (f->quantized != VKB_NONE && folded[f->quantized]) s->task.mode |= VKB_FOLD_BLOCKS;
}
