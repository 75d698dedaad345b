#version 450
// Of a LINEAR whose input has a norm with weights γ, β: each output's Σ γw, and Σ βw + bias, for linear_short.comp. Once a program; an invocation an output.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#define ADDRESSES
#include "common.glsl"

layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Words { uint at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Floats { vec4 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) writeonly buffer Results { vec2 at[]; };

// Elements k … k + 3 of a VECTOR; `other` if there is none.
vec4 four_or(uint at, uint k, float other) {
    if (at == NONE) return vec4(other);
    return Floats(packUint2x32(push.vectors_address)).at[(at + k) >> 2];
}

void main() {
    const uint n = gl_WorkGroupID.x * LOCAL_SIZE + gl_LocalInvocationIndex, steps = push.input_stride >> 4;
    if (n >= push.output_stride) return;
    Words weight = Words(packUint2x32(push.weight_address));
    vec2 sums = vec2(0.0);
    for (uint k = 0; k < push.input_stride; k += 4u) {
        const uint word = (((n >> 6) * steps + (k >> 4)) * 4u + (n >> 4 & 3u)) * 128u + (n & 7u) * 16u + (k >> 2 & 1u) * 8u + (n >> 3 & 1u) * 2u + (k >> 3 & 1u);
        const vec4 w = widen(uvec2(weight.at[word], weight.at[word + 4u]));
        sums.x += dot(widen(narrow(four_or(push.norm_weight_at, k, 1.0))), w); // rounded as it is there
        sums.y += dot(four_or(push.norm_bias_at, k, 0.0), w);
    }
    sums.y += four_or(push.bias_at, n & ~3u, 0.0)[n & 3u];
    Results(packUint2x32(push.sums_address)).at[n] = sums;
}
