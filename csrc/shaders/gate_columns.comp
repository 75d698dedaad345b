#version 450
// GATE: activation(left half of x) · right half, four columns an invocation. The right half begins at any column, so it may be read one by one.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "activation.glsl"

layout(constant_id = 7) const uint FOURS = 16; // columns of a workgroup, in fours; LOCAL_SIZE is a multiple of it

vec4 load_right(uint from, uint c) {
    const uint width = push.output_width;
    if ((width & 3u) == 0u) return load_x4((from + width + c) >> 2);
    vec4 v = vec4(0.0);
    [[unroll]] for (uint i = 0; i < 4; i++)
        if (c + i < width) v[i] = load_x(from + width + c + i);
    return v;
}

void main() {
    const uint row = gl_WorkGroupID.y * (LOCAL_SIZE / FOURS) + gl_LocalInvocationIndex / FOURS;
    const uint c = 4 * (gl_WorkGroupID.x * FOURS + gl_LocalInvocationIndex % FOURS);
    if (row >= batch_rows() || c >= push.output_stride) return;
    const uint from = row * push.input_stride;
    vec4 v = vec4(0.0);
    if (c < push.output_width) v = activate(load_x4((from + c) >> 2)) * load_right(from, c);
    store_y4((row * push.output_stride + c) >> 2, mix(vec4(0.0), v, bvec4(within(c, push.output_width))));
}
