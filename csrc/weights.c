/* Weights: what is common to all backends. Elements are converted to f32, rounded to the dtype that they are stored in, and counted. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { CHUNK = 4096 }; /* elements converted at a time */

static vkb_status check_tensors(const vkb_device *device, const vkb_tensor *tensors, uint32_t count, vkb_error *error) {
    for (uint32_t i = 0; i < count; i++) {
        const vkb_tensor *t = &tensors[i];
        if (!t->rows || !t->cols)
            return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "tensor %u: shape [%u, %u] has no elements", i, t->rows, t->cols);
        if (t->rows > INT32_MAX || t->cols > INT32_MAX)
            return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "tensor %u: shape [%u, %u] is too large", i, t->rows, t->cols);
        if (t->layout > VKB_LAYOUT_LINEAR)
            return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "tensor %u: layout %u is unknown", i, t->layout);
        if (t->layout == VKB_LAYOUT_VECTOR && t->rows != 1)
            return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "tensor %u: a vector has 1 row, not %u", i, t->rows);
        bool stored = t->dtype == VKB_F32 || (t->dtype == VKB_F16 && t->layout != VKB_LAYOUT_VECTOR) ||
                      (t->dtype == VKB_I8 && t->layout == VKB_LAYOUT_LINEAR);
        if (!stored)
            return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "tensor %u: dtype %u cannot be stored with layout %u", i, t->dtype,
                            t->layout);
        if (t->dtype == VKB_I8 && t->cols > VKB_I8_MAX_COLUMNS)
            return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "tensor %u: %u columns stored as int8, want at most %u", i, t->cols,
                            (unsigned)VKB_I8_MAX_COLUMNS);
        if (t->dtype == VKB_I8 && !device->backend->weights_put_i8)
            return vkb_fail(error, VKB_ERROR_UNSUPPORTED, "%s: tensor %u: this device has no kernels for weights stored as int8",
                            device->info.name, i);
    }
    return VKB_OK;
}

vkb_status vkb_weights_create(vkb_device *device, const vkb_tensor *tensors, uint32_t count, vkb_weights **weights, vkb_error *error) {
    if (!device || !tensors || !weights || !count)
        return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_weights_create: null pointer or no tensors");
    *weights = NULL;
    vkb_status status = check_tensors(device, tensors, count, error);
    if (status) return status;

    vkb_weights *w = calloc(1, device->backend->weights_size);
    vkb_tensor *copy = calloc(count, sizeof *copy);
    vkb_i8_row *rows = calloc(count, sizeof *rows);
    if (!w || !copy || !rows) {
        free(w);
        free(copy);
        free(rows);
        return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_weights_create: out of memory for %u tensors", count);
    }
    memcpy(copy, tensors, count * sizeof *copy);
    w->device = device;
    w->tensors = copy;
    w->i8_rows = rows;
    w->count = count;
    w->first_non_finite = VKB_NONE;
    atomic_init(&w->references, 1);
    atomic_fetch_add(&device->references, 1);
    status = device->backend->weights_init(w, error);
    if (status) {
        vkb_weights_release(w);
        return status;
    }
    *weights = w;
    return VKB_OK;
}

/* Quantises the row that is there and hands it on. */
static vkb_status i8_flush(vkb_weights *w, uint32_t tensor, uint32_t row, vkb_error *error) {
    float *x = w->i8_rows[tensor].x;
    uint32_t cols = w->tensors[tensor].cols;
    int8_t *q = (int8_t *)x; /* in place: element i is written when it has been read */
    float scale = vkb_quantize(x, cols, w->device->i8_weights, q);
    vkb_status status = w->device->backend->weights_put_i8(w, tensor, row, q, scale, error);
    free(x);
    w->i8_rows[tensor].x = NULL;
    return status;
}

static vkb_status i8_put(vkb_weights *w, uint32_t tensor, uint64_t first, const float *x, uint64_t count, vkb_error *error) {
    vkb_i8_row *row = &w->i8_rows[tensor];
    uint32_t cols = w->tensors[tensor].cols;
    while (count) {
        uint32_t col = (uint32_t)(first % cols), n = count < cols - col ? (uint32_t)count : cols - col;
        if (row->x ? first != row->next : col != 0)
            return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT,
                            "tensor %u: element %llu out of turn: stored as int8, a row's elements are put in order", tensor,
                            (unsigned long long)first);
        if (!row->x) row->x = calloc(cols, sizeof *row->x);
        if (!row->x) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_weights_put: out of memory for a row of %u", cols);
        memcpy(row->x + col, x, n * sizeof *x);
        row->next = first + n;
        if (col + n == cols) {
            vkb_status status = i8_flush(w, tensor, (uint32_t)(first / cols), error);
            if (status) return status;
        }
        first += n;
        x += n;
        count -= n;
    }
    return VKB_OK;
}

/* Rows that were begun and not ended: what is missing is zero. */
static vkb_status i8_seal(vkb_weights *w, vkb_error *error) {
    vkb_status status = VKB_OK;
    for (uint32_t i = 0; i < w->count && !status; i++)
        if (w->i8_rows[i].x) status = i8_flush(w, i, (uint32_t)((w->i8_rows[i].next - 1) / w->tensors[i].cols), error);
    return status;
}

vkb_status vkb_weights_put(vkb_weights *weights, uint32_t tensor, vkb_dtype source, uint64_t first, const void *data, uint64_t count,
                           vkb_error *error) {
    if (!weights || !data) return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_weights_put: null pointer");
    if (weights->sealed) return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_weights_put: the weights are sealed");
    if (tensor >= weights->count)
        return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_weights_put: tensor %u of %u", tensor, weights->count);
    uint32_t size = source == VKB_I8 ? 0 : vkb_dtype_size(source);
    if (!size)
        return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_weights_put: source dtype %d is not one that elements are put from",
                        (int)source);
    const vkb_tensor *t = &weights->tensors[tensor];
    uint64_t elements = (uint64_t)t->rows * t->cols;
    if (first > elements || count > elements - first)
        return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_weights_put: tensor %u has %llu elements; got %llu from %llu on", tensor,
                        (unsigned long long)elements, (unsigned long long)count, (unsigned long long)first);

    float x[CHUNK];
    const uint8_t *bytes = data;
    for (uint64_t done = 0; done < count;) {
        uint64_t n = count - done < CHUNK ? count - done : CHUNK;
        vkb_to_f32(source, bytes + done * size, n, x);
        if (t->dtype == VKB_F16 && source != VKB_F16) vkb_round_to_f16(x, n);
        uint64_t non_finite = 0;
        for (uint64_t i = 0; i < n; i++) non_finite += !vkb_is_finite(x[i]);
        vkb_status status = t->dtype == VKB_I8 ? i8_put(weights, tensor, first + done, x, n, error)
                                               : weights->device->backend->weights_put(weights, tensor, first + done, x, n, error);
        if (status) return status;
        if (non_finite && !weights->non_finite) weights->first_non_finite = tensor;
        weights->non_finite += non_finite;
        done += n;
    }
    return VKB_OK;
}

vkb_status vkb_weights_seal(vkb_weights *weights, vkb_weights_info *info, vkb_error *error) {
    if (!weights) return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_weights_seal: weights is NULL");
    if (info && info->struct_size != sizeof *info)
        return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_weights_seal: struct_size is %u, want %zu", info->struct_size,
                        sizeof *info);
    if (!weights->sealed) {
        vkb_status status = i8_seal(weights, error);
        if (!status) status = weights->device->backend->weights_seal(weights, error);
        if (status) return status;
        weights->sealed = true;
    }
    if (info) {
        info->bytes = weights->bytes;
        info->non_finite = weights->non_finite;
        info->first_non_finite = weights->first_non_finite;
    }
    return VKB_OK;
}

void vkb_weights_release(vkb_weights *weights) {
    if (atomic_fetch_sub(&weights->references, 1) != 1) return;
    vkb_device *device = weights->device;
    device->backend->weights_free(weights);
    for (uint32_t i = 0; i < weights->count; i++) free(weights->i8_rows[i].x);
    free(weights->i8_rows);
    free(weights->tensors);
    free(weights);
    vkb_device_release(device);
}

void vkb_weights_destroy(vkb_weights *weights) {
    if (weights) vkb_weights_release(weights);
}
