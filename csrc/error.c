#include <stdarg.h>
#include <stdio.h>

#include "internal.h"

static void fill(vkb_error *error, vkb_status status, int32_t vk_result, const char *format, va_list args) {
    if (!error) return;
    error->status = status;
    error->vk_result = vk_result;
    vsnprintf(error->message, sizeof error->message, format, args);
}

vkb_status vkb_fail(vkb_error *error, vkb_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fill(error, status, 0, format, args);
    va_end(args);
    return status;
}

vkb_status vkb_fail_vk(vkb_error *error, vkb_status status, int32_t vk_result, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fill(error, status, vk_result, format, args);
    va_end(args);
    return status;
}

void vkb_log(const vkb_device *device, vkb_log_level level, const char *format, ...) {
    if (!device->log) return;
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    device->log(device->log_user, level, line);
}

#define VKB_TEXT_(x) #x
#define VKB_TEXT(x) VKB_TEXT_(x)

uint64_t vkb_abi(void) { return VKB_ABI; }
const char *vkb_version(void) { return VKB_TEXT(VKB_VERSION_MAJOR) "." VKB_TEXT(VKB_VERSION_MINOR) "." VKB_TEXT(VKB_VERSION_PATCH); }
