#version 450
// NORM in f16 by 16-byte words: norm_rows.comp for devices with subgroups of 32, a row in the registers of 32 lanes. In place allowed: a word is read before it is
// written, by the same lane.
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_clustered : require
#include "common.glsl"

layout(constant_id = 7) const uint WORDS = 4; // of a lane

layout(set = 0, binding = 1) readonly buffer InputWords { uvec4 input_words[]; };
layout(set = 0, binding = 2) restrict readonly buffer ResidualWords { uvec4 residual_words[]; };
layout(set = 0, binding = 3) writeonly buffer OutputWords { uvec4 output_words[]; };

const uint LANES = 32, RMS = 2; // vkb_norm

float add4(vec4 v) { return (v.x + v.y) + (v.z + v.w); }

vec4 vector_or(uint at, uint column, float otherwise) { return at == NONE ? vec4(otherwise) : vector4(at + column); }

void main() {
    const uint lane = gl_LocalInvocationIndex % LANES;
    const uint row = gl_WorkGroupID.y * (LOCAL_SIZE / LANES) + gl_LocalInvocationIndex / LANES;
    const uint words = push.output_stride >> 3, width = push.output_width;
    const bool before = push.residual_stride != 0u && push.residual_at != AFTER_NORM;
    const bool after = push.residual_stride != 0u && push.residual_at == AFTER_NORM;
    if (row >= batch_rows()) return; // the whole subgroup

    uvec4 read[WORDS], added[WORDS];
    [[unroll]] for (uint i = 0; i < WORDS; i++) read[i] = input_words[row * words + min(lane + i * LANES, words - 1)];
    [[unroll]] for (uint i = 0; i < WORDS; i++)
        added[i] = push.residual_stride != 0u ? residual_words[row * words + min(lane + i * LANES, words - 1)] : uvec4(0);

    vec4 v[2 * WORDS]; // zeros past the row
    float sum = 0.0;
    [[unroll]] for (uint i = 0; i < 2 * WORDS; i++) {
        const uvec4 word = read[i / 2], more = added[i / 2];
        v[i] = widen(i % 2 == 0 ? word.xy : word.zw);
        if (before) v[i] += widen(i % 2 == 0 ? more.xy : more.zw);
        if (lane + i / 2 * LANES >= words) v[i] = vec4(0.0);
        sum += add4(v[i]);
    }

    float mean = 0.0, scale = 1.0;
    if (push.norm != 0u) {
        if (push.norm != RMS) mean = subgroupClusteredAdd(sum, 32) / float(width);
        float squares = 0.0;
        [[unroll]] for (uint i = 0; i < 2 * WORDS; i++) {
            const vec4 d = (v[i] - mean) * within(8 * (lane + i / 2 * LANES) + 4 * (i % 2), width);
            squares += dot(d, d);
        }
        scale = inversesqrt(subgroupClusteredAdd(squares, 32) / float(width) + push.norm_eps);
    }

    [[unroll]] for (uint i = 0; i < WORDS; i++) {
        const uint word = lane + i * LANES;
        if (word >= words) continue;
        uvec2 halves[2];
        [[unroll]] for (uint h = 0; h < 2; h++) {
            const uint column = 8 * word + 4 * h;
            vec4 y = (v[2 * i + h] - mean) * scale * vector_or(push.norm_weight_at, column, 1.0) + vector_or(push.norm_bias_at, column, 0.0);
            if (after) y += widen(h == 0 ? added[i].xy : added[i].zw);
            halves[h] = narrow(y * within(column, width));
        }
        output_words[row * words + word] = uvec4(halves[0], halves[1]);
    }
}
