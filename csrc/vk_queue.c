/* The queue: submitting and waiting. */
#include "vk_internal.h"

static const uint64_t slice = 200; /* milliseconds of a wait, after which it looks up */

/* No GPU that runs Vulkan is slower, in multiplications and additions a second. */
static const double slowest = 20e9;

vkb_status vkb_vk_fence_create(vkb_vk_device *device, vkb_vk_fence *fence, vkb_error *error) {
    VkFenceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    return vkb_vk_check(device, device->vk.CreateFence(device->handle, &info, NULL, &fence->handle), "vkCreateFence", error);
}

void vkb_vk_fence_destroy(vkb_vk_device *device, vkb_vk_fence *fence) {
    if (fence->handle && !atomic_load(&device->hung)) device->vk.DestroyFence(device->handle, fence->handle, NULL);
    fence->handle = VK_NULL_HANDLE;
}

vkb_status vkb_vk_pool_create(vkb_vk_device *device, VkCommandPoolCreateFlags flags, VkCommandPool *pool, vkb_error *error) {
    VkCommandPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, .flags = flags, .queueFamilyIndex = device->physical.queue_family};
    return vkb_vk_check(device, device->vk.CreateCommandPool(device->handle, &info, NULL, pool), "vkCreateCommandPool", error);
}

void vkb_vk_pool_destroy(vkb_vk_device *device, VkCommandPool pool) {
    if (pool && !atomic_load(&device->hung)) device->vk.DestroyCommandPool(device->handle, pool, NULL);
}

/* After a failure: nothing that was submitted may still run, for the caller is about to free or reuse what it works on. Where even that
   fails, the device can't be used any more. */
static void drain(vkb_vk_device *device) {
    if (atomic_load(&device->hung)) return;
    vkb_mutex_lock(device->queue_mutex);
    VkResult result = device->vk.DeviceWaitIdle(device->handle);
    vkb_mutex_unlock(device->queue_mutex);
    if (result) atomic_store(&device->lost, true);
}

/* The caller holds the queue's mutex, so that what is counted as under way comes before this on the queue; it may have waited for that, and
   the device been lost meanwhile. */
static vkb_status submit(vkb_vk_device *device, const vkb_vk_work *work, vkb_error *error) {
    vkb_vk_fence *fence = work->fence;
    fence->own = device->patience ? device->patience + (uint64_t)(1e3 * work->products / slowest) : 0;
    fence->limit = atomic_fetch_add(&device->owed, fence->own) + fence->own;
    uint32_t next = work->under_way && atomic_fetch_add(work->under_way, 1) == 0;
    vkb_status status = vkb_vk_alive(device, error);
    while (!status) { /* no commands at all: the fence alone */
        uint32_t at_once = next >= work->alone ? work->count - next : work->under_way && next == 0 ? 2 : 1;
        VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                             .commandBufferCount = at_once,
                             .pCommandBuffers = at_once ? work->commands + next : NULL};
        next += at_once;
        VkResult result = device->vk.QueueSubmit(device->queue, 1, &info, next == work->count ? fence->handle : VK_NULL_HANDLE);
        status = vkb_vk_check(device, result, "vkQueueSubmit", error);
        if (next == work->count) break;
    }
    if (status) vkb_vk_done(device, fence);
    return status;
}

/* The caller holds the queue's mutex. */
static void wait_for_pauses(vkb_vk_device *device) {
    if (!device->pauses) return;
    device->kept_back++;
    while (device->pauses) vkb_mutex_wait(device->queue_mutex);
    if (--device->kept_back == 0) vkb_mutex_wake(device->queue_mutex);
}

vkb_status vkb_vk_submit(vkb_vk_device *device, const vkb_vk_work *work, vkb_error *error) {
    vkb_status status = vkb_vk_alive(device, error);
    if (status) return status;
    status = vkb_vk_check(device, device->vk.ResetFences(device->handle, 1, &work->fence->handle), "vkResetFences", error);
    if (status) return status;
    vkb_mutex_lock(device->queue_mutex);
    wait_for_pauses(device);
    status = submit(device, work, error);
    vkb_mutex_unlock(device->queue_mutex);
    if (!status) return VKB_OK;
    drain(device);
    if (work->under_way) atomic_fetch_sub(work->under_way, 1);
    return status;
}

/* vkWaitForFences costs some 25 µs over polling (measured on an H100), which a short batch would notice. VK_TIMEOUT: it hangs. Time is
   counted in waits, so that a process that was stopped meanwhile blames nobody. */
static VkResult wait_for(vkb_vk_device *device, const vkb_vk_fence *fence, double spin) {
    VkResult result = VK_NOT_READY;
    double until = spin > 0 ? vkb_seconds() + spin : 0;
    do result = device->vk.GetFenceStatus(device->handle, fence->handle);
    while (result == VK_NOT_READY && spin > 0 && vkb_seconds() < until);
    for (uint64_t waited = 0; result == VK_NOT_READY || result == VK_TIMEOUT; waited += slice) {
        if (fence->limit && waited >= fence->limit) return VK_TIMEOUT;
        if (atomic_load(&device->lost)) return VK_ERROR_DEVICE_LOST;
        result = device->vk.WaitForFences(device->handle, 1, &fence->handle, VK_TRUE, slice * 1000000);
    }
    return result;
}

static vkb_status give_up(vkb_vk_device *device, const vkb_vk_fence *fence, vkb_error *error) {
    atomic_store(&device->hung, true);
    atomic_store(&device->lost, true);
    return vkb_fail_vk(error, VKB_ERROR_DEVICE_LOST, VK_TIMEOUT, "%s hangs: it has not done in %.1f s what was submitted",
                       device->base.info.name, (double)fence->limit / 1e3);
}

void vkb_vk_done(vkb_vk_device *device, vkb_vk_fence *fence) {
    atomic_fetch_sub(&device->owed, fence->own);
    fence->own = 0;
}

vkb_status vkb_vk_wait(vkb_vk_device *device, vkb_vk_fence *fence, double spin, vkb_error *error) {
    VkResult result = wait_for(device, fence, spin);
    vkb_vk_done(device, fence);
    if (result == VK_TIMEOUT) return give_up(device, fence, error);
    vkb_status status = vkb_vk_check(device, result, "waiting for the device", error);
    if (status) drain(device);
    return status;
}

vkb_status vkb_vk_pause(vkb_vk_device *device, vkb_error *error) {
    vkb_vk_fence fence = {0};
    vkb_status status = vkb_vk_fence_create(device, &fence, error);
    if (status) return status;
    vkb_mutex_lock(device->queue_mutex);
    while (device->kept_back) vkb_mutex_wait(device->queue_mutex);
    device->pauses++;
    status = submit(device, &(vkb_vk_work){.fence = &fence}, error);
    vkb_mutex_unlock(device->queue_mutex);
    if (!status) status = vkb_vk_wait(device, &fence, device->spin_limit, error);
    vkb_vk_fence_destroy(device, &fence);
    if (status) vkb_vk_resume(device);
    return status;
}

void vkb_vk_resume(vkb_vk_device *device) {
    vkb_mutex_lock(device->queue_mutex);
    if (--device->pauses == 0) vkb_mutex_wake(device->queue_mutex);
    vkb_mutex_unlock(device->queue_mutex);
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
