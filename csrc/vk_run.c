/* Running a batch: write it, submit, wait, copy what is wanted. */
#include <stdlib.h>
#include <string.h>

#include "vk_program.h"

/* Results of at most so many words are watched themselves: they are there some 2 µs before the fence is (H100). More would take longer to
   set and to read than that. */
enum { WATCHED_WORDS = 1 << 14 };

enum { LENGTHS = 64, LENGTH_ROWS = 16 }; /* the last is of all longer ones */

static uint32_t length_of(const vkb_batch *batch, uint32_t b) {
    uint32_t length = (batch->cu_seqlens[b + 1] - batch->cu_seqlens[b]) / LENGTH_ROWS;
    return length < LENGTHS ? length : LENGTHS - 1;
}

/* The batch's sequences, long ones first, so that what is left at the end of ATTENTION is small; among those of about a length the last
   first: their q|k|v were written last and may still be in a cache (256 x 128 tokens, one H200: MiniLM-L6 62.0 -> 59.5 us, base 112.0 ->
   108.0). */
static void order_sequences(const vkb_batch *batch, uint32_t *order) {
    uint32_t at[LENGTHS] = {0}, sum = 0;
    for (uint32_t b = 0; b < batch->sequences; b++) at[length_of(batch, b)]++;
    for (uint32_t i = LENGTHS; i-- > 0;) {
        uint32_t count = at[i];
        at[i] = sum;
        sum += count;
    }
    for (uint32_t b = batch->sequences; b-- > 0;) order[at[length_of(batch, b)]++] = b;
}

/* One list of attention tiles. */
static uint32_t write_list(const vkb_vk_list *list, uint32_t *words, const vkb_batch *batch, const uint32_t *order) {
    vkb_query_tile *tiles = (vkb_query_tile *)(void *)(words + list->at);
    uint32_t count = 0;
    for (uint32_t i = 0; i < batch->sequences; i++) {
        uint32_t b = order[i], first = batch->cu_seqlens[b], length = batch->cu_seqlens[b + 1] - first;
        for (uint32_t query = 0; query < length; query += list->tile_rows)
            tiles[count++] = (vkb_query_tile){.first = first, .length = length, .query = query};
    }
    tiles[0].count = count;
    return count;
}

static void write_positions(int32_t *positions, const vkb_batch *batch) {
    for (uint32_t b = 0; b < batch->sequences; b++)
        for (uint32_t i = batch->cu_seqlens[b]; i < batch->cu_seqlens[b + 1]; i++) positions[i] = (int32_t)(i - batch->cu_seqlens[b]);
}

/* Straight into what the device reads, never read back: it may be memory across the bus. */
static void write_batch(const vkb_vk_program *p, vkb_vk_frame *f, const vkb_batch *batch) {
    uint32_t *words = (uint32_t *)(void *)f->upload.mapped;
    const vkb_push *at = &p->places;
    size_t per_token = batch->tokens * sizeof *words, per_sequence = batch->sequences * sizeof *words;
    memcpy(words + at->ids_at, batch->ids, per_token);
    if (batch->type_ids)
        memcpy(words + at->types_at, batch->type_ids, per_token);
    else
        memset(words + at->types_at, 0, per_token);
    if (batch->positions)
        memcpy(words + at->positions_at, batch->positions, per_token);
    else
        write_positions((int32_t *)words + at->positions_at, batch);
    memcpy(words + at->cu_at, batch->cu_seqlens, per_sequence + sizeof *words);
    if (batch->pool_start)
        memcpy(words + at->pool_at, batch->pool_start, per_sequence);
    else
        memset(words + at->pool_at, 0, per_sequence);
    if (p->list_count) order_sequences(batch, f->sequences);
    for (uint32_t i = 0; i < p->list_count; i++) f->list_counts[i] = write_list(&p->lists[i], words, batch, f->sequences);
    vkb_batch_header header = {
        .tokens = batch->tokens, .sequences = batch->sequences, .query_tiles = p->list_count ? f->list_counts[0] : 0};
    memcpy(words, &header, sizeof header);
}

static uint32_t groups(uint32_t n, uint32_t tile) { return n / tile + (n % tile != 0); }

static void write_arguments(const vkb_vk_program *p, vkb_vk_frame *f, uint32_t number, const vkb_kernel *kernel, const vkb_batch *batch) {
    const vkb_vk_step *s = vkb_vk_step_at(p, number);
    uint32_t rows = s->scope == VKB_PER_TOKEN ? batch->tokens : batch->sequences;
    VkDispatchIndirectCommand size = {vkb_vk_groups_x(s, kernel), groups(rows, kernel->tile_rows), 1};
    for (uint32_t i = 0; i < p->list_count && s->task.kind == VKB_OP_ATTENTION && !kernel->by_rows; i++)
        if (p->lists[i].tile_rows == kernel->tile_rows) size.y = f->list_counts[i];
    memcpy(f->upload.mapped + p->arguments_at + number * sizeof size, &size, sizeof size);
}

/* A run in its frame. */
typedef struct task {
    vkb_vk_program *program;
    vkb_vk_frame *frame;
    vkb_vk_recording *recording;
    const vkb_batch *batch;
    const vkb_output *outputs; /* NULL: none is wanted */
    uint32_t count;            /* command buffers in frame->submit */
} task;

static bool wanted(const task *t, uint32_t output) { return t->outputs && t->outputs[output].data; }

static uint64_t result_floats(const task *t, uint32_t output) {
    const vkb_vk_step *copy = &t->program->copies[output];
    return (uint64_t)(copy->scope == VKB_PER_TOKEN ? t->batch->tokens : t->batch->sequences) * copy->push.output_width;
}

/* Makes the batch and the commands ready to be submitted. */
static vkb_status prepare(task *t, vkb_error *error) {
    vkb_vk_program *p = t->program;
    vkb_vk_frame *f = t->frame;
    write_batch(p, f, t->batch);
    for (uint32_t i = 0; i < t->recording->sized_count; i++) {
        uint32_t step = t->recording->sized[i];
        write_arguments(p, f, step, vkb_vk_kernel_for(p, step, t->recording->tokens, t->recording->sequences), t->batch);
    }
    t->count = 0;
    f->submit[t->count++] = f->order;
    for (uint32_t i = 0; i < t->recording->segment_count; i++) f->submit[t->count++] = t->recording->segments[i];
    for (uint32_t i = 0; i < p->base.output_count; i++) {
        if (!wanted(t, i) || p->direct[i]) continue;
        vkb_status status = vkb_vk_frame_output(p, f, i, error);
        if (status) return status;
        write_arguments(p, f, p->step_count + i, vkb_vk_kernel_for(p, p->step_count + i, 0, 0), t->batch);
        f->submit[t->count++] = f->copies[i];
    }
    return vkb_vk_buffer_flush(vkb_vk_device_of(&p->base), &f->upload, error);
}

/* The copies go with the last segment. */
static vkb_status submit(task *t, vkb_error *error) {
    vkb_vk_frame *f = t->frame;
    uint32_t segments = t->recording->segment_count;
    vkb_vk_work work = {.commands = f->submit,
                        .count = t->count,
                        .alone = segments > 1 ? segments : 0, /* `order`, and all but the last of them */
                        .fence = &f->fence,
                        .products = t->recording->products,
                        .under_way = &t->program->under_way};
    vkb_status status = vkb_vk_submit(vkb_vk_device_of(&t->program->base), &work, error);
    f->submitted = !status;
    return status;
}

/* Whether to watch the results: if there are any, few, and in memory that shows the device's writes as they come. */
static bool can_watch(const task *t) {
    uint64_t words = 0;
    for (uint32_t i = 0; i < t->program->base.output_count; i++) {
        if (!wanted(t, i)) continue;
        const vkb_vk_buffer *result = &t->frame->results[i];
        if (!result->coherent || !result->cached) return false;
        words += result_floats(t, i);
    }
    return words > 0 && words <= WATCHED_WORDS;
}

static void unset_results(const task *t) {
    for (uint32_t i = 0; i < t->program->base.output_count; i++)
        if (wanted(t, i)) memset(t->frame->results[i].mapped, 0xFF, result_floats(t, i) * sizeof(float)); /* VKB_VK_UNSET */
}

static bool watch_results(const task *t, double spin) {
    bool there = true;
    for (uint32_t i = 0; i < t->program->base.output_count && there; i++)
        if (wanted(t, i)) there = vkb_vk_watch((const uint32_t *)(const void *)t->frame->results[i].mapped, result_floats(t, i), spin);
    return there;
}

static vkb_status read_results(const task *t, vkb_error *error) {
    vkb_status status = VKB_OK;
    for (uint32_t i = 0; i < t->program->base.output_count && !status; i++) {
        if (!wanted(t, i)) continue;
        const vkb_vk_buffer *result = &t->frame->results[i];
        status = vkb_vk_buffer_invalidate(vkb_vk_device_of(&t->program->base), result, error);
        if (!status) memcpy(t->outputs[i].data, result->mapped, result_floats(t, i) * sizeof(float));
    }
    return status;
}

/* A run that is expected to take long gives the CPU away while it waits. */
static vkb_status run(task *t, vkb_error *error) {
    vkb_vk_program *p = t->program;
    vkb_status status = vkb_vk_recording_for(p, t->frame, t->batch->tokens, t->batch->sequences, &t->recording, error);
    if (!status) status = prepare(t, error);
    if (status) return status;
    double limit = vkb_vk_device_of(&p->base)->spin_limit, spin = t->recording->seconds <= limit ? limit : 0;
    bool watch = spin > 0 && can_watch(t);
    if (watch) unset_results(t);
    status = submit(t, error);
    if (status) return status;
    double start = vkb_seconds();
    if (watch && watch_results(t, spin))
        vkb_vk_done(vkb_vk_device_of(&p->base), &t->frame->fence);
    else
        status = vkb_vk_frame_settle(p, t->frame, watch ? 0 : spin, error);
    t->recording->seconds = vkb_seconds() - start;
    return status ? status : read_results(t, error);
}

static vkb_status read_times(vkb_vk_program *p, VkQueryPool queries, double *op_seconds, vkb_error *error) {
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    uint32_t count = p->base.op_count + 1, bits = device->physical.timestamp_bits;
    uint64_t *ticks = calloc(count, sizeof *ticks);
    if (!ticks) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_program_profile: out of memory");
    vkb_status status = vkb_vk_check(device,
                                     device->vk.GetQueryPoolResults(device->handle, queries, 0, count, count * sizeof *ticks, ticks,
                                                                    sizeof *ticks, VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT),
                                     "vkGetQueryPoolResults", error);
    uint64_t mask = bits >= 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1; /* the counter wraps around */
    for (uint32_t i = 0; i < p->base.op_count && !status; i++)
        op_seconds[i] = (double)((ticks[i + 1] - ticks[i]) & mask) * device->physical.timestamp_seconds;
    free(ticks);
    return status;
}

/* With commands recorded for the purpose: a timestamp and a barrier after each op. */
static vkb_status profile(task *t, double *op_seconds, vkb_error *error) {
    vkb_vk_program *p = t->program;
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    if (!device->physical.timestamp_bits)
        return vkb_fail(error, VKB_ERROR_UNSUPPORTED, "%s: its compute queue has no timestamps", device->base.info.name);
    VkQueryPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO, .queryType = VK_QUERY_TYPE_TIMESTAMP, .queryCount = p->base.op_count + 1};
    VkQueryPool queries;
    vkb_status status = vkb_vk_check(device, device->vk.CreateQueryPool(device->handle, &info, NULL, &queries), "vkCreateQueryPool", error);
    if (status) return status;
    uint32_t tokens = vkb_vk_class_of(p, t->batch->tokens), sequences = vkb_vk_class_of(p, t->batch->sequences);
    status = vkb_vk_record(p, t->frame, tokens, sequences, queries, &t->recording, error);
    if (!status) status = prepare(t, error);
    if (!status) status = submit(t, error);
    if (!status) status = vkb_vk_frame_settle(p, t->frame, 0, error);
    if (!status) status = read_times(p, queries, op_seconds, error);
    vkb_vk_recording_destroy(p, t->recording);
    if (!atomic_load(&device->hung)) device->vk.DestroyQueryPool(device->handle, queries, NULL);
    return status;
}

vkb_status vkb_vk_program_run(vkb_program *program, const vkb_batch *batch, const vkb_output *outputs, double *op_seconds,
                              vkb_error *error) {
    vkb_vk_program *p = (vkb_vk_program *)program;
    vkb_status status = vkb_vk_alive(vkb_vk_device_of(program), error);
    task t = {.program = p, .batch = batch, .outputs = outputs};
    if (!status) status = vkb_vk_frame_acquire(p, &t.frame, error);
    if (status) return status;
    status = op_seconds ? profile(&t, op_seconds, error) : run(&t, error);
    vkb_vk_frame_release(p, t.frame);
    return status;
}
