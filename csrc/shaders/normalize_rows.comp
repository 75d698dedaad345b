#version 450
// NORMALIZE: x / max(‖x‖₂, 1e-12). The squares are of x divided by its greatest element, so that they neither overflow nor vanish.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "rows.glsl"

void main() {
    const uint row = row_index();
    const uint n4 = row < batch_rows() ? push.output_stride >> 2 : 0u;
    const uint from = row * (push.input_stride >> 2);

    float top = 0.0;
    for (uint c = row_lane(); c < n4; c += LANES) {
        vec4 v = abs(load_x4(from + c));
        top = max(top, max(max(v.x, v.y), max(v.z, v.w)));
    }
    top = row_max(top, 0u);
    float divisor = top > 0.0 ? top : 1.0, squares = 0.0;
    for (uint c = row_lane(); c < n4; c += LANES) {
        vec4 v = load_x4(from + c) / divisor;
        squares += dot(v, v);
    }
    float root = max(sqrt(row_sum(squares, 1u)), 1.0e-12 / divisor); // ‖x‖ / divisor, at least 1
    for (uint c = row_lane(); c < n4; c += LANES)
        store_y4(row * n4 + c, load_x4(from + c) / divisor / root * within(4u * c, push.output_width));
}
