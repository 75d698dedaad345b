#version 450
// QUANTIZE in f16 by 16-byte words: quantize_rows.comp for devices with subgroups of 32, a row in the registers of LANES lanes. With VKB_FOLD_NORM it makes the value
// first, as norm_words.comp does: norm(x + residual), or norm(x) + residual; in place allowed.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(constant_id = 7) const uint WORDS = 4; // of a lane

#include "norm_words.glsl"
#include "quantize.glsl"

layout(set = 0, binding = 1) readonly buffer InputWords { uvec4 input_words[]; };
layout(set = 0, binding = 2) restrict readonly buffer ResidualWords { uvec4 residual_words[]; };
layout(set = 0, binding = 3) buffer OutputWords { uvec4 output_words[]; };
layout(set = 0, binding = 7) restrict writeonly buffer ByteWords { uvec2 byte_words[]; };

const bool NORMALIZES = (MODE & 0x2000u) != 0u; // VKB_FOLD_NORM

uvec4 read[WORDS], added[WORDS];

void normalize_row(uint row, uint lane, uint words) {
    const bool after = push.residual_at == AFTER_NORM; // what is added is zero where there is no residual
    [[unroll]] for (uint i = 0; i < FOURS; i++)
        if (!after) v[i] += four_of(added[i / 2], i, lane, words);
    normalize_words(lane);
    [[unroll]] for (uint i = 0; i < FOURS; i++) {
        if (after) v[i] += four_of(added[i / 2], i, lane, words);
        v[i] *= within(column_of(i, lane), push.output_width);
    }
    [[unroll]] for (uint i = 0; i < WORDS; i++)
        if (lane + i * LANES < words) output_words[row * words + lane + i * LANES] = uvec4(narrow(v[2 * i]), narrow(v[2 * i + 1]));
}

void store_bytes(uint row, uint lane, uint words) {
    float top = 0.0;
    [[unroll]] for (uint i = 0; i < FOURS; i++) top = max(top, greatest4(v[i]));
    top = row_max(top);
    const float inverse = inverse_scale(top);
    [[unroll]] for (uint i = 0; i < WORDS; i++) {
        const uint word = lane + i * LANES;
        if (word < words) byte_words[row * words + word] = uvec2(quantize4(v[2 * i], inverse), quantize4(v[2 * i + 1], inverse));
    }
    if (lane == 0u) scales_out[push.row_count + row] = scale_of(top);
}

void main() {
    const uint lane = gl_LocalInvocationIndex % LANES, words = push.output_stride >> 3;
    const uint row = gl_WorkGroupID.y * (LOCAL_SIZE / LANES) + gl_LocalInvocationIndex / LANES;
    if (row >= batch_rows()) return; // all of the row's lanes

    [[unroll]] for (uint i = 0; i < WORDS; i++) {
        const uint at = row * words + min(lane + i * LANES, words - 1);
        read[i] = NORMALIZES ? input_words[at] : output_words[at];
        added[i] = NORMALIZES && push.residual_stride != 0u ? residual_words[at] : uvec4(0);
    }
    [[unroll]] for (uint i = 0; i < FOURS; i++) v[i] = four_of(read[i / 2], i, lane, words);
    if (NORMALIZES) normalize_row(row, lane, words);
    store_bytes(row, lane, words);
}
