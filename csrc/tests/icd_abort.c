/* A Vulkan driver that aborts as soon as it is asked for anything: what a broken installation can do. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

static int32_t create_instance(const void *info, const void *allocator, void *instance) {
    (void)info;
    (void)allocator;
    (void)instance;
    abort();
}

static int32_t enumerate_extensions(const char *layer, uint32_t *count, void *properties) {
    (void)layer;
    (void)properties;
    *count = 0;
    return 0;
}

EXPORT int32_t vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
    if (*version > 5) *version = 5;
    return 0;
}

EXPORT void (*vk_icdGetInstanceProcAddr(void *instance, const char *name))(void) {
    (void)instance;
    if (!strcmp(name, "vkCreateInstance")) return (void (*)(void))create_instance;
    if (!strcmp(name, "vkEnumerateInstanceExtensionProperties")) return (void (*)(void))enumerate_extensions;
    return NULL;
}
