/*
 * Kernels in CUDA C++ (shaders/ *.cu), which become cubins, the machine code of one architecture. NVIDIA's driver runs them from command
 * buffers through VK_NVX_binary_import: no CUDA is needed. They know buffers by their addresses alone, so that nothing is bound.
 */
#include "vk_internal.h"

static enum vkb_function function_of(uint32_t mode) {
    uint32_t activation = mode & 0xff;
    if (mode & VKB_FOLD_GATE) return activation == VKB_ACT_SILU ? VKB_FUNCTION_GATED_SILU : VKB_FUNCTION_GATED_GELU;
    return activation == VKB_ACT_GELU ? VKB_FUNCTION_GELU : VKB_FUNCTION_PLAIN;
}

vkb_status vkb_vk_cubin_create(vkb_vk_device *device, vkb_vk_pipeline *p, vkb_error *error) {
    const vkb_vk_device_table *vk = &device->vk;
    const vkb_kernel *kernel = p->kernel;
    if (!vk->CreateCuModuleNVX || !vk->DestroyCuModuleNVX || !vk->CreateCuFunctionNVX || !vk->DestroyCuFunctionNVX ||
        !vk->CmdCuLaunchKernelNVX)
        return vkb_fail(error, VKB_ERROR_UNSUPPORTED, "%s: the driver lacks functions of VK_NVX_binary_import", device->base.info.name);
    VkCuModuleCreateInfoNVX code = {
        .sType = VK_STRUCTURE_TYPE_CU_MODULE_CREATE_INFO_NVX, .dataSize = kernel->code_bytes, .pData = kernel->code};
    vkb_status status = vkb_vk_check(device, vk->CreateCuModuleNVX(device->handle, &code, NULL, &p->module), kernel->name, error);
    if (status) return status;
    VkCuFunctionCreateInfoNVX info = {
        .sType = VK_STRUCTURE_TYPE_CU_FUNCTION_CREATE_INFO_NVX, .module = p->module, .pName = kernel->functions[function_of(p->mode)]};
    status = vkb_vk_check(device, vk->CreateCuFunctionNVX(device->handle, &info, NULL, &p->function), kernel->name, error);
    if (status) vk->DestroyCuModuleNVX(device->handle, p->module, NULL);
    return status;
}

void vkb_vk_cubin_destroy(const vkb_vk_device *device, const vkb_vk_pipeline *p) {
    device->vk.DestroyCuFunctionNVX(device->handle, p->function, NULL);
    device->vk.DestroyCuModuleNVX(device->handle, p->module, NULL);
}

void vkb_vk_cubin_launch(const vkb_vk_device *device, VkCommandBuffer commands, const vkb_vk_pipeline *p, uint32_t groups,
                         const void *const *params, uint32_t param_count) {
    VkCuLaunchInfoNVX launch = {.sType = VK_STRUCTURE_TYPE_CU_LAUNCH_INFO_NVX,
                                .function = p->function,
                                .gridDimX = groups,
                                .gridDimY = 1,
                                .gridDimZ = 1,
                                .blockDimX = p->kernel->local_size,
                                .blockDimY = 1,
                                .blockDimZ = 1,
                                .sharedMemBytes = p->kernel->launched_bytes,
                                .paramCount = param_count,
                                .pParams = params};
    device->vk.CmdCuLaunchKernelNVX(commands, &launch);
}
