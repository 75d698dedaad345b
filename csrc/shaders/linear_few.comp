#version 450
// LINEAR for few rows, f16, divided as in linear_narrow.comp: a workgroup makes 16·ROW_TILES × 16·COLUMN_TILES outputs, its subgroups split the inputs among themselves.
// Here all that a subgroup reads first is asked for at its start, by addresses, and a norm of the input waits for nobody: it is applied to the products. With γ, β the
// norm's weights and r, m a row's 1/deviation and mean, Σ((x - m)·r·γ + β)·w = r·(Σ x·γw - m·Σ γw) + Σ βw; the two last sums come from one more matrix multiplication with
// the weights that are in registers anyway, whose rows 0 and 1 are γ and β. For one tile of rows that takes longer than linear_narrow.comp's way.
//
// MODE's upper bits: the input, or the residual, has not been normalised yet. The variance is the mean square less the square of the mean: the numbers are f16, whose own
// rounding weighs more than the cancellation.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#define ADDRESSES
#include "matrix.glsl"
#include "common.glsl"
#include "activation.glsl"
#include "fragments.glsl"

layout(constant_id = 7) const uint COLUMN_TILES = 1; // at most 4, and a divisor of it
layout(constant_id = 8) const uint SUBGROUPS = 12;   // a multiple of 2·COLUMN_TILES
layout(constant_id = 9) const uint DEPTH = 2;        // chunks of 32 inputs that a subgroup has under way
layout(constant_id = 10) const uint ROW_TILES = 1;

const bool NORM_INPUT = (MODE & 0x100u) != 0u, NORM_RESIDUAL = (MODE & 0x200u) != 0u; // vkb_fold
const uint COLUMNS = 2 * COLUMN_TILES;    // of 8 outputs
const uint PARTS = ROW_TILES * COLUMNS;   // of 16 × 8 outputs
const uint MINE = (PARTS + SUBGROUPS - 1) / SUBGROUPS; // parts that a subgroup finishes at most: it has one column of them
const uint ROWS = 16 * ROW_TILES;
const uint STEPS = 2;                     // of 16 inputs a chunk
const uint SEGMENTS = 4;                  // of 8 inputs: what a row has in a chunk; a lane's word is one of them
const uint LANE_ROWS = 8;                 // rows that the lanes have between them
const uint WORDS = ROWS / LANE_ROWS;      // that a lane has
const uint PITCH = SEGMENTS + 1;          // words from row to row in shared memory: rows that are read together lie in different banks
const uint STEP_WORDS = 128;              // of weights: 4 tiles of 32 lanes
const uint OTHERS = 2;                    // chunks of a residual that is normalised, likewise

layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Words { uvec4 at[]; };
layout(set = 0, binding = 2) restrict readonly buffer Residual1 { uint residual1[]; };
layout(set = 0, binding = 2) restrict readonly buffer ResidualWords { uvec4 residual_words[]; };
layout(set = 0, binding = 3) buffer OutputPairs { uint output_pairs[]; };
layout(set = 0, binding = 5) restrict readonly buffer Vectors2 { vec2 vectors2[]; };

#include "few_rows.glsl"

// A subgroup's own part: its inputs on their way to fragments, then its sums.
const uint AREA = PARTS * 32 > ROWS * PITCH ? PARTS * 32 : ROWS * PITCH;
shared uvec4 staged[SUBGROUPS * AREA];
shared vec2 norm_sums[SUBGROUPS * COLUMNS * 8]; // two columns' Σ γw, then Σ βw

// Of those of a part that this subgroup finishes: the upper of this lane's two.
uint part_row(uint i) { return (gl_SubgroupID + i * SUBGROUPS) / COLUMNS * 16u + lane_row(); }
// Elements n and n + 1 of a VECTOR; `other` if there is none. Always read: a branch would be waited for.
vec2 pair_or(uint at, uint n, float other) {
    const vec2 v = vectors2[(at == NONE ? 0u : at + n) >> 1];
    return at == NONE ? vec2(other) : v;
}

MATRIX_SUM(16, 16) sums[ROW_TILES][COLUMN_TILES], norms[COLUMN_TILES]; // norms: row 0 Σ γw, row 1 Σ βw

uvec4 w[DEPTH][STEPS][COLUMN_TILES], a[DEPTH][WORDS];
vec2 gamma[DEPTH][STEPS][2], beta[DEPTH][STEPS][2]; // of the inputs that a lane holds of a weight fragment

uint64_t w_base, a_base; // bytes: this workgroup's weights and rows
uint w_offset, a_offset; // this lane's, of its subgroup's first chunk

uvec4 load_other(uint row, uint chunk) { return residual_words[row * (push.residual_stride >> 3) + chunk * SEGMENTS + segment()]; }

// Whether this subgroup has a d-th chunk in the round that begins with chunk `first`.
bool there(uint d, uint first) { return first + d * SUBGROUPS + gl_SubgroupID < push.input_stride / (16u * STEPS); }

// The addresses are those of the round.
void load_chunk(uint d, uint first) {
    [[unroll]] for (uint s = 0; s < STEPS; s++)
        [[unroll]] for (uint c = 0; c < COLUMN_TILES; c++)
            w[d][s][c] = Words(w_base + uint64_t(w_offset)).at[(d * SUBGROUPS * STEPS + s) * STEP_WORDS + c * 32];
    [[unroll]] for (uint i = 0; i < WORDS; i++)
        a[d][i] = Words(a_base + uint64_t(a_offset + i * LANE_ROWS * 2u * push.input_stride)).at[d * SUBGROUPS * SEGMENTS];
    if (NORM_INPUT)
        [[unroll]] for (uint s = 0; s < STEPS; s++)
            [[unroll]] for (uint h = 0; h < 2; h++) {
                const uint k = ((first + d * SUBGROUPS + gl_SubgroupID) * STEPS + s) * 16u + 8u * h + lane_column();
                gamma[d][s][h] = pair_or(push.norm_weight_at, k, 1.0);
                beta[d][s][h] = pair_or(push.norm_bias_at, k, 0.0);
            }
}

// A pair of weights by γ, in f16.
uint by_gamma(uint pair, uint weight) { return packFloat2x16(unpackFloat2x16(pair) * unpackFloat2x16(weight)); }

void multiply_step(uint d, uint s, uint from) {
    MATRIX_A(16, 16) m[ROW_TILES];
    [[unroll]] for (uint r = 0; r < ROW_TILES; r++)
        coopMatLoad(m[r], staged, from + r * (16u * PITCH), PITCH, gl_CooperativeMatrixLayoutRowMajor);
    uvec2 weight;
    MATRIX_A(16, 16) both;
    if (NORM_INPUT) {
        weight = uvec2(packHalf2x16(gamma[d][s][0]), packHalf2x16(gamma[d][s][1]));
        const uvec2 bias = uvec2(packHalf2x16(beta[d][s][0]), packHalf2x16(beta[d][s][1]));
        const uvec2 rows = gl_SubgroupInvocationID < 4u ? weight : gl_SubgroupInvocationID < 8u ? bias : uvec2(0u);
        SET_ELEMENTS(both, uvec4(rows, 0u, 0u))
    }
    [[unroll]] for (uint c = 0; c < COLUMN_TILES; c++) {
        MATRIX_B(16, 16) b;
        SET_ELEMENTS(b, w[d][s][c])
        if (NORM_INPUT) {
            norms[c] = coopMatMulAdd(both, b, norms[c]);
            const uvec4 word = w[d][s][c];
            SET_ELEMENTS(b, uvec4(by_gamma(word.x, weight.x), by_gamma(word.y, weight.y), by_gamma(word.z, weight.x), by_gamma(word.w, weight.y)))
        }
        [[unroll]] for (uint r = 0; r < ROW_TILES; r++) sums[r][c] = coopMatMulAdd(m[r], b, sums[r][c]);
    }
}

void multiply_all() {
    const uint stage = gl_SubgroupID * AREA, chunks = push.input_stride / (16u * STEPS);
    vec2 totals[WORDS];
    [[unroll]] for (uint i = 0; i < WORDS; i++) totals[i] = vec2(0.0);
    for (uint first = 0; first < chunks;) {
        [[unroll]] for (uint d = 0; d < DEPTH; d++) {
            if (!there(d, first)) continue;
            [[unroll]] for (uint i = 0; i < WORDS; i++) staged[stage + chunk_row(i) * PITCH + segment()] = a[d][i];
            subgroupBarrier();
            [[unroll]] for (uint s = 0; s < STEPS; s++) multiply_step(d, s, stage + 2u * s);
            if (NORM_INPUT)
                [[unroll]] for (uint i = 0; i < WORDS; i++) totals[i] += sums_of(a[d][i]);
            subgroupBarrier(); // what comes next goes to the same place
        }
        first += SUBGROUPS * DEPTH;
        w_base += SUBGROUPS * DEPTH * STEPS * STEP_WORDS * 16;
        a_base += SUBGROUPS * DEPTH * SEGMENTS * 16;
        [[unroll]] for (uint d = 0; d < DEPTH; d++)
            if (there(d, first)) load_chunk(d, first);
    }
    if (NORM_INPUT) store_sums(totals);
}

void main() {
    const uint lane = gl_SubgroupInvocationID, subgroup = gl_SubgroupID;
    const uint row0 = gl_WorkGroupID.y * ROWS, tile0 = gl_WorkGroupID.x * COLUMN_TILES, steps = push.input_stride >> 4;

    w_base = packUint2x32(push.weight_address) + uint64_t(tile0 >> 2) * (steps * STEP_WORDS * 16u) + (tile0 & 3u) * 512u;
    a_base = packUint2x32(push.input_address) + uint64_t(row0) * (2u * push.input_stride);
    w_offset = subgroup * (STEPS * STEP_WORDS * 16u) + lane * 16u;
    a_offset = chunk_row(0) * 2u * push.input_stride + (subgroup * SEGMENTS + segment()) * 16u;
    [[unroll]] for (uint d = 0; d < DEPTH; d++)
        if (there(d, 0)) load_chunk(d, 0);

    // Each subgroup will finish the 16 × 8 outputs of some parts; the last ones none, where there are fewer.
    const bool writes = subgroup < PARTS;
    const uint column = subgroup % COLUMNS, n = 16u * tile0 + 8u * column + lane_column();
    vec2 bias = vec2(0.0), end_weight = vec2(1.0), end_bias = vec2(0.0);
    uvec2 residual[MINE];
    if (writes) {
        bias = pair_or(push.bias_at, n, 0.0);
        [[unroll]] for (uint i = 0; i < MINE; i++) {
            const uint at = ((row0 + part_row(i)) * push.residual_stride + n) >> 1;
            residual[i] = uvec2(0u);
            if (push.residual_stride != 0u) residual[i] = uvec2(residual1[at], residual1[at + 4u * push.residual_stride]);
        }
        if (NORM_RESIDUAL) {
            end_weight = pair_or(push.norm_weight_at, n, 1.0);
            end_bias = pair_or(push.norm_bias_at, n, 0.0);
        }
    }
    const uint other_chunks = push.residual_stride / (16u * STEPS);
    uvec4 others[OTHERS][WORDS];
    if (NORM_RESIDUAL)
        [[unroll]] for (uint d = 0; d < OTHERS; d++)
            if (subgroup + d * SUBGROUPS < other_chunks)
                [[unroll]] for (uint i = 0; i < WORDS; i++) others[d][i] = load_other(row0 + chunk_row(i), subgroup + d * SUBGROUPS);

    [[unroll]] for (uint c = 0; c < COLUMN_TILES; c++) {
        norms[c] = MATRIX_SUM(16, 16)(0.0);
        [[unroll]] for (uint r = 0; r < ROW_TILES; r++) sums[r][c] = MATRIX_SUM(16, 16)(0.0);
    }
    multiply_all();
    if (NORM_RESIDUAL) {
        vec2 totals[WORDS];
        [[unroll]] for (uint i = 0; i < WORDS; i++) {
            totals[i] = vec2(0.0);
            [[unroll]] for (uint d = 0; d < OTHERS; d++)
                if (subgroup + d * SUBGROUPS < other_chunks) totals[i] += sums_of(others[d][i]);
            for (uint chunk = subgroup + OTHERS * SUBGROUPS; chunk < other_chunks; chunk += SUBGROUPS)
                totals[i] += sums_of(load_other(row0 + chunk_row(i), chunk));
        }
        store_sums(totals);
    }

    [[unroll]] for (uint c = 0; c < COLUMN_TILES; c++) {
        [[unroll]] for (uint r = 0; r < ROW_TILES; r++) {
            const uint at = subgroup * AREA + (r * COLUMNS + 2u * c) * 32u + lane; // columns 0 … 7, then 8 … 15
            staged[at] = floatBitsToUint(vec4(sums[r][c][0], sums[r][c][1], sums[r][c][4], sums[r][c][5]));
            staged[at + 32u] = floatBitsToUint(vec4(sums[r][c][2], sums[r][c][3], sums[r][c][6], sums[r][c][7]));
        }
        if (NORM_INPUT && lane < 8u) {
            const uint to = (subgroup * COLUMNS + 2u * c) * 8u + 2u * (lane & 3u) + (lane >> 2);
            norm_sums[to] = vec2(norms[c][0], norms[c][1]);
            norm_sums[to + 8u] = vec2(norms[c][2], norms[c][3]);
        }
    }
    barrier();
    if (!writes) return;

    vec2 by_weight = vec2(0.0), by_bias = vec2(0.0);
    if (NORM_INPUT)
        [[unroll]] for (uint i = 0; i < SUBGROUPS; i++) {
            by_weight += norm_sums[(i * COLUMNS + column) * 8u + 2u * (lane & 3u)];
            by_bias += norm_sums[(i * COLUMNS + column) * 8u + 2u * (lane & 3u) + 1u];
        }
    [[unroll]] for (uint i = 0; i < MINE; i++) {
        const uint part = subgroup + i * SUBGROUPS, row = part_row(i), at = ((row0 + row) * push.output_stride + n) >> 1;
        if (part >= PARTS) continue;
        vec4 sum = vec4(0.0);
        [[unroll]] for (uint s = 0; s < SUBGROUPS; s++) sum += uintBitsToFloat(staged[s * AREA + part * 32u + lane]);
        vec2 first = unpackHalf2x16(residual[i].x), second = unpackHalf2x16(residual[i].y);
        if (NORM_INPUT) {
            const vec2 low = row_norm(row, push.input_width), high = row_norm(row + 8u, push.input_width);
            sum = vec4(sum.xy * low.x + (by_weight * low.y + by_bias), sum.zw * high.x + (by_weight * high.y + by_bias));
        }
        if (NORM_RESIDUAL) {
            const vec2 low = row_norm(row, push.output_width), high = row_norm(row + 8u, push.output_width);
            first = (first * low.x + low.y) * end_weight + end_bias;
            second = (second * high.x + high.y) * end_weight + end_bias;
        }
        sum += bias.xyxy;
        output_pairs[at] = packHalf2x16(finish(sum.xy, first, n));
        output_pairs[at + 4u * push.output_stride] = packHalf2x16(finish(sum.zw, second, n));
    }
}
