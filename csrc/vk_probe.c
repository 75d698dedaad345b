/* A try of what only a try can tell: how the driver lays a cooperative matrix out over a subgroup. */
#include "vk_internal.h"

enum { LANES = 32, RESULT_AT = VKB_VK_ALIGN }; /* bytes in the buffer, whose first words are the dispatch's size */

typedef struct probe {
    vkb_vk_buffer buffer;
    VkDescriptorPool descriptors;
    VkDescriptorSet set;
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkFence fence;
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

static vkb_status make_commands(vkb_vk_device *device, probe *p, const vkb_kernel *kernel, vkb_error *error) {
    const vkb_vk_device_table *vk = &device->vk;
    VkPipeline pipeline;
    vkb_status status = vkb_vk_pipeline_get(device, kernel, &(vkb_task){.kind = kernel->kind}, &pipeline, error);
    if (status) return status;
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, .queueFamilyIndex = device->physical.queue_family};
    status = vkb_vk_check(device, vk->CreateCommandPool(device->handle, &pool, NULL, &p->pool), "vkCreateCommandPool", error);
    if (status) return status;
    VkCommandBufferAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = p->pool, .commandBufferCount = 1};
    status = vkb_vk_check(device, vk->AllocateCommandBuffers(device->handle, &allocate, &p->commands), "vkAllocateCommandBuffers", error);
    if (status) return status;
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    status = vkb_vk_check(device, vk->CreateFence(device->handle, &fence, NULL, &p->fence), "vkCreateFence", error);
    if (status) return status;
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    status = vkb_vk_check(device, vk->BeginCommandBuffer(p->commands, &begin), "vkBeginCommandBuffer", error);
    if (status) return status;
    vkb_push push = {0};
    VkMemoryBarrier memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT, .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
    vk->CmdBindPipeline(p->commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    vk->CmdBindDescriptorSets(p->commands, VK_PIPELINE_BIND_POINT_COMPUTE, device->pipeline_layout, 0, 1, &p->set, 0, NULL);
    vk->CmdPushConstants(p->commands, device->pipeline_layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof push, &push);
    vk->CmdDispatchIndirect(p->commands, p->buffer.handle, 0);
    vk->CmdPipelineBarrier(p->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &memory, 0, NULL, 0, NULL);
    return vkb_vk_check(device, vk->EndCommandBuffer(p->commands), "vkEndCommandBuffer", error);
}

static void destroy(vkb_vk_device *device, probe *p) {
    if (p->fence) device->vk.DestroyFence(device->handle, p->fence, NULL);
    if (p->pool) device->vk.DestroyCommandPool(device->handle, p->pool, NULL);
    if (p->descriptors) device->vk.DestroyDescriptorPool(device->handle, p->descriptors, NULL);
    vkb_vk_buffer_destroy(device, &p->buffer);
}

vkb_status vkb_vk_fragments_probe(vkb_vk_device *device, bool *tiled, vkb_error *error) {
    probe p = {0};
    *tiled = false;
    const vkb_kernel *kernel = vkb_kernel_choose(&device->abilities, &(vkb_task){.kind = VKB_KERNEL_PROBE}, 1);
    if (!kernel) return VKB_OK;
    vkb_status status = vkb_vk_buffer_create(device, RESULT_AT + LANES * sizeof(float), VKB_VK_UPLOAD, "a probe", &p.buffer, error);
    if (!status) status = make_set(device, &p, error);
    if (!status) status = make_commands(device, &p, kernel, error);
    if (status) goto done;
    VkDispatchIndirectCommand *size = (VkDispatchIndirectCommand *)(void *)p.buffer.mapped;
    float *off = (float *)(void *)(p.buffer.mapped + RESULT_AT), sum = 0;
    *size = (VkDispatchIndirectCommand){1, 1, 1};
    for (uint32_t i = 0; i < LANES; i++) off[i] = 1;
    status = vkb_vk_buffer_flush(device, &p.buffer, error);
    vkb_vk_work work = {.commands = &p.commands, .count = 1, .fence = p.fence};
    if (!status) status = vkb_vk_submit(device, &work, error);
    if (!status) status = vkb_vk_wait(device, p.fence, device->spin_limit, error);
    if (!status) status = vkb_vk_buffer_invalidate(device, &p.buffer, error);
    for (uint32_t i = 0; i < LANES && !status; i++) sum += off[i];
    *tiled = !status && sum == 0;
done:
    destroy(device, &p);
    return status;
}
