/* Commands that are recorded, run one time and waited for. */
#include "vk_internal.h"

vkb_status vkb_vk_once_begin(vkb_vk_device *device, vkb_vk_once *once, vkb_error *error) {
    const vkb_vk_device_table *vk = &device->vk;
    *once = (vkb_vk_once){0};
    vkb_status status = vkb_vk_pool_create(device, 0, &once->pool, error);
    if (status) return status;
    VkCommandBufferAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = once->pool, .commandBufferCount = 1};
    status =
        vkb_vk_check(device, vk->AllocateCommandBuffers(device->handle, &allocate, &once->commands), "vkAllocateCommandBuffers", error);
    if (status) return status;
    status = vkb_vk_fence_create(device, &once->fence, error);
    if (status) return status;
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    return vkb_vk_check(device, vk->BeginCommandBuffer(once->commands, &begin), "vkBeginCommandBuffer", error);
}

vkb_status vkb_vk_once_run(vkb_vk_device *device, vkb_vk_once *once, vkb_error *error) {
    vkb_vk_work work = {.commands = &once->commands, .count = 1, .fence = &once->fence};
    vkb_status status = vkb_vk_check(device, device->vk.EndCommandBuffer(once->commands), "vkEndCommandBuffer", error);
    if (!status) status = vkb_vk_submit(device, &work, error);
    return status ? status : vkb_vk_wait(device, &once->fence, device->spin_limit, error);
}

void vkb_vk_once_destroy(vkb_vk_device *device, vkb_vk_once *once) {
    vkb_vk_fence_destroy(device, &once->fence);
    vkb_vk_pool_destroy(device, once->pool);
}
