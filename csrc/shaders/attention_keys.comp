#version 450
// ATTENTION with a key an invocation, four queries a workgroup, online softmax in f32, any head size up to 256, no subgroup operation. For what does not fit
// attention_tile, and for few queries, where many small workgroups answer sooner.
//
// Scores: each invocation multiplies its own key with the four queries, which lie side by side in one 16-byte word a dimension. Then each invocation
// takes every LOCAL_SIZE-th dimension of the values and walks over the keys.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "attention.glsl"

layout(constant_id = 7) const uint D = 256; // head size, rounded up: multiple of LOCAL_SIZE

const uint DIMENSIONS = D / LOCAL_SIZE; // of an invocation

shared vec4 tile_q[D];          // [d], four queries each
shared vec4 tile_p[LOCAL_SIZE]; // [key]

void main() {
    const QueryTile tile = query_tile();
    const uint t = gl_LocalInvocationIndex, queries = min(4, tile.tokens - tile.query), row = tile.first + tile.query;

    for (uint d = t; d < D; d += LOCAL_SIZE) {
        vec4 q = vec4(0.0);
        for (uint i = 0; i < queries && d < push.head_size; i++) q[i] = push.scale * LOG2E * load_x(head_at(row + i, QUERIES) + d);
        tile_q[d] = q;
    }

    vec4 top = vec4(LOWEST), sum = vec4(0.0), o[DIMENSIONS];
    [[unroll]] for (uint i = 0; i < DIMENSIONS; i++) o[i] = vec4(0.0);
    barrier();

    const uvec2 range = key_range(tile, queries);
    for (uint key0 = range.x; key0 < range.y; key0 += LOCAL_SIZE) {
        const uint keys = min(LOCAL_SIZE, range.y - key0);
        vec4 s = vec4(0.0);
        if (t < keys) {
            const uint at = head_at(tile.first + key0 + t, KEYS);
            const int apart = int(tile.query) - int(key0 + t); // of the first query
            for (uint d = 0; d < push.head_size; d += 4) {
                vec4 k = load_head(at, d);
                s = fma(vec4(k.x), tile_q[d], s);
                s = fma(vec4(k.y), tile_q[d + 1], s);
                s = fma(vec4(k.z), tile_q[d + 2], s);
                s = fma(vec4(k.w), tile_q[d + 3], s);
                [[unroll]] for (int i = 0; i < 4; i++) {
                    if (POSITIONS)
                        s[i] += dot(position_row(apart + i, d), vec4(tile_q[d][i], tile_q[d + 1][i], tile_q[d + 2][i], tile_q[d + 3][i]));
                    if (TYPES) s[i] += push.scale * LOG2E * dot(type_row(apart + i, d), k);
                }
            }
            if (MODE != 0u)
                [[unroll]] for (int i = 0; i < 4; i++) s[i] = seen(apart + i) ? s[i] + pair_bias(apart + i) : LOWEST;
        }
        tile_p[t] = s;
        barrier();
        vec4 new_top = top;
        for (uint j = 0; j < keys; j++) new_top = max(new_top, tile_p[j]);
        vec4 shrink = exp2(top - new_top);
        top = new_top;
        sum *= shrink;
        [[unroll]] for (uint i = 0; i < DIMENSIONS; i++) o[i] *= shrink;
        barrier(); // the scores have been read
        tile_p[t] = MASKED ? unmasked(s) * exp2(s - top) : exp2(s - top);
        barrier();
        for (uint j = 0; j < keys; j++) {
            vec4 p = tile_p[j];
            sum += p;
            uint at = head_at(tile.first + key0 + j, VALUES);
            [[unroll]] for (uint i = 0; i < DIMENSIONS; i++)
                o[i] = fma(p, vec4(load_x(at + min(t + i * LOCAL_SIZE, push.head_size - 1))), o[i]); // past the head its last element, for nothing
        }
        barrier(); // the next scores come to the same place
    }

    // Through the queries' place, so that four dimensions are stored at once.
    [[unroll]] for (uint i = 0; i < DIMENSIONS; i++) tile_q[t + i * LOCAL_SIZE] = o[i] / sum;
    barrier();
    for (uint d4 = t; d4 < D / 4; d4 += LOCAL_SIZE) {
        mat4 v = transpose(mat4(tile_q[4 * d4], tile_q[4 * d4 + 1], tile_q[4 * d4 + 2], tile_q[4 * d4 + 3]));
        for (uint r = 0; r < queries; r++) store_head(row + r, 4 * d4, v[r]);
    }
    store_padding(row, queries);
}
