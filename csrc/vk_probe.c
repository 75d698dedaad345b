/* A try of what only a try can tell: how the driver lays a cooperative matrix out over a subgroup. */
#include "vk_internal.h"

enum { LANES = 32, RESULT_AT = VKB_VK_ALIGN }; /* bytes in the buffer, whose first words are the dispatch's size */

typedef struct probe {
    vkb_vk_buffer buffer;
    VkDescriptorPool descriptors;
    VkDescriptorSet set;
    vkb_vk_once once;
} probe;

static vkb_status make_set(vkb_vk_device *device, probe *p, vkb_error *error) {
    VkDescriptorPoolSize size = {.type = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, .descriptorCount = VKB_BIND_COUNT};
    VkDescriptorPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO, .maxSets = 1, .poolSizeCount = 1, .pPoolSizes = &size};
    vkb_status status = vkb_vk_check(device, device->vk.CreateDescriptorPool(device->handle, &pool, NULL, &p->descriptors),
                                     "vkCreateDescriptorPool", error);
    if (status) return status;
    VkDescriptorSetAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                            .descriptorPool = p->descriptors,
                                            .descriptorSetCount = 1,
                                            .pSetLayouts = &device->set_layout};
    status = vkb_vk_check(device, device->vk.AllocateDescriptorSets(device->handle, &allocate, &p->set), "vkAllocateDescriptorSets", error);
    if (status) return status;
    VkDescriptorBufferInfo buffers[VKB_BIND_COUNT];
    for (uint32_t i = 0; i < VKB_BIND_COUNT; i++) buffers[i] = (VkDescriptorBufferInfo){p->buffer.handle, RESULT_AT, LANES * sizeof(float)};
    VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                  .dstSet = p->set,
                                  .descriptorCount = VKB_BIND_COUNT,
                                  .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                  .pBufferInfo = buffers};
    device->vk.UpdateDescriptorSets(device->handle, 1, &write, 0, NULL);
    return VKB_OK;
}

static vkb_status run(vkb_vk_device *device, probe *p, const vkb_kernel *kernel, vkb_error *error) {
    const vkb_vk_device_table *vk = &device->vk;
    vkb_vk_pipeline pipeline;
    vkb_status status = vkb_vk_pipeline_get(device, kernel, &(vkb_task){.kind = kernel->kind}, &pipeline, error);
    if (!status) status = vkb_vk_once_begin(device, &p->once, error);
    if (status) return status;
    VkCommandBuffer commands = p->once.commands;
    vkb_push push = {0};
    VkMemoryBarrier memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT, .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
    vk->CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline.handle);
    vk->CmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, device->pipeline_layout, 0, 1, &p->set, 0, NULL);
    vk->CmdPushConstants(commands, device->pipeline_layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof push, &push);
    vk->CmdDispatchIndirect(commands, p->buffer.handle, 0);
    vk->CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &memory, 0, NULL, 0, NULL);
    return vkb_vk_once_run(device, &p->once, error);
}

static void destroy(vkb_vk_device *device, probe *p) {
    vkb_vk_once_destroy(device, &p->once);
    if (p->descriptors && !atomic_load(&device->hung)) device->vk.DestroyDescriptorPool(device->handle, p->descriptors, NULL);
    vkb_vk_buffer_destroy(device, &p->buffer);
}

vkb_status vkb_vk_fragments_probe(vkb_vk_device *device, bool *tiled, vkb_error *error) {
    probe p = {0};
    *tiled = false;
    const vkb_kernel *kernel = vkb_kernel_choose(&device->abilities, &(vkb_task){.kind = VKB_KERNEL_PROBE}, 1);
    if (!kernel) return VKB_OK;
    vkb_status status = vkb_vk_buffer_create(device, RESULT_AT + LANES * sizeof(float), VKB_VK_UPLOAD, "a probe", &p.buffer, error);
    if (!status) status = make_set(device, &p, error);
    if (status) goto done;
    VkDispatchIndirectCommand *size = (VkDispatchIndirectCommand *)(void *)p.buffer.mapped;
    float *off = (float *)(void *)(p.buffer.mapped + RESULT_AT), sum = 0;
    *size = (VkDispatchIndirectCommand){1, 1, 1};
    for (uint32_t i = 0; i < LANES; i++) off[i] = 1;
    status = vkb_vk_buffer_flush(device, &p.buffer, error);
    if (!status) status = run(device, &p, kernel, error);
    if (!status) status = vkb_vk_buffer_invalidate(device, &p.buffer, error);
    for (uint32_t i = 0; i < LANES && !status; i++) sum += off[i];
    *tiled = !status && sum == 0;
done:
    destroy(device, &p);
    return status;
}
