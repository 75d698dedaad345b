/* The queue: submitting and waiting. */
#include "vk_internal.h"

/* vkWaitForFences costs some 25 µs over polling (measured on an H100), which a short batch would notice: poll first for about as long as
 * one takes. */
static const double spin_seconds = 100e-6;
static const uint64_t slice_nanoseconds = 200 * 1000 * 1000;

/* After a failure: nothing that was submitted may still run, for the caller is about to free or reuse what it works on. Where even that
   fails, the device can't be used any more. */
static void drain(vkb_vk_device *device) {
    vkb_mutex_lock(device->queue_mutex);
    VkResult result = device->vk.DeviceWaitIdle(device->handle);
    vkb_mutex_unlock(device->queue_mutex);
    if (result) atomic_store(&device->lost, true);
}

vkb_status vkb_vk_submit(vkb_vk_device *device, const VkCommandBuffer *commands, uint32_t count, uint32_t alone, VkFence fence,
                         vkb_error *error) {
    vkb_status status = vkb_vk_alive(device, error);
    if (status) return status;
    status = vkb_vk_check(device, device->vk.ResetFences(device->handle, 1, &fence), "vkResetFences", error);
    if (status) return status;
    uint32_t done = 0;
    VkResult result = VK_SUCCESS;
    vkb_mutex_lock(device->queue_mutex);
    while (done < count && result == VK_SUCCESS) {
        uint32_t at_once = done < alone ? 1 : count - done;
        VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = at_once, .pCommandBuffers = commands + done};
        result = device->vk.QueueSubmit(device->queue, 1, &info, done + at_once == count ? fence : VK_NULL_HANDLE);
        done += at_once;
    }
    vkb_mutex_unlock(device->queue_mutex);
    status = vkb_vk_check(device, result, "vkQueueSubmit", error);
    if (status) drain(device);
    return status;
}

static VkResult wait_for(vkb_vk_device *device, VkFence fence) {
    VkResult result = VK_NOT_READY;
    if (device->base.info.kind != VKB_DEVICE_SOFTWARE) { /* which computes on the CPU that would spin */
        double until = vkb_seconds() + spin_seconds;
        do result = device->vk.GetFenceStatus(device->handle, fence);
        while (result == VK_NOT_READY && vkb_seconds() < until);
    }
    if (result != VK_NOT_READY) return result;
    do result = device->vk.WaitForFences(device->handle, 1, &fence, VK_TRUE, slice_nanoseconds);
    while (result == VK_TIMEOUT && !atomic_load(&device->lost));
    return result == VK_TIMEOUT ? VK_ERROR_DEVICE_LOST : result;
}

vkb_status vkb_vk_wait(vkb_vk_device *device, VkFence fence, vkb_error *error) {
    vkb_status status = vkb_vk_check(device, wait_for(device, fence), "waiting for the device", error);
    if (status) drain(device);
    return status;
}
