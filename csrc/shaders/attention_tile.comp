#version 450
// ATTENTION by tiles through shared memory, online softmax in f32, no subgroup operation.
//
// A workgroup takes BQ queries of one sequence and one head, and walks over its keys BK at a time: S = Q·Kᵀ and O += P·V are both register-tiled
// products, 4 rows an invocation; 8 neighbouring invocations share the same 4 rows. Q and K lie with the head's dimension outermost, P with the key
// outermost, so that an invocation reads four rows by one 16-byte load. P's rows are swapped about by the key (an exclusive or), so that the 8
// invocations that write side by side meet different banks. A row's maximum takes one exchange a step; its sum only one at the very end, since
// each invocation can keep the sum of its own keys. K and V share one place, and so do P and the exchange.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "attention.glsl"

layout(constant_id = 7) const uint BQ = 32; // LOCAL_SIZE / 2, at least 16, a power of two
layout(constant_id = 8) const uint BK = 32; // multiple of 32
layout(constant_id = 9) const uint D = 64;  // head size, rounded up: multiple of 32

const uint Q4 = BQ / 4, K4 = BK / 4, D4 = D / 4;
const uint GK = BK / 32, GD = D / 32;   // 16-byte groups of an invocation, of keys and of dimensions
const uint SWAP = Q4 < 8 ? Q4 - 1 : 7; // mask

shared vec4 tile_q[D * Q4];       // [d][query / 4]
shared vec4 tile_kv[D * K4];      // K: [d][key / 4]; V: [key][d / 4]
shared vec4 tile_p[BK * Q4];      // [key][query / 4, swapped]; or [query / 4][8], one word of the exchange an invocation

const uint V_LOADS = BK * D4 / LOCAL_SIZE;

// Rows row0 … of q or k, ROOM fours of them, turned so that d is outermost; zeros from ROWS on.
#define LOAD_TURNED(TILE, PART, ROW0, ROWS, ROOM, FACTOR)                                                \
    for (uint b = t; b < (ROOM) * D4; b += LOCAL_SIZE) {                                                 \
        uint lanes = (ROOM) < 8 ? (ROOM) : 8;                                                            \
        uint r4 = b % lanes + b / (lanes * D4) * lanes, d4 = b / lanes % D4;                             \
        mat4 m = (FACTOR) * transpose(load_block(PART, ROW0, 4 * r4, ROWS, 4 * d4));                     \
        [[unroll]] for (uint i = 0; i < 4; i++) TILE[(4 * d4 + i) * (ROOM) + r4] = m[i];                 \
    }

// All 8 parts of this invocation's 4 rows, one after the other.
#define EXCHANGE(WORD, INTO, JOIN)                                         \
    tile_p[t] = WORD;                                                      \
    barrier();                                                             \
    [[unroll]] for (uint l = 0; l < 8; l++) INTO = JOIN(INTO, tile_p[t - tx + l]);

vec4 join_add(vec4 a, vec4 b) { return a + b; }
vec4 join_max(vec4 a, vec4 b) { return max(a, b); }

void main() {
    const QueryTile tile = query_tile();
    const uint t = gl_LocalInvocationIndex, tx = t % 8, ty = t / 8;
    const uint queries = min(BQ, tile.tokens - tile.query);
    const uint d_end = (push.head_size + 3u) & ~3u;

    LOAD_TURNED(tile_q, QUERIES, tile.first + tile.query, queries, Q4, push.scale * LOG2E)

    vec4 top = vec4(LOWEST), sum = vec4(0.0); // of rows 4·ty …; the sum is of this invocation's keys alone
    vec4 o[4][GD];
    [[unroll]] for (uint i = 0; i < 4; i++)
        [[unroll]] for (uint g = 0; g < GD; g++) o[i][g] = vec4(0.0);

    const uvec2 range = key_range(tile, queries);
    for (uint key0 = range.x; key0 < range.y; key0 += BK) {
        const uint keys = min(BK, range.y - key0);
        barrier(); // V and P of the last step have been read
        LOAD_TURNED(tile_kv, KEYS, tile.first + key0, keys, K4, 1.0)
        vec4 v[V_LOADS]; // on its way while the scores are made
        [[unroll]] for (uint i = 0; i < V_LOADS; i++) {
            uint b = t + i * LOCAL_SIZE;
            v[i] = load_row(VALUES, tile.first + key0, b / D4, keys, b % D4 * 4);
        }
        barrier();

        vec4 s[4][GK];
        [[unroll]] for (uint i = 0; i < 4; i++)
            [[unroll]] for (uint g = 0; g < GK; g++) s[i][g] = vec4(0.0);
        for (uint d0 = 0; d0 < d_end; d0 += 4) {
            [[unroll]] for (uint d = 0; d < 4; d++) {
                vec4 q = tile_q[(d0 + d) * Q4 + ty];
                [[unroll]] for (uint g = 0; g < GK; g++) {
                    vec4 k = tile_kv[(d0 + d) * K4 + tx + 8 * g];
                    [[unroll]] for (uint i = 0; i < 4; i++) s[i][g] = fma(vec4(q[i]), k, s[i][g]);
                }
            }
        }

        if (MODE != 0u) {
            [[unroll]] for (uint g = 0; g < GK; g++) {
                const int apart = int(tile.query + 4 * ty) - int(key0 + 4 * (tx + 8 * g)); // of the first of 4 × 4 pairs
                if (POSITIONS || TYPES) { // four dimensions at a time: the pairs are at seven distances
                    for (uint d0 = 0; d0 < d_end; d0 += 4) {
                        vec4 c2p[7], p2c[7];
                        [[unroll]] for (int r = 0; r < 7; r++) {
                            c2p[r] = position_row(apart + r - 3, d0);
                            p2c[r] = push.scale * LOG2E * type_row(apart + r - 3, d0);
                        }
                        [[unroll]] for (uint d = 0; d < 4; d++) {
                            vec4 q = tile_q[(d0 + d) * Q4 + ty], k = tile_kv[(d0 + d) * K4 + tx + 8 * g];
                            [[unroll]] for (int i = 0; i < 4; i++)
                                [[unroll]] for (int j = 0; j < 4; j++)
                                    s[i][g][j] = fma(q[i], c2p[i - j + 3][d], fma(k[j], p2c[i - j + 3][d], s[i][g][j]));
                        }
                    }
                }
                [[unroll]] for (int i = 0; i < 4; i++)
                    [[unroll]] for (int j = 0; j < 4; j++) s[i][g][j] = seen(apart + i - j) ? s[i][g][j] + pair_bias(apart + i - j) : LOWEST;
            }
        }

        vec4 part = vec4(LOWEST);
        [[unroll]] for (uint g = 0; g < GK; g++) {
            vec4 real = within(4 * (tx + 8 * g), keys);
            [[unroll]] for (uint i = 0; i < 4; i++) {
                s[i][g] = mix(vec4(LOWEST), s[i][g], bvec4(real));
                part[i] = max(part[i], max(max(s[i][g].x, s[i][g].y), max(s[i][g].z, s[i][g].w)));
            }
        }
        vec4 new_top = top;
        EXCHANGE(part, new_top, join_max)
        vec4 shrink = exp2(top - new_top);
        top = new_top;
        barrier(); // the exchange has been read

        sum *= shrink;
        [[unroll]] for (uint g = 0; g < GK; g++) {
            vec4 real = within(4 * (tx + 8 * g), keys);
            mat4 p;
            [[unroll]] for (uint i = 0; i < 4; i++) {
                p[i] = (MASKED ? unmasked(s[i][g]) : real) * exp2(s[i][g] - top[i]);
                sum[i] += (p[i].x + p[i].y) + (p[i].z + p[i].w);
            }
            p = transpose(p);
            [[unroll]] for (uint j = 0; j < 4; j++) tile_p[(4 * (tx + 8 * g) + j) * Q4 + (ty ^ (tx & SWAP))] = p[j];
        }
        [[unroll]] for (uint i = 0; i < V_LOADS; i++) tile_kv[t + i * LOCAL_SIZE] = v[i];
        [[unroll]] for (uint i = 0; i < 4; i++)
            [[unroll]] for (uint g = 0; g < GD; g++) o[i][g] *= shrink[i];
        barrier();

        for (uint k4 = 0; 4 * k4 < keys; k4++) {
            [[unroll]] for (uint j = 0; j < 4; j++) {
                vec4 p = tile_p[(4 * k4 + j) * Q4 + (ty ^ (k4 & SWAP))];
                [[unroll]] for (uint g = 0; g < GD; g++) {
                    vec4 v = tile_kv[(4 * k4 + j) * D4 + tx + 8 * g];
                    [[unroll]] for (uint i = 0; i < 4; i++) o[i][g] = fma(vec4(p[i]), v, o[i][g]);
                }
            }
        }
    }

    barrier();
    vec4 all = vec4(0.0);
    EXCHANGE(sum, all, join_add)
    const uint row = tile.first + tile.query;
    [[unroll]] for (uint i = 0; i < 4; i++)
        if (4 * ty + i < queries)
            [[unroll]] for (uint g = 0; g < GD; g++) store_head(row + 4 * ty + i, 4 * (tx + 8 * g), o[i][g] / all[i]);
    store_padding(row, queries);
}
