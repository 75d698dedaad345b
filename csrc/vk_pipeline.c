/* Layouts and pipelines. Pipelines belong to the device: programs that use the same kernel with the same constants share one. */
#include <stdlib.h>
#include <string.h>

#include "vk_internal.h"

vkb_status vkb_vk_layouts_create(vkb_vk_device *device, vkb_error *error) {
    VkDescriptorSetLayoutBinding bindings[VKB_BIND_COUNT];
    for (uint32_t i = 0; i < VKB_BIND_COUNT; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){.binding = i,
                                                     .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                                     .descriptorCount = 1,
                                                     .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    VkDescriptorSetLayoutCreateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO, .bindingCount = VKB_BIND_COUNT, .pBindings = bindings};
    vkb_status status = vkb_vk_check(device, device->vk.CreateDescriptorSetLayout(device->handle, &set, NULL, &device->set_layout),
                                     "vkCreateDescriptorSetLayout", error);
    if (status) return status;
    VkPushConstantRange push = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = sizeof(vkb_push)};
    VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                         .setLayoutCount = 1,
                                         .pSetLayouts = &device->set_layout,
                                         .pushConstantRangeCount = 1,
                                         .pPushConstantRanges = &push};
    return vkb_vk_check(device, device->vk.CreatePipelineLayout(device->handle, &layout, NULL, &device->pipeline_layout),
                        "vkCreatePipelineLayout", error);
}

static vkb_status create_pipeline(vkb_vk_device *device, const vkb_vk_pipeline *key, VkPipeline *pipeline, vkb_error *error) {
    const vkb_kernel *kernel = key->kernel;
    const vkb_abilities *abilities = &device->abilities;
    uint32_t constants[VKB_SPEC_MAX] = {[VKB_SPEC_LOCAL_SIZE] = vkb_kernel_invocations(kernel, abilities),
                                        [VKB_SPEC_WEIGHTS] = key->weights,
                                        [VKB_SPEC_MODE] = key->mode,
                                        [VKB_SPEC_VALUES] = key->values};
    const uint32_t *shape = kernel->needs & VKB_NEED_MATRIX_I8 ? abilities->matrix_i8 : abilities->matrix;
    memcpy(constants + VKB_SPEC_MATRIX, shape, sizeof abilities->matrix);
    memcpy(constants + VKB_SPEC_OWN, kernel->own, sizeof kernel->own);
    VkSpecializationMapEntry entries[VKB_SPEC_MAX];
    uint32_t count = VKB_SPEC_OWN + kernel->own_count;
    for (uint32_t i = 0; i < count; i++) entries[i] = (VkSpecializationMapEntry){i, i * (uint32_t)sizeof *constants, sizeof *constants};
    VkSpecializationInfo specialization = {
        .mapEntryCount = count, .pMapEntries = entries, .dataSize = count * sizeof *constants, .pData = constants};

    VkShaderModuleCreateInfo code = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = kernel->code_bytes, .pCode = kernel->code};
    VkShaderModule module;
    vkb_status status = vkb_vk_check(device, device->vk.CreateShaderModule(device->handle, &code, NULL, &module), kernel->name, error);
    if (status) return status;
    /* Kernels that count subgroups want whole ones of the size that the table reckons with. */
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = abilities->subgroup_size};
    const vkb_vk_features *features = &device->physical.features;
    bool counts = kernel->subgroups > 0;
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .pNext = counts && features->size_control ? &size : NULL,
                  .flags = counts && features->full_subgroups ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main",
                  .pSpecializationInfo = &specialization},
        .layout = device->pipeline_layout};
    VkResult result = device->vk.CreateComputePipelines(device->handle, device->cache, 1, &info, NULL, pipeline);
    device->vk.DestroyShaderModule(device->handle, module, NULL);
    return vkb_vk_check(device, result, kernel->name, error);
}

/* The caller holds the mutex. */
static const vkb_vk_pipeline *find(const vkb_vk_device *device, const vkb_vk_pipeline *key) {
    for (uint32_t i = 0; i < device->pipeline_count; i++) {
        const vkb_vk_pipeline *p = &device->pipelines[i];
        if (p->kernel == key->kernel && p->mode == key->mode && p->weights == key->weights && p->values == key->values) return p;
    }
    return NULL;
}

/* The caller holds the mutex. */
static vkb_status keep(vkb_vk_device *device, const vkb_vk_pipeline *made, vkb_error *error) {
    if (device->pipeline_count == device->pipeline_capacity) {
        uint32_t capacity = 2 * device->pipeline_capacity + 16;
        vkb_vk_pipeline *grown = realloc(device->pipelines, capacity * sizeof *grown);
        if (!grown) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "%s: out of memory for pipelines", device->base.info.name);
        device->pipelines = grown;
        device->pipeline_capacity = capacity;
    }
    device->pipelines[device->pipeline_count++] = *made;
    device->cache_changed = true;
    return VKB_OK;
}

static void destroy_pipeline(const vkb_vk_device *device, const vkb_vk_pipeline *p) {
    if (p->function)
        vkb_vk_cubin_destroy(device, p);
    else
        device->vk.DestroyPipeline(device->handle, p->handle, NULL);
}

static bool known(vkb_vk_device *device, vkb_vk_pipeline *key) {
    vkb_mutex_lock(device->pipeline_mutex);
    const vkb_vk_pipeline *p = find(device, key);
    if (p) *key = *p;
    vkb_mutex_unlock(device->pipeline_mutex);
    return p != NULL;
}

/* Compiled without the mutex: several threads may, and of two that make the same one the second is thrown away. */
static vkb_status make(vkb_vk_device *device, vkb_vk_pipeline *pipeline, vkb_error *error) {
    vkb_vk_pipeline made = *pipeline;
    vkb_status status =
        made.kernel->functions[0] ? vkb_vk_cubin_create(device, &made, error) : create_pipeline(device, &made, &made.handle, error);
    if (status) return status;
    vkb_mutex_lock(device->pipeline_mutex);
    const vkb_vk_pipeline *first = find(device, &made);
    if (!first) status = keep(device, &made, error);
    *pipeline = first ? *first : made;
    vkb_mutex_unlock(device->pipeline_mutex);
    if (first || status) destroy_pipeline(device, &made);
    return status;
}

/*
 * Nothing runs on the device meanwhile: a GPU may hang in the first run of a pipeline that was made while it worked (NVIDIA's driver
 * 580.159 on H200, docs/performance.md).
 */
vkb_status vkb_vk_pipeline_get(vkb_vk_device *device, const vkb_kernel *kernel, const vkb_task *task, vkb_vk_pipeline *pipeline,
                               vkb_error *error) {
    vkb_status status = vkb_vk_alive(device, error);
    if (status) return status;
    *pipeline = (vkb_vk_pipeline){.kernel = kernel, .mode = task->mode, .weights = task->weights, .values = task->values};
    if (known(device, pipeline)) return VKB_OK;
    status = vkb_vk_pause(device, error);
    if (status) return status;
    if (!known(device, pipeline)) status = make(device, pipeline, error);
    vkb_vk_resume(device);
    return status;
}

void vkb_vk_pipelines_destroy(vkb_vk_device *device) {
    const vkb_vk_device_table *vk = &device->vk;
    for (uint32_t i = 0; i < device->pipeline_count; i++) destroy_pipeline(device, &device->pipelines[i]);
    free(device->pipelines);
    if (device->cache) vk->DestroyPipelineCache(device->handle, device->cache, NULL);
    if (device->pipeline_layout) vk->DestroyPipelineLayout(device->handle, device->pipeline_layout, NULL);
    if (device->set_layout) vk->DestroyDescriptorSetLayout(device->handle, device->set_layout, NULL);
}
