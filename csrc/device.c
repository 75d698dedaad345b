/* Choosing, opening and releasing devices. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { MAX_DEVICES = 64 };

vkb_status vkb_devices(const char *cache_dir, vkb_device_info *infos, uint32_t capacity, uint32_t *count, vkb_error *error) {
    if (!count || (capacity && !infos)) return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_devices: null pointer");
    for (uint32_t i = 0; i < capacity; i++) infos[i] = (vkb_device_info){.struct_size = sizeof *infos};
    uint32_t n = 0;
    vkb_status status = vkb_vk_devices(cache_dir, infos, capacity, &n, error);
    if (status) return status;
    if (n < capacity) vkb_cpu_info(&infos[n]);
    n++;
    if (n < capacity) vkb_ref_info(&infos[n]);
    *count = n + 1;
    return VKB_OK;
}

static bool is_vulkan(const vkb_device_info *info) { return info->kind <= VKB_DEVICE_SOFTWARE; }

static bool contains_ignoring_case(const char *text, const char *part) {
    for (; *text; text++) {
        size_t i = 0;
        while (part[i] && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i])) i++;
        if (!part[i]) return true;
    }
    return false;
}

/* "llvmpipe: no compute queue; …" for the error that says why nothing fits. */
static void list_refusals(const vkb_device_info *infos, uint32_t count, char *text, size_t size) {
    size_t used = 0;
    text[0] = 0;
    for (uint32_t i = 0; i < count && used < size; i++) {
        const vkb_device_info *info = &infos[i];
        if (!is_vulkan(info) && info->kind != VKB_DEVICE_NONE) continue;
        const char *why = info->usable ? "software, used only when named" : info->reason;
        int n = snprintf(text + used, size - used, "%s%s: %s", used ? "; " : "", info->name, why);
        used += n > 0 ? (size_t)n : 0;
    }
    if (!text[0]) snprintf(text, size, "there is no Vulkan device");
}

/* The best usable Vulkan device that is not software, or NULL. vkb_device_kind is in order of preference. */
static const vkb_device_info *best(const vkb_device_info *infos, uint32_t count) {
    const vkb_device_info *found = NULL;
    for (uint32_t i = 0; i < count; i++)
        if (infos[i].kind < VKB_DEVICE_SOFTWARE && infos[i].usable && (!found || infos[i].kind < found->kind)) found = &infos[i];
    return found;
}

/* Which device "vulkan", "vulkan:N" or "vulkan:name" means. */
static vkb_status find_vulkan(const char *selector, const vkb_device_info *infos, uint32_t count, const vkb_device_info **found,
                              vkb_error *error) {
    char why[200];
    list_refusals(infos, count, why, sizeof why);
    const char *want = selector[6] == ':' ? selector + 7 : NULL;
    *found = NULL;
    if (!want) {
        *found = best(infos, count);
        if (!*found) return vkb_fail(error, VKB_ERROR_NO_DEVICE, "no Vulkan GPU can be used: %s", why);
        return VKB_OK;
    }
    bool number = *want && strspn(want, "0123456789") == strlen(want);
    for (uint32_t i = 0; i < count && !*found; i++) {
        if (!is_vulkan(&infos[i])) continue;
        bool fits = number ? strcmp(infos[i].selector, selector) == 0 : *want && contains_ignoring_case(infos[i].name, want);
        if (fits) *found = &infos[i];
    }
    if (!*found) {
        uint32_t vulkan = 0;
        for (uint32_t i = 0; i < count; i++) vulkan += is_vulkan(&infos[i]);
        if (!vulkan) return vkb_fail(error, VKB_ERROR_NO_DEVICE, "device %.40s: %s", selector, why);
        return vkb_fail(error, VKB_ERROR_NO_DEVICE, "device %.40s: there is no such device; the last of %u is vulkan:%u", selector, vulkan,
                        vulkan - 1);
    }
    if (!(*found)->usable)
        return vkb_fail(error, VKB_ERROR_NO_DEVICE, "device %.40s (%.80s): %.120s", selector, (*found)->name, (*found)->reason);
    return VKB_OK;
}

/* So that a machine with a GPU does not work on its CPU without a word. */
static void log_left_out(const vkb_device *device, const vkb_device_info *infos, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (!infos[i].usable && strstr(infos[i].reason, VKB_DIED))
            vkb_log(device, VKB_LOG_WARNING, "%s is left out: %s", infos[i].name, infos[i].reason);
}

vkb_status vkb_device_open(const vkb_device_options *options, vkb_device **device, vkb_error *error) {
    if (!device) return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_device_open: device is NULL");
    *device = NULL;
    if (options && options->struct_size != sizeof *options)
        return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_device_open: struct_size is %u, want %zu", options->struct_size,
                        sizeof *options);
    vkb_device_options defaults = {.struct_size = sizeof defaults};
    if (!options) options = &defaults;
    const char *selector = options->selector && *options->selector ? options->selector : "auto";

    if (strcmp(selector, "cpu") == 0) return vkb_cpu_open(options, device, error);
    if (strcmp(selector, "reference") == 0) return vkb_ref_open(options, device, error);
    bool any = strcmp(selector, "auto") == 0, vulkan = strcmp(selector, "vulkan") == 0 || strncmp(selector, "vulkan:", 7) == 0;
    if (!any && !vulkan)
        return vkb_fail(error, VKB_ERROR_NO_DEVICE,
                        "device \"%.60s\" is unknown: want auto, cpu, vulkan, vulkan:N, vulkan:NAME or reference", selector);

    vkb_device_info *infos = calloc(MAX_DEVICES, sizeof *infos);
    if (!infos) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_device_open: out of memory");
    uint32_t count = 0;
    vkb_status status = vkb_devices(options->cache_dir, infos, MAX_DEVICES, &count, error);
    if (status == VKB_OK) {
        if (count > MAX_DEVICES) count = MAX_DEVICES;
        const vkb_device_info *found = NULL;
        if (any)
            found = best(infos, count);
        else
            status = find_vulkan(selector, infos, count, &found, error);
        if (status == VKB_OK) {
            if (found)
                status = vkb_vk_open((uint32_t)strtoul(found->selector + 7, NULL, 10), options, device, error);
            else
                status = vkb_cpu_open(options, device, error);
            if (status == VKB_OK && any) log_left_out(*device, infos, count);
        }
    }
    free(infos);
    return status;
}

void vkb_device_setup(vkb_device *device, const vkb_backend *backend, const vkb_device_options *options) {
    device->backend = backend;
    device->log = options->log;
    device->log_user = options->log_user;
    device->i8_weights = device->i8_inputs = (vkb_i8_range){.most = 127};
    atomic_init(&device->references, 1);
}

void vkb_device_release(vkb_device *device) {
    if (atomic_fetch_sub(&device->references, 1) == 1) device->backend->device_free(device);
}

void vkb_device_close(vkb_device *device) {
    if (device) vkb_device_release(device);
}

void vkb_device_get_info(const vkb_device *device, vkb_device_info *info) {
    if (device && info && info->struct_size == sizeof *info) *info = device->info;
}

vkb_status vkb_device_variants(vkb_device *device, vkb_variant *variants, uint32_t capacity, uint32_t *count, vkb_error *error) {
    if (!device || !count || (capacity && !variants))
        return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_device_variants: null pointer");
    *count = 0;
    for (uint32_t i = 0; i < capacity; i++) variants[i] = (vkb_variant){.struct_size = sizeof *variants};
    return device->backend->device_variants ? device->backend->device_variants(device, variants, capacity, count, error) : VKB_OK;
}
