/*
 * Weights: the layouts of vk_kernel.h, in an arena of as few buffers as their size limit allows. A tensor is one piece of one buffer; a
 * table that is larger than a kernel can bind is several, in blocks of rows. Elements that were never put, padding too, are zero.
 *
 * Tiles are put together on the host, VKB_BAND outputs at a time, which lie in one range: memory of the device that the host maps wants to
 * be written in one go. Weights come row after row, so one such band is enough; what comes for a band that has been sent goes by itself.
 */
#include <stdlib.h>
#include <string.h>

#include "vk_internal.h"

enum {
    STAGING_BYTES = 8 << 20,
    PUT_ELEMENTS = 1 << 18 /* converted at a time: well within half of the staging memory */
};

static uint64_t padded_rows(const vkb_tensor *t) {
    return t->layout == VKB_LAYOUT_LINEAR ? vkb_align_up(t->rows, VKB_OUTPUT_ALIGN) : t->rows;
}

/* What lies behind a LINEAR's rows: the scales of int8. */
static uint64_t scales_bytes(const vkb_tensor *t) { return t->dtype == VKB_I8 ? padded_rows(t) * sizeof(float) : 0; }

static uint64_t padded_row_bytes(const vkb_tensor *t) {
    if (t->layout == VKB_LAYOUT_VECTOR) return vkb_align_up(t->cols, VKB_OUTPUT_ALIGN) * sizeof(float);
    return vkb_align_up(t->cols, VKB_COLUMN_ALIGN) * (t->dtype == VKB_I8 ? 1 : vkb_dtype_size(t->dtype));
}

static uint32_t form_of(const vkb_vk_weights *w, const vkb_tensor *t) {
    bool matrix = ((const vkb_vk_device *)w->base.device)->abilities.needs & VKB_NEED_MATRIX;
    if (t->dtype == VKB_I8) return VKB_WEIGHTS_I8;
    if (t->layout == VKB_LAYOUT_VECTOR || t->dtype != VKB_F16) return VKB_WEIGHTS_F32;
    return t->layout == VKB_LAYOUT_LINEAR && matrix ? VKB_WEIGHTS_F16_TILES : VKB_WEIGHTS_F16;
}

typedef struct arena { /* while pieces are being placed */
    uint64_t *sizes;   /* [count] of the blocks */
    uint32_t count, capacity;
    uint64_t limit; /* of a block */
} arena;

/* Finds room in the last block, or begins another. */
static vkb_status place(vkb_vk_weights *w, arena *a, vkb_vk_piece *piece, vkb_error *error) {
    uint64_t bytes = vkb_align_up(piece->bytes, VKB_VK_ALIGN);
    if (!a->count || a->limit - a->sizes[a->count - 1] < bytes) {
        if (a->count == a->capacity) {
            uint32_t capacity = a->capacity ? 2 * a->capacity : 8;
            uint64_t *sizes = realloc(a->sizes, capacity * sizeof *sizes);
            if (!sizes) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_weights_create: out of memory");
            a->sizes = sizes;
            a->capacity = capacity;
        }
        a->sizes[a->count++] = 0;
    }
    piece->block = a->count - 1;
    piece->offset = a->sizes[piece->block];
    a->sizes[piece->block] += bytes;
    w->base.bytes += bytes;
    return VKB_OK;
}

static vkb_status add_piece(vkb_vk_weights *w, arena *a, vkb_vk_piece piece, vkb_error *error) {
    if (w->piece_count == w->piece_capacity) {
        uint32_t capacity = 2 * w->piece_capacity + 64;
        vkb_vk_piece *pieces = realloc(w->pieces, capacity * sizeof *pieces);
        if (!pieces) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_weights_create: out of memory");
        w->pieces = pieces;
        w->piece_capacity = capacity;
    }
    if (a) {
        vkb_status status = place(w, a, &piece, error);
        if (status) return status;
    }
    w->pieces[w->piece_count++] = piece;
    return VKB_OK;
}

static double mib(uint64_t bytes) { return (double)bytes / (1 << 20); }

/* One TABLE or LINEAR tensor. */
static vkb_status place_matrix(vkb_vk_weights *w, arena *a, uint32_t tensor, uint64_t range, vkb_error *error) {
    const vkb_tensor *t = &w->base.tensors[tensor];
    uint64_t row_bytes = w->tensors[tensor].row_bytes, rows = padded_rows(t);
    uint64_t bytes = rows * row_bytes + scales_bytes(t); /* check_total saw to it that this fits */
    uint64_t block_rows = range / row_bytes;
    if (bytes > range && t->layout == VKB_LAYOUT_LINEAR)
        return vkb_fail(error, VKB_ERROR_UNSUPPORTED, "%s: tensor %u, a LINEAR weight of [%u, %u], takes %.1f MiB; a kernel can bind %.1f",
                        w->base.device->info.name, tensor, t->rows, t->cols, mib(bytes), mib(range));
    if (bytes > range) block_rows -= block_rows % (VKB_VK_ALIGN / 64); /* rows are multiples of 64 bytes, so that each block is aligned */
    if (!block_rows)
        return vkb_fail(error, VKB_ERROR_UNSUPPORTED, "%s: tensor %u: a row takes %.1f MiB; a kernel can bind %.1f",
                        w->base.device->info.name, tensor, mib(row_bytes), mib(range));
    for (uint64_t row = 0; row < rows; row += block_rows) {
        uint64_t n = rows - row < block_rows ? rows - row : block_rows;
        vkb_vk_piece piece = {.row_first = (uint32_t)row, .rows = (uint32_t)n, .bytes = n * row_bytes + scales_bytes(t)};
        vkb_status status = add_piece(w, a, piece, error);
        if (status) return status;
        w->tensors[tensor].piece_count++;
    }
    return VKB_OK;
}

/* All VECTORs one behind the other: kernels get them in one binding. */
static vkb_status place_vectors(vkb_vk_weights *w, arena *a, uint64_t range, vkb_error *error) {
    for (uint32_t i = 0; i < w->base.count; i++)
        if (w->base.tensors[i].layout == VKB_LAYOUT_VECTOR) w->vectors.bytes += w->tensors[i].row_bytes;
    /* kernels count floats in 32 bits */
    if (w->vectors.bytes > range || w->vectors.bytes / sizeof(float) >= VKB_NONE)
        return vkb_fail(error, VKB_ERROR_UNSUPPORTED, "%s: all vectors take %.1f MiB; a kernel can bind %.1f", w->base.device->info.name,
                        mib(w->vectors.bytes), mib(range));
    if (!w->vectors.bytes) return VKB_OK;
    vkb_status status = place(w, a, &w->vectors, error);
    uint64_t offset = w->vectors.offset;
    for (uint32_t i = 0; i < w->base.count && !status; i++) {
        if (w->base.tensors[i].layout != VKB_LAYOUT_VECTOR) continue;
        w->tensors[i].piece = w->piece_count;
        w->tensors[i].piece_count = 1;
        vkb_vk_piece piece = {.block = w->vectors.block, .rows = 1, .offset = offset, .bytes = w->tensors[i].row_bytes};
        status = add_piece(w, NULL, piece, error);
        offset += piece.bytes;
    }
    return status;
}

/* What can't fit is refused before a table of its pieces is made. */
static vkb_status check_total(const vkb_vk_weights *w, vkb_error *error) {
    const vkb_device_info *info = &w->base.device->info;
    uint64_t total = 0, bytes;
    for (uint32_t i = 0; i < w->base.count; i++)
        if (!vkb_mul(padded_rows(&w->base.tensors[i]), w->tensors[i].row_bytes, &bytes) ||
            !vkb_add(bytes, scales_bytes(&w->base.tensors[i]), &bytes) || !vkb_add(total, bytes, &total) || total > info->memory_bytes)
            return vkb_fail(error, VKB_ERROR_OUT_OF_DEVICE_MEMORY, "%s: the weights up to tensor %u take more than its memory of %.1f MiB",
                            info->name, i, mib(info->memory_bytes));
    return VKB_OK;
}

static vkb_status place_all(vkb_vk_weights *w, arena *a, vkb_error *error) {
    uint64_t range = w->base.device->info.buffer_range < a->limit ? w->base.device->info.buffer_range : a->limit;
    for (uint32_t i = 0; i < w->base.count; i++) {
        w->tensors[i].row_bytes = padded_row_bytes(&w->base.tensors[i]);
        w->tensors[i].form = form_of(w, &w->base.tensors[i]);
    }
    vkb_status status = check_total(w, error);
    if (!status) status = place_vectors(w, a, range, error);
    for (uint32_t i = 0; i < w->base.count && !status; i++) {
        if (w->base.tensors[i].layout == VKB_LAYOUT_VECTOR) continue;
        w->tensors[i].piece = w->piece_count;
        status = place_matrix(w, a, i, range, error);
    }
    return status;
}

static vkb_status create_blocks(vkb_vk_weights *w, const arena *a, vkb_error *error) {
    vkb_vk_device *device = (vkb_vk_device *)w->base.device;
    w->blocks = calloc(a->count, sizeof *w->blocks);
    if (!w->blocks) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_weights_create: out of memory");
    bool mapped = true;
    for (; w->block_count < a->count; w->block_count++) {
        vkb_status status =
            vkb_vk_buffer_create(device, a->sizes[w->block_count], VKB_VK_WEIGHTS, "weights", &w->blocks[w->block_count], error);
        if (status) return status;
        mapped = mapped && w->blocks[w->block_count].mapped;
    }
    vkb_status status = vkb_vk_staging_create(device, mapped ? 0 : STAGING_BYTES, &w->staging, error);
    if (!status && !vkb_vk_selftest_only_makes()) status = vkb_vk_staging_zero(w->staging, w->blocks, w->block_count, error);
    return status;
}

static vkb_status create_bands(vkb_vk_weights *w, vkb_error *error) {
    uint64_t widest = 0;
    w->band.tensor = VKB_NONE;
    for (uint32_t i = 0; i < w->base.count; i++) {
        vkb_vk_tensor *t = &w->tensors[i];
        if (t->form != VKB_WEIGHTS_F16_TILES) continue;
        if (t->row_bytes > widest) widest = t->row_bytes;
        t->sent = calloc(w->base.tensors[i].rows / VKB_BAND / 8 + 1, 1);
        if (!t->sent) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_weights_create: out of memory");
    }
    if (widest) w->band.data = malloc(VKB_BAND * widest);
    if (widest && !w->band.data) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_weights_create: out of memory");
    return VKB_OK;
}

vkb_status vkb_vk_weights_init(vkb_weights *weights, vkb_error *error) {
    vkb_vk_weights *w = (vkb_vk_weights *)weights;
    w->tensors = calloc(weights->count, sizeof *w->tensors);
    if (!w->tensors)
        return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_weights_create: out of memory for %u tensors", weights->count);
    arena a = {.limit = ((vkb_vk_device *)weights->device)->physical.buffer_limit};
    vkb_status status = place_all(w, &a, error);
    if (!status) status = create_blocks(w, &a, error);
    if (!status) status = create_bands(w, error);
    free(a.sizes);
    return status;
}

/* Where the weight of output n and input k lies in tiles, in halves: vkb_weight_form. */
static uint64_t tile_place(uint64_t n, uint64_t k, uint64_t inputs) {
    uint64_t tile = (n / VKB_BAND * (inputs / 16) + k / 16) * (VKB_BAND / 16) + n % VKB_BAND / 16;
    uint64_t lane = n % 8 * 4 + k % 8 / 2, element = n / 8 % 2 * 4 + k / 8 % 2 * 2 + k % 2;
    return tile * 256 + lane * 8 + element;
}

static vkb_status send(vkb_vk_weights *w, const vkb_vk_piece *piece, uint64_t offset, const void *data, uint64_t bytes, vkb_error *error) {
    const vkb_vk_buffer *block = &w->blocks[piece->block];
    const uint8_t *from = data;
    for (uint64_t done = 0; done < bytes;) {
        uint64_t n = block->mapped || bytes - done < STAGING_BYTES / 2 ? bytes - done : STAGING_BYTES / 2;
        uint8_t *to = block->mapped + piece->offset + offset + done;
        if (!block->mapped) {
            vkb_status status = vkb_vk_staging_reserve(w->staging, block, piece->offset + offset + done, n, &to, error);
            if (status) return status;
        }
        memcpy(to, from + done, n);
        done += n;
    }
    return VKB_OK;
}

static vkb_status send_band(vkb_vk_weights *w, vkb_error *error) {
    if (w->band.tensor == VKB_NONE) return VKB_OK;
    vkb_vk_tensor *t = &w->tensors[w->band.tensor];
    uint64_t bytes = VKB_BAND * t->row_bytes;
    t->sent[w->band.number / 8] |= (uint8_t)(1 << w->band.number % 8);
    w->band.tensor = VKB_NONE;
    return send(w, &w->pieces[t->piece], w->band.number * bytes, w->band.data, bytes, error);
}

/* Inputs k … k + count - 1 of output n, in a band's tiles. Sixteen that begin at a multiple of sixteen are eight pairs in known places. */
static void fill_row(uint16_t *band, uint64_t n, uint64_t k, uint64_t count, uint64_t inputs, const uint16_t *half) {
    for (uint64_t i = 0; i < count;) {
        uint16_t *to = band + tile_place(n % VKB_BAND, k + i, inputs);
        if ((k + i) % 16 || count - i < 16) {
            *to = half[i++];
            continue;
        }
        for (uint32_t pair = 0; pair < 8; pair++) memcpy(to + pair % 4 * 8 + pair / 4 * 2, half + i + 2 * pair, 2 * sizeof *half);
        i += 16;
    }
}

/* Some of a row: into the band, or, where that has gone already, element by element after it. */
static vkb_status put_row(vkb_vk_weights *w, uint32_t tensor, uint64_t n, uint64_t k, const uint16_t *half, uint64_t count,
                          vkb_error *error) {
    const vkb_tensor *t = &w->base.tensors[tensor];
    const vkb_vk_tensor *layout = &w->tensors[tensor];
    uint64_t inputs = layout->row_bytes / sizeof(uint16_t), number = n / VKB_BAND;
    vkb_status status = VKB_OK;
    if (layout->sent[number / 8] >> number % 8 & 1) {
        for (uint64_t i = 0; i < count && !status; i++)
            status = send(w, &w->pieces[layout->piece], tile_place(n, k + i, inputs) * sizeof *half, &half[i], sizeof *half, error);
        return status;
    }
    if (w->band.tensor != tensor || w->band.number != number) {
        status = send_band(w, error);
        if (status) return status;
        memset(w->band.data, 0, VKB_BAND * layout->row_bytes);
        w->band.tensor = tensor;
        w->band.number = number;
        w->band.filled = 0;
    }
    fill_row(w->band.data, n, k, count, inputs, half);
    w->band.filled += count;
    uint64_t rows = t->rows - number * VKB_BAND < VKB_BAND ? t->rows - number * VKB_BAND : VKB_BAND;
    return w->band.filled == rows * t->cols ? send_band(w, error) : VKB_OK;
}

static vkb_status put_tiles(vkb_vk_weights *w, uint32_t tensor, uint64_t first, const float *x, uint64_t count, vkb_error *error) {
    uint64_t cols = w->base.tensors[tensor].cols;
    enum { AT_ONCE = 4096 };
    uint16_t half[AT_ONCE];
    vkb_status status = VKB_OK;
    for (uint64_t done = 0; done < count && !status;) {
        uint64_t k = (first + done) % cols, n = cols - k;
        if (n > count - done) n = count - done;
        if (n > AT_ONCE) n = AT_ONCE;
        vkb_to_f16(x + done, n, half);
        status = put_row(w, tensor, (first + done) / cols, k, half, n, error);
        done += n;
    }
    return status;
}

/* n elements, and behind them `zeros` more */
static void convert(uint32_t dtype, const float *x, uint64_t n, uint64_t zeros, uint8_t *to) {
    if (dtype == VKB_F32) {
        memcpy(to, x, n * sizeof *x);
        memset(to + n * sizeof *x, 0, zeros * sizeof *x);
        return;
    }
    uint16_t *half = (uint16_t *)(void *)to; /* rows are multiples of 64 bytes, so elements lie at even addresses */
    vkb_to_f16(x, n, half);
    memset(half + n, 0, zeros * sizeof *half);
}

/* Row after row; where a row ends, its padding is written too, so that what is copied lies in one range. */
vkb_status vkb_vk_weights_put(vkb_weights *weights, uint32_t tensor, uint64_t first, const float *x, uint64_t count, vkb_error *error) {
    vkb_vk_weights *w = (vkb_vk_weights *)weights;
    const vkb_tensor *t = &weights->tensors[tensor];
    const vkb_vk_tensor *layout = &w->tensors[tensor];
    const vkb_vk_piece *piece = &w->pieces[layout->piece];
    uint32_t size = vkb_dtype_size(t->dtype);
    if (layout->form == VKB_WEIGHTS_F16_TILES) return put_tiles(w, tensor, first, x, count, error);
    for (uint64_t done = 0; done < count;) {
        uint64_t row = (first + done) / t->cols, col = (first + done) % t->cols;
        while (row >= (uint64_t)piece->row_first + piece->rows) piece++;
        uint64_t n = t->cols - col;
        if (n > count - done) n = count - done;
        if (n > PUT_ELEMENTS) n = PUT_ELEMENTS;
        uint64_t zeros = col + n == t->cols ? layout->row_bytes / size - t->cols : 0;
        uint64_t offset = piece->offset + (row - piece->row_first) * layout->row_bytes + col * size;
        const vkb_vk_buffer *block = &w->blocks[piece->block];
        uint8_t *to = block->mapped + offset;
        if (!block->mapped) {
            vkb_status status = vkb_vk_staging_reserve(w->staging, block, offset, (n + zeros) * size, &to, error);
            if (status) return status;
        }
        convert(t->dtype, x + done, n, zeros, to);
        done += n;
    }
    return VKB_OK;
}

/* The row's padding is zero from the beginning. */
vkb_status vkb_vk_weights_put_i8(vkb_weights *weights, uint32_t tensor, uint32_t row, const int8_t *q, float scale, vkb_error *error) {
    vkb_vk_weights *w = (vkb_vk_weights *)weights;
    const vkb_tensor *t = &weights->tensors[tensor];
    const vkb_vk_tensor *layout = &w->tensors[tensor];
    const vkb_vk_piece *piece = &w->pieces[layout->piece];
    vkb_status status = send(w, piece, row * layout->row_bytes, q, t->cols, error);
    return status ? status : send(w, piece, padded_rows(t) * layout->row_bytes + row * sizeof scale, &scale, sizeof scale, error);
}

static void free_bands(vkb_vk_weights *w) {
    free(w->band.data);
    w->band.data = NULL;
    for (uint32_t i = 0; w->tensors && i < w->base.count; i++) {
        free(w->tensors[i].sent);
        w->tensors[i].sent = NULL;
    }
}

vkb_status vkb_vk_weights_seal(vkb_weights *weights, vkb_error *error) {
    vkb_vk_weights *w = (vkb_vk_weights *)weights;
    vkb_vk_device *device = (vkb_vk_device *)weights->device;
    vkb_status status = send_band(w, error);
    if (!status) status = vkb_vk_staging_finish(w->staging, error);
    for (uint32_t i = 0; i < w->block_count && !status; i++) status = vkb_vk_buffer_flush(device, &w->blocks[i], error);
    if (status) return status;
    vkb_vk_staging_destroy(w->staging);
    w->staging = NULL;
    free_bands(w);
    for (uint32_t i = 0; i < w->block_count; i++) {
        if (w->blocks[i].mapped) device->vk.UnmapMemory(device->handle, w->blocks[i].memory);
        w->blocks[i].mapped = NULL;
    }
    return VKB_OK;
}

void vkb_vk_weights_free(vkb_weights *weights) {
    vkb_vk_weights *w = (vkb_vk_weights *)weights;
    vkb_vk_staging_destroy(w->staging);
    free_bands(w);
    for (uint32_t i = 0; i < w->block_count; i++) vkb_vk_buffer_destroy((vkb_vk_device *)weights->device, &w->blocks[i]);
    free(w->blocks);
    free(w->pieces);
    free(w->tensors);
}

vkb_vk_range vkb_vk_piece_range(const vkb_vk_weights *w, const vkb_vk_piece *piece) {
    return (vkb_vk_range){.buffer = w->blocks[piece->block].handle, .offset = piece->offset, .bytes = piece->bytes};
}
