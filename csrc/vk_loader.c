/* Opening the Vulkan loader and filling the function tables. */
#include <stdio.h>

#include "vk_api.h"

#if defined(_WIN32)
#include <windows.h>
static const char *const libraries[] = {"vulkan-1.dll"};
#elif defined(__APPLE__)
#include <dlfcn.h>
static const char *const libraries[] = {"libvulkan.1.dylib", "libvulkan.dylib", "libMoltenVK.dylib"};
#else
#include <dlfcn.h>
static const char *const libraries[] = {"libvulkan.so.1", "libvulkan.so"};
#endif

PFN_vkVoidFunction (*vkb_vk_intercept)(const char *name, PFN_vkVoidFunction function);

/* A pointer to data becomes one to a function: ISO C has no cast for it, every dlsym has. */
typedef union symbol {
    void *data;
    PFN_vkGetInstanceProcAddr function;
} symbol;

/* `reason` keeps what the first name, the usual one, failed with. */
static symbol find_entry(const char *library, char *reason, size_t size) {
    symbol entry = {NULL};
#if defined(_WIN32)
    HMODULE module = LoadLibraryA(library);
    if (module) entry.function = (PFN_vkGetInstanceProcAddr)(void (*)(void))GetProcAddress(module, "vkGetInstanceProcAddr");
    if (!entry.function && size) snprintf(reason, size, "%s: error %lu", library, (unsigned long)GetLastError());
#else
    void *module = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (module) entry.data = dlsym(module, "vkGetInstanceProcAddr");
    if (!entry.data && size) {
        const char *text = dlerror();
        snprintf(reason, size, "%s", text ? text : library);
    }
#endif
    return entry;
}

PFN_vkGetInstanceProcAddr vkb_vk_loader_open(char *reason, size_t size) {
    static PFN_vkGetInstanceProcAddr found;
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries && !found; i++)
        found = find_entry(libraries[i], reason, i ? 0 : size).function;
    return found;
}

static PFN_vkVoidFunction pass(const char *name, PFN_vkVoidFunction function) {
    return vkb_vk_intercept && function ? vkb_vk_intercept(name, function) : function;
}

#define LOAD(name) \
    table->name = (PFN_vk##name)pass("vk" #name, get(handle, "vk" #name)); \
    if (!table->name) return "vk" #name;

#define LOAD_OPTIONAL(name) table->name = (PFN_vk##name)pass("vk" #name, get(handle, "vk" #name));

const char *vkb_vk_load_global(vkb_vk_instance_table *table, PFN_vkGetInstanceProcAddr get) {
    VkInstance handle = NULL;
    VKB_VK_GLOBAL_FUNCTIONS(LOAD)
    return NULL;
}

const char *vkb_vk_load_instance(vkb_vk_instance_table *table, PFN_vkGetInstanceProcAddr get, VkInstance handle) {
    VKB_VK_INSTANCE_FUNCTIONS(LOAD)
    VKB_VK_OPTIONAL_INSTANCE_FUNCTIONS(LOAD_OPTIONAL)
    return NULL;
}

const char *vkb_vk_load_device(vkb_vk_device_table *table, PFN_vkGetDeviceProcAddr get, VkDevice handle) {
    VKB_VK_DEVICE_FUNCTIONS(LOAD)
    VKB_VK_OPTIONAL_DEVICE_FUNCTIONS(LOAD_OPTIONAL)
    return NULL;
}
