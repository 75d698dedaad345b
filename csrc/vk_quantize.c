/*
 * Values in int8. A product in int8 (LINEAR, LINEAR_MAX with weights in VKB_I8) reads its input's int8 form, which lies behind the value in
 * its slot and lives as long. A QUANTIZE step makes it, right after the step that makes the value; where that is a NORM, the two become
 * one.
 *
 * What was tried and took longer: a LINEAR that quantises its results in registers, with a scale for each 64 columns, which are all that a
 * workgroup sees of a row. The next product had to bring the blocks to one scale a row, each workgroup for itself: base's feed-forward
 * networks took 369 and 426 us a layer, with QUANTIZE between the two 403 and 296 (one H200, 32,768 rows).
 */
#include "vk_program.h"

uint64_t vkb_vk_i8_bytes(uint64_t rows, uint64_t stride) { return vkb_align_up(rows * stride + rows * sizeof(float), VKB_VK_ALIGN); }

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

void vkb_vk_quantize_init(vkb_vk_program *p) {
    for (uint32_t i = 0; i < p->step_count; i++) {
        p->folds[i].norm = VKB_NONE;
        if (p->steps[i].task.kind == VKB_KERNEL_QUANTIZE) find_norm(p, i);
    }
}

void vkb_vk_quantize_find(const vkb_vk_program *p, uint32_t tokens, uint32_t sequences, uint8_t *folded) {
    for (uint32_t i = 0; i < p->step_count; i++)
        if (p->folds[i].norm != VKB_NONE && vkb_vk_kernel_for(p, i, tokens, sequences)->folds & VKB_FOLD_NORM)
            folded[p->folds[i].norm] = VKB_FOLDED_BY_READERS;
}

static void take_norm(const vkb_vk_step *norm, vkb_vk_step *s) {
    uint32_t scales = s->push.row_count;
    s->push = norm->push;
    s->push.row_count = scales;
    s->input = norm->input;
    s->residual = norm->residual;
    s->task.mode |= VKB_FOLD_NORM;
}

void vkb_vk_quantize_apply(const vkb_vk_program *p, const uint8_t *folded, uint32_t step, vkb_vk_step *s) {
    uint32_t norm = p->folds[step].norm;
    if (norm != VKB_NONE && folded[norm]) take_norm(&p->steps[norm], s);
}
