/*
 * Recording: a program's steps as command buffers that are submitted again for every batch. Nothing in them changes: dispatches read their
 * sizes from memory that the host writes. They come in segments, each submitted by itself, so that no submit runs for long: Windows resets
 * a GPU after two seconds. On a fast one all but the largest batches are one segment, because each costs some 3 µs (of 320 for 16 tokens,
 * MiniLM, on an H200).
 */
#include <stdlib.h>
#include <string.h>

#include "vk_program.h"

enum { MAX_SPANS = 32 };

typedef struct portion { /* the most that a segment holds, if it has more than one op */
    uint32_t ops;
    double products; /* multiplications and additions */
} portion;

static portion portion_for(const vkb_device_info *info) {
    if (info->kind == VKB_DEVICE_DISCRETE) return (portion){UINT32_MAX, 5e11}; /* a quarter of a second at 2 TFLOP/s */
    return (portion){6, 2.5e10};                                               /* at 100 GFLOP/s; six ops are about a transformer layer */
}

/* ---- hazards: which bytes of the arena have been read and written since the last barrier ---- */

typedef struct span {
    uint64_t first, end;
    bool written;
} span;

typedef struct hazards {
    span spans[MAX_SPANS];
    uint32_t count;
} hazards;

typedef struct access {
    span spans[3];
    uint32_t count;
} access;

static void touch(access *a, const vkb_vk_program *p, uint32_t value, bool written) {
    if (value == VKB_NONE) return;
    const vkb_slot *slot = &p->base.slots[value];
    a->spans[a->count++] = (span){slot->offset, slot->offset + slot->bytes, written};
}

static access access_of(const vkb_vk_program *p, const vkb_vk_step *s) {
    access a = {.count = 0};
    touch(&a, p, s->input, false);
    touch(&a, p, s->residual, false);
    touch(&a, p, s->output, true);
    return a;
}

/* Read after write, write after read (values that share room) and write after write. Notes the step's own access. */
static bool needs_barrier(hazards *h, const access *a) {
    bool needed = h->count + a->count > MAX_SPANS;
    for (uint32_t i = 0; i < h->count && !needed; i++)
        for (uint32_t j = 0; j < a->count && !needed; j++)
            needed =
                h->spans[i].first < a->spans[j].end && a->spans[j].first < h->spans[i].end && (h->spans[i].written || a->spans[j].written);
    if (needed) h->count = 0;
    for (uint32_t j = 0; j < a->count; j++) h->spans[h->count++] = a->spans[j];
    return needed;
}

/* ---- commands ---- */

static void barrier(const vkb_vk_device_table *vk, VkCommandBuffer commands, VkPipelineStageFlags to, VkAccessFlags access_to) {
    VkMemoryBarrier memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT, .dstAccessMask = access_to};
    vk->CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, to, 0, 1, &memory, 0, NULL, 0, NULL);
}

static void compute_barrier(const vkb_vk_device_table *vk, VkCommandBuffer commands) {
    barrier(vk, commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
}

static void host_barrier(const vkb_vk_device_table *vk, VkCommandBuffer commands) {
    barrier(vk, commands, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
}

static vkb_status begin(vkb_vk_device *device, VkCommandPool pool, VkCommandBuffer *commands, vkb_error *error) {
    VkCommandBufferAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = pool, .commandBufferCount = 1};
    vkb_status status =
        vkb_vk_check(device, device->vk.AllocateCommandBuffers(device->handle, &allocate, commands), "vkAllocateCommandBuffers", error);
    if (status) return status;
    VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    return vkb_vk_check(device, device->vk.BeginCommandBuffer(*commands, &info), "vkBeginCommandBuffer", error);
}

static vkb_status end(vkb_vk_device *device, VkCommandBuffer commands, vkb_error *error) {
    return vkb_vk_check(device, device->vk.EndCommandBuffer(commands), "vkEndCommandBuffer", error);
}

/*
 * The number of workgroups that all batches of a class can share, so that it need not be read from memory: where few rows make no
 * difference, or where none makes more than twice what it needs. Kernels may compute rows past the batch. 0: there is no such number.
 */
static uint32_t fixed_groups(const vkb_vk_program *p, const vkb_vk_step *s, const vkb_kernel *kernel, uint32_t class) {
    enum { FEW = 16 };
    if (kernel->functions[0]) return p->base.weights->device->info.processors;
    bool listed = s->task.kind == VKB_OP_ATTENTION && !kernel->by_rows;
    if (s->scope != VKB_PER_TOKEN || listed || s->task.kind == VKB_KERNEL_COPY_OUT) return 0; /* copies know no class */
    if (p->base.flags & VKB_PROGRAM_DETERMINISTIC) return 0;                                  /* which has one class for all sizes */
    uint32_t least = p->thresholds[class], most = vkb_vk_class_most(p, class);
    uint32_t groups = (most + kernel->tile_rows - 1) / kernel->tile_rows;
    return most <= FEW || groups <= 2 * ((least + kernel->tile_rows - 1) / kernel->tile_rows) ? groups : 0;
}

/* LINEAR knows its values by addresses that are pushed, and by its maps. */
static void launch(const vkb_vk_program *p, const vkb_vk_frame *f, const vkb_vk_step *s, const vkb_push *push,
                   const vkb_vk_pipeline *pipeline, uint32_t groups, VkCommandBuffer commands) {
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    if (s->task.kind == VKB_OP_LINEAR) {
        vkb_vk_cubin_launch(device, commands, pipeline, groups, (const void *[]){push, &f->upload.address, &s->maps_address}, 3);
        return;
    }
    uint64_t input = vkb_vk_address_of(p, s->input), output = vkb_vk_address_of(p, s->output);
    vkb_vk_cubin_launch(device, commands, pipeline, groups, (const void *[]){push, &f->upload.address, &input, &output}, 4);
}

/* s: step `number`, with what it takes over. fixed: rows of workgroups; 0: the host writes them for each batch. */
static vkb_status dispatch(vkb_vk_program *p, vkb_vk_frame *f, const vkb_vk_step *s, uint32_t number, const vkb_kernel *kernel,
                           uint32_t fixed, VkCommandBuffer commands, vkb_error *error) {
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    const vkb_vk_device_table *vk = &device->vk;
    vkb_vk_pipeline pipeline;
    vkb_status status = vkb_vk_pipeline_get(device, kernel, &s->task, &pipeline, error);
    if (status) return status;
    vkb_push push = s->push;
    for (uint32_t i = 0; i < p->list_count; i++)
        if (s->task.kind == VKB_OP_ATTENTION && p->lists[i].tile_rows == kernel->tile_rows) push.tiles_at = p->lists[i].at;
    if (pipeline.function) {
        launch(p, f, s, &push, &pipeline, fixed, commands);
        return VKB_OK;
    }
    vk->CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline.handle);
    uint32_t set = vkb_vk_set_of(p, number, s->task.kind == VKB_OP_LINEAR && s->task.mode & VKB_FOLD_GATE);
    vk->CmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, device->pipeline_layout, 0, 1, &f->sets[set], 0, NULL);
    vk->CmdPushConstants(commands, device->pipeline_layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof push, &push);
    if (fixed)
        vk->CmdDispatch(commands, vkb_vk_groups_x(s, kernel), fixed, 1);
    else
        vk->CmdDispatchIndirect(commands, f->upload.handle, p->arguments_at + number * sizeof(VkDispatchIndirectCommand));
    return VKB_OK;
}

/* An op's products for a batch of so many tokens, in sequences as long as there may be; all else is small. */
static double products(const vkb_vk_program *p, uint32_t op, uint32_t tokens) {
    const vkb_op *o = &p->base.ops[op];
    const vkb_value *out = &p->base.values[o->output];
    double rows = out->scope == VKB_PER_SEQUENCE && p->base.max_sequences < tokens ? p->base.max_sequences : tokens;
    if (o->kind == VKB_OP_LINEAR) return 2 * rows * p->base.values[o->input].width * out->width;
    if (o->kind == VKB_OP_LINEAR_MAX) return 2.0 * tokens * p->base.values[o->input].width * out->width;
    if (o->kind == VKB_OP_ATTENTION) return 4 * rows * (tokens < p->base.positions ? tokens : p->base.positions) * out->width;
    return 0;
}

/* Number of ops that the segment beginning with op `first` takes. */
static uint32_t segment_length(const vkb_vk_program *p, uint32_t first, uint32_t tokens) {
    portion most = portion_for(&p->base.weights->device->info);
    double sum = 0;
    uint32_t n = 0;
    for (; first + n < p->base.op_count && n < most.ops; n++) {
        sum += products(p, first + n, tokens);
        if (n && sum > most.products) break;
    }
    return n;
}

/* What every segment of a recording has in view. */
typedef struct recorder {
    vkb_vk_program *program;
    vkb_vk_frame *frame;
    vkb_vk_recording *recording;
    VkQueryPool queries;
    uint32_t next; /* step */
    hazards hazards;
} recorder;

static vkb_status record_step(recorder *r, VkCommandBuffer commands, vkb_error *error) {
    vkb_vk_program *p = r->program;
    vkb_vk_recording *recording = r->recording;
    vkb_vk_step s = vkb_vk_folds_apply(p, recording->folded, r->next);
    access a = access_of(p, &s);
    bool needed = needs_barrier(&r->hazards, &a);
    if (needed || (r->queries && r->next)) compute_barrier(&vkb_vk_device_of(&p->base)->vk, commands); /* each op by itself, to be timed */
    const vkb_kernel *kernel = vkb_vk_kernel_for(p, r->next, recording->tokens, recording->sequences);
    uint32_t fixed = fixed_groups(p, &s, kernel, recording->tokens);
    if (!fixed) recording->sized[recording->sized_count++] = r->next;
    return dispatch(p, r->frame, &s, r->next, kernel, fixed, commands, error);
}

/* The steps of the ops up to `ops_end`. */
static vkb_status record_segment(recorder *r, VkCommandBuffer commands, uint32_t ops_end, vkb_error *error) {
    vkb_vk_program *p = r->program;
    const vkb_vk_device_table *vk = &vkb_vk_device_of(&p->base)->vk;
    if (r->queries && r->next == 0) {
        vk->CmdResetQueryPool(commands, r->queries, 0, p->base.op_count + 1);
        vk->CmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, r->queries, 0);
    }
    for (; r->next < p->step_count && p->steps[r->next].op < ops_end; r->next++) {
        vkb_status status = r->recording->folded[r->next] ? VKB_OK : record_step(r, commands, error);
        if (status) return status;
        uint32_t op = p->steps[r->next].op;
        bool last = r->next + 1 == p->step_count || p->steps[r->next + 1].op != op;
        if (r->queries && last) vk->CmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, r->queries, op + 1);
    }
    return VKB_OK;
}

static bool any_direct(const vkb_vk_program *p) {
    for (uint32_t i = 0; i < p->base.output_count; i++)
        if (p->direct[i]) return true;
    return false;
}

static vkb_status record_segments(recorder *r, vkb_vk_recording *recording, vkb_error *error) {
    vkb_vk_program *p = r->program;
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    uint32_t tokens = vkb_vk_class_most(p, recording->tokens);
    for (uint32_t op = 0; op < p->base.op_count;) {
        VkCommandBuffer *commands = &recording->segments[recording->segment_count];
        op += segment_length(p, op, tokens);
        vkb_status status = begin(device, recording->pool, commands, error);
        if (!status) status = record_segment(r, *commands, op, error);
        if (!status && op == p->base.op_count && any_direct(p)) host_barrier(&device->vk, *commands);
        if (!status) status = end(device, *commands, error);
        if (status) return status;
        recording->segment_count++;
    }
    return VKB_OK;
}

vkb_status vkb_vk_record(vkb_vk_program *p, vkb_vk_frame *frame, uint32_t tokens, uint32_t sequences, VkQueryPool queries,
                         vkb_vk_recording **recording, vkb_error *error) {
    vkb_vk_recording *made = calloc(1, sizeof *made);
    *recording = NULL;
    if (made) made->segments = calloc(p->base.op_count, sizeof *made->segments);
    if (made) made->folded = calloc(p->step_count, sizeof *made->folded);
    if (made) made->sized = calloc(p->step_count, sizeof *made->sized);
    if (!made || !made->segments || !made->folded || !made->sized) {
        vkb_vk_recording_destroy(p, made);
        return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_program_run: out of memory");
    }
    made->tokens = tokens;
    made->sequences = sequences;
    vkb_vk_folds_find(p, tokens, sequences, made->folded);
    for (uint32_t op = 0; op < p->base.op_count; op++) made->products += products(p, op, vkb_vk_class_most(p, tokens));
    vkb_status status = vkb_vk_pool_create(vkb_vk_device_of(&p->base), 0, &made->pool, error);
    /* The hazards go over all segments: they run one behind the other without a wait between them. */
    recorder r = {.program = p, .frame = frame, .recording = made, .queries = queries};
    if (!status) status = record_segments(&r, made, error);
    if (status)
        vkb_vk_recording_destroy(p, made);
    else
        *recording = made;
    return status;
}

void vkb_vk_recording_destroy(vkb_vk_program *p, vkb_vk_recording *r) {
    if (!r) return;
    vkb_vk_pool_destroy(vkb_vk_device_of(&p->base), r->pool);
    free(r->sized);
    free(r->folded);
    free(r->segments);
    free(r);
}

vkb_status vkb_vk_recording_for(vkb_vk_program *p, vkb_vk_frame *frame, uint32_t tokens, uint32_t sequences, vkb_vk_recording **recording,
                                vkb_error *error) {
    uint32_t t = vkb_vk_class_of(p, tokens), s = p->alike[vkb_vk_class_of(p, sequences)];
    vkb_vk_recording **known = &frame->recordings[t][s];
    vkb_status status = VKB_OK;
    if (!*known) {
        status = vkb_vk_record(p, frame, t, s, VK_NULL_HANDLE, known, error);
        if (!status) vkb_vk_cache_save(vkb_vk_device_of(&p->base));
    }
    *recording = *known;
    return status;
}

vkb_status vkb_vk_copy_record(vkb_vk_program *p, vkb_vk_frame *frame, uint32_t output, vkb_error *error) {
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    uint32_t number = p->step_count + output;
    VkCommandBuffer commands = NULL;
    vkb_status status = begin(device, frame->pool, &commands, error);
    if (!status) {
        compute_barrier(&device->vk, commands);
        status = dispatch(p, frame, &p->copies[output], number, vkb_vk_kernel_for(p, number, 0, 0), 0, commands, error);
        host_barrier(&device->vk, commands);
    }
    if (!status) status = end(device, commands, error);
    if (!status)
        frame->copies[output] = commands;
    else if (commands)
        device->vk.FreeCommandBuffers(device->handle, frame->pool, 1, &commands);
    return status;
}

vkb_status vkb_vk_order_record(vkb_vk_device *device, VkCommandPool pool, VkCommandBuffer *commands, vkb_error *error) {
    vkb_status status = begin(device, pool, commands, error);
    if (status) return status;
    compute_barrier(&device->vk, *commands);
    return end(device, *commands, error);
}
