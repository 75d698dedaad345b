// norm.glsl: LayerNorm or RMSNorm of the row that source_row() gives, four floats at a time, written to OUTPUT. The kernel defines
//   vec4 source_row(uint row, uint c4)     columns 4·c4 … of the row; zeros past the width
// A residual that is due after the norm is added here.
//
// The mean first, then the variance from it (two passes: the difference of two large sums never stands for a small variance). The first KEPT fours of a
// lane stay in registers; the others are read again for each pass. OUTPUT is written last, each word by the lane that read it: in place is fine.

layout(constant_id = 8) const uint KEPT = 1;

const uint RMS = 2; // vkb_norm

vec4 kept[KEPT];

// BODY for all fours of the lane: V is columns 4·C ….
#define FOR_FOURS(V, C, BODY)                                                    \
    [[unroll]] for (uint i_ = 0; i_ < KEPT; i_++) {                              \
        const uint C = row_lane() + i_ * LANES;                                  \
        const vec4 V = kept[i_];                                                 \
        if (C < n4) { BODY }                                                     \
    }                                                                            \
    for (uint C = row_lane() + KEPT * LANES; C < n4; C += LANES) {               \
        const vec4 V = source_row(row, C);                                       \
        BODY                                                                     \
    }

// All lanes of the workgroup come here; `real` says whether the row is there to be written.
void norm_row(uint row, bool real) {
    const uint n4 = real ? push.output_stride >> 2 : 0u, width = push.output_width;
    float mean = 0.0, scale = 1.0;
    [[unroll]] for (uint i = 0; i < KEPT; i++) {
        const uint c = row_lane() + i * LANES;
        const vec4 v = source_row(row, min(c, (push.output_stride >> 2) - 1u)); // always read: in a branch it would be waited for before the next
        kept[i] = c < n4 ? v : vec4(0.0);
    }
    if (push.norm != 0u) {
        if (push.norm != RMS) {
            float sum = 0.0;
            FOR_FOURS(v, c, sum += add4(v);)
            mean = row_sum(sum, 0u) / float(width);
        }
        float squares = 0.0;
        FOR_FOURS(v, c, {
            const vec4 d = (v - mean) * within(4u * c, width);
            squares += dot(d, d);
        })
        scale = inversesqrt(row_sum(squares, 1u) / float(width) + push.norm_eps);
    }
    FOR_FOURS(source, c, {
        vec4 v = (source - mean) * scale;
        const vec4 weight = vector4(push.norm_weight_at == NONE ? 0u : push.norm_weight_at + 4u * c);
        const vec4 bias = vector4(push.norm_bias_at == NONE ? 0u : push.norm_bias_at + 4u * c);
        v = v * (push.norm_weight_at == NONE ? vec4(1.0) : weight) + (push.norm_bias_at == NONE ? vec4(0.0) : bias);
        if (push.residual_stride != 0u && push.residual_at == AFTER_NORM) v += load_residual4(row * (push.residual_stride >> 2) + c);
        store_y4(row * n4 + c, v * within(4u * c, width));
    })
}
