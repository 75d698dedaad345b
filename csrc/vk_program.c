/* Making a program: its memory, kernels and first frame. */
#include <stdlib.h>

#include "vk_program.h"

static double mib(uint64_t bytes) { return (double)bytes / (1 << 20); }

/* Where the batch's arrays lie, in words. The lists of attention tiles follow, once their number is known. */
static uint64_t place_arrays(vkb_vk_program *p) {
    uint64_t tokens = p->base.max_tokens, sequences = p->base.max_sequences, at = sizeof(vkb_batch_header) / sizeof(uint32_t);
    const struct {
        uint32_t *place;
        uint64_t words;
    } arrays[] = {{&p->places.ids_at, tokens},
                  {&p->places.types_at, tokens},
                  {&p->places.positions_at, tokens},
                  {&p->places.cu_at, sequences + 1},
                  {&p->places.pool_at, sequences}};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        *arrays[i].place = (uint32_t)at; /* fits: there are fewer than 2^31 tokens, and place_lists checks the end */
        at += vkb_align_up(arrays[i].words, 4);
    }
    return at;
}

/* Each list at its largest: a sequence ends with a tile that may not be full. Ends with the sizes of the upload buffer's parts. */
static vkb_status place_lists(vkb_vk_program *p, uint64_t at, vkb_error *error) {
    for (uint32_t i = 0; i < p->list_count; i++) {
        p->lists[i].at = (uint32_t)at;
        at += (p->base.max_tokens / p->lists[i].tile_rows + p->base.max_sequences) * (sizeof(vkb_query_tile) / sizeof(uint32_t));
    }
    p->batch_bytes = vkb_align_up(at * sizeof(uint32_t), VKB_VK_ALIGN);
    const vkb_device_info *info = &p->base.weights->device->info;
    if (p->batch_bytes > info->buffer_range || at > UINT32_MAX)
        return vkb_fail(error, VKB_ERROR_UNSUPPORTED, "%s: a batch of %u tokens takes %.1f MiB; a kernel can bind %.1f: lower max_tokens",
                        info->name, p->base.max_tokens, mib(p->batch_bytes), mib(info->buffer_range));
    p->arguments_at = p->batch_bytes;
    return VKB_OK;
}

static vkb_status check_slots(const vkb_vk_program *p, vkb_error *error) {
    const vkb_device_info *info = &p->base.weights->device->info;
    for (uint32_t i = 0; i < p->base.value_count; i++) {
        const vkb_slot *slot = &p->base.slots[i];
        uint64_t bytes = slot->i8_at ? slot->i8_at : slot->bytes; /* the int8 form, at most half as large, is bound by itself */
        if (bytes > info->buffer_range)
            return vkb_fail(error, VKB_ERROR_UNSUPPORTED,
                            "%s: value %u of [%u, %u] takes %.1f MiB; a kernel can bind %.1f: lower max_tokens", info->name, i, slot->rows,
                            p->base.values[i].width, mib(bytes), mib(info->buffer_range));
    }
    return VKB_OK;
}

static bool reads(const vkb_vk_step *s, uint32_t value) { return s->input == value || s->residual == value; }

/* An output whose rows lie without gaps, and which nothing reads, need not be copied: the step that makes it writes where the host reads.
 */
static bool is_direct(const vkb_vk_program *p, uint32_t output) {
    uint32_t value = p->base.outputs[output];
    if (p->base.values[value].scope != VKB_PER_SEQUENCE || p->base.values[value].width != p->base.slots[value].stride) return false;
    for (uint32_t i = 0; i < p->base.output_count; i++)
        if (i != output && p->base.outputs[i] == value) return false;
    for (uint32_t i = 0; i < p->step_count; i++) {
        const vkb_vk_step *s = &p->steps[i];
        if (reads(s, value) || (s->output == value && s->task.kind != VKB_OP_POOL && s->task.kind != VKB_OP_NORMALIZE)) return false;
    }
    return true;
}

static vkb_status find_direct(vkb_vk_program *p, vkb_error *error) {
    p->direct = calloc(p->base.output_count, sizeof *p->direct);
    if (!p->direct) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_program_create: out of memory");
    for (uint32_t i = 0; i < p->base.output_count; i++) p->direct[i] = is_direct(p, i);
    return VKB_OK;
}

vkb_status vkb_vk_program_init(vkb_program *program, vkb_error *error) {
    vkb_vk_program *p = (vkb_vk_program *)program;
    vkb_vk_device *device = vkb_vk_device_of(program);
    vkb_status status = check_slots(p, error);
    if (!status) status = vkb_vk_buffer_create(device, program->arena_bytes, VKB_VK_ARENA, "intermediate results", &p->arena, error);
    if (status) return status;
    uint64_t words = place_arrays(p);
    status = vkb_vk_steps_build(p, error);
    if (!status) status = vkb_vk_classes_init(p, error);
    if (!status) status = place_lists(p, words, error);
    if (!status) status = find_direct(p, error);
    if (!status) status = vkb_vk_folds_init(p, error);
    if (!status) status = vkb_vk_sums_init(p, error);
    if (!status) status = vkb_vk_maps_init(p, error);
    if (!status) status = vkb_vk_frames_init(p, error);
    if (status) return status;
    program->host_bytes = p->frames[0]->upload.bytes;
    for (uint32_t i = 0; i < program->output_count; i++) /* all, though those per token are taken when first asked for */
        program->host_bytes +=
            (uint64_t)program->slots[program->outputs[i]].rows * program->values[program->outputs[i]].width * sizeof(float);
    return VKB_OK;
}

void vkb_vk_program_free(vkb_program *program) {
    vkb_vk_program *p = (vkb_vk_program *)program;
    vkb_vk_frames_free(p);
    vkb_vk_buffer_destroy(vkb_vk_device_of(program), &p->maps);
    vkb_vk_buffer_destroy(vkb_vk_device_of(program), &p->sums);
    vkb_vk_buffer_destroy(vkb_vk_device_of(program), &p->arena);
    free(p->folds);
    free(p->direct);
    free(p->kernels);
    free(p->copies);
    free(p->steps);
}
