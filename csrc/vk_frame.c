/* Frames: what each of the runs under way has to itself. Made one by one as runs come together; most programs never have more than one. */
#include <stdlib.h>

#include "vk_program.h"

/* An output that its step writes straight to the host's memory is bound there in place of its room in the arena. */
static const vkb_vk_buffer *direct_result(const vkb_vk_program *p, const vkb_vk_frame *f, const vkb_vk_step *s) {
    for (uint32_t i = 0; i < p->base.output_count; i++)
        if (p->direct[i] && p->base.outputs[i] == s->output) return &f->results[i];
    return NULL;
}

/* gate: of the LINEAR that does it by the way, the GATE whose output is bound, or VKB_NONE. */
static void bind(const vkb_vk_program *p, const vkb_vk_frame *f, uint32_t number, uint32_t gate) {
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    const vkb_vk_step *s = vkb_vk_step_at(p, number);
    VkDescriptorBufferInfo buffers[VKB_BIND_COUNT];
    for (uint32_t i = 0; i < VKB_BIND_COUNT; i++) {
        bool gated = gate != VKB_NONE && i == VKB_BIND_OUTPUT;
        const vkb_vk_range *range = gated ? &p->steps[gate].ranges[i] : &s->ranges[i];
        buffers[i] = range->buffer ? (VkDescriptorBufferInfo){range->buffer, range->offset, range->bytes}
                                   : (VkDescriptorBufferInfo){f->upload.handle, 0, p->batch_bytes};
    }
    const vkb_vk_buffer *result = number < p->step_count ? direct_result(p, f, s) : &f->results[number - p->step_count];
    if (result) buffers[VKB_BIND_OUTPUT] = (VkDescriptorBufferInfo){result->handle, 0, result->bytes};
    VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                  .dstSet = f->sets[vkb_vk_set_of(p, number, gate != VKB_NONE)],
                                  .descriptorCount = VKB_BIND_COUNT, /* consecutive bindings in one write */
                                  .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                  .pBufferInfo = buffers};
    device->vk.UpdateDescriptorSets(device->handle, 1, &write, 0, NULL);
}

static vkb_status create_result(vkb_vk_program *p, vkb_vk_frame *f, uint32_t output, vkb_error *error) {
    const vkb_slot *slot = &p->base.slots[p->base.outputs[output]];
    uint64_t row = p->direct[output] ? slot->stride : p->copies[output].push.output_width;
    return vkb_vk_buffer_create(vkb_vk_device_of(&p->base), slot->rows * row * sizeof(float), VKB_VK_READ_BACK, "an output",
                                &f->results[output], error);
}

static vkb_status prepare_copy(vkb_vk_program *p, vkb_vk_frame *f, uint32_t output, vkb_error *error) {
    vkb_status status = f->results[output].handle ? VKB_OK : create_result(p, f, output, error);
    if (status) return status;
    bind(p, f, p->step_count + output, VKB_NONE);
    return vkb_vk_copy_record(p, f, output, error);
}

vkb_status vkb_vk_frame_output(vkb_vk_program *p, vkb_vk_frame *f, uint32_t output, vkb_error *error) {
    return p->direct[output] || f->copies[output] ? VKB_OK : prepare_copy(p, f, output, error);
}

static vkb_status create_set(vkb_vk_program *p, vkb_vk_frame *f, uint32_t set, vkb_error *error) {
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    VkDescriptorSetAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                        .descriptorPool = f->descriptors,
                                        .descriptorSetCount = 1,
                                        .pSetLayouts = &device->set_layout};
    return vkb_vk_check(device, device->vk.AllocateDescriptorSets(device->handle, &info, &f->sets[set]), "vkAllocateDescriptorSets", error);
}

static vkb_status create_sets(vkb_vk_program *p, vkb_vk_frame *f, vkb_error *error) {
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    uint32_t count = vkb_vk_number_count(p), all = count;
    for (uint32_t i = 0; i < p->step_count; i++) all += p->folds[i].gate_after != VKB_NONE;
    VkDescriptorPoolSize size = {.type = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, .descriptorCount = all * VKB_BIND_COUNT};
    VkDescriptorPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO, .maxSets = all, .poolSizeCount = 1, .pPoolSizes = &size};
    vkb_status status = vkb_vk_check(device, device->vk.CreateDescriptorPool(device->handle, &pool, NULL, &f->descriptors),
                                     "vkCreateDescriptorPool", error);
    for (uint32_t i = 0; i < count && !status; i++) {
        status = create_set(p, f, i, error);
        if (!status && i < p->step_count) bind(p, f, i, VKB_NONE);
    }
    for (uint32_t i = 0; i < p->step_count && !status; i++) {
        uint32_t gate = p->folds[i].gate_after;
        if (gate == VKB_NONE) continue;
        status = create_set(p, f, vkb_vk_set_of(p, i, true), error);
        if (!status) bind(p, f, i, gate);
    }
    return status;
}

static vkb_status create_objects(vkb_vk_program *p, vkb_vk_frame *f, vkb_error *error) {
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    vkb_status status = vkb_vk_fence_create(device, &f->fence, error);
    if (status) return status;
    status = vkb_vk_pool_create(device, 0, &f->pool, error);
    return status ? status : vkb_vk_order_record(device, f->pool, &f->order, error);
}

static bool allocate(const vkb_vk_program *p, vkb_vk_frame *f) {
    uint32_t outputs = p->base.output_count;
    f->mutex = vkb_mutex_create();
    f->results = calloc(outputs, sizeof *f->results);
    f->sets = calloc(vkb_vk_set_of(p, p->step_count, true), sizeof *f->sets);
    f->copies = calloc(outputs, sizeof *f->copies);
    f->sequences = calloc(p->base.max_sequences, sizeof *f->sequences);
    f->submit = calloc(1 + (size_t)p->base.op_count + outputs, sizeof *f->submit);
    return f->mutex && f->results && f->sets && f->copies && f->sequences && f->submit;
}

static void destroy(vkb_vk_program *p, vkb_vk_frame *f) {
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    vkb_vk_frame_settle(p, f, 0, NULL);
    for (uint32_t t = 0; t < VKB_VK_MAX_CLASSES; t++)
        for (uint32_t s = 0; s < VKB_VK_MAX_CLASSES; s++) vkb_vk_recording_destroy(p, f->recordings[t][s]);
    for (uint32_t i = 0; i < p->base.output_count && f->results; i++) vkb_vk_buffer_destroy(device, &f->results[i]);
    vkb_vk_pool_destroy(device, f->pool);
    vkb_vk_fence_destroy(device, &f->fence);
    if (f->descriptors && !atomic_load(&device->hung)) device->vk.DestroyDescriptorPool(device->handle, f->descriptors, NULL);
    vkb_vk_buffer_destroy(device, &f->upload);
    free(f->submit);
    free(f->sequences);
    free(f->copies);
    free(f->sets);
    free(f->results);
    vkb_mutex_destroy(f->mutex);
    free(f);
}

/* The outputs per token, which are large, get their buffers when they are first asked for. */
static vkb_status create(vkb_vk_program *p, vkb_vk_frame **frame, vkb_error *error) {
    vkb_vk_frame *f = calloc(1, sizeof *f);
    if (!f) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_program_run: out of memory");
    vkb_status status = allocate(p, f) ? VKB_OK : vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_program_run: out of memory");
    uint64_t arguments = (uint64_t)vkb_vk_number_count(p) * sizeof(VkDispatchIndirectCommand);
    if (!status)
        status = vkb_vk_buffer_create(vkb_vk_device_of(&p->base), p->arguments_at + arguments, VKB_VK_UPLOAD, "a batch", &f->upload, error);
    for (uint32_t i = 0; i < p->base.output_count && !status; i++)
        if (p->direct[i]) status = create_result(p, f, i, error);
    if (!status) status = create_sets(p, f, error);
    if (!status) status = create_objects(p, f, error);
    for (uint32_t i = 0; i < p->base.output_count && !status; i++)
        if (p->copies[i].scope == VKB_PER_SEQUENCE) status = vkb_vk_frame_output(p, f, i, error);
    if (status)
        destroy(p, f);
    else
        *frame = f;
    return status;
}

vkb_status vkb_vk_frames_init(vkb_vk_program *p, vkb_error *error) {
    vkb_vk_recording *recording; /* of the largest class */
    p->frame_mutex = vkb_mutex_create();
    atomic_init(&p->under_way, 0);
    if (!p->frame_mutex) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_program_create: out of memory");
    vkb_status status = create(p, &p->frames[0], error);
    if (status) return status;
    p->frame_count = 1;
    return vkb_vk_recording_for(p, p->frames[0], p->base.max_tokens, p->base.max_sequences, &recording, error);
}

void vkb_vk_frames_free(vkb_vk_program *p) {
    for (uint32_t i = 0; i < p->frame_count; i++) destroy(p, p->frames[i]);
    vkb_mutex_destroy(p->frame_mutex);
}

/* The frame with the fewest users, with the caller as one more. Where there is no memory for another frame, runs share those there are. */
static vkb_status choose(vkb_vk_program *p, vkb_vk_frame **frame, vkb_error *error) {
    vkb_vk_frame *best = p->frames[0];
    for (uint32_t i = 1; i < p->frame_count; i++)
        if (p->frames[i]->users < best->users) best = p->frames[i];
    if (best->users && p->frame_count < VKB_VK_MAX_FRAMES) {
        vkb_status status = create(p, &p->frames[p->frame_count], error);
        if (status == VKB_OK)
            best = p->frames[p->frame_count++];
        else if (status != VKB_ERROR_OUT_OF_HOST_MEMORY && status != VKB_ERROR_OUT_OF_DEVICE_MEMORY)
            return status;
    }
    best->users++;
    *frame = best;
    return VKB_OK;
}

vkb_status vkb_vk_frame_acquire(vkb_vk_program *p, vkb_vk_frame **frame, vkb_error *error) {
    vkb_mutex_lock(p->frame_mutex);
    vkb_status status = choose(p, frame, error);
    vkb_mutex_unlock(p->frame_mutex);
    if (status) return status;
    vkb_mutex_lock((*frame)->mutex);
    status = vkb_vk_frame_settle(p, *frame, vkb_vk_device_of(&p->base)->spin_limit, error);
    if (status) vkb_vk_frame_release(p, *frame);
    return status;
}

void vkb_vk_frame_release(vkb_vk_program *p, vkb_vk_frame *f) {
    vkb_mutex_unlock(f->mutex);
    vkb_mutex_lock(p->frame_mutex);
    f->users--;
    vkb_mutex_unlock(p->frame_mutex);
}

vkb_status vkb_vk_frame_settle(vkb_vk_program *p, vkb_vk_frame *f, double spin, vkb_error *error) {
    if (!f->submitted) return VKB_OK;
    vkb_status status = vkb_vk_wait(vkb_vk_device_of(&p->base), &f->fence, spin, error);
    f->submitted = false; /* also after a failure, which leaves nothing on the device */
    atomic_fetch_sub(&p->under_way, 1);
    return status;
}
