/* VkResult to vkb_status, and the memory of a lost device. */
#include "vk_internal.h"

const char *vkb_vk_result_name(VkResult result) {
#define NAME(name) \
    { name, #name }
    static const struct {
        VkResult result;
        const char *name;
    } names[] = {
        NAME(VK_NOT_READY),
        NAME(VK_TIMEOUT),
        NAME(VK_INCOMPLETE),
        NAME(VK_ERROR_OUT_OF_HOST_MEMORY),
        NAME(VK_ERROR_OUT_OF_DEVICE_MEMORY),
        NAME(VK_ERROR_INITIALIZATION_FAILED),
        NAME(VK_ERROR_DEVICE_LOST),
        NAME(VK_ERROR_MEMORY_MAP_FAILED),
        NAME(VK_ERROR_LAYER_NOT_PRESENT),
        NAME(VK_ERROR_EXTENSION_NOT_PRESENT),
        NAME(VK_ERROR_FEATURE_NOT_PRESENT),
        NAME(VK_ERROR_INCOMPATIBLE_DRIVER),
        NAME(VK_ERROR_TOO_MANY_OBJECTS),
        NAME(VK_ERROR_FRAGMENTED_POOL),
        NAME(VK_ERROR_UNKNOWN),
        NAME(VK_ERROR_OUT_OF_POOL_MEMORY),
        NAME(VK_ERROR_FRAGMENTATION),
        NAME(VK_ERROR_INVALID_SHADER_NV),
    };
#undef NAME
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].result == result) return names[i].name;
    return "an unknown VkResult";
}

vkb_status vkb_vk_check(vkb_vk_device *device, VkResult result, const char *call, vkb_error *error) {
    if (result == VK_SUCCESS) return VKB_OK;
    vkb_status status = VKB_ERROR_VULKAN;
    switch (result) {
    case VK_ERROR_OUT_OF_HOST_MEMORY: status = VKB_ERROR_OUT_OF_HOST_MEMORY; break;
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: status = VKB_ERROR_OUT_OF_DEVICE_MEMORY; break;
    case VK_ERROR_DEVICE_LOST:
        status = VKB_ERROR_DEVICE_LOST;
        atomic_store(&device->lost, true);
        break;
    default: break;
    }
    return vkb_fail_vk(error, status, result, "%s: %s failed with %s (%d)", device->base.info.name, call, vkb_vk_result_name(result),
                       (int)result);
}

vkb_status vkb_vk_alive(vkb_vk_device *device, vkb_error *error) {
    if (!atomic_load(&device->lost)) return VKB_OK;
    return vkb_fail_vk(error, VKB_ERROR_DEVICE_LOST, VK_ERROR_DEVICE_LOST, "%s was lost earlier: close it and all that was made on it",
                       device->base.info.name);
}
