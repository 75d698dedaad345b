/*
 * Filling and copying buffers. Where the host does not reach the device's memory, data goes through two halves of a small buffer: the host
 * fills one while the device copies the other.
 */
#include <stdlib.h>

#include "vk_internal.h"

enum { MAX_REGIONS = 256 };

typedef struct half {
    VkCommandBuffer commands;
    vkb_vk_fence fence;
    bool pending; /* submitted and not yet waited for */
} half;

struct vkb_vk_staging {
    vkb_vk_device *device;
    vkb_vk_buffer memory;
    VkCommandPool pool;
    half halves[2];
    uint32_t current; /* the half being filled */
    uint64_t used;    /* bytes of it */
    struct {
        VkBuffer target;
        VkBufferCopy copy;
    } regions[MAX_REGIONS];
    uint32_t region_count;
};

vkb_status vkb_vk_staging_create(vkb_vk_device *device, uint64_t bytes, vkb_vk_staging **staging, vkb_error *error) {
    vkb_vk_staging *s = calloc(1, sizeof *s);
    *staging = s;
    if (!s) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "%s: out of memory for a staging buffer", device->base.info.name);
    s->device = device;
    const vkb_vk_device_table *vk = &device->vk;
    vkb_status status = bytes ? vkb_vk_buffer_create(device, bytes, VKB_VK_STAGING, "a staging buffer", &s->memory, error) : VKB_OK;
    if (status) goto fail;
    VkCommandPoolCreateFlags flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT | VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
    status = vkb_vk_pool_create(device, flags, &s->pool, error);
    if (status) goto fail;
    for (int i = 0; i < 2; i++) {
        VkCommandBufferAllocateInfo info = {
            .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = s->pool, .commandBufferCount = 1};
        status = vkb_vk_check(device, vk->AllocateCommandBuffers(device->handle, &info, &s->halves[i].commands), "vkAllocateCommandBuffers",
                              error);
        if (status) goto fail;
        status = vkb_vk_fence_create(device, &s->halves[i].fence, error);
        if (status) goto fail;
    }
    return VKB_OK;
fail:
    vkb_vk_staging_destroy(s);
    *staging = NULL;
    return status;
}

static vkb_status wait_half(vkb_vk_staging *s, half *h, vkb_error *error) {
    if (!h->pending) return VKB_OK;
    h->pending = false; /* a wait that fails leaves nothing on the device either */
    return vkb_vk_wait(s->device, &h->fence, s->device->spin_limit, error);
}

void vkb_vk_staging_destroy(vkb_vk_staging *s) {
    if (!s) return;
    for (int i = 0; i < 2; i++) {
        wait_half(s, &s->halves[i], NULL);
        vkb_vk_fence_destroy(s->device, &s->halves[i].fence);
    }
    vkb_vk_pool_destroy(s->device, s->pool);
    vkb_vk_buffer_destroy(s->device, &s->memory);
    free(s);
}

static vkb_status begin(vkb_vk_staging *s, VkCommandBuffer commands, vkb_error *error) {
    VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                     .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    return vkb_vk_check(s->device, s->device->vk.BeginCommandBuffer(commands, &info), "vkBeginCommandBuffer", error);
}

/* What was written is there for kernels, for later copies and for the host. */
static vkb_status end_and_submit(vkb_vk_staging *s, half *h, vkb_error *error) {
    const vkb_vk_device_table *vk = &s->device->vk;
    VkMemoryBarrier barrier = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                               .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                               .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_HOST_WRITE_BIT};
    vk->CmdPipelineBarrier(h->commands, VK_PIPELINE_STAGE_TRANSFER_BIT,
                           VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT | VK_PIPELINE_STAGE_HOST_BIT, 0, 1,
                           &barrier, 0, NULL, 0, NULL);
    vkb_status status = vkb_vk_check(s->device, vk->EndCommandBuffer(h->commands), "vkEndCommandBuffer", error);
    if (status) return status;
    vkb_vk_work work = {.commands = &h->commands, .count = 1, .fence = &h->fence};
    status = vkb_vk_submit(s->device, &work, error);
    h->pending = status == VKB_OK;
    return status;
}

vkb_status vkb_vk_staging_zero(vkb_vk_staging *s, const vkb_vk_buffer *buffers, uint32_t count, vkb_error *error) {
    half *h = &s->halves[s->current];
    vkb_status status = wait_half(s, h, error);
    if (!status) status = begin(s, h->commands, error);
    if (status) return status;
    for (uint32_t i = 0; i < count; i++) s->device->vk.CmdFillBuffer(h->commands, buffers[i].handle, 0, VK_WHOLE_SIZE, 0);
    status = end_and_submit(s, h, error);
    return status ? status : wait_half(s, h, error);
}

/* Sends the half being filled on its way and turns to the other. */
static vkb_status turn(vkb_vk_staging *s, vkb_error *error) {
    half *h = &s->halves[s->current];
    if (s->region_count) {
        vkb_status status = vkb_vk_buffer_flush(s->device, &s->memory, error);
        if (!status) status = begin(s, h->commands, error);
        if (status) return status;
        for (uint32_t i = 0; i < s->region_count; i++)
            s->device->vk.CmdCopyBuffer(h->commands, s->memory.handle, s->regions[i].target, 1, &s->regions[i].copy);
        status = end_and_submit(s, h, error);
        if (status) return status;
    }
    s->region_count = 0;
    s->used = 0;
    s->current ^= 1;
    return wait_half(s, &s->halves[s->current], error);
}

vkb_status vkb_vk_staging_reserve(vkb_vk_staging *s, const vkb_vk_buffer *target, uint64_t offset, uint64_t bytes, uint8_t **room,
                                  vkb_error *error) {
    uint64_t capacity = s->memory.bytes / 2;
    if (s->used + bytes > capacity || s->region_count == MAX_REGIONS) {
        vkb_status status = turn(s, error);
        if (status) return status;
    }
    uint64_t at = s->current * capacity + s->used;
    *room = s->memory.mapped + at;
    s->used += bytes;
    if (s->region_count && s->regions[s->region_count - 1].target == target->handle) {
        VkBufferCopy *last = &s->regions[s->region_count - 1].copy;
        if (last->srcOffset + last->size == at && last->dstOffset + last->size == offset) {
            last->size += bytes;
            return VKB_OK;
        }
    }
    s->regions[s->region_count].target = target->handle;
    s->regions[s->region_count++].copy = (VkBufferCopy){.srcOffset = at, .dstOffset = offset, .size = bytes};
    return VKB_OK;
}

vkb_status vkb_vk_staging_finish(vkb_vk_staging *s, vkb_error *error) {
    for (int i = 0; i < 2; i++) {
        vkb_status status = turn(s, error);
        if (status) return status;
    }
    return VKB_OK;
}
