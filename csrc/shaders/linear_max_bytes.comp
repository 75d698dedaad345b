#version 450
// LINEAR_MAX in int8: an invocation takes one sequence (y) and one output, and walks over the rows four at a time. Rows past the sequence are its last row
// again, which changes no maximum.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "bytes.glsl"
#include "linear_max.glsl"

const uint ROWS = 4;

int dot16(uvec4 a, uvec4 b) {
    const ivec4 x = ivec4(a), w = ivec4(b);
    const ivec4 products = (x << 24 >> 24) * (w << 24 >> 24) + (x << 16 >> 24) * (w << 16 >> 24) + (x << 8 >> 24) * (w << 8 >> 24) + (x >> 24) * (w >> 24);
    return products.x + products.y + (products.z + products.w);
}

void main() {
    const uint first = batch[push.tiles_at + gl_WorkGroupID.y], last = batch[push.tiles_at + gl_WorkGroupID.y + 1u] - 1u;
    const uint n = gl_WorkGroupID.x * LOCAL_SIZE + gl_LocalInvocationIndex, k16s = push.input_stride >> 4;
    if (n >= push.output_stride) return;
    const float scale = weight_scales[weight_scales_at() + n];
    int top = 0x80000000;
    for (uint row = first; row <= last; row += ROWS) {
        int sum[ROWS];
        [[unroll]] for (uint r = 0; r < ROWS; r++) sum[r] = 0;
        for (uint k = 0; k < k16s; k++) {
            const uvec4 w = weight4[n * k16s + k];
            [[unroll]] for (uint r = 0; r < ROWS; r++) sum[r] += dot16(input_words[min(row + r, last) * k16s + k], w);
        }
        [[unroll]] for (uint r = 0; r < ROWS; r++) top = max(top, ordered(float(sum[r]) * (row_scale(min(row + r, last)) * scale)));
    }
    store_y(gl_WorkGroupID.y * push.output_stride + n, finish_max(top, n));
}
