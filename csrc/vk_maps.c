/*
 * Tensor maps: linear_hopper.cu has tiles of its input and residual, and of weights in int8, copied by hardware that reads from a map of a
 * matrix where it lies. They depend on addresses alone and are made once a program, by tensor_maps.cu.
 */
#include "vk_program.h"

enum { INPUT, RESIDUAL, WEIGHTS, MAPS }; /* Maps of linear_hopper.cu */
enum { MAP_BYTES = 128 };

typedef struct matrix { /* Matrix of tensor_maps.cu */
    uint64_t address;
    uint64_t row_bytes;
    uint32_t columns, rows;
    uint32_t box_rows;
    uint32_t halves;
} matrix;
_Static_assert(sizeof(matrix) == 32, "Matrix of tensor_maps.cu");

static bool wants(const vkb_vk_program *p, uint32_t i) {
    for (uint32_t c = 0; c < p->class_count; c++)
        if (vkb_vk_kernel_for(p, i, c, c)->made_by == VKB_KERNEL_TENSOR_MAPS) return true;
    return false;
}

static uint32_t rows_of(const vkb_vk_program *p, uint32_t value) { return (uint32_t)p->base.slots[value].rows; }

/* How many of `matrices` there are. */
static uint32_t matrices_of(const vkb_vk_program *p, const vkb_vk_step *s, matrix matrices[MAPS], uint32_t numbers[MAPS]) {
    enum { ROWS = 256, HALF = 128, OUTPUTS = 128 }; /* a tile's */
    const vkb_push *push = &s->push;
    const bool bytes = s->task.weights == VKB_WEIGHTS_I8;
    const uint32_t outputs = (uint32_t)vkb_align_up(push->output_width, VKB_OUTPUT_ALIGN);
    const uint64_t element = bytes ? 1 : 2;
    uint32_t n = 0;
    numbers[n] = INPUT;
    matrices[n++] = (matrix){push->input_address, push->input_stride * element, push->input_stride, rows_of(p, s->input), ROWS, !bytes};
    if (s->residual != VKB_NONE) {
        numbers[n] = RESIDUAL;
        matrices[n++] =
            (matrix){push->residual_address, push->residual_stride * UINT64_C(2), push->residual_stride, rows_of(p, s->residual), HALF, 1};
    }
    if (bytes) {
        numbers[n] = WEIGHTS;
        matrices[n++] = (matrix){push->weight_address, push->input_stride, push->input_stride, outputs, OUTPUTS, 0};
    }
    return n;
}

static void record(const vkb_vk_program *p, const vkb_vk_pipeline *pipeline, VkCommandBuffer commands) {
    const vkb_vk_device *device = vkb_vk_device_of(&p->base);
    for (uint32_t i = 0; i < p->step_count; i++) {
        matrix matrices[MAPS];
        uint32_t numbers[MAPS], count = p->steps[i].maps_address ? matrices_of(p, &p->steps[i], matrices, numbers) : 0;
        for (uint32_t m = 0; m < count; m++) {
            uint64_t to = p->steps[i].maps_address + numbers[m] * MAP_BYTES;
            vkb_vk_cubin_launch(device, commands, pipeline, 1, (const void *[]){&matrices[m], &to}, 2);
        }
    }
}

static vkb_status run(vkb_vk_program *p, vkb_error *error) {
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    vkb_vk_usage usage = {.task = {.kind = VKB_KERNEL_TENSOR_MAPS}}; /* tested with what reads them */
    const vkb_kernel *kernel;
    vkb_vk_pipeline pipeline;
    vkb_vk_once once = {0};
    vkb_status status = vkb_vk_variant_choose(device, &usage, 1, &kernel, error);
    if (status) return status;
    if (!kernel) return vkb_fail(error, VKB_ERROR_UNSUPPORTED, "%s: there is no kernel for tensor maps", device->base.info.name);
    status = vkb_vk_pipeline_get(device, kernel, &usage.task, &pipeline, error);
    if (!status) status = vkb_vk_once_begin(device, &once, error);
    if (!status) record(p, &pipeline, once.commands);
    if (!status) status = vkb_vk_once_run(device, &once, error); /* waits, so that what comes later sees them */
    vkb_vk_once_destroy(device, &once);
    return status;
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
    return run(p, error);
}
