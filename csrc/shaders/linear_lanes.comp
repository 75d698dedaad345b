#version 450
// LINEAR for devices whose subgroups are SIMD lanes of a CPU: an invocation owns ROWS rows and the workgroup's COLUMNS columns.
//
// Weights are read at an address that the whole subgroup shares (said by subgroupBroadcastFirst: a driver then loads once and splats), rows at one
// address a lane, which such drivers do lane by lane: so few of those, each used COLUMNS times. No shared memory, no barrier. On two cores
// lavapipe (Mesa 22.3) makes 12 to 16 GFLOP/s of this; one output an invocation makes 0.3.
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_ballot : require
#include "common.glsl"
#include "linear.glsl"

layout(constant_id = 7) const uint ROWS = 2;
layout(constant_id = 8) const uint COLUMNS = 16; // multiple of four

void main() {
    const uint row = gl_WorkGroupID.y * (ROWS * LOCAL_SIZE) + gl_LocalInvocationIndex; // and each LOCAL_SIZE further
    const uint column = gl_WorkGroupID.x * COLUMNS;

    float sum[ROWS][COLUMNS];
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        [[unroll]] for (uint c = 0; c < COLUMNS; c++) sum[r][c] = 0.0;

    const uint k4s = push.input_stride >> 2;
    for (uint k4 = 0; k4 < k4s; k4++) {
        vec4 a[ROWS];
        [[unroll]] for (uint r = 0; r < ROWS; r++) a[r] = load_input(row + r * LOCAL_SIZE, k4);
        [[unroll]] for (uint c = 0; c < COLUMNS; c++) {
            uint at = subgroupBroadcastFirst((column + c) * k4s + k4);
            vec4 w = WEIGHT_TILES ? load_weight(column + c, k4) : WEIGHT_F16 ? widen(weight2[at]) : uintBitsToFloat(weight4[at]);
            [[unroll]] for (uint r = 0; r < ROWS; r++)
                sum[r][c] = fma(w.w, a[r].w, fma(w.z, a[r].z, fma(w.y, a[r].y, fma(w.x, a[r].x, sum[r][c]))));
        }
    }

    [[unroll]] for (uint r = 0; r < ROWS; r++)
        [[unroll]] for (uint c = 0; c < COLUMNS; c += 4) {
            vec4 products = vec4(sum[r][c], sum[r][c + 1], sum[r][c + 2], sum[r][c + 3]);
            store_output(row + r * LOCAL_SIZE, column + c, finish_output(row + r * LOCAL_SIZE, column + c, products));
        }
}
