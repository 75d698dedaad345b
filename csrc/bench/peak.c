/* What a device does at best, by the ops that models are made of. */
#include <math.h>

#include "bench.h"

enum { EMBEDDED, WIDENED, NARROWED, NORMALIZED, POOLED, COUNT, TRIES = 3 };

/* So large that neither the start of a dispatch nor a cache counts; on software, where that would take minutes, as it may be. */
static const bench_peaks sizes[] = {
    [VKB_DEVICE_DISCRETE] = {.rows = 32768, .width = 1024}, [VKB_DEVICE_INTEGRATED] = {.rows = 8192, .width = 768},
    [VKB_DEVICE_VIRTUAL] = {.rows = 8192, .width = 768},    [VKB_DEVICE_SOFTWARE] = {.rows = 256, .width = 256},
    [VKB_DEVICE_CPU] = {.rows = 8192, .width = 768},        [VKB_DEVICE_REFERENCE] = {.rows = 256, .width = 256},
};

int bench_measure_peaks(const bench_options *o, uint32_t kind, bench_peaks *peaks) {
    *peaks = sizes[kind];
    peaks->inner = 4 * peaks->width;
    bench_options one = *o;
    one.batch = 1;
    one.tokens = peaks->rows;
    one.callers = 1;
    one.seconds = one.interval = 0;
    const uint32_t width = peaks->width, inner = peaks->inner, output = POOLED;
    const vkb_tensor tensors[] = {
        {1024, width, VKB_LAYOUT_TABLE, VKB_F32}, {inner, width, VKB_LAYOUT_LINEAR, VKB_F32}, {width, inner, VKB_LAYOUT_LINEAR, VKB_F32}};
    const vkb_value values[COUNT] = {
        {VKB_PER_TOKEN, width}, {VKB_PER_TOKEN, inner}, {VKB_PER_TOKEN, width}, {VKB_PER_TOKEN, width}, {VKB_PER_SEQUENCE, width}};
    vkb_op ops[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        ops[i] = (vkb_op)VKB_OP_INIT;
        ops[i].input = i ? i - 1 : VKB_NONE;
        ops[i].output = i;
    }
    ops[EMBEDDED].kind = VKB_OP_EMBED;
    ops[EMBEDDED].weight = 0;
    ops[EMBEDDED].scale = 1;
    ops[WIDENED].kind = ops[NARROWED].kind = VKB_OP_LINEAR;
    ops[WIDENED].weight = 1;
    ops[NARROWED].weight = 2;
    ops[NORMALIZED].kind = VKB_OP_NORM;
    ops[NORMALIZED].norm = VKB_NORM_LAYER;
    ops[NORMALIZED].norm_eps = 1e-5f;
    ops[POOLED].kind = VKB_OP_POOL;
    ops[POOLED].pool = VKB_POOL_CLS;
    vkb_program_desc desc = {.values = values, .value_count = COUNT, .ops = ops, .op_count = COUNT, .outputs = &output, .output_count = 1};
    bench_run run;
    bench_times warm;
    double seconds[COUNT];
    int status = bench_open(&one, tensors, 3, &desc, &run);
    if (!status) status = bench_time(&one, &run, &warm);
    for (int i = 0; i < TRIES && !status; i++) {
        status = bench_profile(&run, seconds);
        if (status) break;
        for (uint32_t op = WIDENED; op <= NARROWED; op++) peaks->flops = fmax(peaks->flops, bench_flops(&run, op) / seconds[op]);
        peaks->bytes = fmax(peaks->bytes, bench_bytes(&run, NORMALIZED) / seconds[NORMALIZED]);
    }
    bench_close(&run);
    return status;
}
