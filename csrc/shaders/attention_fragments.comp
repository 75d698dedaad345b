#version 450
// ATTENTION in f16 by matrix hardware for both products, online softmax in f32 on the fragments themselves, whose layout is known (VKB_NEED_FRAGMENTS, as
// probe_fragments.comp checks): what an invocation holds of the scores is, rounded, what it has to hold of the left operand of P·V.
//
// A workgroup takes LOCAL_SIZE / 32 · 16 · TILES queries of one sequence and one head, a subgroup 16 · TILES of them, and walks over the keys BK at a time, which
// come through shared memory while the last ones are worked on. A row's scores lie in four neighbouring lanes: its maximum takes two exchanges a step, its sum
// two at the very end. Keys past the sequence or out of the window are never loaded in whole blocks; the ones in a block are the last row again, with weight 0.
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "matrix.glsl"
#include "common.glsl"
#include "attention.glsl"

layout(constant_id = 7) const uint BK = 64;   // keys at a time: multiple of 16
layout(constant_id = 8) const uint D = 32;    // head size, rounded up: multiple of 16
layout(constant_id = 9) const uint TILES = 1; // of 16 queries a subgroup

layout(set = 0, binding = 1) readonly buffer InputWords { uvec4 input_words[]; };
layout(set = 0, binding = 3) writeonly buffer OutputWords { uvec4 output_words[]; };

const uint WORDS = D / 8, ROW = WORDS + 1; // of a head's row, and from row to row in shared memory (the banks)
const uint STEPS = D / 16, SETS = BK / 16; // of 16 dimensions; of 16 keys
const uint LOADS = (BK * WORDS + LOCAL_SIZE - 1) / LOCAL_SIZE;

const float LEFT_OUT = -1.0e30; // a score below any of f16 operands, which stays finite whatever it is multiplied with

const uint ROWS = BK > LOCAL_SIZE / 2 ? BK : LOCAL_SIZE / 2; // keys; before and after the walk 16 queries or results of each subgroup
shared uvec4 tile_k[ROWS * ROW];
shared uvec4 tile_v[BK * ROW];

uvec4 k_ahead[LOADS], v_ahead[LOADS];

// Past a head's end comes its last word again: of a key it meets zeros of the query, of a value it goes to results that are not stored.
void load_keys(uint first, uint key0, uint end) {
    const uint stride = push.input_stride >> 3, keys_at = head_at(0, KEYS) >> 3, values_at = head_at(0, VALUES) >> 3;
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        const uint w = gl_LocalInvocationIndex + i * LOCAL_SIZE;
        const uint at = (first + min(key0 + w / WORDS, end - 1)) * stride + min(w % WORDS, (push.head_size >> 3) - 1);
        k_ahead[i] = input_words[at + keys_at];
        v_ahead[i] = input_words[at + values_at];
    }
}

void keep_keys() {
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        const uint w = gl_LocalInvocationIndex + i * LOCAL_SIZE, at = w / WORDS * ROW + w % WORDS;
        if (BK * WORDS % LOCAL_SIZE != 0 && w >= BK * WORDS) continue;
        tile_k[at] = k_ahead[i];
        tile_v[at] = v_ahead[i];
    }
}

void main() {
    const QueryTile tile = query_tile();
    const uint lane = gl_SubgroupInvocationID, subgroup = gl_LocalInvocationIndex / 32;
    const uint queries = min(LOCAL_SIZE / 2 * TILES, tile.tokens - tile.query); // of the workgroup
    const uint mine = subgroup * 16 * TILES;                                     // this subgroup's first one
    const uint staged = subgroup * 16 * ROW;                                     // its part of tile_k, before and after the walk
    const uint row0 = tile.first + tile.query;

    const uvec2 range = key_range(tile, queries);
    load_keys(tile.first, range.x, range.y);

    MATRIX_A(16, 16) q[TILES][STEPS];
    [[unroll]] for (uint r = 0; r < TILES; r++) {
        [[unroll]] for (uint i = 0; i < STEPS; i++) {
            const uint w = i * 32 + lane, row = min(mine + 16 * r + w / WORDS, queries - 1);
            const bool there = 8 * (w % WORDS) < push.head_size;
            const uvec4 word = input_words[(head_at(row0 + row, QUERIES) >> 3) + (there ? w % WORDS : 0)];
            tile_k[staged + w / WORDS * ROW + w % WORDS] = there ? word : uvec4(0);
        }
        subgroupBarrier();
        [[unroll]] for (uint d = 0; d < STEPS; d++) coopMatLoad(q[r][d], tile_k, staged + 2 * d, ROW, gl_CooperativeMatrixLayoutRowMajor);
        subgroupBarrier();
    }

    MATRIX_SUM(16, 16) o[TILES][STEPS];
    float top[TILES][2], sum[TILES][2]; // of rows lane / 4 and lane / 4 + 8; the sum is of this lane's keys alone
    [[unroll]] for (uint r = 0; r < TILES; r++) {
        [[unroll]] for (uint d = 0; d < STEPS; d++) o[r][d] = MATRIX_SUM(16, 16)(0.0);
        top[r][0] = top[r][1] = LEFT_OUT;
        sum[r][0] = sum[r][1] = 0.0;
    }

    // Scores are made ready for exp2 element by element where they have options; else by the one multiplication and addition that exp2 wants anyway, whose factor
    // must be positive.
    const bool plain = (MODE & ~1u) == 0u; // but for grouped heads
    const float factor = plain ? max(abs(push.scale) * LOG2E, 1.0e-30) : 1.0;
    if (plain && push.scale < 0.0)
        [[unroll]] for (uint r = 0; r < TILES; r++)
            [[unroll]] for (uint d = 0; d < STEPS; d++) q[r][d] = -q[r][d];
    [[dont_unroll]] for (uint key0 = range.x; key0 < range.y; key0 += BK) {
        barrier(); // the last keys and values have been read
        keep_keys();
        barrier();
        if (key0 + BK < range.y) load_keys(tile.first, key0 + BK, range.y);
        if (mine >= queries) continue;
        MATRIX_SUM(16, 16) s[TILES][SETS];
        [[unroll]] for (uint t = 0; t < SETS; t++) {
            MATRIX_SUM(16, 16) start; // a key past the end is left out from the start: no branch, nothing to change afterwards
            [[unroll]] for (uint e = 0; e < 4; e++)
                start[e] = start[e + 4] = key0 + 16 * t + 2 * (lane % 4) + e % 2 + 8 * (e / 2) < range.y ? 0.0 : LEFT_OUT;
            [[unroll]] for (uint r = 0; r < TILES; r++) s[r][t] = start;
            [[unroll]] for (uint d = 0; d < STEPS; d++) {
                MATRIX_B(16, 16) k;
                coopMatLoad(k, tile_k, t * 16 * ROW + 2 * d, ROW, gl_CooperativeMatrixLayoutColumnMajor);
                [[unroll]] for (uint r = 0; r < TILES; r++) s[r][t] = coopMatMulAdd(q[r][d], k, s[r][t]);
            }
        }
        if (!plain)
            [[unroll]] for (uint r = 0; r < TILES; r++)
                [[unroll]] for (uint t = 0; t < SETS; t++)
                    [[unroll]] for (uint e = 0; e < 8; e++) {
                        const uint key = key0 + 16 * t + 2 * (lane % 4) + e % 2 + 8 * (e / 2 % 2);
                        const int apart = int(tile.query + mine + 16 * r + lane / 4 + 8 * (e / 4)) - int(key);
                        const bool there = key < range.y && seen(apart);
                        s[r][t][e] = there ? push.scale * LOG2E * s[r][t][e] + pair_bias(apart) : LEFT_OUT;
                    }
        MATRIX_A(16, 16) p[TILES][SETS];
        [[unroll]] for (uint r = 0; r < TILES; r++)
            [[unroll]] for (uint h = 0; h < 2; h++) {
                float m = top[r][h];
                [[unroll]] for (uint t = 0; t < SETS; t++)
                    [[unroll]] for (uint e = 4 * h; e < 4 * h + 4; e++) m = max(m, s[r][t][e]);
                m = max(m, subgroupShuffleXor(m, 1));
                m = max(m, subgroupShuffleXor(m, 2));
                const float shrink = exp2(factor * (top[r][h] - m)), off = -factor * m;
                top[r][h] = m;
                float part = 0.0;
                [[unroll]] for (uint t = 0; t < SETS; t++)
                    [[unroll]] for (uint e = 4 * h; e < 4 * h + 4; e++) {
                        float v = exp2(fma(s[r][t][e], factor, off));
                        if (MASKED && s[r][t][e] <= 0.5 * LEFT_OUT) v = 0.0;
                        part += v;
                        p[r][t][e] = float16_t(v);
                    }
                sum[r][h] = fma(sum[r][h], shrink, part);
                [[unroll]] for (uint d = 0; d < STEPS; d++)
                    [[unroll]] for (uint e = 4 * h; e < 4 * h + 4; e++) o[r][d][e] *= shrink;
            }
        [[unroll]] for (uint t = 0; t < SETS; t++)
            [[unroll]] for (uint d = 0; d < STEPS; d++) {
                MATRIX_B(16, 16) v;
                coopMatLoad(v, tile_v, t * 16 * ROW + 2 * d, ROW, gl_CooperativeMatrixLayoutRowMajor);
                [[unroll]] for (uint r = 0; r < TILES; r++) o[r][d] = coopMatMulAdd(p[r][t], v, o[r][d]);
            }
    }

    barrier();
    const uint to = row0 * push.output_stride + gl_WorkGroupID.x * push.head_size;
    [[unroll]] for (uint r = 0; r < TILES; r++) {
        [[unroll]] for (uint h = 0; h < 2; h++) {
            float all = sum[r][h];
            all += subgroupShuffleXor(all, 1);
            all += subgroupShuffleXor(all, 2);
            all = 1.0 / all;
            [[unroll]] for (uint d = 0; d < STEPS; d++)
                [[unroll]] for (uint e = 4 * h; e < 4 * h + 4; e++) o[r][d][e] *= all;
        }
        [[unroll]] for (uint d = 0; d < STEPS; d++) {
            MATRIX_HALF(16, 16) half_ = MATRIX_HALF(16, 16)(o[r][d]);
            coopMatStore(half_, tile_k, staged + 2 * d, ROW, gl_CooperativeMatrixLayoutRowMajor);
        }
        subgroupBarrier();
        [[unroll]] for (uint i = 0; i < STEPS; i++) {
            const uint w = i * 32 + lane, row = mine + 16 * r + w / WORDS;
            if (row < queries && (D == push.head_size || 8 * (w % WORDS) < push.head_size))
                output_words[((to + row * push.output_stride) >> 3) + w % WORDS] = tile_k[staged + w / WORDS * ROW + w % WORDS];
        }
        subgroupBarrier();
    }
    store_padding(row0, queries);
}
