#version 450
// NORM in f16 by 16-byte words: norm_rows.comp for devices with subgroups of 32, a row in the registers of LANES lanes. In place allowed: a word is read before it is
// written, by the same lane.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(constant_id = 7) const uint WORDS = 4; // of a lane

#include "norm_words.glsl"

layout(set = 0, binding = 1) readonly buffer InputWords { uvec4 input_words[]; };
layout(set = 0, binding = 2) restrict readonly buffer ResidualWords { uvec4 residual_words[]; };
layout(set = 0, binding = 3) writeonly buffer OutputWords { uvec4 output_words[]; };

void main() {
    const uint lane = gl_LocalInvocationIndex % LANES, words = push.output_stride >> 3;
    const uint row = gl_WorkGroupID.y * (LOCAL_SIZE / LANES) + gl_LocalInvocationIndex / LANES;
    const bool before = push.residual_stride != 0u && push.residual_at != AFTER_NORM;
    const bool after = push.residual_stride != 0u && push.residual_at == AFTER_NORM;
    if (row >= batch_rows()) return; // all of the row's lanes

    uvec4 read[WORDS], added[WORDS];
    [[unroll]] for (uint i = 0; i < WORDS; i++) {
        const uint at = row * words + min(lane + i * LANES, words - 1);
        read[i] = input_words[at];
        added[i] = push.residual_stride != 0u ? residual_words[at] : uvec4(0);
    }
    [[unroll]] for (uint i = 0; i < FOURS; i++) {
        v[i] = four_of(read[i / 2], i, lane, words);
        if (before) v[i] += four_of(added[i / 2], i, lane, words);
    }
    if (push.norm != 0u) normalize_words(lane);
    [[unroll]] for (uint i = 0; i < WORDS; i++) {
        const uint word = lane + i * LANES;
        if (word >= words) continue;
        uvec2 halves[2];
        [[unroll]] for (uint h = 0; h < 2; h++) {
            vec4 y = v[2 * i + h];
            if (after) y += four_of(added[i], 2 * i + h, lane, words);
            halves[h] = narrow(y * within(column_of(2 * i + h, lane), push.output_width));
        }
        output_words[row * words + word] = uvec4(halves[0], halves[1]);
    }
}
