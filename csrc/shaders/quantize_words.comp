#version 450
// QUANTIZE in f16 by 16-byte words: quantize_rows.comp for devices with subgroups of 32, a row in the registers of 32 lanes. With VKB_FOLD_NORM it makes the value
// first, as norm_words.comp does: norm(x + residual), or norm(x) + residual; in place allowed.
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_clustered : require
#include "common.glsl"
#include "quantize.glsl"

layout(constant_id = 7) const uint WORDS = 4; // of a lane

layout(set = 0, binding = 1) readonly buffer InputWords { uvec4 input_words[]; };
layout(set = 0, binding = 2) restrict readonly buffer ResidualWords { uvec4 residual_words[]; };
layout(set = 0, binding = 3) buffer OutputWords { uvec4 output_words[]; };
layout(set = 0, binding = 7) restrict writeonly buffer ByteWords { uvec2 byte_words[]; };

const bool NORMALIZES = (MODE & 0x2000u) != 0u; // VKB_FOLD_NORM
const uint LANES = 32, RMS = 2;                 // vkb_norm

uvec4 read[WORDS];
vec4 v[2 * WORDS]; // of NORMALIZES: the row

float add4(vec4 x) { return (x.x + x.y) + (x.z + x.w); }

vec4 vector_or(uint at, uint column, float otherwise) { return at == NONE ? vec4(otherwise) : vector4(at + column); }

// Four numbers of the value.
vec4 number(uint i) { return NORMALIZES ? v[i] : widen(i % 2 == 0 ? read[i / 2].xy : read[i / 2].zw); }

void normalize_row(uint row, uint lane, uint words) {
    const uint width = push.output_width;
    const bool before = push.residual_stride != 0u && push.residual_at != AFTER_NORM;
    const bool after = push.residual_stride != 0u && push.residual_at == AFTER_NORM;
    uvec4 added[WORDS];
    [[unroll]] for (uint i = 0; i < WORDS; i++)
        added[i] = push.residual_stride != 0u ? residual_words[row * words + min(lane + i * LANES, words - 1)] : uvec4(0);
    float sum = 0.0, squares = 0.0;
    [[unroll]] for (uint i = 0; i < 2 * WORDS; i++) {
        const uvec4 word = read[i / 2], more = added[i / 2];
        v[i] = widen(i % 2 == 0 ? word.xy : word.zw);
        if (before) v[i] += widen(i % 2 == 0 ? more.xy : more.zw);
        if (lane + i / 2 * LANES >= words) v[i] = vec4(0.0);
        sum += add4(v[i]);
    }
    const float mean = push.norm != RMS ? subgroupClusteredAdd(sum, 32) / float(width) : 0.0;
    [[unroll]] for (uint i = 0; i < 2 * WORDS; i++) {
        const vec4 d = (v[i] - mean) * within(8 * (lane + i / 2 * LANES) + 4 * (i % 2), width);
        squares += dot(d, d);
    }
    const float scale = inversesqrt(subgroupClusteredAdd(squares, 32) / float(width) + push.norm_eps);
    [[unroll]] for (uint i = 0; i < WORDS; i++) {
        const uint word = lane + i * LANES;
        if (word >= words) continue;
        uvec2 halves[2];
        [[unroll]] for (uint h = 0; h < 2; h++) {
            const uint column = 8 * word + 4 * h;
            vec4 y = (v[2 * i + h] - mean) * scale * vector_or(push.norm_weight_at, column, 1.0) + vector_or(push.norm_bias_at, column, 0.0);
            if (after) y += widen(h == 0 ? added[i].xy : added[i].zw);
            v[2 * i + h] = y * within(column, width);
            halves[h] = narrow(v[2 * i + h]);
        }
        output_words[row * words + word] = uvec4(halves[0], halves[1]);
    }
}

void main() {
    const uint lane = gl_LocalInvocationIndex % LANES, words = push.output_stride >> 3;
    const uint row = gl_WorkGroupID.y * (LOCAL_SIZE / LANES) + gl_LocalInvocationIndex / LANES;
    if (row >= batch_rows()) return; // the whole subgroup

    [[unroll]] for (uint i = 0; i < WORDS; i++) {
        const uint at = row * words + min(lane + i * LANES, words - 1);
        read[i] = NORMALIZES ? input_words[at] : output_words[at];
    }
    if (NORMALIZES) normalize_row(row, lane, words);
    float top = 0.0;
    [[unroll]] for (uint i = 0; i < 2 * WORDS; i++)
        if (lane + i / 2 * LANES < words) top = max(top, greatest4(number(i)));
    top = subgroupClusteredMax(top, 32);
    const float inverse = inverse_scale(top);
    [[unroll]] for (uint i = 0; i < WORDS; i++) {
        const uint word = lane + i * LANES;
        if (word < words) byte_words[row * words + word] = uvec2(quantize4(number(2 * i), inverse), quantize4(number(2 * i + 1), inverse));
    }
    if (lane == 0u) scales_out[push.row_count + row] = scale_of(top);
}
