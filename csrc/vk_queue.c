/* The queue: submitting and waiting. */
#include "vk_internal.h"

static const uint64_t slice_nanoseconds = 200 * 1000 * 1000;

/* After a failure: nothing that was submitted may still run, for the caller is about to free or reuse what it works on. Where even that
   fails, the device can't be used any more. */
static void drain(vkb_vk_device *device) {
    vkb_mutex_lock(device->queue_mutex);
    VkResult result = device->vk.DeviceWaitIdle(device->handle);
    vkb_mutex_unlock(device->queue_mutex);
    if (result) atomic_store(&device->lost, true);
}

/* The caller holds the queue's mutex, so that what is counted as under way comes before this on the queue. */
static VkResult submit(vkb_vk_device *device, const vkb_vk_work *work) {
    uint32_t next = work->under_way && atomic_fetch_add(work->under_way, 1) == 0;
    VkResult result = VK_SUCCESS;
    while (next < work->count && result == VK_SUCCESS) {
        uint32_t at_once = next >= work->alone ? work->count - next : work->under_way && next == 0 ? 2 : 1;
        VkSubmitInfo info = {
            .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = at_once, .pCommandBuffers = work->commands + next};
        next += at_once;
        result = device->vk.QueueSubmit(device->queue, 1, &info, next == work->count ? work->fence : VK_NULL_HANDLE);
    }
    return result;
}

vkb_status vkb_vk_submit(vkb_vk_device *device, const vkb_vk_work *work, vkb_error *error) {
    vkb_status status = vkb_vk_alive(device, error);
    if (status) return status;
    status = vkb_vk_check(device, device->vk.ResetFences(device->handle, 1, &work->fence), "vkResetFences", error);
    if (status) return status;
    vkb_mutex_lock(device->queue_mutex);
    VkResult result = submit(device, work);
    vkb_mutex_unlock(device->queue_mutex);
    status = vkb_vk_check(device, result, "vkQueueSubmit", error);
    if (!status) return VKB_OK;
    drain(device);
    if (work->under_way) atomic_fetch_sub(work->under_way, 1);
    return status;
}

/* vkWaitForFences costs some 25 µs over polling (measured on an H100), which a short batch would notice. */
static VkResult wait_for(vkb_vk_device *device, VkFence fence, double spin) {
    VkResult result = VK_NOT_READY;
    double until = spin > 0 ? vkb_seconds() + spin : 0;
    do result = device->vk.GetFenceStatus(device->handle, fence);
    while (result == VK_NOT_READY && spin > 0 && vkb_seconds() < until);
    if (result != VK_NOT_READY) return result;
    do result = device->vk.WaitForFences(device->handle, 1, &fence, VK_TRUE, slice_nanoseconds);
    while (result == VK_TIMEOUT && !atomic_load(&device->lost));
    return result == VK_TIMEOUT ? VK_ERROR_DEVICE_LOST : result;
}

vkb_status vkb_vk_wait(vkb_vk_device *device, VkFence fence, double spin, vkb_error *error) {
    vkb_status status = vkb_vk_check(device, wait_for(device, fence, spin), "waiting for the device", error);
    if (status) drain(device);
    return status;
}

bool vkb_vk_watch(const volatile uint32_t *words, uint64_t count, double spin) {
    double until = vkb_seconds() + spin;
    for (uint64_t i = 0; i < count;) {
        if (words[i] != VKB_VK_UNSET)
            i++;
        else if (vkb_seconds() >= until)
            return false;
    }
    atomic_thread_fence(memory_order_acquire); /* what is read next is read after the words */
    return true;
}
