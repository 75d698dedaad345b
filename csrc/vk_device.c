/* Opening and closing a Vulkan device. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vk_program.h"

/* The structs of what is enabled, one chained to the next. */
typedef struct enabled {
    VkPhysicalDeviceFeatures2 all;
    VkPhysicalDeviceVulkan11Features v11;
    VkPhysicalDeviceVulkan12Features v12;
    VkPhysicalDeviceSubgroupSizeControlFeatures sizes;
    VkPhysicalDeviceShaderIntegerDotProductFeatures dot;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix;
    VkPhysicalDeviceCooperativeMatrix2FeaturesNV matrix2;
    VkPhysicalDeviceMaintenance4Features maintenance4;
    const char *extensions[6];
    uint32_t extension_count;
} enabled;

/* What kernels may use, where it is there; the least device has nothing beyond Vulkan 1.2's required features. */
static void enable(enabled *e, const vkb_vk_physical *physical) {
    const vkb_vk_features *f = &physical->features;
    bool core13 = physical->info.api_version >= VK_API_VERSION_1_3;
    *e = (enabled){
        .all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &e->v11, .features = {.shaderInt64 = f->int64}},
        .v11 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES, .pNext = &e->v12, .storageBuffer16BitAccess = f->storage16},
        .v12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                .storageBuffer8BitAccess = f->storage8,
                .shaderFloat16 = f->float16,
                .shaderInt8 = f->int8,
                .bufferDeviceAddress = f->addresses,
                .vulkanMemoryModel = f->memory_model,
                .vulkanMemoryModelDeviceScope = f->memory_model_device},
        .sizes = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
                  .subgroupSizeControl = f->size_control,
                  .computeFullSubgroups = f->full_subgroups},
        .dot = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES, .shaderIntegerDotProduct = f->dot},
        .matrix = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR, .cooperativeMatrix = VK_TRUE},
        .matrix2 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV,
                    .pNext = &e->maintenance4,
                    .cooperativeMatrixWorkgroupScope = VK_TRUE,
                    .cooperativeMatrixFlexibleDimensions = VK_TRUE,
                    .cooperativeMatrixPerElementOperations = VK_TRUE,
                    .cooperativeMatrixTensorAddressing = VK_TRUE},
        .maintenance4 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_FEATURES, .maintenance4 = VK_TRUE}};
    if (physical->portability_subset) e->extensions[e->extension_count++] = VKB_VK_PORTABILITY_SUBSET;
    void **end = &e->v12.pNext;
    if (f->size_control) {
        *end = &e->sizes;
        end = &e->sizes.pNext;
        if (!core13) e->extensions[e->extension_count++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
    }
    if (f->dot) {
        *end = &e->dot;
        end = &e->dot.pNext;
        if (!core13) e->extensions[e->extension_count++] = VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME;
    }
    if (f->matrix) {
        *end = &e->matrix;
        end = &e->matrix.pNext;
        e->extensions[e->extension_count++] = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME;
    }
    if (f->matrix2) { /* SPIR-V for Vulkan 1.3 says its workgroup's size by LocalSizeId, which maintenance4 allows; 1.3 has it */
        *end = &e->matrix2;
        e->extensions[e->extension_count++] = VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME;
    }
    if (f->hopper) e->extensions[e->extension_count++] = VK_NVX_BINARY_IMPORT_EXTENSION_NAME;
}

static vkb_status create_device(vkb_vk_device *device, vkb_error *error) {
    const vkb_vk_physical *physical = &device->physical;
    const float priority = 1;
    enabled e;
    enable(&e, physical);
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                     .queueFamilyIndex = physical->queue_family,
                                     .queueCount = 1,
                                     .pQueuePriorities = &priority};
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &e.all,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue,
                               .enabledExtensionCount = e.extension_count,
                               .ppEnabledExtensionNames = e.extensions};
    VkDevice handle;
    vkb_status status =
        vkb_vk_check(device, device->instance->vk.CreateDevice(physical->handle, &info, NULL, &handle), "vkCreateDevice", error);
    if (status) return status;
    const char *missing = vkb_vk_load_device(&device->vk, device->instance->vk.GetDeviceProcAddr, handle);
    if (missing && !device->vk.DestroyDevice) /* it can't even be released */
        return vkb_fail(error, VKB_ERROR_NO_DEVICE, "%s: the driver has no %s", physical->info.name, missing);
    device->handle = handle;
    if (missing) return vkb_fail(error, VKB_ERROR_NO_DEVICE, "%s: the driver has no %s", physical->info.name, missing);
    device->vk.GetDeviceQueue(handle, physical->queue_family, 0, &device->queue);
    return VKB_OK;
}

static void free_device(vkb_device *base) {
    vkb_vk_device *device = (vkb_vk_device *)base;
    if (device->handle && !atomic_load(&device->hung)) {
        if (device->cache) vkb_vk_cache_save(device);
        vkb_vk_pipelines_destroy(device);
        device->vk.DestroyDevice(device->handle, NULL);
    }
    free(device->cache_folder);
    vkb_mutex_destroy(device->pipeline_mutex);
    vkb_mutex_destroy(device->queue_mutex);
    free(device);
}

/* Kernels that read weights straight into fragments need what only a try can tell. */
static vkb_status find_fragments(vkb_vk_device *device, vkb_error *error) {
    vkb_abilities *a = &device->abilities;
    bool tiled = false;
    *a = device->physical.abilities;
    if (!(a->needs & VKB_NEED_MATRIX) || a->matrix[0] != 16 || a->matrix[1] != 16 || a->matrix[2] != 16 || a->subgroup_size != 32)
        return VKB_OK;
    vkb_status status = vkb_vk_fragments_probe(device, &tiled, error);
    if (tiled) a->needs |= VKB_NEED_FRAGMENTS;
    return status;
}

static char *marker_path(const char *cache_dir, const vkb_vk_physical *physical) {
    return vkb_vk_cache_path(cache_dir, "opening", vkb_vk_cache_key(physical), "");
}

bool vkb_vk_opening_killed(const char *cache_dir, vkb_vk_physical *physical) {
    char text[VKB_MARKER_TEXT], *path = marker_path(cache_dir, physical);
    bool killed = physical->info.usable && vkb_marker_died(path, text);
    if (killed) {
        physical->info.usable = 0;
        snprintf(physical->info.reason, sizeof physical->info.reason, VKB_DIED " when it opened it; remove %.180s to try again", path);
    }
    free(path);
    return killed;
}

/* All that makes the driver work for the first time; the marker is not needed where another process has survived it. */
static vkb_status open_marked(vkb_vk_device *device, const char *cache_dir, vkb_error *error) {
    char *path = marker_path(cache_dir, &device->physical);
    char *survived = vkb_vk_cache_path(cache_dir, "variants", vkb_vk_cache_key(&device->physical), ".bin");
    FILE *file = survived ? fopen(survived, "rb") : NULL;
    vkb_marker *marker = file ? NULL : vkb_marker_begin(path, device->base.info.name);
    vkb_status status = create_device(device, error);
    if (!status) status = vkb_vk_layouts_create(device, error);
    if (!status) status = vkb_vk_cache_open(device, cache_dir, error);
    if (!status) status = find_fragments(device, error);
    if (!status) status = vkb_vk_variants_open(device, error);
    vkb_marker_end(marker);
    if (file) fclose(file);
    free(survived);
    free(path);
    return status;
}

/* Rows of heads and halves of gates have to lie at whole 16-byte words: every model's do. Values per sequence stay f32. */
static bool takes_f16(const vkb_program *program) {
    const vkb_vk_device *device = (const vkb_vk_device *)program->weights->device;
    if (!device->physical.features.storage16) return false;
    for (uint32_t i = 0; i < program->op_count; i++) {
        const vkb_op *op = &program->ops[i];
        uint32_t width = program->values[op->output].width, heads = 0;
        if (op->kind == VKB_OP_ATTENTION) heads = op->heads;
        if (op->kind == VKB_OP_ROTATE) heads = op->heads + 2 * (op->kv_heads ? op->kv_heads : op->heads);
        if ((heads && width / heads % 8) || (op->kind == VKB_OP_GATE && width % 8)) return false;
    }
    return true;
}

vkb_status vkb_vk_open(uint32_t index, const vkb_device_options *options, vkb_device **opened, vkb_error *error) {
    static const vkb_backend backend = {
        .arena_align = VKB_VK_ALIGN,
        .row_tile = VKB_ROW_TILE,
        .column_align = VKB_COLUMN_ALIGN,
        .i8_bytes = vkb_vk_i8_bytes,
        .concurrent = true,
        .weights_size = sizeof(vkb_vk_weights),
        .program_size = sizeof(vkb_vk_program),
        .device_free = free_device,
        .device_variants = vkb_vk_report,
        .weights_init = vkb_vk_weights_init,
        .weights_put = vkb_vk_weights_put,
        .weights_put_i8 = vkb_vk_weights_put_i8,
        .weights_seal = vkb_vk_weights_seal,
        .weights_free = vkb_vk_weights_free,
        .takes_f16 = takes_f16,
        .program_init = vkb_vk_program_init,
        .program_run = vkb_vk_program_run,
        .program_free = vkb_vk_program_free,
    };
    vkb_vk_device *device = calloc(1, sizeof *device);
    if (!device) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_device_open: out of memory");
    vkb_device_setup(&device->base, &backend, options);
    atomic_init(&device->lost, false);
    atomic_init(&device->hung, false);
    atomic_init(&device->owed, 0);
    vkb_status status = vkb_vk_physical_at(options->cache_dir, index, &device->instance, &device->physical, error);
    if (status) goto fail;
    device->base.info = device->physical.info;
    device->patience = device->base.info.kind <= VKB_DEVICE_INTEGRATED ? VKB_VK_PATIENCE : 0;
    device->spin_limit = device->base.info.kind == VKB_DEVICE_SOFTWARE ? 0 : VKB_VK_SPIN_LIMIT;
    if (!device->base.info.usable) {
        status = vkb_fail(error, VKB_ERROR_NO_DEVICE, "device vulkan:%u (%.80s): %.120s", index, device->base.info.name,
                          device->base.info.reason);
        goto fail;
    }
    device->queue_mutex = vkb_mutex_create();
    device->pipeline_mutex = vkb_mutex_create();
    if (!device->queue_mutex || !device->pipeline_mutex) {
        status = vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_device_open: out of memory");
        goto fail;
    }
    status = open_marked(device, options->cache_dir, error);
    if (status) goto fail;
    *opened = &device->base;
    return VKB_OK;
fail:
    free_device(&device->base);
    return status;
}
