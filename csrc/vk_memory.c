/* Buffers and the memory behind them: one allocation each, of which there are a handful a device; what they hold is placed by the callers.
 */
#include "vk_internal.h"

enum {
    LOCAL = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
    VISIBLE = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT,
    SLACK = 8192, /* what kernels that load ahead may read behind a value or a weight */
    COHERENT = VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
    CACHED = VK_MEMORY_PROPERTY_HOST_CACHED_BIT
};

/* No use falls back from the device's memory to the host's: it would work, at a hundredth of the speed. */
typedef struct memory_use {
    VkBufferUsageFlags usage;
    bool mapped;        /* if the type found is host-visible */
    bool no_window;     /* a host-visible type only where the host reaches all of the device's memory */
    bool addressed;     /* kernels may have its address, and read SLACK bytes past its end */
    uint32_t wishes[5]; /* best first, 0 ends */
} memory_use;

static const memory_use uses[] = {
    [VKB_VK_ARENA] = {VK_BUFFER_USAGE_STORAGE_BUFFER_BIT, false, true, true, {LOCAL}},
    [VKB_VK_WEIGHTS] = {VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT, true, true, true, {LOCAL | VISIBLE, LOCAL}},
    [VKB_VK_UPLOAD] = {VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT,
                       true,
                       false,
                       true,
                       {LOCAL | VISIBLE | COHERENT, VISIBLE | COHERENT, VISIBLE}},
    [VKB_VK_STAGING] = {VK_BUFFER_USAGE_TRANSFER_SRC_BIT, true, false, false, {VISIBLE | COHERENT, VISIBLE}},
    [VKB_VK_READ_BACK] = {VK_BUFFER_USAGE_STORAGE_BUFFER_BIT,
                          true,
                          false,
                          false,
                          {VISIBLE | CACHED | COHERENT, VISIBLE | CACHED, VISIBLE | COHERENT, VISIBLE}},
};

static double mib(uint64_t bytes) { return (double)bytes / (1 << 20); }

static vkb_status out_of_memory(vkb_vk_device *device, uint64_t bytes, const char *what, vkb_error *error) {
    const vkb_vk_physical *physical = &device->physical;
    uint64_t available = vkb_vk_heap_available(device->instance, physical, physical->main_heap);
    if (available == UINT64_MAX)
        return vkb_fail_vk(error, VKB_ERROR_OUT_OF_DEVICE_MEMORY, VK_ERROR_OUT_OF_DEVICE_MEMORY,
                           "%s: no room for %s of %.1f MiB; it has %.1f MiB in all", device->base.info.name, what, mib(bytes),
                           mib(device->base.info.memory_bytes));
    return vkb_fail_vk(error, VKB_ERROR_OUT_OF_DEVICE_MEMORY, VK_ERROR_OUT_OF_DEVICE_MEMORY,
                       "%s: no room for %s of %.1f MiB; %.1f of %.1f MiB are free for this process", device->base.info.name, what,
                       mib(bytes), mib(available), mib(device->base.info.memory_bytes));
}

static bool addressed(const vkb_vk_device *device, const memory_use *use) {
    return use->addressed && device->physical.abilities.needs & VKB_NEED_ADDRESSES;
}

/* Takes memory of the first type, in the order of the wishes, that has room. *flags: of that type. */
static vkb_status allocate(vkb_vk_device *device, const VkMemoryRequirements *needs, const memory_use *use, const char *what,
                           VkDeviceMemory *memory, VkMemoryPropertyFlags *flags, vkb_error *error) {
    const vkb_vk_physical *physical = &device->physical;
    bool avoid = use->no_window && !(device->base.info.features & VKB_FEATURE_HOST_VISIBLE);
    uint32_t tried = 0;
    for (const uint32_t *wish = use->wishes; *wish; wish++) {
        for (uint32_t t = 0; t < physical->memory.memoryTypeCount; t++) {
            const VkMemoryType *type = &physical->memory.memoryTypes[t];
            if (!(needs->memoryTypeBits >> t & 1) || tried >> t & 1) continue;
            if ((type->propertyFlags & *wish) != *wish || !vkb_vk_memory_type_ok(type->propertyFlags)) continue;
            if (avoid && type->propertyFlags & VISIBLE) continue;
            tried |= UINT32_C(1) << t;
            if (vkb_vk_heap_available(device->instance, physical, type->heapIndex) < needs->size) continue;
            VkMemoryAllocateFlagsInfo address = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                                 .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
            VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                         .pNext = addressed(device, use) ? &address : NULL,
                                         .allocationSize = needs->size,
                                         .memoryTypeIndex = t};
            VkResult result = device->vk.AllocateMemory(device->handle, &info, NULL, memory);
            *flags = type->propertyFlags;
            if (result != VK_ERROR_OUT_OF_DEVICE_MEMORY) return vkb_vk_check(device, result, "vkAllocateMemory", error);
        }
    }
    return out_of_memory(device, needs->size, what, error);
}

vkb_status vkb_vk_buffer_create(vkb_vk_device *device, uint64_t bytes, vkb_vk_use kind, const char *what, vkb_vk_buffer *buffer,
                                vkb_error *error) {
    const memory_use *use = &uses[kind];
    *buffer = (vkb_vk_buffer){.bytes = vkb_align_up(bytes, VKB_VK_ALIGN)};
    vkb_status status = vkb_vk_alive(device, error);
    if (status) return status;
    if (bytes > device->physical.buffer_limit)
        return vkb_fail(error, VKB_ERROR_OUT_OF_DEVICE_MEMORY, "%s: %s of %.1f MiB is over its limit of %.1f MiB for a buffer",
                        device->base.info.name, what, mib(bytes), mib(device->physical.buffer_limit));
    VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = buffer->bytes, .usage = use->usage};
    if (addressed(device, use)) {
        info.size += SLACK;
        info.usage |= VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
    }
    VkResult result = device->vk.CreateBuffer(device->handle, &info, NULL, &buffer->handle);
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY) return out_of_memory(device, bytes, what, error);
    status = vkb_vk_check(device, result, "vkCreateBuffer", error);
    if (status) return status;

    VkMemoryRequirements needs;
    device->vk.GetBufferMemoryRequirements(device->handle, buffer->handle, &needs);
    VkMemoryPropertyFlags flags = 0;
    status = allocate(device, &needs, use, what, &buffer->memory, &flags, error);
    if (status) goto fail;
    status =
        vkb_vk_check(device, device->vk.BindBufferMemory(device->handle, buffer->handle, buffer->memory, 0), "vkBindBufferMemory", error);
    if (status) goto fail;
    if (addressed(device, use)) {
        VkBufferDeviceAddressInfo of = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, .buffer = buffer->handle};
        buffer->address = device->vk.GetBufferDeviceAddress(device->handle, &of);
    }
    if (use->mapped && flags & VISIBLE) {
        void *mapped = NULL;
        status =
            vkb_vk_check(device, device->vk.MapMemory(device->handle, buffer->memory, 0, VK_WHOLE_SIZE, 0, &mapped), "vkMapMemory", error);
        if (status) goto fail;
        buffer->mapped = mapped;
    }
    buffer->coherent = flags & COHERENT;
    buffer->cached = flags & CACHED;
    return VKB_OK;
fail:
    vkb_vk_buffer_destroy(device, buffer);
    return status;
}

void vkb_vk_buffer_destroy(vkb_vk_device *device, vkb_vk_buffer *buffer) {
    if (atomic_load(&device->hung)) *buffer = (vkb_vk_buffer){0};
    if (buffer->handle) device->vk.DestroyBuffer(device->handle, buffer->handle, NULL);
    if (buffer->memory) device->vk.FreeMemory(device->handle, buffer->memory, NULL); /* unmaps it too */
    *buffer = (vkb_vk_buffer){0};
}

/* The whole of it: parts would have to be aligned to nonCoherentAtomSize, and memory that is not coherent is rare. */
static VkMappedMemoryRange whole(const vkb_vk_buffer *buffer) {
    return (VkMappedMemoryRange){.sType = VK_STRUCTURE_TYPE_MAPPED_MEMORY_RANGE, .memory = buffer->memory, .size = VK_WHOLE_SIZE};
}

vkb_status vkb_vk_buffer_flush(vkb_vk_device *device, const vkb_vk_buffer *buffer, vkb_error *error) {
    if (!buffer->mapped || buffer->coherent) return VKB_OK;
    VkMappedMemoryRange range = whole(buffer);
    return vkb_vk_check(device, device->vk.FlushMappedMemoryRanges(device->handle, 1, &range), "vkFlushMappedMemoryRanges", error);
}

vkb_status vkb_vk_buffer_invalidate(vkb_vk_device *device, const vkb_vk_buffer *buffer, vkb_error *error) {
    if (!buffer->mapped || buffer->coherent) return VKB_OK;
    VkMappedMemoryRange range = whole(buffer);
    return vkb_vk_check(device, device->vk.InvalidateMappedMemoryRanges(device->handle, 1, &range), "vkInvalidateMappedMemoryRanges",
                        error);
}
