/*
 * Where the values of a program lie in the activation arena. A value lives from the op that first writes it to the last op that reads it
 * (outputs: to the end); values whose lives do not overlap share room. First fit, largest values not sorted: programs have some hundred
 * values and transformer layers repeat, so that each layer finds the holes that the one before it left.
 */
#include <stdlib.h>

#include "internal.h"

typedef struct life {
    uint32_t first, last; /* ops, both included */
} life;

static void extend(life *lives, uint32_t value, uint32_t op) {
    if (value == VKB_NONE) return;
    if (op < lives[value].first) lives[value].first = op;
    if (op > lives[value].last) lives[value].last = op;
}

/* Whether the next op may do this one by the way, or this one the next (vk_fold.c): then what it reads has to be there still. */
static bool may_fold(const vkb_op *op, const vkb_op *next) {
    return op->kind == VKB_OP_ATTENTION || (op->kind == VKB_OP_LINEAR && next && next->kind == VKB_OP_GATE && next->input == op->output);
}

static void find_lives(const vkb_program *p, life *lives) {
    for (uint32_t i = 0; i < p->value_count; i++) lives[i] = (life){.first = UINT32_MAX, .last = 0};
    for (uint32_t i = 0; i < p->op_count; i++) {
        bool kept = may_fold(&p->ops[i], i + 1 < p->op_count ? &p->ops[i + 1] : NULL);
        extend(lives, p->ops[i].input, kept ? i + 1 : i);
        extend(lives, p->ops[i].residual, i);
        extend(lives, p->ops[i].output, i);
    }
    for (uint32_t i = 0; i < p->output_count; i++) extend(lives, p->outputs[i], p->op_count);
}

static bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes) { return a < b + b_bytes && b < a + a_bytes; }

/* The lowest offset where slot `v` meets no slot of an earlier value that is alive with it. */
static void place(vkb_slot *slots, const life *lives, uint32_t v, uint64_t align) {
    uint64_t offset = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (uint32_t u = 0; u < v; u++) {
            bool together = lives[u].first <= lives[v].last && lives[v].first <= lives[u].last;
            if (!together || !overlap(offset, slots[v].bytes, slots[u].offset, slots[u].bytes)) continue;
            offset = vkb_align_up(slots[u].offset + slots[u].bytes, align);
            moved = true;
        }
    }
    slots[v].offset = offset;
}

/* Whether a product in int8 reads the value. */
static bool wants_i8(const vkb_program *p, uint32_t value) {
    for (uint32_t i = 0; i < p->op_count; i++) {
        const vkb_op *op = &p->ops[i];
        bool product = op->kind == VKB_OP_LINEAR || op->kind == VKB_OP_LINEAR_MAX;
        if (product && op->input == value && p->weights->tensors[op->weight].dtype == VKB_I8) return true;
    }
    return false;
}

vkb_status vkb_plan(vkb_program *program, vkb_error *error) {
    const vkb_backend *backend = program->weights->device->backend;
    life *lives = calloc(program->value_count, sizeof *lives);
    if (!lives)
        return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_program_create: out of memory for %u values", program->value_count);
    find_lives(program, lives);
    program->arena_bytes = 0;
    vkb_status status = VKB_OK;
    for (uint32_t v = 0; v < program->value_count; v++) {
        vkb_slot *slot = &program->slots[v];
        bool half = program->activations == VKB_F16 && program->values[v].scope == VKB_PER_TOKEN;
        slot->size = half ? 2 : 4;
        uint64_t rows = program->values[v].scope == VKB_PER_TOKEN ? program->max_tokens : program->max_sequences;
        rows = vkb_align_up(rows, backend->row_tile);
        uint64_t stride = vkb_align_up(program->values[v].width, backend->column_align), end;
        stride = vkb_row_bytes(stride * slot->size, backend->set_bytes) / slot->size;
        if (!vkb_mul(rows, stride * slot->size, &slot->bytes) || rows > UINT32_MAX || stride > UINT32_MAX || slot->bytes > UINT64_MAX / 4) {
            status = vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "value %u: %llu rows of %llu elements overflow", v,
                              (unsigned long long)rows, (unsigned long long)stride);
            break;
        }
        if (backend->i8_bytes && wants_i8(program, v)) {
            slot->i8_at = slot->bytes;
            slot->bytes += backend->i8_bytes(rows, stride);
        }
        slot->rows = (uint32_t)rows;
        slot->stride = (uint32_t)stride;
        place(program->slots, lives, v, backend->arena_align);
        if (!vkb_add(slot->offset, slot->bytes, &end) || end > UINT64_MAX / 2) { /* room to align it, here and in the backends */
            status = vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "the intermediate results overflow");
            break;
        }
        if (end > program->arena_bytes) program->arena_bytes = end;
    }
    free(lives);
    return status;
}
