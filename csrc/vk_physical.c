/* What a Vulkan device can do, and whether that is enough. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vk_internal.h"

enum extension {
    MEMORY_BUDGET,
    PORTABILITY_SUBSET,
    SUBGROUP_SIZE,
    MAINTENANCE_4,
    INTEGER_DOT,
    COOPMAT,
    COOPMAT_2,
    SM_BUILTINS,
    CORE_PROPERTIES_2,
    CORE_BUILTINS,
    BINARY_IMPORT,
    EXTENSION_COUNT
};

static const char *const extension_names[EXTENSION_COUNT] = {
    [MEMORY_BUDGET] = VK_EXT_MEMORY_BUDGET_EXTENSION_NAME,
    [PORTABILITY_SUBSET] = VKB_VK_PORTABILITY_SUBSET,
    [SUBGROUP_SIZE] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME,
    [MAINTENANCE_4] = VK_KHR_MAINTENANCE_4_EXTENSION_NAME,
    [INTEGER_DOT] = VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME,
    [COOPMAT] = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME,
    [COOPMAT_2] = VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME,
    [SM_BUILTINS] = VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME,
    [CORE_PROPERTIES_2] = VK_AMD_SHADER_CORE_PROPERTIES_2_EXTENSION_NAME,
    [CORE_BUILTINS] = VK_ARM_SHADER_CORE_BUILTINS_EXTENSION_NAME,
    [BINARY_IMPORT] = VK_NVX_BINARY_IMPORT_EXTENSION_NAME,
};

typedef struct examination {
    const vkb_vk_instance_table *vk;
    vkb_vk_physical *out;
    bool has[EXTENSION_COUNT];
    uint32_t reserved, longest; /* bytes of workgroup memory, by matrices of workgroups, and their greatest side */
    bool starved;               /* of host memory: says nothing about the device */
} examination;

/* The first reason stays. */
static bool refuse(examination *e, const char *format, ...) VKB_PRINTF(2, 3);
static bool refuse(examination *e, const char *format, ...) {
    if (e->out->info.reason[0]) return false;
    va_list args;
    va_start(args, format);
    vsnprintf(e->out->info.reason, sizeof e->out->info.reason, format, args);
    va_end(args);
    return false;
}

static bool find_extensions(examination *e) {
    uint32_t count = 0;
    VkExtensionProperties *list = NULL;
    VkResult result = e->vk->EnumerateDeviceExtensionProperties(e->out->handle, NULL, &count, NULL);
    if (result == VK_SUCCESS && count) {
        list = calloc(count, sizeof *list);
        result = list ? e->vk->EnumerateDeviceExtensionProperties(e->out->handle, NULL, &count, list) : VK_ERROR_OUT_OF_HOST_MEMORY;
    }
    for (uint32_t i = 0; result == VK_SUCCESS && i < count; i++)
        for (int x = 0; x < EXTENSION_COUNT; x++)
            if (strcmp(list[i].extensionName, extension_names[x]) == 0) e->has[x] = true;
    free(list);
    if (e->out->info.api_version >= VK_API_VERSION_1_3)
        e->has[SUBGROUP_SIZE] = e->has[MAINTENANCE_4] = e->has[INTEGER_DOT] = true; /* core */
    e->out->memory_budget = e->has[MEMORY_BUDGET];
    e->out->portability_subset = e->has[PORTABILITY_SUBSET];
    e->starved = result == VK_ERROR_OUT_OF_HOST_MEMORY;
    if (result) return refuse(e, "vkEnumerateDeviceExtensionProperties failed with %s", vkb_vk_result_name(result));
    return true;
}

/* Puts `next`, a Vulkan struct with an sType, behind `head`. */
static void chain(void *head, void *next) {
    VkBaseOutStructure *h = head, *n = next;
    n->pNext = h->pNext;
    h->pNext = n;
}

/* NVIDIA's GH100 and what is made of it: the only processor that runs cubins for sm_90a. */
static bool is_hopper(const vkb_device_info *info) { return info->vendor_id == 0x10de && info->device_id >> 8 == 0x23; }

static void find_features(examination *e) {
    vkb_device_info *info = &e->out->info;
    VkPhysicalDeviceFeatures2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2};
    VkPhysicalDeviceVulkan11Features v11 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES};
    VkPhysicalDeviceVulkan12Features v12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    VkPhysicalDeviceShaderIntegerDotProductFeatures dot = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES};
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR coopmat = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR};
    VkPhysicalDeviceSubgroupSizeControlFeatures sizes = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES};
    VkPhysicalDeviceCooperativeMatrix2FeaturesNV coopmat2 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV};
    chain(&all, &v11);
    chain(&all, &v12);
    if (e->has[INTEGER_DOT]) chain(&all, &dot);
    if (e->has[SUBGROUP_SIZE]) chain(&all, &sizes);
    if (e->has[COOPMAT]) chain(&all, &coopmat);
    if (e->has[COOPMAT_2]) chain(&all, &coopmat2);
    e->vk->GetPhysicalDeviceFeatures2(e->out->handle, &all);
    e->out->features =
        (vkb_vk_features){.storage16 = v11.storageBuffer16BitAccess,
                          .float16 = v12.shaderFloat16,
                          .storage8 = v12.storageBuffer8BitAccess,
                          .int8 = v12.shaderInt8,
                          .int64 = all.features.shaderInt64,
                          .dot = dot.shaderIntegerDotProduct,
                          .addresses = v12.bufferDeviceAddress,
                          .memory_model = v12.vulkanMemoryModel,
                          .memory_model_device = v12.vulkanMemoryModelDeviceScope,
                          .size_control = sizes.subgroupSizeControl,
                          .full_subgroups = sizes.computeFullSubgroups,
                          .matrix = coopmat.cooperativeMatrix && v12.vulkanMemoryModel,
                          .matrix2 = coopmat.cooperativeMatrix && v12.vulkanMemoryModel && info->api_version >= VK_API_VERSION_1_3 &&
                                     coopmat2.cooperativeMatrixWorkgroupScope && coopmat2.cooperativeMatrixFlexibleDimensions &&
                                     coopmat2.cooperativeMatrixPerElementOperations && coopmat2.cooperativeMatrixTensorAddressing,
                          .hopper = e->has[BINARY_IMPORT] && is_hopper(info)};
    const struct {
        bool there;
        uint32_t bit;
    } features[] = {
        {v11.storageBuffer16BitAccess, VKB_FEATURE_F16_STORAGE},
        {v12.shaderFloat16, VKB_FEATURE_F16_ARITHMETIC},
        {v12.storageBuffer8BitAccess && v12.shaderInt8, VKB_FEATURE_I8_STORAGE},
        {dot.shaderIntegerDotProduct, VKB_FEATURE_I8_DOT},
        {coopmat.cooperativeMatrix && v12.vulkanMemoryModel, VKB_FEATURE_COOPMAT},
        {coopmat2.cooperativeMatrixWorkgroupScope, VKB_FEATURE_COOPMAT2},
    };
    for (size_t i = 0; i < sizeof features / sizeof *features; i++)
        if (features[i].there) info->features |= features[i].bit;
}

/* Whether the driver can be asked for its matrix shapes: AMD's of integrated GPUs on Windows crashes in the call. */
static bool may_ask_for_shapes(const vkb_vk_physical *physical) {
    if (vkb_vk_denied(&physical->info, NULL)) return false;
    return physical->features.matrix && physical->features.float16 && physical->features.storage16;
}

/* The largest shape of factor × factor → total by a subgroup that divides 16 × 16 × `depth`; whether there is one. */
static bool find_matrix(const examination *e, VkComponentTypeKHR factor, VkComponentTypeKHR total, uint32_t depth, uint32_t shape[3]) {
    PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR get = e->vk->GetPhysicalDeviceCooperativeMatrixPropertiesKHR;
    VkCooperativeMatrixPropertiesKHR list[64] = {{0}};
    uint32_t count = sizeof list / sizeof *list, best = 0;
    if (!get || !may_ask_for_shapes(e->out)) return false;
    for (uint32_t i = 0; i < count; i++) list[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    if (get(e->out->handle, &count, list) < 0) return false; /* VK_INCOMPLETE: 64 will do */
    for (uint32_t i = 0; i < count; i++) {
        const VkCooperativeMatrixPropertiesKHR *p = &list[i];
        bool takes = p->AType == factor && p->BType == factor && p->CType == total && p->ResultType == total &&
                     p->scope == VK_SCOPE_SUBGROUP_KHR && !p->saturatingAccumulation;
        bool divides = p->MSize && p->NSize && p->KSize && 16 % p->MSize == 0 && 16 % p->NSize == 0 && depth % p->KSize == 0;
        if (!takes || !divides || p->MSize * p->NSize * p->KSize <= best) continue;
        best = p->MSize * p->NSize * p->KSize;
        shape[0] = p->MSize;
        shape[1] = p->NSize;
        shape[2] = p->KSize;
    }
    return best > 0;
}

/* Whether linear_matrix2's matrices are there. */
static bool find_matrix2(const examination *e) {
    PFN_vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV get =
        e->vk->GetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV;
    VkCooperativeMatrixFlexibleDimensionsPropertiesNV list[64] = {{0}};
    uint32_t count = sizeof list / sizeof *list;
    if (!get || !e->out->features.matrix2 || !may_ask_for_shapes(e->out) || e->reserved > VKB_MATRIX2_RESERVED ||
        e->longest < VKB_MATRIX2_M)
        return false;
    for (uint32_t i = 0; i < count; i++) list[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_FLEXIBLE_DIMENSIONS_PROPERTIES_NV;
    if (get(e->out->handle, &count, list) < 0) return false; /* VK_INCOMPLETE: 64 will do */
    for (uint32_t i = 0; i < count; i++) {
        const VkCooperativeMatrixFlexibleDimensionsPropertiesNV *p = &list[i];
        bool takes = p->AType == VK_COMPONENT_TYPE_FLOAT16_KHR && p->BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
                     p->CType == VK_COMPONENT_TYPE_FLOAT32_KHR && p->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
                     p->scope == VK_SCOPE_WORKGROUP_KHR && !p->saturatingAccumulation && p->workgroupInvocations == VKB_MATRIX2_INVOCATIONS;
        bool divides = p->MGranularity && p->NGranularity && p->KGranularity && VKB_MATRIX2_M % p->MGranularity == 0 &&
                       VKB_MATRIX2_N % p->NGranularity == 0 && VKB_MATRIX2_K % p->KGranularity == 0;
        if (takes && divides) return true;
    }
    return false;
}

static void find_abilities(const examination *e) {
    const vkb_device_info *info = &e->out->info;
    const vkb_vk_features *features = &e->out->features;
    vkb_abilities *a = &e->out->abilities;
    a->workgroup_invocations = info->workgroup_invocations;
    a->shared_bytes = info->shared_bytes;
    a->subgroup_size = info->subgroup_size;
    a->software = info->kind == VKB_DEVICE_SOFTWARE;
    if (features->storage16 && features->float16) a->needs |= VKB_NEED_F16;
    if (a->subgroup_size >= 32) a->needs |= VKB_NEED_SUBGROUP_32;
    if (features->addresses && features->int64) a->needs |= VKB_NEED_ADDRESSES;
    if (find_matrix(e, VK_COMPONENT_TYPE_FLOAT16_KHR, VK_COMPONENT_TYPE_FLOAT32_KHR, 16, a->matrix)) a->needs |= VKB_NEED_MATRIX;
    if (features->int8 && find_matrix(e, VK_COMPONENT_TYPE_SINT8_KHR, VK_COMPONENT_TYPE_SINT32_KHR, 32, a->matrix_i8))
        a->needs |= VKB_NEED_MATRIX_I8;
    if (find_matrix2(e)) a->needs |= VKB_NEED_MATRIX2;
    if (features->dot) a->needs |= VKB_NEED_DOT;
    if (features->hopper && info->processors) a->needs |= VKB_NEED_HOPPER;
}

/* Kernels bind VKB_BIND_COUNT buffers; all else that is asked for every Vulkan device has. */
static bool check_limits(examination *e, const VkPhysicalDeviceLimits *limits) {
    const struct {
        const char *name;
        uint64_t got, want;
    } rows[] = {
        {"maxPerStageDescriptorStorageBuffers", limits->maxPerStageDescriptorStorageBuffers, VKB_BIND_COUNT},
        {"maxDescriptorSetStorageBuffers", limits->maxDescriptorSetStorageBuffers, VKB_BIND_COUNT},
        {"maxPerStageResources", limits->maxPerStageResources, VKB_BIND_COUNT},
        {"maxPushConstantsSize", limits->maxPushConstantsSize, sizeof(vkb_push)},
        {"maxComputeWorkGroupInvocations", limits->maxComputeWorkGroupInvocations, 128},
        {"maxComputeSharedMemorySize", limits->maxComputeSharedMemorySize, 16384},
        {"maxStorageBufferRange", limits->maxStorageBufferRange, UINT64_C(1) << 27},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].got < rows[i].want)
            return refuse(e, "%s is %llu, want at least %llu", rows[i].name, (unsigned long long)rows[i].got,
                          (unsigned long long)rows[i].want);
    if (limits->minStorageBufferOffsetAlignment > VKB_VK_ALIGN)
        return refuse(e, "minStorageBufferOffsetAlignment is %llu, want at most %u",
                      (unsigned long long)limits->minStorageBufferOffsetAlignment, VKB_VK_ALIGN);
    return true;
}

static bool find_properties(examination *e) {
    vkb_vk_physical *out = e->out;
    vkb_device_info *info = &out->info;
    VkPhysicalDeviceProperties2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    VkPhysicalDeviceVulkan11Properties v11 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES};
    VkPhysicalDeviceVulkan12Properties v12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES};
    VkPhysicalDeviceSubgroupSizeControlProperties sizes = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES};
    VkPhysicalDeviceMaintenance4Properties maintenance = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES};
    VkPhysicalDeviceShaderSMBuiltinsPropertiesNV nvidia = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV};
    VkPhysicalDeviceShaderCoreProperties2AMD amd = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_2_AMD};
    VkPhysicalDeviceShaderCoreBuiltinsPropertiesARM arm = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_BUILTINS_PROPERTIES_ARM};
    VkPhysicalDeviceCooperativeMatrix2PropertiesNV matrix2 = {.sType =
                                                                  VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_PROPERTIES_NV};
    chain(&all, &v11);
    chain(&all, &v12);
    if (e->has[COOPMAT_2]) chain(&all, &matrix2);
    if (e->has[SUBGROUP_SIZE]) chain(&all, &sizes);
    if (e->has[MAINTENANCE_4]) chain(&all, &maintenance);
    if (e->has[SM_BUILTINS]) chain(&all, &nvidia);
    if (e->has[CORE_PROPERTIES_2]) chain(&all, &amd);
    if (e->has[CORE_BUILTINS]) chain(&all, &arm);
    e->vk->GetPhysicalDeviceProperties2(out->handle, &all);

    const VkPhysicalDeviceProperties *basic = &all.properties;
    snprintf(info->driver, sizeof info->driver, "%.120s %.120s", v12.driverName, v12.driverInfo);
    /* Of device and driver together; deviceUUID outlives a driver's update. */
    memcpy(info->uuid, basic->pipelineCacheUUID, sizeof info->uuid);
    info->subgroup_size = v11.subgroupSize;
    info->subgroup_min = sizes.minSubgroupSize ? sizes.minSubgroupSize : v11.subgroupSize;
    info->subgroup_max = sizes.maxSubgroupSize ? sizes.maxSubgroupSize : v11.subgroupSize;
    info->workgroup_invocations = basic->limits.maxComputeWorkGroupInvocations;
    info->shared_bytes = basic->limits.maxComputeSharedMemorySize;
    info->processors = nvidia.shaderSMCount         ? nvidia.shaderSMCount
                       : amd.activeComputeUnitCount ? amd.activeComputeUnitCount
                                                    : arm.shaderCoreCount;
    info->buffer_range = basic->limits.maxStorageBufferRange;
    out->abilities.subgroup_operations = v11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT ? v11.subgroupSupportedOperations : 0;
    out->buffer_limit = v11.maxMemoryAllocationSize;
    if (maintenance.maxBufferSize && maintenance.maxBufferSize < out->buffer_limit) out->buffer_limit = maintenance.maxBufferSize;
    out->buffer_limit -= out->buffer_limit % VKB_VK_ALIGN;
    for (int i = 0; i < 2; i++) out->group_limit[i] = basic->limits.maxComputeWorkGroupCount[i];
    out->timestamp_seconds = (double)basic->limits.timestampPeriod * 1e-9;
    out->driver_version = basic->driverVersion;
    e->reserved = matrix2.cooperativeMatrixWorkgroupScopeReservedSharedMemory;
    e->longest = matrix2.cooperativeMatrixFlexibleDimensionsMaxDimension;
    find_abilities(e);
    return check_limits(e, &basic->limits);
}

/* A family for compute alone has less submit latency than the graphics one (11 against 24 to 42 µs on an H100) and does not compete with a
 * desktop. */
static bool find_queue(examination *e) {
    uint32_t count = 0;
    e->vk->GetPhysicalDeviceQueueFamilyProperties(e->out->handle, &count, NULL);
    VkQueueFamilyProperties *families = calloc(count ? count : 1, sizeof *families);
    e->starved = !families;
    if (!families) return refuse(e, "out of memory");
    e->vk->GetPhysicalDeviceQueueFamilyProperties(e->out->handle, &count, families);
    uint32_t found = count;
    bool alone = false;
    for (uint32_t i = 0; i < count && !alone; i++) {
        if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) || !families[i].queueCount) continue;
        alone = !(families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT);
        if (alone || found == count) found = i;
    }
    if (found < count) {
        e->out->queue_family = found;
        e->out->timestamp_bits = e->out->timestamp_seconds > 0 ? families[found].timestampValidBits : 0;
        if (alone) e->out->info.features |= VKB_FEATURE_COMPUTE_QUEUE;
        if (e->out->timestamp_bits) e->out->info.features |= VKB_FEATURE_TIMESTAMPS;
    }
    free(families);
    return found < count || refuse(e, "it has no compute queue");
}

bool vkb_vk_memory_type_ok(VkMemoryPropertyFlags flags) {
    return !(flags & (VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT | VK_MEMORY_PROPERTY_PROTECTED_BIT |
                      VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD | VK_MEMORY_PROPERTY_DEVICE_UNCACHED_BIT_AMD));
}

uint64_t vkb_vk_heap_available(const vkb_vk_instance *instance, const vkb_vk_physical *physical, uint32_t heap) {
    if (!physical->memory_budget) return UINT64_MAX;
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, .pNext = &budget};
    instance->vk.GetPhysicalDeviceMemoryProperties2(physical->handle, &all);
    if (!budget.heapBudget[heap]) return UINT64_MAX; /* which the specification rules out */
    return budget.heapBudget[heap] > budget.heapUsage[heap] ? budget.heapBudget[heap] - budget.heapUsage[heap] : 0;
}

static bool find_memory(examination *e, const vkb_vk_instance *instance) {
    vkb_vk_physical *out = e->out;
    VkPhysicalDeviceMemoryProperties2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
    e->vk->GetPhysicalDeviceMemoryProperties2(out->handle, &all);
    const VkPhysicalDeviceMemoryProperties *memory = &all.memoryProperties;
    out->memory = *memory;
    VkDeviceSize size = 0;
    for (uint32_t i = 0; i < memory->memoryHeapCount; i++)
        if (memory->memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT && memory->memoryHeaps[i].size > size) {
            out->main_heap = i;
            size = memory->memoryHeaps[i].size;
        }
    if (!size) return refuse(e, "it has no memory of its own");
    out->info.memory_bytes = size;
    uint64_t available = vkb_vk_heap_available(instance, out, out->main_heap);
    out->info.memory_available = available == UINT64_MAX ? 0 : available;
    /* Only where the host reaches all of it: without resizable BAR there is a window of 256 MB, a heap of its own, that others need too. */
    const VkMemoryPropertyFlags both = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT;
    for (uint32_t i = 0; i < memory->memoryTypeCount; i++) {
        const VkMemoryType *type = &memory->memoryTypes[i];
        if ((type->propertyFlags & both) == both && vkb_vk_memory_type_ok(type->propertyFlags) &&
            memory->memoryHeaps[type->heapIndex].size >= size / 4 * 3)
            out->info.features |= VKB_FEATURE_HOST_VISIBLE;
    }
    return true;
}

bool vkb_vk_examine(const vkb_vk_instance *instance, VkPhysicalDevice handle, uint32_t index, vkb_vk_physical *physical) {
    static const uint32_t kinds[] = {
        [VK_PHYSICAL_DEVICE_TYPE_OTHER] = VKB_DEVICE_VIRTUAL,         [VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU] = VKB_DEVICE_INTEGRATED,
        [VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU] = VKB_DEVICE_DISCRETE, [VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU] = VKB_DEVICE_VIRTUAL,
        [VK_PHYSICAL_DEVICE_TYPE_CPU] = VKB_DEVICE_SOFTWARE,
    };
    *physical = (vkb_vk_physical){.handle = handle, .info = {.struct_size = sizeof physical->info}};
    examination e = {.vk = &instance->vk, .out = physical};
    vkb_device_info *info = &physical->info;
    VkPhysicalDeviceProperties basic;
    e.vk->GetPhysicalDeviceProperties(handle, &basic);
    info->kind = (uint32_t)basic.deviceType < sizeof kinds / sizeof *kinds ? kinds[basic.deviceType] : VKB_DEVICE_VIRTUAL;
    info->api_version = basic.apiVersion;
    info->vendor_id = basic.vendorID;
    info->device_id = basic.deviceID;
    snprintf(info->selector, sizeof info->selector, "vulkan:%u", index);
    snprintf(info->name, sizeof info->name, "%s", basic.deviceName);
    if (basic.apiVersion < VK_API_VERSION_1_2) {
        refuse(&e, "it has Vulkan %u.%u, want 1.2", VK_API_VERSION_MAJOR(basic.apiVersion), VK_API_VERSION_MINOR(basic.apiVersion));
        return true;
    }
    if (!find_extensions(&e)) return !e.starved;
    find_features(&e);
    bool usable = find_properties(&e);
    usable = find_memory(&e, instance) && usable;
    usable = find_queue(&e) && usable;
    info->usable = usable;
    return !e.starved;
}
