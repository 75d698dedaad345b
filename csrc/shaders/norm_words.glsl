// norm_words.glsl: the norm of a row in the registers of LANES lanes, which hold WORDS 16-byte words of it each: the eight columns of word lane + LANES·i are
// v[2·i] and v[2·i + 1]. The mean first, then the variance from it, as norm.glsl does.

#extension GL_KHR_shader_subgroup_clustered : require

layout(constant_id = 8) const uint LANES = 32; // 16 or 32

const uint RMS = 2; // vkb_norm
const uint FOURS = 2 * WORDS;

vec4 v[FOURS]; // the row

float row_sum(float v) { return LANES == 16 ? subgroupClusteredAdd(v, 16) : subgroupClusteredAdd(v, 32); }
float row_max(float v) { return LANES == 16 ? subgroupClusteredMax(v, 16) : subgroupClusteredMax(v, 32); }

float add4(vec4 v) { return (v.x + v.y) + (v.z + v.w); }

vec4 vector_or(uint at, uint column, float otherwise) { return at == NONE ? vec4(otherwise) : vector4(at + column); }

// Where four i of a lane begins.
uint column_of(uint i, uint lane) { return 8 * (lane + i / 2 * LANES) + 4 * (i % 2); }

// Zeros past the row's `words`.
vec4 four_of(uvec4 word, uint i, uint lane, uint words) {
    return lane + i / 2 * LANES < words ? widen(i % 2 == 0 ? word.xy : word.zw) : vec4(0.0);
}

void normalize_words(uint lane) {
    const uint width = push.output_width;
    float sum = 0.0, squares = 0.0;
    [[unroll]] for (uint i = 0; i < FOURS; i++) sum += add4(v[i]);
    const float mean = push.norm != RMS ? row_sum(sum) / float(width) : 0.0;
    [[unroll]] for (uint i = 0; i < FOURS; i++) {
        const vec4 d = (v[i] - mean) * within(column_of(i, lane), width);
        squares += dot(d, d);
    }
    const float scale = inversesqrt(row_sum(squares) / float(width) + push.norm_eps);
    [[unroll]] for (uint i = 0; i < FOURS; i++) {
        const uint column = column_of(i, lane);
        if (8 * (lane + i / 2 * LANES) < push.output_stride)
            v[i] = (v[i] - mean) * scale * vector_or(push.norm_weight_at, column, 1.0) + vector_or(push.norm_bias_at, column, 0.0);
    }
}
