/*
 * Tensor maps: linear_hopper.cu has tiles of its input, residual and output, and of weights in int8, copied by hardware that knows from a
 * map of a matrix where they lie. Maps depend on addresses alone and are made once a program, by tensor_maps.cu.
 */
#include "vk_program.h"

enum { INPUT, RESIDUAL, WEIGHTS, OUTPUT, GATED, PAIRS, MAPS }; /* Maps of linear_hopper.cu */
enum { MAP_BYTES = 128 };

typedef struct matrix { /* Matrix of tensor_maps.cu */
    uint64_t address;
    uint64_t row_bytes;
    uint32_t columns, rows;
    uint32_t box_rows;
    uint32_t halves;
    uint32_t pairs, unused;
} matrix;
_Static_assert(sizeof(matrix) == 40, "Matrix of tensor_maps.cu");

static bool wants(const vkb_vk_program *p, uint32_t i) { return vkb_vk_made_for(p, i, VKB_KERNEL_TENSOR_MAPS); }

static uint32_t rows_of(const vkb_vk_program *p, uint32_t value) { return (uint32_t)p->base.slots[value].rows; }

static void map(const vkb_vk_program *p, const vkb_vk_pipeline *pipeline, VkCommandBuffer commands, uint64_t maps, uint32_t number,
                matrix m) {
    uint64_t to = maps + number * MAP_BYTES;
    vkb_vk_cubin_launch(vkb_vk_device_of(&p->base), commands, pipeline, 1, (const void *[]){&m, &to}, 2);
}

/* A value in f16, copied by parts of 64 rows. */
static matrix parts_of(const vkb_vk_program *p, uint32_t value) {
    uint32_t stride = p->base.slots[value].stride;
    return (matrix){vkb_vk_address_of(p, value), UINT64_C(2) * stride, stride, rows_of(p, value), 64, 1, 0, 0};
}

static void record(const vkb_vk_program *p, const vkb_vk_pipeline *pipeline, VkCommandBuffer commands) {
    enum { ROWS = 128, OUTPUTS = 128 }; /* that a copy brings */
    for (uint32_t i = 0; i < p->step_count; i++) {
        const vkb_vk_step *s = &p->steps[i];
        const vkb_push *push = &s->push;
        if (!s->maps_address) continue;
        const bool bytes = s->task.weights == VKB_WEIGHTS_I8;
        const uint64_t width = push->input_stride, x_bytes = bytes ? width : 2 * width;
        const uint32_t outputs = (uint32_t)vkb_align_up(push->output_width, VKB_OUTPUT_ALIGN);
        map(p, pipeline, commands, s->maps_address, INPUT,
            (matrix){push->input_address, x_bytes, push->input_stride, rows_of(p, s->input), ROWS, !bytes, 0, 0});
        if (s->residual != VKB_NONE) map(p, pipeline, commands, s->maps_address, RESIDUAL, parts_of(p, s->residual));
        matrix weights = {push->weight_address, width, push->input_stride, outputs, OUTPUTS, 0, 0, 0};
        if (bytes) map(p, pipeline, commands, s->maps_address, WEIGHTS, weights);
        map(p, pipeline, commands, s->maps_address, OUTPUT, parts_of(p, s->output));
        uint32_t gate = p->folds[i].gate_after;
        if (gate == VKB_NONE) continue;
        map(p, pipeline, commands, s->maps_address, GATED, parts_of(p, p->steps[gate].output));
        weights.pairs = 1; /* their rows are whole tiles: vk_fold.c */
        if (bytes) map(p, pipeline, commands, s->maps_address, PAIRS, weights);
    }
}

vkb_status vkb_vk_maps_init(vkb_vk_program *p, vkb_error *error) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < p->step_count; i++)
        if (wants(p, i)) bytes += MAPS * MAP_BYTES;
    if (!bytes) return VKB_OK;
    vkb_status status = vkb_vk_buffer_create(vkb_vk_device_of(&p->base), bytes, VKB_VK_ARENA, "tensor maps", &p->maps, error);
    if (status) return status;
    uint64_t at = p->maps.address;
    for (uint32_t i = 0; i < p->step_count; i++) {
        if (!wants(p, i)) continue;
        p->steps[i].maps_address = at;
        at += MAPS * MAP_BYTES;
    }
    return vkb_vk_make(p, &(vkb_task){.kind = VKB_KERNEL_TENSOR_MAPS}, "tensor maps", record, error);
}
