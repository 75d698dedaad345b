#version 450
//! variant shared
//! variant subgroup -DSUBGROUP
// QUANTIZE: a value, bound as OUTPUT, in int8. With VKB_FOLD_NORM it makes the value first: norm(x + residual), or norm(x) + residual; in place allowed.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "rows.glsl"
#include "quantize.glsl"

layout(constant_id = 8) const uint KEPT = 1; // fours of a row that a lane keeps in registers; a norm wants all of them kept

const bool NORMALIZES = (MODE & 0x2000u) != 0u; // VKB_FOLD_NORM
const uint RMS = 2;                             // vkb_norm

vec4 source(uint row, uint c4) {
    const uint at = row * (push.output_stride >> 2) + c4;
    if (!NORMALIZES) return OUTPUT_F16 ? widen(output2[at]) : output4[at];
    const vec4 v = load_x4(at);
    return push.residual_stride != 0u && push.residual_at != AFTER_NORM ? v + load_residual4(at) : v;
}

vec4 kept[KEPT];

void normalize_kept(uint row, uint n4) {
    float mean = 0.0, squares = 0.0;
    if (push.norm != RMS) {
        [[unroll]] for (uint i = 0; i < KEPT; i++) mean += add4(kept[i]);
        mean = row_sum(mean, 0u) / float(push.output_width);
    }
    [[unroll]] for (uint i = 0; i < KEPT; i++) {
        const vec4 d = (kept[i] - mean) * within(4u * (row_lane() + i * LANES), push.output_width);
        squares += dot(d, d);
    }
    const float scale = inversesqrt(row_sum(squares, 1u) / float(push.output_width) + push.norm_eps);
    const bool weighted = push.norm_weight_at != NONE, biased = push.norm_bias_at != NONE;
    [[unroll]] for (uint i = 0; i < KEPT; i++) {
        const uint c = row_lane() + i * LANES;
        if (c >= n4) continue;
        const vec4 weight = vector4(weighted ? push.norm_weight_at + 4u * c : 0u), bias = vector4(biased ? push.norm_bias_at + 4u * c : 0u);
        vec4 v = (kept[i] - mean) * scale * (weighted ? weight : vec4(1.0)) + (biased ? bias : vec4(0.0));
        if (push.residual_stride != 0u && push.residual_at == AFTER_NORM) v += load_residual4(row * n4 + c);
        v *= within(4u * c, push.output_width);
        store_y4(row * n4 + c, v);
        kept[i] = v;
    }
}

void main() {
    const uint row = row_index(), n4 = row < batch_rows() ? push.output_stride >> 2 : 0u;
    [[unroll]] for (uint i = 0; i < KEPT; i++) {
        const uint c = row_lane() + i * LANES;
        const vec4 v = source(row, min(c, (push.output_stride >> 2) - 1u)); // always read: in a branch it would be waited for before the next
        kept[i] = c < n4 ? v : vec4(0.0);
    }
    if (NORMALIZES) normalize_kept(row, n4);
    float top = 0.0;
    [[unroll]] for (uint i = 0; i < KEPT; i++) top = max(top, greatest4(kept[i]));
    for (uint c = row_lane() + KEPT * LANES; c < n4; c += LANES) top = max(top, greatest4(source(row, c)));
    top = row_max(top, 0u);
    const float inverse = inverse_scale(top);
    [[unroll]] for (uint i = 0; i < KEPT; i++) {
        const uint c = row_lane() + i * LANES;
        if (c < n4) bytes_out[row * n4 + c] = quantize4(kept[i], inverse);
    }
    for (uint c = row_lane() + KEPT * LANES; c < n4; c += LANES) bytes_out[row * n4 + c] = quantize4(source(row, c), inverse);
    if (n4 != 0u && row_lane() == 0u) scales_out[push.row_count + row] = scale_of(top);
}
