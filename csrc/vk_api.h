/*
 * vk_api.h: Vulkan as this library sees it: the headers, the few newer declarations that it needs, and tables of function pointers. The
 * loader is opened at run time, so nothing links with it. Any header from 1.3.239 (Debian 12) on will do.
 */
#ifndef VKB_VK_API_H
#define VKB_VK_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__has_include)
#if !__has_include(<vulkan/vulkan.h>)
/* clang-format off */
#error "vkbert needs the Vulkan headers (no loader, no driver): install libvulkan-dev (Debian, Ubuntu), vulkan-headers (Fedora, Arch, Homebrew) or the Vulkan SDK"
/* clang-format on */
#include <vulkan/vulkan_core.h> /* ends the compilation here: after __has_include, GCC would go on without vulkan.h */
#endif
#endif

#ifndef VK_NO_PROTOTYPES
#define VK_NO_PROTOTYPES
#endif
#include <vulkan/vulkan.h>

#if VK_HEADER_VERSION < 239
#error "vkbert needs Vulkan headers of version 1.3.239 or newer"
#endif

/* ---- declared here where the header is too old for them ---- */

#ifndef VK_KHR_cooperative_matrix
#define VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME "VK_KHR_cooperative_matrix"
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR ((VkStructureType)1000506000)
typedef struct VkPhysicalDeviceCooperativeMatrixFeaturesKHR {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperativeMatrix;
    VkBool32 cooperativeMatrixRobustBufferAccess;
} VkPhysicalDeviceCooperativeMatrixFeaturesKHR;
#endif

#ifndef VK_KHR_cooperative_matrix
#define VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR ((VkStructureType)1000506001)
typedef enum VkComponentTypeKHR {
    VK_COMPONENT_TYPE_FLOAT16_KHR = 0,
    VK_COMPONENT_TYPE_FLOAT32_KHR = 1,
    VK_COMPONENT_TYPE_SINT8_KHR = 3,
    VK_COMPONENT_TYPE_SINT32_KHR = 5,
    VK_COMPONENT_TYPE_MAX_ENUM_KHR = 0x7FFFFFFF
} VkComponentTypeKHR;
typedef enum VkScopeKHR { VK_SCOPE_WORKGROUP_KHR = 2, VK_SCOPE_SUBGROUP_KHR = 3, VK_SCOPE_MAX_ENUM_KHR = 0x7FFFFFFF } VkScopeKHR;
typedef struct VkCooperativeMatrixPropertiesKHR {
    VkStructureType sType;
    void *pNext;
    uint32_t MSize;
    uint32_t NSize;
    uint32_t KSize;
    VkComponentTypeKHR AType;
    VkComponentTypeKHR BType;
    VkComponentTypeKHR CType;
    VkComponentTypeKHR ResultType;
    VkBool32 saturatingAccumulation;
    VkScopeKHR scope;
} VkCooperativeMatrixPropertiesKHR;
typedef VkResult(VKAPI_PTR *PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)(VkPhysicalDevice device, uint32_t *count,
                                                                                   VkCooperativeMatrixPropertiesKHR *properties);
#endif

#ifndef VK_NV_cooperative_matrix2
#define VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME "VK_NV_cooperative_matrix2"
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV ((VkStructureType)1000593000)
typedef struct VkPhysicalDeviceCooperativeMatrix2FeaturesNV {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperativeMatrixWorkgroupScope;
    VkBool32 cooperativeMatrixFlexibleDimensions;
    VkBool32 cooperativeMatrixReductions;
    VkBool32 cooperativeMatrixConversions;
    VkBool32 cooperativeMatrixPerElementOperations;
    VkBool32 cooperativeMatrixTensorAddressing;
    VkBool32 cooperativeMatrixBlockLoads;
} VkPhysicalDeviceCooperativeMatrix2FeaturesNV;
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_PROPERTIES_NV ((VkStructureType)1000593002)
typedef struct VkPhysicalDeviceCooperativeMatrix2PropertiesNV {
    VkStructureType sType;
    void *pNext;
    uint32_t cooperativeMatrixWorkgroupScopeMaxWorkgroupSize;
    uint32_t cooperativeMatrixFlexibleDimensionsMaxDimension;
    uint32_t cooperativeMatrixWorkgroupScopeReservedSharedMemory;
} VkPhysicalDeviceCooperativeMatrix2PropertiesNV;
#define VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_FLEXIBLE_DIMENSIONS_PROPERTIES_NV ((VkStructureType)1000593001)
typedef struct VkCooperativeMatrixFlexibleDimensionsPropertiesNV {
    VkStructureType sType;
    void *pNext;
    uint32_t MGranularity;
    uint32_t NGranularity;
    uint32_t KGranularity;
    VkComponentTypeKHR AType;
    VkComponentTypeKHR BType;
    VkComponentTypeKHR CType;
    VkComponentTypeKHR ResultType;
    VkBool32 saturatingAccumulation;
    VkScopeKHR scope;
    uint32_t workgroupInvocations;
} VkCooperativeMatrixFlexibleDimensionsPropertiesNV;
typedef VkResult(VKAPI_PTR *PFN_vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV)(
    VkPhysicalDevice device, uint32_t *count, VkCooperativeMatrixFlexibleDimensionsPropertiesNV *properties);
#endif

#define VKB_VK_PORTABILITY_SUBSET "VK_KHR_portability_subset" /* its header is a beta one */

/* ---- function tables: X(name) for vkName ---- */

#define VKB_VK_GLOBAL_FUNCTIONS(X) X(EnumerateInstanceVersion) X(EnumerateInstanceExtensionProperties) X(CreateInstance)

#define VKB_VK_INSTANCE_FUNCTIONS(X) \
    X(DestroyInstance) \
    X(EnumeratePhysicalDevices) \
    X(EnumerateDeviceExtensionProperties) \
    X(GetPhysicalDeviceProperties) \
    X(GetPhysicalDeviceProperties2) \
    X(GetPhysicalDeviceFeatures2) \
    X(GetPhysicalDeviceMemoryProperties2) \
    X(GetPhysicalDeviceQueueFamilyProperties) \
    X(CreateDevice) \
    X(GetDeviceProcAddr)

/* Of extensions: NULL where the driver has none. */
#define VKB_VK_OPTIONAL_INSTANCE_FUNCTIONS(X) \
    X(GetPhysicalDeviceCooperativeMatrixPropertiesKHR) \
    X(GetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV)

#define VKB_VK_DEVICE_FUNCTIONS(X) \
    X(DestroyDevice) \
    X(DeviceWaitIdle) \
    X(GetDeviceQueue) \
    X(QueueSubmit) \
    X(CreateFence) \
    X(DestroyFence) \
    X(ResetFences) \
    X(GetFenceStatus) \
    X(WaitForFences) \
    X(CreateBuffer) \
    X(DestroyBuffer) \
    X(GetBufferMemoryRequirements) \
    X(GetBufferDeviceAddress) \
    X(AllocateMemory) \
    X(FreeMemory) \
    X(BindBufferMemory) \
    X(MapMemory) \
    X(UnmapMemory) \
    X(FlushMappedMemoryRanges) \
    X(InvalidateMappedMemoryRanges) \
    X(CreateDescriptorSetLayout) \
    X(DestroyDescriptorSetLayout) \
    X(CreatePipelineLayout) \
    X(DestroyPipelineLayout) \
    X(CreateDescriptorPool) \
    X(DestroyDescriptorPool) \
    X(AllocateDescriptorSets) \
    X(UpdateDescriptorSets) \
    X(CreateShaderModule) \
    X(DestroyShaderModule) \
    X(CreatePipelineCache) \
    X(DestroyPipelineCache) \
    X(GetPipelineCacheData) \
    X(CreateComputePipelines) \
    X(DestroyPipeline) \
    X(CreateQueryPool) \
    X(DestroyQueryPool) \
    X(GetQueryPoolResults) \
    X(CreateCommandPool) \
    X(DestroyCommandPool) \
    X(AllocateCommandBuffers) \
    X(FreeCommandBuffers) \
    X(BeginCommandBuffer) \
    X(EndCommandBuffer) \
    X(CmdBindPipeline) \
    X(CmdBindDescriptorSets) \
    X(CmdPushConstants) \
    X(CmdDispatch) \
    X(CmdDispatchIndirect) \
    X(CmdPipelineBarrier) \
    X(CmdFillBuffer) \
    X(CmdCopyBuffer) \
    X(CmdResetQueryPool) \
    X(CmdWriteTimestamp)

/* Of VK_NVX_binary_import: NULL where the device has none. */
#define VKB_VK_OPTIONAL_DEVICE_FUNCTIONS(X) \
    X(CreateCuModuleNVX) X(DestroyCuModuleNVX) X(CreateCuFunctionNVX) X(DestroyCuFunctionNVX) X(CmdCuLaunchKernelNVX)

#define VKB_VK_MEMBER(name) PFN_vk##name name;

typedef struct vkb_vk_instance_table {
    VKB_VK_GLOBAL_FUNCTIONS(VKB_VK_MEMBER)
    VKB_VK_INSTANCE_FUNCTIONS(VKB_VK_MEMBER)
    VKB_VK_OPTIONAL_INSTANCE_FUNCTIONS(VKB_VK_MEMBER)
} vkb_vk_instance_table;

typedef struct vkb_vk_device_table {
    VKB_VK_DEVICE_FUNCTIONS(VKB_VK_MEMBER)
    VKB_VK_OPTIONAL_DEVICE_FUNCTIONS(VKB_VK_MEMBER)
} vkb_vk_device_table;

/* vk_loader.c */

/* Every pointer of the tables passes through this once, if it is set: tests replace functions by ones that fail. Set it before the first
 * use. */
extern PFN_vkVoidFunction (*vkb_vk_intercept)(const char *name, PFN_vkVoidFunction function);

/* Opens libvulkan, once a process (the caller holds a lock); NULL: `reason` says why. It is never closed. */
PFN_vkGetInstanceProcAddr vkb_vk_loader_open(char *reason, size_t size);
/* Fill a table (or its part); return the name of the first function that is missing, or NULL. */
const char *vkb_vk_load_global(vkb_vk_instance_table *table, PFN_vkGetInstanceProcAddr get);
const char *vkb_vk_load_instance(vkb_vk_instance_table *table, PFN_vkGetInstanceProcAddr get, VkInstance instance);
const char *vkb_vk_load_device(vkb_vk_device_table *table, PFN_vkGetDeviceProcAddr get, VkDevice device);

#endif /* VKB_VK_API_H */
