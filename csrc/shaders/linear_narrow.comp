#version 450
// LINEAR for few rows, f16: what counts is that many processors share the reading of W, each word of which is read once a row tile, and that few dispatches
// follow one another. A workgroup makes 16·ROW_TILES × 16·COLUMN_TILES outputs. Its subgroups split the inputs among themselves, 16 at a time, so that all
// loads are under way at once; W's tiles are fragments as they lie. Partial sums meet in shared memory.
//
// MODE's upper bits: the input, or the residual, has not been normalised yet. Then each workgroup normalises the rows that it reads itself, which costs less
// than a dispatch. Or the input is the attention of q|k|v (bound as the position table, row_count elements a row): each workgroup does that for its rows,
// a head a subgroup. The variance is the mean square less the square of the mean: the numbers are f16, whose own rounding weighs more than the cancellation.
#extension GL_GOOGLE_include_directive : require
#include "matrix.glsl"
#include "common.glsl"
#include "activation.glsl"
#include "fragments.glsl"

layout(constant_id = 7) const uint ROW_TILES = 1;
layout(constant_id = 8) const uint COLUMN_TILES = 1;
layout(constant_id = 9) const uint SUBGROUPS = 12;
layout(constant_id = 10) const uint STEPS = 4; // of 16 inputs that a subgroup has under way

const bool NORM_INPUT = (MODE & 0x100u) != 0u, NORM_RESIDUAL = (MODE & 0x200u) != 0u, ATTEND = (MODE & 0x800u) != 0u; // vkb_fold
const uint D16 = ATTEND ? MODE >> 16 : 1;                                             // head size / 16
const uint TILES = ROW_TILES * COLUMN_TILES, PARTS = 2 * TILES;                       // PARTS: 16 × 8 outputs each
const uint RMS = 2;                                                                   // vkb_norm

layout(set = 0, binding = 2) restrict readonly buffer Residual1 { uint residual1[]; };
layout(set = 0, binding = 3) buffer OutputWords { uint output_words[]; };
layout(set = 0, binding = 5) restrict readonly buffer Vectors2 { vec2 vectors2[]; };

#define QKV position1
#define QKV_STRIDE push.row_count
#define cu_at push.cu_at
#include "attend.glsl"

shared vec4 parts[SUBGROUPS * PARTS * 32];
shared vec2 row_sums[SUBGROUPS * ROW_TILES * 16]; // of the elements, of their squares

// Four words of a row-major value as a fragment has them. row: of the tile's first; stride in elements.
#define LOAD_ROWS(WORD, BUFFER, ROW, STRIDE, K)                                                       \
    {                                                                                                 \
        const uint at_ = (((ROW) + lane_row()) * (STRIDE) + 16u * (K) + lane_column()) >> 1;          \
        WORD = uvec4(BUFFER[at_], BUFFER[at_ + 4u], BUFFER[at_ + 4u * (STRIDE)], BUFFER[at_ + 4u * (STRIDE) + 4u]); \
    }

vec2 sums_of(vec2 sums, uint first, uint second) {
    const vec2 a = unpackHalf2x16(first), b = unpackHalf2x16(second);
    return sums + vec2(a.x + a.y + b.x + b.y, dot(a, a) + dot(b, b));
}

// This subgroup's part of the sums over rows of `width` elements.
#define SUM_ROWS(BUFFER, ROW, STRIDE, WIDTH)                                                  \
    [[unroll]] for (uint r = 0; r < ROW_TILES; r++) {                                         \
        vec2 low_ = vec2(0.0), high_ = vec2(0.0);                                             \
        for (uint k_ = gl_SubgroupID; k_ < (WIDTH) >> 4; k_ += SUBGROUPS) {                   \
            uvec4 word_;                                                                      \
            LOAD_ROWS(word_, BUFFER, (ROW) + 16u * r, STRIDE, k_)                             \
            low_ = sums_of(low_, word_.x, word_.y);                                           \
            high_ = sums_of(high_, word_.z, word_.w);                                         \
        }                                                                                     \
        low_ = vec2(row_total(low_.x), row_total(low_.y));                                    \
        high_ = vec2(row_total(high_.x), row_total(high_.y));                                 \
        const uint at_ = (gl_SubgroupID * ROW_TILES + r) * 16u + lane_row();                  \
        if (lane_column() == 0u) row_sums[at_] = low_;                                        \
        if (lane_column() == 2u) row_sums[at_ + 8u] = high_;                                  \
    }

// What a row is multiplied with and what is added then; after the barrier.
vec2 row_norm(uint r, uint row, uint width) {
    vec2 sums = vec2(0.0);
    [[unroll]] for (uint i = 0; i < SUBGROUPS; i++) sums += row_sums[(i * ROW_TILES + r) * 16u + row];
    sums /= float(width);
    const float mean = push.norm == RMS ? 0.0 : sums.x;
    const float scale = inversesqrt(max(sums.y - mean * mean, 0.0) + push.norm_eps);
    return vec2(scale, -mean * scale);
}

vec2 pair_of(uint at, uint n) { return vectors2[(at + n) >> 1]; }

vec2 norm_weight(uint n) { return push.norm_weight_at != NONE ? pair_of(push.norm_weight_at, n) : vec2(1.0); }
vec2 norm_bias(uint n) { return push.norm_bias_at != NONE ? pair_of(push.norm_bias_at, n) : vec2(0.0); }

uint normalised(uint word, vec2 row, vec2 weight, vec2 bias) {
    return packHalf2x16((unpackHalf2x16(word) * row.x + row.y) * weight + bias);
}

// Outputs n, n + 1 of a row.
vec2 finish(vec2 sum, uint row, uint n, vec2 norm) {
    vec2 residual = vec2(0.0);
    if (push.residual_stride != 0u) {
        residual = unpackHalf2x16(residual1[(row * push.residual_stride + n) >> 1]);
        if (NORM_RESIDUAL) residual = (residual * norm.x + norm.y) * norm_weight(n) + norm_bias(n);
    }
    if (push.residual_at == BEFORE_ACTIVATION) sum += residual;
    sum = activate(sum.xyxy).xy;
    if (push.residual_at != BEFORE_ACTIVATION) sum += residual;
    return sum * within(n, push.output_width).xy;
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

#define LOAD_WEIGHTS(W, K)                                                                            \
    [[unroll]] for (uint s = 0; s < STEPS; s++) {                                                     \
        const uint k_ = min((K) + s * SUBGROUPS, steps - 1u);                                         \
        [[unroll]] for (uint c = 0; c < COLUMN_TILES; c++)                                            \
            W[s][c] = weight4[((((tile0 + c) >> 2) * steps + k_) * 4u + ((tile0 + c) & 3u)) * 32u + lane]; \
    }

void main() {
    const uint lane = gl_SubgroupInvocationID, subgroup = gl_SubgroupID;
    const uint row0 = gl_WorkGroupID.y * (16u * ROW_TILES), tile0 = gl_WorkGroupID.x * COLUMN_TILES;
    const uint stride = push.input_stride, steps = stride >> 4;

    MATRIX_SUM(16, 16) sums[TILES];
    [[unroll]] for (uint i = 0; i < TILES; i++) sums[i] = MATRIX_SUM(16, 16)(0.0);

    if (ATTEND) {
        for (uint head = subgroup; head < push.heads; head += SUBGROUPS) {
            uvec4 w[D16][COLUMN_TILES];
            [[unroll]] for (uint d = 0; d < D16; d++)
                [[unroll]] for (uint c = 0; c < COLUMN_TILES; c++)
                    w[d][c] = weight4[((((tile0 + c) >> 2) * steps + head * D16 + d) * 4u + ((tile0 + c) & 3u)) * 32u + lane];
            [[unroll]] for (uint r = 0; r < ROW_TILES; r++) {
                attend(head, row0 + 16u * r, 0u, 1u);
                [[unroll]] for (uint d = 0; d < D16; d++) {
                    MATRIX_A(16, 16) m;
                    SET_ELEMENTS(m, attended_word(d))
                    [[unroll]] for (uint c = 0; c < COLUMN_TILES; c++) {
                        MATRIX_B(16, 16) b;
                        SET_ELEMENTS(b, w[d][c])
                        sums[r * COLUMN_TILES + c] = coopMatMulAdd(m, b, sums[r * COLUMN_TILES + c]);
                    }
                }
            }
        }
    } else {
        // A step past the end is the last one again, with an input of zeros.
        uvec4 w[STEPS][COLUMN_TILES];
        LOAD_WEIGHTS(w, subgroup)
        vec2 low[ROW_TILES], high[ROW_TILES];
        if (NORM_INPUT) {
            SUM_ROWS(input1, row0, stride, push.input_width)
            barrier();
            [[unroll]] for (uint r = 0; r < ROW_TILES; r++) {
                low[r] = row_norm(r, lane_row(), push.input_width);
                high[r] = row_norm(r, lane_row() + 8u, push.input_width);
            }
        }
        for (uint k0 = subgroup; k0 < steps; k0 += SUBGROUPS * STEPS) {
            uvec4 a[STEPS][ROW_TILES];
            [[unroll]] for (uint s = 0; s < STEPS; s++)
                [[unroll]] for (uint r = 0; r < ROW_TILES; r++)
                    LOAD_ROWS(a[s][r], input1, row0 + 16u * r, stride, min(k0 + s * SUBGROUPS, steps - 1u))
            [[unroll]] for (uint s = 0; s < STEPS; s++) {
                const uint k = k0 + s * SUBGROUPS;
                const bool there = k < steps && (!NORM_INPUT || 16u * k < push.input_width);
                if (NORM_INPUT) {
                    const uint n = 16u * min(k, steps - 1u) + lane_column();
                    const vec2 weight0 = norm_weight(n), bias0 = norm_bias(n), weight8 = norm_weight(n + 8u), bias8 = norm_bias(n + 8u);
                    [[unroll]] for (uint r = 0; r < ROW_TILES; r++)
                        a[s][r] = uvec4(normalised(a[s][r].x, low[r], weight0, bias0), normalised(a[s][r].y, low[r], weight8, bias8),
                                        normalised(a[s][r].z, high[r], weight0, bias0), normalised(a[s][r].w, high[r], weight8, bias8));
                }
                MATRIX_B(16, 16) b[COLUMN_TILES];
                [[unroll]] for (uint c = 0; c < COLUMN_TILES; c++) SET_ELEMENTS(b[c], w[s][c])
                [[unroll]] for (uint r = 0; r < ROW_TILES; r++) {
                    MATRIX_A(16, 16) m;
                    SET_ELEMENTS(m, there ? a[s][r] : uvec4(0u))
                    [[unroll]] for (uint c = 0; c < COLUMN_TILES; c++)
                        sums[r * COLUMN_TILES + c] = coopMatMulAdd(m, b[c], sums[r * COLUMN_TILES + c]);
                }
            }
            LOAD_WEIGHTS(w, k0 + SUBGROUPS * STEPS)
        }
    }

    if (NORM_RESIDUAL) { SUM_ROWS(residual1, row0, push.residual_stride, push.output_width) }
    [[unroll]] for (uint i = 0; i < TILES; i++) {
        const uint at = (subgroup * PARTS + 2u * i) * 32u + lane; // columns 0 … 7, then 8 … 15
        parts[at] = vec4(sums[i][0], sums[i][1], sums[i][4], sums[i][5]);
        parts[at + 32u] = vec4(sums[i][2], sums[i][3], sums[i][6], sums[i][7]);
    }
    barrier();

    for (uint part = subgroup; part < PARTS; part += SUBGROUPS) {
        vec4 sum = vec4(0.0);
        [[unroll]] for (uint i = 0; i < SUBGROUPS; i++) sum += parts[(i * PARTS + part) * 32u + lane];
        const uint r = part / (2u * COLUMN_TILES), row = row0 + 16u * r + lane_row();
        const uint n = 16u * tile0 + 8u * (part % (2u * COLUMN_TILES)) + lane_column();
        if (push.bias_at != NONE) sum += pair_of(push.bias_at, n).xyxy;
        vec2 low = vec2(0.0), high = vec2(0.0);
        if (NORM_RESIDUAL) {
            low = row_norm(r, lane_row(), push.output_width);
            high = row_norm(r, lane_row() + 8u, push.output_width);
        }
        output_words[(row * push.output_stride + n) >> 1] = packHalf2x16(finish(sum.xy, row, n, low));
        output_words[((row + 8u) * push.output_stride + n) >> 1] = packHalf2x16(finish(sum.zw, row + 8u, n, high));
    }
}
