/*
 * A norm of a LINEAR's input can be applied to its products, where two sums over each output's weights are known (linear_short.comp). They
 * depend on weights alone and are made once a program, for its LINEARs that such a kernel does in batches of some size.
 */
#include "vk_program.h"

/* Whether step i may be done by a kernel that reads sums. */
static bool wants(const vkb_vk_program *p, uint32_t i) {
    return p->folds[i].norm_input != VKB_NONE && p->steps[i].task.kind == VKB_OP_LINEAR && vkb_vk_made_for(p, i, VKB_KERNEL_NORM_SUMS);
}

static uint64_t bytes_of(const vkb_vk_step *s) { return vkb_align_up((uint64_t)s->push.output_stride * 2 * sizeof(float), VKB_VK_ALIGN); }

/* The sums of each LINEAR that has room for them. */
static void record(const vkb_vk_program *p, const vkb_vk_pipeline *pipeline, VkCommandBuffer commands) {
    const vkb_vk_device *device = vkb_vk_device_of(&p->base);
    const vkb_vk_device_table *vk = &device->vk;
    vk->CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline->handle);
    for (uint32_t i = 0; i < p->step_count; i++) {
        if (!wants(p, i)) continue;
        const vkb_vk_step *s = &p->steps[i];
        const vkb_push *norm = &p->steps[p->folds[i].norm_input].push;
        vkb_push push = s->push;
        push.norm_weight_at = norm->norm_weight_at;
        push.norm_bias_at = norm->norm_bias_at;
        vk->CmdPushConstants(commands, device->pipeline_layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof push, &push);
        vk->CmdDispatch(commands, vkb_vk_groups_x(s, pipeline->kernel), 1, 1);
    }
    VkMemoryBarrier memory = {/* what comes later on the queue sees them */
                              .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                              .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                              .dstAccessMask = VK_ACCESS_SHADER_READ_BIT};
    vk->CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &memory, 0, NULL, 0,
                           NULL);
}

vkb_status vkb_vk_sums_init(vkb_vk_program *p, vkb_error *error) {
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < p->step_count; i++)
        if (wants(p, i)) bytes += bytes_of(&p->steps[i]);
    if (!bytes) return VKB_OK;
    vkb_status status = vkb_vk_buffer_create(device, bytes, VKB_VK_ARENA, "sums of weights", &p->sums, error);
    if (status) return status;
    uint64_t at = p->sums.address;
    for (uint32_t i = 0; i < p->step_count; i++) {
        if (!wants(p, i)) continue;
        p->steps[i].push.sums_address = at;
        at += bytes_of(&p->steps[i]);
    }
    const vkb_task task = {.kind = VKB_KERNEL_NORM_SUMS, .weights = VKB_WEIGHTS_F16_TILES}; /* what reads them has weights in tiles */
    return vkb_vk_make(p, &task, "sums of weights", record, error);
}
