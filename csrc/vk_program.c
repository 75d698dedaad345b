/* Making a program: its memory, descriptor sets, kernels and first recording. */
#include <stdlib.h>

#include "vk_internal.h"

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
        if (slot->bytes > info->buffer_range)
            return vkb_fail(error, VKB_ERROR_UNSUPPORTED,
                            "%s: value %u of [%u, %u] takes %.1f MiB; a kernel can bind %.1f: lower max_tokens", info->name, i, slot->rows,
                            p->base.values[i].width, mib(slot->bytes), mib(info->buffer_range));
    }
    return VKB_OK;
}

void vkb_vk_step_bind(vkb_vk_program *p, const vkb_vk_step *s) {
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    VkDescriptorBufferInfo buffers[VKB_BIND_COUNT];
    for (uint32_t i = 0; i < VKB_BIND_COUNT; i++) {
        const vkb_vk_range *range = &s->ranges[i];
        buffers[i] = range->buffer ? (VkDescriptorBufferInfo){range->buffer, range->offset, range->bytes}
                                   : (VkDescriptorBufferInfo){p->upload.handle, 0, p->batch_bytes};
    }
    VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                  .dstSet = s->set,
                                  .descriptorCount = VKB_BIND_COUNT, /* consecutive bindings in one write */
                                  .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                  .pBufferInfo = buffers};
    device->vk.UpdateDescriptorSets(device->handle, 1, &write, 0, NULL);
}

static vkb_status create_sets(vkb_vk_program *p, vkb_error *error) {
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    uint32_t count = p->step_count + p->base.output_count;
    VkDescriptorPoolSize size = {.type = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, .descriptorCount = count * VKB_BIND_COUNT};
    VkDescriptorPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO, .maxSets = count, .poolSizeCount = 1, .pPoolSizes = &size};
    vkb_status status = vkb_vk_check(device, device->vk.CreateDescriptorPool(device->handle, &pool, NULL, &p->descriptors),
                                     "vkCreateDescriptorPool", error);
    for (uint32_t i = 0; i < count && !status; i++) {
        vkb_vk_step *s = i < p->step_count ? &p->steps[i] : &p->copies[i - p->step_count].step;
        VkDescriptorSetAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                            .descriptorPool = p->descriptors,
                                            .descriptorSetCount = 1,
                                            .pSetLayouts = &device->set_layout};
        status = vkb_vk_check(device, device->vk.AllocateDescriptorSets(device->handle, &info, &s->set), "vkAllocateDescriptorSets", error);
        if (!status && i < p->step_count) vkb_vk_step_bind(p, s);
    }
    return status;
}

static vkb_status create_objects(vkb_vk_program *p, vkb_error *error) {
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    p->submit = calloc((size_t)p->base.op_count + p->base.output_count, sizeof *p->submit);
    if (!p->submit) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_program_create: out of memory");
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    vkb_status status = vkb_vk_check(device, device->vk.CreateFence(device->handle, &fence, NULL, &p->fence), "vkCreateFence", error);
    if (status) return status;
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, .queueFamilyIndex = device->physical.queue_family};
    return vkb_vk_check(device, device->vk.CreateCommandPool(device->handle, &pool, NULL, &p->copy_pool), "vkCreateCommandPool", error);
}

/* The outputs that are small and the largest class are made ready now, so that what can fail fails here; the others at their first use. */
static vkb_status record_first(vkb_vk_program *p, vkb_error *error) {
    vkb_vk_recording *recording;
    vkb_status status = VKB_OK;
    for (uint32_t i = 0; i < p->base.output_count && !status; i++)
        if (p->copies[i].step.scope == VKB_PER_SEQUENCE) status = vkb_vk_copy_prepare(p, i, error);
    return status ? status : vkb_vk_recording_for(p, p->base.max_tokens, p->base.max_sequences, &recording, error);
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
    if (status) return status;
    uint64_t arguments = ((uint64_t)p->step_count + program->output_count) * sizeof(VkDispatchIndirectCommand);
    status = vkb_vk_buffer_create(device, p->arguments_at + arguments, VKB_VK_UPLOAD, "a batch", &p->upload, error);
    if (!status) status = create_sets(p, error);
    if (!status) status = create_objects(p, error);
    if (!status) status = record_first(p, error);
    if (status) return status;
    program->host_bytes = p->upload.bytes;
    for (uint32_t i = 0; i < program->output_count; i++) /* all, though those per token are taken when first asked for */
        program->host_bytes +=
            (uint64_t)program->slots[program->outputs[i]].rows * program->values[program->outputs[i]].width * sizeof(float);
    return VKB_OK;
}

void vkb_vk_program_free(vkb_program *program) {
    vkb_vk_program *p = (vkb_vk_program *)program;
    vkb_vk_device *device = vkb_vk_device_of(program);
    for (uint32_t i = 0; i < p->recording_count; i++) vkb_vk_recording_destroy(p, p->recordings[i]);
    for (uint32_t i = 0; i < program->output_count && p->copies; i++) vkb_vk_buffer_destroy(device, &p->copies[i].host);
    if (p->copy_pool) device->vk.DestroyCommandPool(device->handle, p->copy_pool, NULL);
    if (p->fence) device->vk.DestroyFence(device->handle, p->fence, NULL);
    if (p->descriptors) device->vk.DestroyDescriptorPool(device->handle, p->descriptors, NULL);
    vkb_vk_buffer_destroy(device, &p->upload);
    vkb_vk_buffer_destroy(device, &p->arena);
    free(p->submit);
    free(p->kernels);
    free(p->copies);
    free(p->steps);
}
