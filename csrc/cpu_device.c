/* The CPU backend: device and weights. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"

enum { MAX_THREADS = 1024 };

/* Best first. */
static const vkb_cpu_kernels *const kernel_sets[] = {
#if defined(__x86_64__)
    &vkb_cpu_avx512_vnni, &vkb_cpu_avx512, &vkb_cpu_avx_vnni,
#endif
#if defined(__x86_64__) || defined(__i386__)
    &vkb_cpu_avx2,
#endif
#if defined(__aarch64__)
    &vkb_cpu_dotprod,
#endif
    &vkb_cpu_base,
};

const vkb_cpu_kernels *vkb_cpu_kernel_set(uint32_t i) {
    for (size_t k = 0; k < sizeof kernel_sets / sizeof *kernel_sets; k++)
        if (kernel_sets[k]->supported() && i-- == 0) return kernel_sets[k];
    return NULL;
}

static void fill_info(const vkb_cpu_kernels *kernels, uint32_t threads, vkb_device_info *info) {
    *info = (vkb_device_info){.struct_size = sizeof *info,
                              .kind = VKB_DEVICE_CPU,
                              .usable = 1,
                              .threads = threads,
                              .features = VKB_FEATURE_F16_STORAGE,
                              .memory_bytes = vkb_host_memory_bytes(),
                              .memory_available = vkb_cpu_memory_available()};
    info->buffer_range = info->memory_bytes;
    snprintf(info->selector, sizeof info->selector, "cpu");
    vkb_cpu_model_name(info->name, sizeof info->name);
    snprintf(info->driver, sizeof info->driver, "vkbert %s (%s)", vkb_version(), kernels->name);
}

void vkb_cpu_info(vkb_device_info *info) { fill_info(vkb_cpu_kernel_set(0), vkb_cpu_count(), info); }

static void device_free(vkb_device *device) {
    vkb_cpu_device *d = (vkb_cpu_device *)device;
    vkb_cpu_pool_destroy(d->pool);
    free(d);
}

/* Bytes that a tensor takes, a multiple of 64; false: overflow. */
static bool tensor_bytes(const vkb_tensor *t, uint64_t *bytes) {
    uint64_t rows = t->layout == VKB_LAYOUT_LINEAR ? vkb_align_up(t->rows, VKB_CPU_PANEL) : t->rows;
    uint64_t cols = t->layout == VKB_LAYOUT_VECTOR ? vkb_align_up(t->cols, VKB_CPU_PANEL) : t->cols;
    uint64_t scales = 0;
    if (t->dtype == VKB_I8) {
        cols = vkb_cpu_i8_depth(t->cols);
        scales = rows * (sizeof(float) + sizeof(int32_t)); /* and the sums */
    }
    if (!vkb_mul(rows, cols, bytes) || !vkb_mul(*bytes, vkb_dtype_size(t->dtype), bytes) || *bytes > UINT64_MAX - scales - 64) return false;
    *bytes = vkb_align_up(*bytes + scales, 64);
    return true;
}

static vkb_status weights_init(vkb_weights *weights, vkb_error *error) {
    vkb_cpu_weights *w = (vkb_cpu_weights *)weights;
    uint64_t total = 0, bytes;
    for (uint32_t i = 0; i < weights->count; i++)
        if (!tensor_bytes(&weights->tensors[i], &bytes) || !vkb_add(total, bytes, &total) || total > SIZE_MAX - 64)
            return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_weights_create: the size overflows at tensor %u", i);
    w->data = calloc(weights->count, sizeof *w->data);
    w->memory = vkb_pages_alloc(total);
    weights->bytes = total;
    if (!w->data || !w->memory)
        return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "vkb_weights_create: out of memory for %llu bytes", (unsigned long long)total);
    uint8_t *next = w->memory;
    for (uint32_t i = 0; i < weights->count; i++) {
        w->data[i] = next;
        tensor_bytes(&weights->tensors[i], &bytes);
        next += bytes;
    }
    return VKB_OK;
}

/* n elements to places at, at + step, … */
static void put_run(void *data, bool half, uint64_t at, uint32_t step, const float *x, uint64_t n) {
    if (half)
        for (uint64_t i = 0; i < n; i++) ((uint16_t *)data)[at + i * step] = vkb_f32_to_f16(x[i]);
    else
        for (uint64_t i = 0; i < n; i++) ((float *)data)[at + i * step] = x[i];
}

static vkb_status weights_put(vkb_weights *weights, uint32_t tensor, uint64_t first, const float *x, uint64_t count, vkb_error *error) {
    (void)error;
    const vkb_tensor *t = &weights->tensors[tensor];
    void *data = ((vkb_cpu_weights *)weights)->data[tensor];
    bool half = t->dtype == VKB_F16;
    if (t->layout != VKB_LAYOUT_LINEAR) {
        put_run(data, half, first, 1, x, count);
        return VKB_OK;
    }
    while (count) { /* row by row: a row's elements lie 16 apart in its panel */
        uint64_t row = first / t->cols, col = first % t->cols;
        uint64_t n = t->cols - col < count ? t->cols - col : count;
        uint64_t panel = row / VKB_CPU_PANEL * t->cols * VKB_CPU_PANEL;
        put_run(data, half, panel + col * VKB_CPU_PANEL + row % VKB_CPU_PANEL, VKB_CPU_PANEL, x, n);
        first += n;
        x += n;
        count -= n;
    }
    return VKB_OK;
}

static vkb_status weights_put_i8(vkb_weights *weights, uint32_t tensor, uint32_t row, const int8_t *q, float scale, vkb_error *error) {
    (void)error;
    const vkb_cpu_kernels *kernels = ((const vkb_cpu_device *)weights->device)->kernels;
    const uint32_t group = 4 / kernels->i8_size;
    const vkb_tensor *t = &weights->tensors[tensor];
    int8_t *data = ((vkb_cpu_weights *)weights)->data[tensor];
    uint32_t depth = vkb_cpu_i8_depth(t->cols), lane = row % VKB_CPU_PANEL;
    int8_t *panel = data + (size_t)(row - lane) * depth + (size_t)lane * group;
    int32_t sum = 0;
    for (uint32_t k = 0; k < t->cols; k++) {
        panel[(size_t)(k / group) * group * VKB_CPU_PANEL + k % group] = q[k];
        sum += q[k];
    }
    ((float *)(uintptr_t)vkb_cpu_scales(t, data))[row] = scale;
    ((int32_t *)(uintptr_t)vkb_cpu_sums(t, data))[row] = sum;
    return VKB_OK;
}

static vkb_status weights_seal(vkb_weights *weights, vkb_error *error) {
    (void)weights;
    (void)error;
    return VKB_OK;
}

static void weights_free(vkb_weights *weights) {
    vkb_cpu_weights *w = (vkb_cpu_weights *)weights;
    free(w->data);
    vkb_pages_free(w->memory, weights->bytes);
}

static const vkb_backend cpu_backend = {
    .arena_align = 64,
    .row_tile = 1,
    .column_align = 1,
    .set_bytes = VKB_CPU_SET_BYTES,
    .weights_size = sizeof(vkb_cpu_weights),
    .program_size = sizeof(vkb_cpu_program),
    .device_free = device_free,
    .weights_init = weights_init,
    .weights_put = weights_put,
    .weights_put_i8 = weights_put_i8,
    .weights_seal = weights_seal,
    .weights_free = weights_free,
    .program_init = vkb_cpu_program_init,
    .program_run = vkb_cpu_program_run,
    .program_free = vkb_cpu_program_free,
};

vkb_status vkb_cpu_open_with(const vkb_cpu_kernels *kernels, const vkb_device_options *options, vkb_device **device, vkb_error *error) {
    if (options->threads > MAX_THREADS)
        return vkb_fail(error, VKB_ERROR_INVALID_ARGUMENT, "cpu: %u threads, want at most %u", options->threads, (unsigned)MAX_THREADS);
    uint32_t count = vkb_cpu_count(), threads = options->threads ? options->threads : count < MAX_THREADS ? count : MAX_THREADS;
    vkb_cpu_device *d = calloc(1, sizeof *d);
    if (!d) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "cpu: out of memory");
    vkb_device_setup(&d->base, &cpu_backend, options);
    fill_info(kernels, threads, &d->base.info);
    d->kernels = kernels;
    d->base.i8_weights = kernels->i8_weights;
    d->base.i8_inputs = kernels->i8_inputs;
    vkb_status status = vkb_cpu_pool_create(threads, &d->pool, error);
    if (status) {
        device_free(&d->base);
        return status;
    }
    *device = &d->base;
    return VKB_OK;
}

vkb_status vkb_cpu_open(const vkb_device_options *options, vkb_device **device, vkb_error *error) {
    return vkb_cpu_open_with(vkb_cpu_kernel_set(0), options, device, error);
}
