#version 450
// POOL, one mode (MODE) over each sequence's rows: an invocation takes a column and every LANES-th row, the lanes of a column meet in shared memory.
// One float at a time, since a mode's columns may begin anywhere in the output's row.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(constant_id = 7) const uint LANES = 4; // LOCAL_SIZE is a multiple of it

const uint CLS = 0, MAXIMUM = 1, MEAN = 2, MEAN_SQRT_LEN = 3, WEIGHTED_MEAN = 4, LAST = 5; // vkb_pool
const uint COLUMNS = LOCAL_SIZE / LANES;                                                   // of a workgroup

shared float parts[LOCAL_SIZE];

// What one lane makes of its share of a column's rows start … end - 1.
float pool_lane(uint lane, uint first, uint start, uint end, uint c) {
    float part = MODE == MAXIMUM ? LOWEST : 0.0;
    for (uint i = start + lane; i < end; i += LANES) {
        float v = load_x((first + i) * push.input_stride + c);
        if (MODE == MAXIMUM) part = max(part, v);
        else if (MODE == WEIGHTED_MEAN) part += float(i + 1u) * v;
        else part += v;
    }
    return part;
}

void main() {
    const uint t = gl_LocalInvocationIndex, lane = t / COLUMNS;
    const uint sequence = gl_WorkGroupID.y, column = gl_WorkGroupID.x * COLUMNS + t % COLUMNS; // of the output
    const uint c = column - push.column;                                                         // of the input; wraps before its first
    const bool mine = column >= push.column && c < push.input_width;

    const uint first = batch[push.cu_at + sequence], n = batch[push.cu_at + sequence + 1u] - first;
    uint start = min(batch[push.pool_at + sequence], n), end = n;
    if (MODE == CLS) end = min(start + 1u, n);
    if (MODE == LAST) start = max(start, n - 1u);

    parts[t] = mine ? pool_lane(lane, first, start, end, c) : 0.0;
    barrier();
    if (lane != 0u) return;
    float v = parts[t];
    for (uint l = 1u; l < LANES; l++) {
        float part = parts[t + l * COLUMNS];
        v = MODE == MAXIMUM ? max(v, part) : v + part;
    }
    float rows = float(end - start);
    if (MODE == MEAN) v /= max(rows, 1.0);
    if (MODE == MEAN_SQRT_LEN) v /= sqrt(max(rows, 1.0));
    if (MODE == WEIGHTED_MEAN) v /= max(0.5 * rows * float(start + 1u + end), 1.0); // (start + 1) + … + end
    if (start == end) v = 0.0;

    if (mine) store_y(sequence * push.output_stride + column, v);
    // The mode that writes the last columns also writes the zeros past the width.
    if (column >= push.output_width && column < push.output_stride && push.column + push.input_width == push.output_width)
        store_y(sequence * push.output_stride + column, 0.0);
}
