#version 450
// LINEAR for few rows, f16: what counts is that many processors share the reading of W, each word of which is read once a row tile, and that few dispatches
// follow one another. A workgroup makes 16 × 16·COLUMN_TILES outputs. Its subgroups split the inputs among themselves, a chunk at a time, so that all loads are
// under way at once; W's tiles are fragments as they lie, the inputs become fragments by way of shared memory, in which partial sums meet too.
//
// MODE's upper bits: the input, or the residual, has not been normalised yet. Then each workgroup normalises the rows that it reads itself, which costs less
// than a dispatch. Or the input is the attention of q|k|v (bound as the position table, row_count elements a row): each workgroup does that for its rows,
// a head a subgroup. The variance is the mean square less the square of the mean: the numbers are f16, whose own rounding weighs more than the cancellation.
#extension GL_GOOGLE_include_directive : require
#include "matrix.glsl"
#include "common.glsl"
#include "activation.glsl"
#include "fragments.glsl"

layout(constant_id = 7) const uint COLUMN_TILES = 1;
layout(constant_id = 8) const uint SUBGROUPS = 12;
layout(constant_id = 9) const uint STEPS = 2; // of 16 inputs that make a chunk, which a subgroup takes at a time: 2 or 4
layout(constant_id = 10) const uint DEPTH = 2; // chunks that it has under way

const bool NORM_INPUT = (MODE & 0x100u) != 0u, NORM_RESIDUAL = (MODE & 0x200u) != 0u, ATTEND = (MODE & 0x800u) != 0u; // vkb_fold
const uint D16 = ATTEND ? MODE >> 16 : 1;                                             // head size / 16
const uint PARTS = 2 * COLUMN_TILES;               // of 16 × 8 outputs; at most SUBGROUPS
const uint SEGMENTS = 2 * STEPS;                   // of 8 inputs: what a row has in a chunk; a lane's word is one of them
const uint LANE_ROWS = 32 / SEGMENTS;              // rows that the lanes have between them; a lane has STEPS, so far apart
const uint ROWS = 16, WORDS = STEPS;
const uint PITCH = SEGMENTS + 1;                   // words from row to row in shared memory: rows that are read together lie in different banks

layout(set = 0, binding = 2) restrict readonly buffer Residual1 { uint residual1[]; };
layout(set = 0, binding = 3) buffer OutputWords { uint output_words[]; };
layout(set = 0, binding = 5) restrict readonly buffer Vectors2 { vec2 vectors2[]; };

#define QKV position1
#define QKV_STRIDE push.row_count
#define cu_at push.row_first
#include "attend.glsl"
#include "few_rows.glsl"

shared vec4 parts[SUBGROUPS * PARTS * 32];
shared uvec4 staged[SUBGROUPS * 16 * PITCH];

layout(set = 0, binding = 1) readonly buffer InputWords { uvec4 input_words[]; };
layout(set = 0, binding = 2) restrict readonly buffer ResidualWords { uvec4 residual_words[]; };

// Elements of a VECTOR from n on; `other` if there is none.
vec2 pair_or(uint at, uint n, float other) {
    if (at == NONE) return vec2(other);
    return vectors2[(at + n) >> 1];
}

vec4 four_or(uint at, uint n, float other) {
    if (at == NONE) return vec4(other);
    return vectors4[(at + n) >> 2];
}

// Columns n … n + 7 of a row.
uvec4 normalised(uvec4 word, vec2 row, vec4 weight0, vec4 weight4, vec4 bias0, vec4 bias4) {
    const vec4 first = (widen(word.xy) * row.x + row.y) * weight0 + bias0, second = (widen(word.zw) * row.x + row.y) * weight4 + bias4;
    return uvec4(narrow(first), narrow(second));
}

// Tile d of what a head has attended to, as a fragment's words: its columns put in order.
uvec4 attended_word(uint d) {
    const vec2 each = 1.0 / max(attended_total, vec2(1.0e-30)); // rows past the batch may have none
    const uvec2 low = uvec2(packHalf2x16(vec2(attended[d][0], attended[d][2]) * each.x), packHalf2x16(vec2(attended[d][1], attended[d][3]) * each.x));
    const uvec2 high = uvec2(packHalf2x16(vec2(attended[d][4], attended[d][6]) * each.y), packHalf2x16(vec2(attended[d][5], attended[d][7]) * each.y));
    const uint t = gl_SubgroupInvocationID & 3u, from = (gl_SubgroupInvocationID & ~3u) + (t >> 1); // of four lanes, the first two have 0 … 7
    const uvec2 low0 = subgroupShuffle(low, from), low8 = subgroupShuffle(low, from + 2u);
    const uvec2 high0 = subgroupShuffle(high, from), high8 = subgroupShuffle(high, from + 2u);
    return (t & 1u) == 0u ? uvec4(low0.x, low8.x, high0.x, high8.x) : uvec4(low0.y, low8.y, high0.y, high8.y);
}

// Chunk number CHUNK of what is multiplied, as number D of those under way.
#define LOAD_CHUNK(D, CHUNK)                                                                                           \
    {                                                                                                                  \
        const uint k_ = (CHUNK) * STEPS, n_ = 16u * k_ + 8u * segment();                                               \
        [[unroll]] for (uint s = 0; s < STEPS; s++)                                                                    \
            [[unroll]] for (uint c = 0; c < COLUMN_TILES; c++)                                                         \
                w[D][s][c] = weight4[((((tile0 + c) >> 2) * steps + k_ + s) * 4u + ((tile0 + c) & 3u)) * 32u + lane];  \
        [[unroll]] for (uint i = 0; i < STEPS; i++) a[D][i] = input_words[((row0 + chunk_row(i)) * stride + n_) >> 3]; \
        if (NORM_INPUT) {                                                                                              \
            weights[D][0] = four_or(push.norm_weight_at, n_, 1.0);                                                     \
            weights[D][1] = four_or(push.norm_weight_at, n_ + 4u, 1.0);                                                \
            biases[D][0] = four_or(push.norm_bias_at, n_, 0.0);                                                        \
            biases[D][1] = four_or(push.norm_bias_at, n_ + 4u, 0.0);                                                   \
        }                                                                                                              \
    }

void main() {
    const uint lane = gl_SubgroupInvocationID, subgroup = gl_SubgroupID;
    const uint row0 = gl_WorkGroupID.y * 16u, tile0 = gl_WorkGroupID.x * COLUMN_TILES;
    const uint stride = push.input_stride, steps = stride >> 4, chunks = steps / STEPS; // strides are multiples of 64

    // All that is read is asked for before anything is waited for. The first PARTS subgroups will write 16 × 8 outputs each.
    const bool writes = subgroup < PARTS;
    const uint row = row0 + lane_row(), n = 16u * tile0 + 8u * subgroup + lane_column();
    vec2 bias = vec2(0.0), end_weight = vec2(1.0), end_bias = vec2(0.0);
    uvec2 residual = uvec2(0u);
    if (writes) {
        bias = pair_or(push.bias_at, n, 0.0);
        if (push.residual_stride != 0u) {
            const uint at = (row * push.residual_stride + n) >> 1;
            residual = uvec2(residual1[at], residual1[at + 4u * push.residual_stride]);
        }
        if (NORM_RESIDUAL) {
            end_weight = pair_or(push.norm_weight_at, n, 1.0);
            end_bias = pair_or(push.norm_bias_at, n, 0.0);
        }
    }
    const uint other_chunks = push.residual_stride / (16u * STEPS);
    uvec4 others[DEPTH][STEPS];
    if (NORM_RESIDUAL)
        [[unroll]] for (uint d = 0; d < DEPTH; d++)
            if (subgroup + d * SUBGROUPS < other_chunks)
                [[unroll]] for (uint i = 0; i < STEPS; i++)
                    others[d][i] =
                        residual_words[(row0 + chunk_row(i)) * (push.residual_stride >> 3) + (subgroup + d * SUBGROUPS) * SEGMENTS + segment()];

    MATRIX_SUM(16, 16) sums[COLUMN_TILES];
    [[unroll]] for (uint i = 0; i < COLUMN_TILES; i++) sums[i] = MATRIX_SUM(16, 16)(0.0);
    if (ATTEND) {
        for (uint head = subgroup; head < push.heads; head += SUBGROUPS) {
            uvec4 w[D16][COLUMN_TILES];
            [[unroll]] for (uint d = 0; d < D16; d++)
                [[unroll]] for (uint c = 0; c < COLUMN_TILES; c++)
                    w[d][c] = weight4[((((tile0 + c) >> 2) * steps + head * D16 + d) * 4u + ((tile0 + c) & 3u)) * 32u + lane];
            attend(head, row0, 0u, 1u);
            [[unroll]] for (uint d = 0; d < D16; d++) {
                MATRIX_A(16, 16) m;
                SET_ELEMENTS(m, attended_word(d))
                [[unroll]] for (uint c = 0; c < COLUMN_TILES; c++) {
                    MATRIX_B(16, 16) b;
                    SET_ELEMENTS(b, w[d][c])
                    sums[c] = coopMatMulAdd(m, b, sums[c]);
                }
            }
        }
    } else {
        uvec4 w[DEPTH][STEPS][COLUMN_TILES], a[DEPTH][STEPS];
        vec4 weights[DEPTH][2], biases[DEPTH][2]; // of the norm, for a lane's columns
        vec2 norms[STEPS];
        [[unroll]] for (uint d = 0; d < DEPTH; d++)
            if (subgroup + d * SUBGROUPS < chunks) LOAD_CHUNK(d, subgroup + d * SUBGROUPS)
        if (NORM_INPUT) {
            vec2 totals[STEPS];
            [[unroll]] for (uint i = 0; i < STEPS; i++) {
                totals[i] = vec2(0.0);
                [[unroll]] for (uint d = 0; d < DEPTH; d++)
                    if (subgroup + d * SUBGROUPS < chunks) totals[i] += sums_of(a[d][i]);
                for (uint chunk = subgroup + DEPTH * SUBGROUPS; chunk < chunks; chunk += SUBGROUPS)
                    totals[i] += sums_of(input_words[(row0 + chunk_row(i)) * (stride >> 3) + chunk * SEGMENTS + segment()]);
            }
            store_sums(totals);
            barrier();
            [[unroll]] for (uint i = 0; i < STEPS; i++) norms[i] = row_norm(chunk_row(i), push.input_width);
        }
        const uint stage = subgroup * (16u * PITCH);
        for (uint chunk0 = subgroup; chunk0 < chunks; chunk0 += SUBGROUPS * DEPTH) {
            [[unroll]] for (uint d = 0; d < DEPTH; d++) {
                if (chunk0 + d * SUBGROUPS >= chunks) continue;
                [[unroll]] for (uint i = 0; i < STEPS; i++)
                    staged[stage + chunk_row(i) * PITCH + segment()] =
                        NORM_INPUT ? normalised(a[d][i], norms[i], weights[d][0], weights[d][1], biases[d][0], biases[d][1]) : a[d][i];
                subgroupBarrier();
                [[unroll]] for (uint s = 0; s < STEPS; s++) {
                    MATRIX_A(16, 16) m;
                    coopMatLoad(m, staged, stage + 2u * s, PITCH, gl_CooperativeMatrixLayoutRowMajor);
                    [[unroll]] for (uint c = 0; c < COLUMN_TILES; c++) {
                        MATRIX_B(16, 16) b;
                        SET_ELEMENTS(b, w[d][s][c])
                        sums[c] = coopMatMulAdd(m, b, sums[c]);
                    }
                }
                subgroupBarrier(); // what comes next goes to the same place
            }
            [[unroll]] for (uint d = 0; d < DEPTH; d++)
                if (chunk0 + (DEPTH + d) * SUBGROUPS < chunks) LOAD_CHUNK(d, chunk0 + (DEPTH + d) * SUBGROUPS)
        }
    }

    if (NORM_RESIDUAL) {
        vec2 totals[STEPS];
        [[unroll]] for (uint i = 0; i < STEPS; i++) {
            totals[i] = vec2(0.0);
            [[unroll]] for (uint d = 0; d < DEPTH; d++)
                if (subgroup + d * SUBGROUPS < other_chunks) totals[i] += sums_of(others[d][i]);
            for (uint chunk = subgroup + DEPTH * SUBGROUPS; chunk < other_chunks; chunk += SUBGROUPS)
                totals[i] += sums_of(residual_words[(row0 + chunk_row(i)) * (push.residual_stride >> 3) + chunk * SEGMENTS + segment()]);
        }
        store_sums(totals);
    }
    [[unroll]] for (uint i = 0; i < COLUMN_TILES; i++) {
        const uint at = (subgroup * PARTS + 2u * i) * 32u + lane; // columns 0 … 7, then 8 … 15
        parts[at] = vec4(sums[i][0], sums[i][1], sums[i][4], sums[i][5]);
        parts[at + 32u] = vec4(sums[i][2], sums[i][3], sums[i][6], sums[i][7]);
    }
    barrier();
    if (!writes) return;

    vec4 sum = bias.xyxy;
    [[unroll]] for (uint i = 0; i < SUBGROUPS; i++) sum += parts[(i * PARTS + subgroup) * 32u + lane];
    vec2 first = unpackHalf2x16(residual.x), second = unpackHalf2x16(residual.y);
    if (NORM_RESIDUAL) {
        const vec2 low = row_norm(lane_row(), push.output_width), high = row_norm(lane_row() + 8u, push.output_width);
        first = (first * low.x + low.y) * end_weight + end_bias;
        second = (second * high.x + high.y) * end_weight + end_bias;
    }
    const uint at = (row * push.output_stride + n) >> 1;
    output_words[at] = packHalf2x16(finish(sum.xy, first, n));
    output_words[at + 4u * push.output_stride] = packHalf2x16(finish(sum.zw, second, n));
}
