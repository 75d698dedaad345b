/* The process's Vulkan instance, and the report of its devices. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vk_internal.h"

/* Made at the first use and kept: creation takes half a second with some drivers, and a driver's library is not safely unloaded. */
static vkb_vk_instance the_instance;
static _Atomic(vkb_mutex *) the_mutex;

static vkb_mutex *instance_mutex(void) {
    vkb_mutex *mutex = atomic_load(&the_mutex);
    if (mutex) return mutex;
    vkb_mutex *made = vkb_mutex_create();
    if (made && !atomic_compare_exchange_strong(&the_mutex, &mutex, made)) {
        vkb_mutex_destroy(made); /* another thread was first; `mutex` is now its one */
        return mutex;
    }
    return made;
}

/* Without VK_KHR_portability_enumeration the loader hides MoltenVK. */
static VkResult find_portability(const vkb_vk_instance_table *vk, bool *found) {
    uint32_t count = 0;
    *found = false;
    VkResult result = vk->EnumerateInstanceExtensionProperties(NULL, &count, NULL);
    if (result || !count) return result;
    VkExtensionProperties *list = calloc(count, sizeof *list);
    if (!list) return VK_ERROR_OUT_OF_HOST_MEMORY;
    result = vk->EnumerateInstanceExtensionProperties(NULL, &count, list);
    for (uint32_t i = 0; result >= 0 && i < count; i++)
        if (strcmp(list[i].extensionName, VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME) == 0) *found = true;
    free(list);
    return result < 0 ? result : VK_SUCCESS;
}

static vkb_status failed(VkResult result, const char *call, const char *why, vkb_error *error) {
    vkb_status status = result == VK_ERROR_OUT_OF_HOST_MEMORY ? VKB_ERROR_OUT_OF_HOST_MEMORY : VKB_ERROR_NO_DEVICE;
    return vkb_fail_vk(error, status, result, "%s failed with %s (%d)%s", call, vkb_vk_result_name(result), (int)result, why);
}

static vkb_status create_instance(vkb_vk_instance *instance, vkb_error *error) {
    char reason[200] = "";
    PFN_vkGetInstanceProcAddr get = vkb_vk_loader_open(reason, sizeof reason);
    if (!get) return vkb_fail(error, VKB_ERROR_NO_DEVICE, "there is no Vulkan loader: %s", reason);
    const char *missing = vkb_vk_load_global(&instance->vk, get);
    if (missing) return vkb_fail(error, VKB_ERROR_NO_DEVICE, "the Vulkan loader has no %s: it is older than Vulkan 1.1", missing);

    bool portability;
    VkResult result = find_portability(&instance->vk, &portability);
    if (result) return failed(result, "vkEnumerateInstanceExtensionProperties", "", error);
    const char *extension = VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME;
    /* 1.3 is the version that we know of; a device of 1.2 is enough. */
    VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .pEngineName = "vkbert", .apiVersion = VK_API_VERSION_1_3};
    VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .flags = portability ? VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR : 0,
        .pApplicationInfo = &application,
        .enabledExtensionCount = portability,
        .ppEnabledExtensionNames = &extension,
    };
    result = instance->vk.CreateInstance(&info, NULL, &instance->handle);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER) return failed(result, "vkCreateInstance", ": no Vulkan driver is installed", error);
    if (result) return failed(result, "vkCreateInstance", "", error);
    missing = vkb_vk_load_instance(&instance->vk, get, instance->handle);
    if (!missing) return VKB_OK;
    if (instance->vk.DestroyInstance) instance->vk.DestroyInstance(instance->handle, NULL);
    return vkb_fail(error, VKB_ERROR_NO_DEVICE, "the Vulkan loader has no %s", missing);
}

/* The process's instance, made at the first call and kept; VKB_ERROR_NO_DEVICE where there is no loader or no driver. Any thread. */
static vkb_status get_instance(const vkb_vk_instance **instance, vkb_error *error) {
    static bool made; /* under the mutex; a failure is not kept, so that a later call may succeed */
    vkb_mutex *mutex = instance_mutex();
    if (!mutex) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "Vulkan: out of memory");
    vkb_status status = VKB_OK;
    vkb_mutex_lock(mutex);
    if (!made) {
        vkb_vk_instance fresh = {0};
        status = create_instance(&fresh, error);
        if (status == VKB_OK) {
            the_instance = fresh;
            made = true;
        }
    }
    vkb_mutex_unlock(mutex);
    *instance = &the_instance;
    return status;
}

/*
 * Looking for devices calls every driver that is installed, before it is known which they are. A cache folder says how that went: a marker
 * while it is under way, and a file once a process has survived it with these drivers, after which nothing is marked any more.
 */
typedef struct look {
    const vkb_vk_instance *instance;
    VkPhysicalDevice *handles; /* [count] */
    uint32_t count;
    const char *cache_dir; /* NULL: nothing is marked */
    uint64_t key;
    char *survived;
    bool refused; /* a device was left alone */
} look;

static const char all_drivers[] = "all drivers";

static char *marker_path(const look *l, const char *suffix) { return vkb_vk_cache_path(l->cache_dir, "looking", l->key, suffix); }

static vkb_status begin_look(look *l, const char *cache_dir, vkb_error *error) {
    if (!cache_dir) return VKB_OK;
    l->key = vkb_vk_drivers_key();
    l->survived = vkb_vk_cache_path(cache_dir, "looked", l->key, "");
    FILE *file = l->survived ? fopen(l->survived, "rb") : NULL;
    if (file) {
        fclose(file);
        return VKB_OK;
    }
    l->cache_dir = cache_dir;
    char text[VKB_MARKER_TEXT], *path = marker_path(l, "");
    vkb_status status = VKB_OK;
    if (vkb_marker_died(path, text))
        status = vkb_fail(error, VKB_ERROR_NO_DEVICE, VKB_DIED " when it asked the Vulkan drivers for devices; remove %.150s to try again",
                          path);
    free(path);
    return status;
}

/* `survived`: every device has been examined. */
static void end_look(look *l, bool survived) {
    FILE *file = l->cache_dir && l->survived && survived && !l->refused ? fopen(l->survived, "wb") : NULL;
    if (file) fclose(file);
    free(l->handles);
    free(l->survived);
}

static vkb_status enumerate(look *l, vkb_error *error) {
    vkb_status status = get_instance(&l->instance, error);
    if (status) return status;
    const vkb_vk_instance_table *vk = &l->instance->vk;
    uint32_t n = 0;
    VkResult result = vk->EnumeratePhysicalDevices(l->instance->handle, &n, NULL);
    if (result == VK_SUCCESS && n) {
        l->handles = calloc(n, sizeof *l->handles);
        if (!l->handles) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "Vulkan: out of memory for %u devices", n);
        result = vk->EnumeratePhysicalDevices(l->instance->handle, &n, l->handles);
    }
    if (result < 0)
        return failed(result, "vkEnumeratePhysicalDevices", "", error); /* VK_INCOMPLETE: one was plugged in between the calls */
    l->count = n;
    if (!n) return vkb_fail(error, VKB_ERROR_NO_DEVICE, "the Vulkan loader found no device");
    return VKB_OK;
}

static vkb_status look_for_devices(look *l, const char *cache_dir, vkb_error *error) {
    vkb_status status = begin_look(l, cache_dir, error);
    if (status) return status;
    char *path = marker_path(l, "");
    vkb_marker *marker = vkb_marker_begin(path, all_drivers);
    status = enumerate(l, error);
    vkb_marker_end(marker);
    free(path);
    return status;
}

/* marked: the marker's path, NULL where nothing is marked. */
static vkb_status examine_marked(look *l, const char *marked, uint32_t index, vkb_vk_physical *physical, vkb_error *error) {
    char selector[32], text[VKB_MARKER_TEXT];
    snprintf(selector, sizeof selector, "vulkan:%u", index);
    if (vkb_marker_died(marked, text)) {
        l->refused = true;
        *physical = (vkb_vk_physical){.info = {.struct_size = sizeof physical->info, .kind = VKB_DEVICE_VIRTUAL}};
        memcpy(physical->info.selector, selector, sizeof physical->info.selector);
        snprintf(physical->info.name, sizeof physical->info.name, "device %u", index);
        snprintf(physical->info.reason, sizeof physical->info.reason,
                 VKB_DIED " when it asked the driver about it; remove %.150s to try again", marked);
        return VKB_OK;
    }
    vkb_marker *marker = vkb_marker_begin(marked, selector);
    bool ok = vkb_vk_examine(l->instance, l->handles[index], index, physical);
    vkb_marker_end(marker);
    return ok ? VKB_OK : vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "Vulkan: out of memory");
}

static vkb_status examine(look *l, const char *cache_dir, uint32_t index, vkb_vk_physical *physical, vkb_error *error) {
    char suffix[16];
    snprintf(suffix, sizeof suffix, ".%u", index);
    char *path = marker_path(l, suffix);
    vkb_status status = examine_marked(l, path, index, physical, error);
    free(path);
    if (!status) vkb_vk_opening_killed(cache_dir, physical);
    return status;
}

vkb_status vkb_vk_devices(const char *cache_dir, vkb_device_info *infos, uint32_t capacity, uint32_t *count, vkb_error *error) {
    look l = {0};
    vkb_error why = {0};
    vkb_status status = look_for_devices(&l, cache_dir, &why);
    *count = l.count;
    if (status == VKB_ERROR_OUT_OF_HOST_MEMORY) {
        if (error) *error = why;
    } else if (status) {
        *count = 1;
        status = VKB_OK;
        if (capacity) {
            infos[0] = (vkb_device_info){.struct_size = sizeof *infos, .kind = VKB_DEVICE_NONE};
            snprintf(infos[0].name, sizeof infos[0].name, "Vulkan");
            memcpy(infos[0].reason, why.message, sizeof infos[0].reason);
        }
    } else {
        for (uint32_t i = 0; i < *count && i < capacity && !status; i++) {
            vkb_vk_physical physical;
            status = examine(&l, cache_dir, i, &physical, error);
            if (!status) infos[i] = physical.info;
        }
    }
    end_look(&l, !status && l.count && l.count <= capacity);
    return status;
}

vkb_status vkb_vk_physical_at(const char *cache_dir, uint32_t index, const vkb_vk_instance **instance, vkb_vk_physical *physical,
                              vkb_error *error) {
    look l = {0};
    vkb_status status = look_for_devices(&l, cache_dir, error);
    if (!status && index >= l.count)
        status = vkb_fail(error, VKB_ERROR_NO_DEVICE, "device vulkan:%u: there are %u Vulkan devices", index, l.count);
    if (!status) status = examine(&l, cache_dir, index, physical, error);
    *instance = l.instance;
    end_look(&l, false);
    return status;
}
