// attention_options.glsl: what ATTENTION's options do to scores and keys (vkbert.h says what each is). MODE's bits say which there are, vkb_attention
// in vk_kernel.h; a plain attention, MODE 0, keeps none of this in its code.

const bool GROUPED = (MODE & 1u) != 0u;   // fewer heads of keys and values than of queries
const bool CAUSAL = (MODE & 2u) != 0u;
const bool WINDOW = (MODE & 4u) != 0u;
const bool DISTANCES = (MODE & 8u) != 0u; // WEIGHT: [heads, 2·reach_weight + 1]
const bool SLOPES = (MODE & 16u) != 0u;   // VECTORS from bias_at on: [heads]
const bool POSITIONS = (MODE & 32u) != 0u; // POSITION: [2·reach_position + 1, heads·head_size]
const bool TYPES = (MODE & 64u) != 0u;     // TYPE: [2·reach_type + 1, heads·head_size]
const bool DISTANCES_F16 = (MODE & 128u) != 0u, POSITIONS_F16 = (MODE & 256u) != 0u, TYPES_F16 = (MODE & 512u) != 0u;
const bool MASKED = CAUSAL || WINDOW;

// `apart` is i − j: how far query i is behind key j.

bool seen(int apart) { return !(CAUSAL && apart < 0) && !(WINDOW && uint(abs(apart)) > push.window); }

// 0 for scores that are LOWEST: keys that are not there or not seen. As long as a row has seen no key its maximum is LOWEST too.
vec4 unmasked(vec4 s) { return vec4(greaterThan(s, vec4(0.5 * LOWEST))); }

// The first key that any of the tile's queries sees, and the one past the last.
uvec2 key_range(QueryTile tile, uint queries) {
    uvec2 range = uvec2(0, tile.tokens);
    const uint last = tile.query + queries - 1;
    if (WINDOW && tile.query > push.window) range.x = tile.query - push.window;
    if (WINDOW && tile.tokens - 1 - last > push.window) range.y = last + push.window + 1;
    if (CAUSAL) range.y = min(range.y, last + 1);
    return range;
}

uint entry(int apart, uint reach) { return uint(clamp(apart, -int(reach), int(reach)) + int(reach)); }

// What is added to a pair's score, in units that exp2 takes.
float pair_bias(int apart) {
    float bias = 0.0;
    if (DISTANCES) {
        uint stride = (2 * push.reach_weight + 64u) & ~63u, at = gl_WorkGroupID.x * stride + entry(-apart, push.reach_weight);
        bias += DISTANCES_F16 ? unpackHalf2x16(weight1[at >> 1])[at & 1u] : uintBitsToFloat(weight1[at]);
    }
    if (SLOPES) bias -= vector1(push.bias_at + gl_WorkGroupID.x) * float(abs(apart));
    return LOG2E * bias;
}

// Four floats from d on of this head in a table's row for this distance; zeros past the head. Rows are output_stride elements apart.
#define TABLE_ROW(NAME, THERE, F16, REACH, WORDS1, WORDS2, WORDS4)                                                      \
    vec4 NAME(int apart, uint d) {                                                                                      \
        vec4 v = vec4(0.0);                                                                                             \
        if (!(THERE)) return v;                                                                                         \
        uint at = entry(apart, REACH) * push.output_stride + gl_WorkGroupID.x * push.head_size + d;                     \
        if ((push.head_size & 3u) == 0u) return F16 ? widen(WORDS2[at >> 2]) : uintBitsToFloat(WORDS4[at >> 2]);        \
        [[unroll]] for (uint i = 0; i < 4; i++)                                                                         \
            if (d + i < push.head_size)                                                                                 \
                v[i] = F16 ? unpackHalf2x16(WORDS1[(at + i) >> 1])[(at + i) & 1u] : uintBitsToFloat(WORDS1[at + i]);    \
        return v;                                                                                                       \
    }
TABLE_ROW(position_row, POSITIONS, POSITIONS_F16, push.reach_position, position1, position2, position4)
TABLE_ROW(type_row, TYPES, TYPES_F16, push.reach_type, type1, type2, type4)
