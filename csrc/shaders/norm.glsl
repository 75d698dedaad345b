// norm.glsl: LayerNorm or RMSNorm of the row that source_row() gives, four floats at a time, written to OUTPUT. The kernel defines
//   vec4 source_row(uint row, uint c4)     columns 4·c4 … of the row; zeros past the width
// A residual that is due after the norm is added here.
//
// The mean first, then the variance from it (two passes: the difference of two large sums never stands for a small variance). The source is read
// again for each pass: it lies in the first-level cache by then. OUTPUT is written last, each word by the lane that read it: in place is fine.

const uint RMS = 2; // vkb_norm

// All lanes of the workgroup come here; `real` says whether the row is there to be written.
void norm_row(uint row, bool real) {
    const uint n4 = real ? push.output_stride >> 2 : 0u, width = push.output_width;
    float mean = 0.0, scale = 1.0;
    if (push.norm != 0u) {
        if (push.norm != RMS) {
            float sum = 0.0;
            for (uint c = row_lane(); c < n4; c += LANES) sum += add4(source_row(row, c));
            mean = row_sum(sum, 0u) / float(width);
        }
        float squares = 0.0;
        for (uint c = row_lane(); c < n4; c += LANES) {
            vec4 d = (source_row(row, c) - mean) * within(4u * c, width);
            squares += dot(d, d);
        }
        scale = inversesqrt(row_sum(squares, 1u) / float(width) + push.norm_eps);
    }
    for (uint c = row_lane(); c < n4; c += LANES) {
        vec4 v = (source_row(row, c) - mean) * scale;
        if (push.norm_weight_at != NONE) v *= vector4(push.norm_weight_at + 4u * c);
        if (push.norm_bias_at != NONE) v += vector4(push.norm_bias_at + 4u * c);
        if (push.residual_stride != 0u && push.residual_at == AFTER_NORM) v += load_residual4(row * (push.residual_stride >> 2) + c);
        store_y4(row * n4 + c, v * within(4u * c, width));
    }
}
