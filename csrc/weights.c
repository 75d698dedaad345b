/* Weights: what is common to all backends. Elements are converted to f32, rounded to the dtype that they are stored in, and counted. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { CHUNK = 4096 }; /* elements converted at a time */

static vkb_status check_tensors(const vkb_tensor *tensors, uint32_t count, vkb_error *error) {
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
        if (t->dtype != VKB_F32 && !(t->dtype == VKB_F16 && t->layout != VKB_LAYOUT_VECTOR))
            return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "tensor %u: dtype %u cannot be stored with layout %u", i, t->dtype,
                            t->layout);
    }
    return VKB_OK;
}

vkb_status vkb_weights_create(vkb_device *device, const vkb_tensor *tensors, uint32_t count, vkb_weights **weights, vkb_error *error) {
    if (!device || !tensors || !weights || !count)
        return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_weights_create: null pointer or no tensors");
    *weights = NULL;
    vkb_status status = check_tensors(tensors, count, error);
    if (status) return status;

    vkb_weights *w = calloc(1, device->backend->weights_size);
    vkb_tensor *copy = calloc(count, sizeof *copy);
    if (!w || !copy) {
        free(w);
        free(copy);
        return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_weights_create: out of memory for %u tensors", count);
    }
    memcpy(copy, tensors, count * sizeof *copy);
    w->device = device;
    w->tensors = copy;
    w->count = count;
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

vkb_status vkb_weights_put(vkb_weights *weights, uint32_t tensor, vkb_dtype source, uint64_t first, const void *data, uint64_t count,
                           vkb_error *error) {
    if (!weights || !data) return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_weights_put: null pointer");
    if (weights->sealed) return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_weights_put: the weights are sealed");
    if (tensor >= weights->count)
        return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_weights_put: tensor %u of %u", tensor, weights->count);
    uint32_t size = vkb_dtype_size(source);
    if (!size) return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "vkb_weights_put: source dtype %d is unknown", (int)source);
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
        if (t->dtype == VKB_F16 && source != VKB_F16)
            for (uint64_t i = 0; i < n; i++) x[i] = vkb_f16_to_f32(vkb_f32_to_f16(x[i]));
        for (uint64_t i = 0; i < n; i++) weights->non_finite += !vkb_is_finite(x[i]);
        vkb_status status = weights->device->backend->weights_put(weights, tensor, first + done, x, n, error);
        if (status) return status;
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
        vkb_status status = weights->device->backend->weights_seal(weights, error);
        if (status) return status;
        weights->sealed = true;
    }
    if (info) {
        info->bytes = weights->bytes;
        info->non_finite = weights->non_finite;
    }
    return VKB_OK;
}

void vkb_weights_release(vkb_weights *weights) {
    if (atomic_fetch_sub(&weights->references, 1) != 1) return;
    vkb_device *device = weights->device;
    device->backend->weights_free(weights);
    free(weights->tensors);
    free(weights);
    vkb_device_release(device);
}

void vkb_weights_destroy(vkb_weights *weights) {
    if (weights) vkb_weights_release(weights);
}
