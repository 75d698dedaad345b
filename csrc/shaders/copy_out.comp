#version 450
// The rows of a value, without the padding between them, to a buffer that the host reads: [rows, input_stride] → [rows, input_width].
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(constant_id = 7) const uint COLUMNS = 64; // of a workgroup; LOCAL_SIZE is a multiple of it

void main() {
    const uint row = gl_WorkGroupID.y * (LOCAL_SIZE / COLUMNS) + gl_LocalInvocationIndex / COLUMNS;
    const uint column = gl_WorkGroupID.x * COLUMNS + gl_LocalInvocationIndex % COLUMNS;
    if (row < batch_rows() && column < push.input_width) store_y(row * push.input_width + column, load_x(row * push.input_stride + column));
}
