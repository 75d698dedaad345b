/* Running a batch: write it, submit, wait, copy what is wanted. */
#include <stdlib.h>
#include <string.h>

#include "vk_internal.h"

/* One list of attention tiles. Long sequences and short ones come as the batch has them. */
static void write_list(vkb_vk_list *list, uint32_t *words, const vkb_batch *batch) {
    vkb_query_tile *tiles = (vkb_query_tile *)(void *)(words + list->at);
    list->count = 0;
    for (uint32_t b = 0; b < batch->sequences; b++) {
        uint32_t first = batch->cu_seqlens[b], length = batch->cu_seqlens[b + 1] - first;
        for (uint32_t query = 0; query < length; query += list->tile_rows)
            tiles[list->count++] = (vkb_query_tile){.first = first, .length = length, .query = query};
    }
}

static void write_batch(vkb_vk_program *p, const vkb_batch *batch) {
    uint32_t *words = (uint32_t *)(void *)p->upload.mapped;
    const vkb_push *at = &p->places;
    size_t per_token = batch->tokens * sizeof *words, per_sequence = batch->sequences * sizeof *words;
    memcpy(words + at->ids_at, batch->ids, per_token);
    memcpy(words + at->types_at, batch->type_ids, per_token);
    memcpy(words + at->positions_at, batch->positions, per_token);
    memcpy(words + at->cu_at, batch->cu_seqlens, per_sequence + sizeof *words);
    if (batch->pool_start)
        memcpy(words + at->pool_at, batch->pool_start, per_sequence);
    else
        memset(words + at->pool_at, 0, per_sequence);
    for (uint32_t i = 0; i < p->list_count; i++) write_list(&p->lists[i], words, batch);
    vkb_batch_header header = {
        .tokens = batch->tokens, .sequences = batch->sequences, .query_tiles = p->list_count ? p->lists[0].count : 0};
    memcpy(words, &header, sizeof header);
}

static uint32_t groups(uint32_t n, uint32_t tile) { return n / tile + (n % tile != 0); }

static void write_arguments(vkb_vk_program *p, uint32_t number, const vkb_kernel *kernel, const vkb_batch *batch) {
    const vkb_vk_step *s = vkb_vk_step_at(p, number);
    uint32_t rows = s->scope == VKB_PER_TOKEN ? batch->tokens : batch->sequences;
    VkDispatchIndirectCommand size = {1, groups(rows, kernel->tile_rows), 1};
    if (s->task.kind == VKB_OP_ATTENTION) {
        size.x = s->columns;
        for (uint32_t i = 0; i < p->list_count; i++)
            if (p->lists[i].tile_rows == kernel->tile_rows) size.y = p->lists[i].count;
    } else if (kernel->tile_columns) {
        size.x = groups(s->columns, kernel->tile_columns);
    }
    memcpy(p->upload.mapped + p->arguments_at + number * sizeof size, &size, sizeof size);
}

/* Makes `recording`'s commands and those of the wanted outputs ready to be submitted. *count: how many there are in p->submit. */
static vkb_status prepare(vkb_vk_program *p, const vkb_vk_recording *recording, const vkb_batch *batch, const vkb_output *outputs,
                          uint32_t *count, vkb_error *error) {
    write_batch(p, batch);
    for (uint32_t i = 0; i < p->step_count; i++) write_arguments(p, i, recording->kernels[i], batch);
    *count = 0;
    for (uint32_t i = 0; i < recording->segment_count; i++) p->submit[(*count)++] = recording->segments[i];
    for (uint32_t i = 0; i < p->base.output_count; i++) {
        if (!outputs || !outputs[i].data) continue;
        vkb_status status = vkb_vk_copy_prepare(p, i, error);
        if (status) return status;
        write_arguments(p, p->step_count + i, vkb_vk_kernel_for(p, p->step_count + i, 1, 1), batch);
        p->submit[(*count)++] = p->copies[i].commands;
    }
    return vkb_vk_buffer_flush(vkb_vk_device_of(&p->base), &p->upload, error);
}

/* The copies go with the last segment. */
static vkb_status submit_and_wait(vkb_vk_program *p, const vkb_vk_recording *recording, uint32_t count, vkb_error *error) {
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    vkb_status status = vkb_vk_submit(device, p->submit, count, recording->segment_count - 1, p->fence, error);
    return status ? status : vkb_vk_wait(device, p->fence, error);
}

static vkb_status run(vkb_vk_program *p, const vkb_batch *batch, const vkb_output *outputs, vkb_error *error) {
    vkb_vk_recording *recording;
    uint32_t count;
    vkb_status status = vkb_vk_recording_for(p, batch->tokens, batch->sequences, &recording, error);
    if (!status) status = prepare(p, recording, batch, outputs, &count, error);
    if (!status) status = submit_and_wait(p, recording, count, error);
    for (uint32_t i = 0; i < p->base.output_count && !status; i++) {
        if (!outputs || !outputs[i].data) continue;
        const vkb_vk_copy *c = &p->copies[i];
        status = vkb_vk_buffer_invalidate(vkb_vk_device_of(&p->base), &c->host, error);
        size_t rows = c->step.scope == VKB_PER_TOKEN ? batch->tokens : batch->sequences;
        if (!status) memcpy(outputs[i].data, c->host.mapped, rows * c->step.push.output_width * sizeof(float));
    }
    return status;
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
static vkb_status profile(vkb_vk_program *p, const vkb_batch *batch, double *op_seconds, vkb_error *error) {
    vkb_vk_device *device = vkb_vk_device_of(&p->base);
    if (!device->physical.timestamp_bits)
        return vkb_fail(error, VKB_ERROR_UNSUPPORTED, "%s: its compute queue has no timestamps", device->base.info.name);
    VkQueryPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO, .queryType = VK_QUERY_TYPE_TIMESTAMP, .queryCount = p->base.op_count + 1};
    VkQueryPool queries;
    vkb_status status = vkb_vk_check(device, device->vk.CreateQueryPool(device->handle, &info, NULL, &queries), "vkCreateQueryPool", error);
    if (status) return status;
    vkb_vk_recording *usual, *timed = NULL;
    uint32_t count;
    status = vkb_vk_recording_for(p, batch->tokens, batch->sequences, &usual, error);
    if (!status) status = vkb_vk_record(p, usual->kernels, usual->tokens, queries, &timed, error);
    if (!status) status = prepare(p, timed, batch, NULL, &count, error);
    if (!status) status = submit_and_wait(p, timed, count, error);
    if (!status) status = read_times(p, queries, op_seconds, error);
    vkb_vk_recording_destroy(p, timed);
    device->vk.DestroyQueryPool(device->handle, queries, NULL);
    return status;
}

vkb_status vkb_vk_program_run(vkb_program *program, const vkb_batch *batch, const vkb_output *outputs, double *op_seconds,
                              vkb_error *error) {
    vkb_vk_program *p = (vkb_vk_program *)program;
    vkb_status status = vkb_vk_alive(vkb_vk_device_of(program), error);
    if (status) return status;
    return op_seconds ? profile(p, batch, op_seconds, error) : run(p, batch, outputs, error);
}
