/* What a device does at best, by the ops that models are made of. */
#include <math.h>

#include "bench.h"

enum { EMBEDDED, MULTIPLIED, NORMALIZED, POOLED, COUNT, TRIES = 3 };

/* So large that neither the start of a dispatch nor a cache counts; on software, where that would take minutes, as it may be. */
static int choose_size(const bench_options *o, bench_peaks *peaks) {
    vkb_device *device = NULL;
    vkb_device_info info = {.struct_size = sizeof info};
    *peaks = (bench_peaks){.rows = 256, .width = 512};
    if (bench_open_device(o, &device)) return 1;
    vkb_device_get_info(device, &info);
    vkb_device_close(device);
    if (info.kind == VKB_DEVICE_CPU) *peaks = (bench_peaks){.rows = 4096, .width = 2048};
    if (info.kind == VKB_DEVICE_INTEGRATED || info.kind == VKB_DEVICE_VIRTUAL) *peaks = (bench_peaks){.rows = 8192, .width = 2048};
    if (info.kind == VKB_DEVICE_DISCRETE) *peaks = (bench_peaks){.rows = 16384, .width = 4096};
    return 0;
}

int bench_measure_peaks(const bench_options *o, bench_peaks *peaks) {
    if (choose_size(o, peaks)) return 1;
    bench_options one = *o;
    one.batch = 1;
    one.tokens = peaks->rows;
    one.callers = 1;
    one.seconds = one.interval = 0;
    const uint32_t width = peaks->width, output = POOLED;
    const vkb_tensor tensors[] = {{1024, width, VKB_LAYOUT_TABLE, VKB_F32}, {width, width, VKB_LAYOUT_LINEAR, VKB_F32}};
    const vkb_value values[COUNT] = {{VKB_PER_TOKEN, width}, {VKB_PER_TOKEN, width}, {VKB_PER_TOKEN, width}, {VKB_PER_SEQUENCE, width}};
    vkb_op ops[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        ops[i] = bench_nothing;
        ops[i].input = i ? i - 1 : VKB_NONE;
        ops[i].output = i;
    }
    ops[EMBEDDED].kind = VKB_OP_EMBED;
    ops[EMBEDDED].weight = 0;
    ops[EMBEDDED].scale = 1;
    ops[MULTIPLIED].kind = VKB_OP_LINEAR;
    ops[MULTIPLIED].weight = 1;
    ops[NORMALIZED].kind = VKB_OP_NORM;
    ops[NORMALIZED].norm = VKB_NORM_LAYER;
    ops[NORMALIZED].norm_eps = 1e-5f;
    ops[POOLED].kind = VKB_OP_POOL;
    ops[POOLED].pool = VKB_POOL_CLS;
    vkb_program_desc desc = {.values = values, .value_count = COUNT, .ops = ops, .op_count = COUNT, .outputs = &output, .output_count = 1};
    bench_run run;
    bench_times warm;
    double seconds[COUNT];
    int status = bench_open(&one, tensors, 2, &desc, &run);
    if (!status) status = bench_time(&one, &run, &warm);
    for (int i = 0; i < TRIES && !status; i++) {
        status = bench_profile(&run, seconds);
        if (status) break;
        peaks->flops = fmax(peaks->flops, bench_flops(&run, MULTIPLIED) / seconds[MULTIPLIED]);
        peaks->bytes = fmax(peaks->bytes, bench_bytes(&run, NORMALIZED) / seconds[NORMALIZED]);
    }
    bench_close(&run);
    return status;
}
