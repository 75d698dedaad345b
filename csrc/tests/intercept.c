#include "intercept.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "../vk_kernel.h"

/* Self-tests call from several threads. */
static atomic_uint calls;
static uint32_t fail_number;
static VkResult fail_result;
static const char *_Atomic failed;
static atomic_int alive;

void intercept_arm(uint32_t fail_at, VkResult result) {
    calls = 0;
    fail_number = fail_at;
    fail_result = result;
    failed = NULL;
}

uint32_t intercept_calls(void) { return calls; }
const char *intercept_failed(void) { return failed; }
int intercept_alive(void) { return alive; }

/* How often a wait asks is a matter of time: only the first question after a submit counts. */
static bool counts(const char *name) {
    static atomic_bool asked;
    if (!strcmp(name, "vkQueueSubmit")) asked = false;
    if (strcmp(name, "vkGetFenceStatus") && strcmp(name, "vkWaitForFences")) return true;
    return !atomic_exchange(&asked, true);
}

static const char *crash_call;

static bool fails(const char *name) {
    if (crash_call && !strcmp(name, crash_call)) abort();
    if (!counts(name)) return false;
    if (atomic_fetch_add(&calls, 1) + 1 != fail_number) return false;
    failed = name;
    return true;
}

/* Calls that can fail: name, parameters, arguments, objects that a success makes. */
#define FALLIBLE(X) \
    X(EnumeratePhysicalDevices, (VkInstance a, uint32_t * b, VkPhysicalDevice * c), (a, b, c), 0) \
    X(CreateDevice, (VkPhysicalDevice a, const VkDeviceCreateInfo *b, const VkAllocationCallbacks *c, VkDevice *d), (a, b, c, d), 1) \
    X(QueueSubmit, (VkQueue a, uint32_t b, const VkSubmitInfo *c, VkFence d), (a, b, c, d), 0) \
    X(CreateFence, (VkDevice a, const VkFenceCreateInfo *b, const VkAllocationCallbacks *c, VkFence *d), (a, b, c, d), 1) \
    X(ResetFences, (VkDevice a, uint32_t b, const VkFence *c), (a, b, c), 0) \
    X(GetFenceStatus, (VkDevice a, VkFence b), (a, b), 0) \
    X(WaitForFences, (VkDevice a, uint32_t b, const VkFence *c, VkBool32 d, uint64_t e), (a, b, c, d, e), 0) \
    X(CreateBuffer, (VkDevice a, const VkBufferCreateInfo *b, const VkAllocationCallbacks *c, VkBuffer *d), (a, b, c, d), 1) \
    X(AllocateMemory, (VkDevice a, const VkMemoryAllocateInfo *b, const VkAllocationCallbacks *c, VkDeviceMemory *d), (a, b, c, d), 1) \
    X(BindBufferMemory, (VkDevice a, VkBuffer b, VkDeviceMemory c, VkDeviceSize d), (a, b, c, d), 0) \
    X(MapMemory, (VkDevice a, VkDeviceMemory b, VkDeviceSize c, VkDeviceSize d, VkMemoryMapFlags e, void **f), (a, b, c, d, e, f), 0) \
    X(CreateDescriptorSetLayout, \
      (VkDevice a, const VkDescriptorSetLayoutCreateInfo *b, const VkAllocationCallbacks *c, VkDescriptorSetLayout *d), (a, b, c, d), 1) \
    X(CreatePipelineLayout, (VkDevice a, const VkPipelineLayoutCreateInfo *b, const VkAllocationCallbacks *c, VkPipelineLayout *d), \
      (a, b, c, d), 1) \
    X(CreateDescriptorPool, (VkDevice a, const VkDescriptorPoolCreateInfo *b, const VkAllocationCallbacks *c, VkDescriptorPool *d), \
      (a, b, c, d), 1) \
    X(AllocateDescriptorSets, (VkDevice a, const VkDescriptorSetAllocateInfo *b, VkDescriptorSet *c), (a, b, c), 0) \
    X(CreateShaderModule, (VkDevice a, const VkShaderModuleCreateInfo *b, const VkAllocationCallbacks *c, VkShaderModule *d), \
      (a, b, c, d), 1) \
    X(CreatePipelineCache, (VkDevice a, const VkPipelineCacheCreateInfo *b, const VkAllocationCallbacks *c, VkPipelineCache *d), \
      (a, b, c, d), 1) \
    X(CreateComputePipelines, \
      (VkDevice a, VkPipelineCache b, uint32_t c, const VkComputePipelineCreateInfo *d, const VkAllocationCallbacks *e, VkPipeline *f), \
      (a, b, c, d, e, f), 1) \
    X(CreateQueryPool, (VkDevice a, const VkQueryPoolCreateInfo *b, const VkAllocationCallbacks *c, VkQueryPool *d), (a, b, c, d), 1) \
    X(GetQueryPoolResults, (VkDevice a, VkQueryPool b, uint32_t c, uint32_t d, size_t e, void *f, VkDeviceSize g, VkQueryResultFlags h), \
      (a, b, c, d, e, f, g, h), 0) \
    X(CreateCommandPool, (VkDevice a, const VkCommandPoolCreateInfo *b, const VkAllocationCallbacks *c, VkCommandPool *d), (a, b, c, d), \
      1) \
    X(AllocateCommandBuffers, (VkDevice a, const VkCommandBufferAllocateInfo *b, VkCommandBuffer *c), (a, b, c), 0) \
    X(BeginCommandBuffer, (VkCommandBuffer a, const VkCommandBufferBeginInfo *b), (a, b), 0) \
    X(EndCommandBuffer, (VkCommandBuffer a), (a), 0) \
    X(CreateCuModuleNVX, (VkDevice a, const VkCuModuleCreateInfoNVX *b, const VkAllocationCallbacks *c, VkCuModuleNVX *d), (a, b, c, d), \
      1) \
    X(CreateCuFunctionNVX, (VkDevice a, const VkCuFunctionCreateInfoNVX *b, const VkAllocationCallbacks *c, VkCuFunctionNVX *d), \
      (a, b, c, d), 1)

/* Calls that release one object. */
#define RELEASES(X) \
    X(DestroyFence, VkFence) \
    X(DestroyBuffer, VkBuffer) \
    X(FreeMemory, VkDeviceMemory) \
    X(DestroyDescriptorSetLayout, VkDescriptorSetLayout) \
    X(DestroyPipelineLayout, VkPipelineLayout) \
    X(DestroyDescriptorPool, VkDescriptorPool) \
    X(DestroyShaderModule, VkShaderModule) \
    X(DestroyPipelineCache, VkPipelineCache) \
    X(DestroyPipeline, VkPipeline) \
    X(DestroyQueryPool, VkQueryPool) \
    X(DestroyCommandPool, VkCommandPool) \
    X(DestroyCuModuleNVX, VkCuModuleNVX) \
    X(DestroyCuFunctionNVX, VkCuFunctionNVX)

#define DEFINE_FALLIBLE(name, parameters, arguments, makes) \
    static PFN_vk##name real_##name; \
    static VKAPI_ATTR VkResult VKAPI_CALL fake_##name parameters { \
        if (fails("vk" #name)) return fail_result; \
        VkResult result = real_##name arguments; \
        if (result == VK_SUCCESS) alive += makes; \
        return result; \
    }

/* ---- Drivers that do worse than to fail ---- */

static const uint32_t *lie_code, *crash_code;
static VkShaderModule lie_module, crash_module;

void intercept_lie(const uint32_t *code) { lie_code = code; }

void intercept_crash(const uint32_t *code, const char *call) {
    crash_code = code;
    crash_call = call;
}

static atomic_bool hangs_next, hanging;

void intercept_hang(bool hangs) {
    hangs_next = hangs;
    hanging = false;
}

static PFN_vkGetFenceStatus true_GetFenceStatus;
static PFN_vkWaitForFences true_WaitForFences;

static VKAPI_ATTR VkResult VKAPI_CALL spoil_GetFenceStatus(VkDevice device, VkFence fence) {
    return hanging ? VK_NOT_READY : true_GetFenceStatus(device, fence);
}

static VKAPI_ATTR VkResult VKAPI_CALL spoil_WaitForFences(VkDevice device, uint32_t count, const VkFence *fences, VkBool32 all,
                                                          uint64_t nanoseconds) {
    VkResult result = true_WaitForFences(device, count, fences, all, nanoseconds);
    return hanging ? VK_TIMEOUT : result;
}

/* Pipelines are made while nothing runs: the last thing submitted was a fence alone, which the maker waits for. */
static atomic_uint making, beside;
static atomic_bool fence_alone = true;

uint32_t intercept_beside(void) { return beside; }

static PFN_vkQueueSubmit true_QueueSubmit;

static VKAPI_ATTR VkResult VKAPI_CALL spoil_QueueSubmit(VkQueue queue, uint32_t count, const VkSubmitInfo *info, VkFence fence) {
    fence_alone = info->commandBufferCount == 0;
    if (!fence_alone) beside += making;
    return true_QueueSubmit(queue, count, info, fence);
}

static PFN_vkCreateShaderModule true_CreateShaderModule;
static PFN_vkCreateComputePipelines true_CreateComputePipelines;

static VKAPI_ATTR VkResult VKAPI_CALL spoil_CreateShaderModule(VkDevice device, const VkShaderModuleCreateInfo *info,
                                                               const VkAllocationCallbacks *a, VkShaderModule *module) {
    VkResult result = true_CreateShaderModule(device, info, a, module);
    /* A driver gives the handle of a module that is gone to the next one. */
    if (*module == lie_module) lie_module = VK_NULL_HANDLE;
    if (*module == crash_module) crash_module = VK_NULL_HANDLE;
    if (lie_code && info->pCode == lie_code) lie_module = *module;
    if (crash_code && info->pCode == crash_code) crash_module = *module;
    return result;
}

static VkResult make_lie(VkDevice device, VkPipelineCache cache, uint32_t count, const VkComputePipelineCreateInfo *info,
                         const VkAllocationCallbacks *a, VkPipeline *pipeline) {
    VkComputePipelineCreateInfo other = *info;
    VkSpecializationInfo constants = *info->stage.pSpecializationInfo;
    uint32_t words[VKB_SPEC_MAX];
    memcpy(words, constants.pData, constants.dataSize);
    words[VKB_SPEC_MODE] = words[VKB_SPEC_MODE] == VKB_ACT_RELU ? VKB_ACT_TANH : VKB_ACT_RELU;
    constants.pData = words;
    other.stage.pSpecializationInfo = &constants;
    return true_CreateComputePipelines(device, cache, count, &other, a, pipeline);
}

static VKAPI_ATTR VkResult VKAPI_CALL spoil_CreateComputePipelines(VkDevice device, VkPipelineCache cache, uint32_t count,
                                                                   const VkComputePipelineCreateInfo *info, const VkAllocationCallbacks *a,
                                                                   VkPipeline *pipeline) {
    if (crash_code && info->stage.module == crash_module) abort();
    hanging = atomic_load(&hangs_next);
    making++;
    beside += !fence_alone;
    VkResult result = lie_code && info->stage.module == lie_module ? make_lie(device, cache, count, info, a, pipeline)
                                                                   : true_CreateComputePipelines(device, cache, count, info, a, pipeline);
    making--;
    return result;
}

FALLIBLE(DEFINE_FALLIBLE)

#define DEFINE_RELEASE(name, type) \
    static PFN_vk##name real_##name; \
    static VKAPI_ATTR void VKAPI_CALL fake_##name(VkDevice device, type object, const VkAllocationCallbacks *a) { \
        alive -= object != VK_NULL_HANDLE; \
        real_##name(device, object, a); \
    }
RELEASES(DEFINE_RELEASE)

static PFN_vkDestroyDevice real_DestroyDevice;
static VKAPI_ATTR void VKAPI_CALL fake_DestroyDevice(VkDevice device, const VkAllocationCallbacks *a) {
    alive -= device != NULL;
    real_DestroyDevice(device, a);
}

static PFN_vkGetPhysicalDeviceFeatures2 real_GetPhysicalDeviceFeatures2;
static VKAPI_ATTR void VKAPI_CALL fake_GetPhysicalDeviceFeatures2(VkPhysicalDevice device, VkPhysicalDeviceFeatures2 *features) {
    if (crash_call && !strcmp("vkGetPhysicalDeviceFeatures2", crash_call)) abort();
    real_GetPhysicalDeviceFeatures2(device, features);
}

static PFN_vkVoidFunction intercept(const char *name, PFN_vkVoidFunction function) {
#define SPOIL(call) \
    if (!strcmp(name, "vk" #call)) { \
        true_##call = (PFN_vk##call)function; \
        function = (PFN_vkVoidFunction)spoil_##call; \
    }
    SPOIL(QueueSubmit)
    SPOIL(GetFenceStatus)
    SPOIL(WaitForFences)
    SPOIL(CreateShaderModule)
    SPOIL(CreateComputePipelines)
#define INTERCEPT(call) \
    if (!strcmp(name, "vk" #call)) { \
        real_##call = (PFN_vk##call)function; \
        return (PFN_vkVoidFunction)fake_##call; \
    }
#define INTERCEPT_FALLIBLE(call, parameters, arguments, makes) INTERCEPT(call)
#define INTERCEPT_RELEASE(call, type) INTERCEPT(call)
    FALLIBLE(INTERCEPT_FALLIBLE)
    RELEASES(INTERCEPT_RELEASE)
    INTERCEPT(DestroyDevice)
    INTERCEPT(GetPhysicalDeviceFeatures2)
    return function;
}

void intercept_install(void) { vkb_vk_intercept = intercept; }
