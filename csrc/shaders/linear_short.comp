#version 450
// LINEAR of few rows, f16: 16 rows × 16·COLUMN_TILES outputs a workgroup, of one K, which its subgroups share out evenly. What takes the time is how long a workgroup
// lives, not what all of them read: so there is as little code as can be (K is known, reads are by addresses, none is in a branch), and one barrier.
//
// MODE's upper bits: the input, or the residual, has not been normalised yet. A norm of the input is applied to the products: with γ, β its weights and r, m a row's
// 1/deviation and mean, Σ((x - m)·r·γ + β)·w + bias = r·(Σ xγ·w - m·Σ γw) + Σ βw + bias; the last two sums are there already (norm_sums.comp). A row's own sums come
// from the matrix hardware: its product with ones, and, squared, the diagonal of the rows' product with themselves. The variance is the mean square less the square of
// the mean: the numbers are f16, whose own rounding weighs more than the cancellation; so is xγ, whose rounding adds as much again. Or the input is the attention of q|k|v (row_count elements a row), of at most 16
// rows in all: each workgroup does that itself, a head a subgroup.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#define ADDRESSES
#include "matrix.glsl"
#include "common.glsl"
#include "activation.glsl"
#include "fragments.glsl"

layout(constant_id = 7) const uint COLUMN_TILES = 1; // 1, 2 or 4, and at most a quarter of SUBGROUPS
layout(constant_id = 8) const uint SUBGROUPS = 12;
layout(constant_id = 9) const uint STEPS = 2;  // of 16 inputs, a subgroup's: even
layout(constant_id = 10) const uint OTHERS = 1; // chunks of 32 columns of a residual that is normalised, a subgroup's that are asked for at the start

const bool NORM_INPUT = (MODE & 0x100u) != 0u, NORM_RESIDUAL = (MODE & 0x200u) != 0u, ATTEND = (MODE & 0x800u) != 0u; // vkb_fold
const bool RESIDUAL = (MODE & 0x1000u) != 0u;      // VKB_LINEAR_RESIDUAL
const uint D16 = ATTEND ? MODE >> 16 : 2;          // head size / 16: even
const uint K = 16 * SUBGROUPS * STEPS;
const uint PARTS = 4 * COLUMN_TILES;               // of 8 × 8 outputs: tile, column half, row half
const uint STEP_BYTES = 2048;                      // of weights: 4 tiles of 32 lanes
const uint RMS = 2;                                // vkb_norm

layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Words { uvec4 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Pairs { uint at[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) readonly buffer Floats { vec2 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) writeonly buffer Results { uint at[]; };

shared vec2 parts[SUBGROUPS * PARTS * 32];
shared vec2 row_sums[SUBGROUPS * 16]; // of the elements, of their squares

MATRIX_SUM(16, 16) sums[COLUMN_TILES], ones_sum, square_sum;

// Of 16 rows and any 16 columns of them, in a fragment's words.
void add_row_sums(uvec4 word) {
    MATRIX_A(16, 16) rows;
    MATRIX_B(16, 16) columns;
    SET_ELEMENTS(rows, word)
    SET_ELEMENTS(columns, word)
    ones_sum = coopMatMulAdd(rows, MATRIX_B(16, 16)(float16_t(1.0)), ones_sum);
    square_sum = coopMatMulAdd(rows, columns, square_sum);
}

// Eight columns of rows lane_row() and lane_row() + 8.
void add_row_sums(uvec4 low, uvec4 high) {
    add_row_sums(uvec4(low.xy, high.xy));
    add_row_sums(uvec4(low.zw, high.zw));
}

void store_row_sums() {
    const uint row = lane_row(), at = gl_SubgroupID * 16u + row;
    if ((gl_SubgroupInvocationID & 3u) != row >> 1) return; // it has the diagonal
    const bool odd = (row & 1u) != 0u;
    row_sums[at] = vec2(ones_sum[0], odd ? square_sum[1] : square_sum[0]);
    row_sums[at + 8u] = vec2(ones_sum[4], odd ? square_sum[7] : square_sum[6]);
}

// What a row is multiplied with and what is added then; after the barrier.
vec2 row_norm(uint row, uint width) {
    vec2 sum = vec2(0.0);
    [[unroll]] for (uint i = 0; i < SUBGROUPS; i++) sum += row_sums[i * 16u + row];
    sum /= float(width);
    const float mean = push.norm == RMS ? 0.0 : sum.x;
    const float scale = inversesqrt(max(sum.y - mean * mean, 0.0) + push.norm_eps);
    return vec2(scale, -mean * scale);
}

// Elements n and n + 1 of a VECTOR; `other` if there is none.
vec2 pair_or(uint at, uint n, float other) {
    const vec2 v = Floats(packUint2x32(push.vectors_address) + uint64_t(at == NONE ? 0u : 4u * (at + n))).at[0];
    return at == NONE ? vec2(other) : v;
}

// Word i of each of four lanes, in their order: what lane i has in the end.
uvec4 turned(uvec4 v) {
    const bool odd = (gl_SubgroupInvocationID & 1u) != 0u, high = (gl_SubgroupInvocationID & 2u) != 0u;
    uvec2 other = subgroupShuffleXor(odd ? v.xz : v.yw, 1u);
    v = odd ? uvec4(other.x, v.y, other.y, v.w) : uvec4(v.x, other.x, v.z, other.y);
    other = subgroupShuffleXor(high ? v.xy : v.zw, 2u);
    return high ? uvec4(other, v.zw) : uvec4(v.xy, other);
}

uint64_t weights() { // of this workgroup
    const uint tile = gl_WorkGroupID.x * COLUMN_TILES;
    return packUint2x32(push.weight_address) + uint64_t((tile >> 2) * (SUBGROUPS * STEPS * STEP_BYTES) + (tile & 3u) * 512u);
}

void multiply(uvec4 word, uvec4 w[COLUMN_TILES]) {
    MATRIX_A(16, 16) m;
    SET_ELEMENTS(m, word)
    [[unroll]] for (uint c = 0; c < COLUMN_TILES; c++) {
        MATRIX_B(16, 16) b;
        SET_ELEMENTS(b, w[c])
        sums[c] = coopMatMulAdd(m, b, sums[c]);
    }
}

uint by_pair(uint a, uint b) { return packFloat2x16(unpackFloat2x16(a) * unpackFloat2x16(b)); }

// What a subgroup has of the inputs. a: of each two steps, eight columns of row lane_row(), then of lane_row() + 8.
uvec4 w[STEPS][COLUMN_TILES], a[STEPS];
vec2 gamma[STEPS][2];

void load_inputs(uint row0) {
    Words weight = Words(weights() + uint64_t(gl_SubgroupID * (STEPS * STEP_BYTES) + gl_SubgroupInvocationID * 16u));
    [[unroll]] for (uint s = 0; s < STEPS; s++)
        [[unroll]] for (uint c = 0; c < COLUMN_TILES; c++) w[s][c] = weight.at[s * (STEP_BYTES / 16u) + c * 32u];
    const uint offset = (row0 + lane_row()) * (2u * K) + gl_SubgroupID * (STEPS * 32u) + 8u * lane_column();
    Words rows = Words(packUint2x32(push.input_address) + uint64_t(offset));
    [[unroll]] for (uint s = 0; s < STEPS; s++) a[s] = rows.at[(s >> 1) * 4u + (s & 1u) * K];
    if (NORM_INPUT)
        [[unroll]] for (uint s = 0; s < STEPS; s++)
            [[unroll]] for (uint h = 0; h < 2; h++)
                gamma[s][h] = pair_or(push.norm_weight_at, (gl_SubgroupID * STEPS + s) * 16u + 8u * h + lane_column(), 1.0);
}

void multiply_step(uvec4 word, uint s) {
    if (NORM_INPUT) {
        add_row_sums(word);
        const uint first = packHalf2x16(gamma[s][0]), second = packHalf2x16(gamma[s][1]);
        word = uvec4(by_pair(word.x, first), by_pair(word.y, second), by_pair(word.z, first), by_pair(word.w, second));
    }
    multiply(word, w[s]);
}

void multiply_inputs() {
    [[unroll]] for (uint s = 0; s < STEPS; s += 2) {
        const uvec4 low = turned(a[s]), high = turned(a[s + 1u]);
        multiply_step(uvec4(low.xy, high.xy), s);
        multiply_step(uvec4(low.zw, high.zw), s + 1u);
    }
}

// The rows of the sequences that rows lane_row() and lane_row() + 8 are in: firsts, then ends.
uvec4 sequences() {
    const uvec2 row = lane_row() + uvec2(0u, 8u);
    const uint count = batch[1];
    uvec4 range = uvec4(0u, 0u, batch[0], batch[0]);
    for (uint b = 1u; b < count; b++) {
        const uint first = batch[push.cu_at + b];
        range = uvec4(mix(range.xy, uvec2(first), lessThanEqual(uvec2(first), row)), mix(range.zw, min(range.zw, uvec2(first)), greaterThan(uvec2(first), row)));
    }
    return range;
}

// Columns are taken in any order that suits both factors: of q and k as they are loaded, 16 bytes a lane; of a head's result as the product leaves them, 4·t … 4·t + 3
// in lane t of four, for which weights are read in that order.
void attend_head(uint head) {
    const uint lane = gl_SubgroupInvocationID, t = lane & 3u, stride = 2u * push.row_count, size = D16 * 32u; // bytes
    Pairs weight = Pairs(weights() + uint64_t(head * (D16 * STEP_BYTES) + lane_row() * 64u + (t & 1u) * 32u + (t >> 1) * 4u));
    const uint64_t input_at = packUint2x32(push.input_address) + uint64_t(head * size);
    Words low = Words(input_at + uint64_t(lane_row() * stride + t * 16u)), high = Words(input_at + uint64_t((lane_row() + 8u) * stride + t * 16u));
    const uint64_t value_at = input_at + uint64_t(2u * push.heads * size + lane_row() * 4u);
    Pairs values[4] = Pairs[](Pairs(value_at + uint64_t(2u * t * stride)), Pairs(value_at + uint64_t((2u * t + 1u) * stride)),
                                    Pairs(value_at + uint64_t((2u * t + 8u) * stride)), Pairs(value_at + uint64_t((2u * t + 9u) * stride)));
    const uint key = push.heads * D16 * 2u; // words of 16 bytes

    uvec4 q[D16], k[D16], v[D16], w[D16][COLUMN_TILES];
    [[unroll]] for (uint d = 0; d < D16; d += 2) {
        q[d] = low.at[d * 2u];
        q[d + 1u] = high.at[d * 2u];
        k[d] = low.at[key + d * 2u];
        k[d + 1u] = high.at[key + d * 2u];
    }
    [[unroll]] for (uint d = 0; d < D16; d++) v[d] = uvec4(values[0].at[d * 8u], values[1].at[d * 8u], values[2].at[d * 8u], values[3].at[d * 8u]);
    [[unroll]] for (uint d = 0; d < D16; d++)
        [[unroll]] for (uint c = 0; c < COLUMN_TILES; c++) {
            const uint i = d * (STEP_BYTES / 4u) + c * 128u;
            w[d][c] = uvec4(weight.at[i], weight.at[i + 4u], weight.at[i + 2u], weight.at[i + 6u]);
        }
    const uvec4 range = sequences();

    MATRIX_SUM(16, 16) scores = MATRIX_SUM(16, 16)(0.0);
    [[unroll]] for (uint d = 0; d < D16; d++) {
        MATRIX_A(16, 16) queries;
        MATRIX_B(16, 16) keys;
        const uint even = d & ~1u;
        SET_ELEMENTS(queries, (d & 1u) == 0u ? uvec4(q[even].xy, q[even + 1u].xy) : uvec4(q[even].zw, q[even + 1u].zw))
        SET_ELEMENTS(keys, (d & 1u) == 0u ? uvec4(k[even].xy, k[even + 1u].xy) : uvec4(k[even].zw, k[even + 1u].zw))
        scores = coopMatMulAdd(queries, keys, scores);
    }
    const uvec4 place = lane_column() + uvec4(0u, 1u, 8u, 9u);
    MATRIX_A(16, 16) p;
    [[unroll]] for (uint h = 0; h < 2; h++) {
        const bvec4 seen = bvec4(uvec4(greaterThanEqual(place, uvec4(range[h]))) & uvec4(lessThan(place, uvec4(range[h + 2u]))));
        vec4 score = vec4(scores[4u * h], scores[4u * h + 1u], scores[4u * h + 2u], scores[4u * h + 3u]) * (push.scale * LOG2E);
        score = mix(vec4(LOWEST), score, seen);
        const float top = row_greatest(max(max(score.x, score.y), max(score.z, score.w)));
        const vec4 e = mix(vec4(0.0), exp2(score - top), seen);
        [[unroll]] for (uint i = 0; i < 4; i++) p[4u * h + i] = float16_t(e[i]);
    }
    MATRIX_SUM(16, 16) totals = coopMatMulAdd(p, MATRIX_B(16, 16)(float16_t(1.0)), MATRIX_SUM(16, 16)(0.0));
    const float first = 1.0 / max(totals[0], 1.0e-30), second = 1.0 / max(totals[4], 1.0e-30); // rows past the batch may have none
    [[unroll]] for (uint d = 0; d < D16; d++) { // column g is element 2·g, column g + 8 element 2·g + 1
        MATRIX_B(16, 16) b;
        const uvec4 word = mix(uvec4(0u), v[d], lessThan(place, uvec4(batch[0])));
        [[unroll]] for (uint i = 0; i < 4; i++) {
            const f16vec2 pair = unpackFloat2x16(word[i]);
            b[i] = pair.x;
            b[i + 4u] = pair.y;
        }
        MATRIX_SUM(16, 16) o = coopMatMulAdd(p, b, MATRIX_SUM(16, 16)(0.0));
        multiply(uvec4(packHalf2x16(vec2(o[0], o[2]) * first), packHalf2x16(vec2(o[1], o[3]) * first), packHalf2x16(vec2(o[4], o[6]) * second),
                       packHalf2x16(vec2(o[5], o[7]) * second)),
                 w[d]);
    }
}

void main() {
    const uint lane = gl_SubgroupInvocationID, subgroup = gl_SubgroupID, row0 = gl_WorkGroupID.y * 16u;
    if (!ATTEND) load_inputs(row0);

    // The first PARTS subgroups will write 8 × 8 outputs each; all read for it, so that no read is in a branch.
    const uint row_in = 8u * (subgroup & 1u) + lane_row(), row = row0 + row_in;
    const uint n = 16u * (gl_WorkGroupID.x * COLUMN_TILES + (subgroup % PARTS >> 2)) + 8u * ((subgroup >> 1) & 1u) + lane_column();
    vec2 bias, by_weight, end_weight, end_bias;
    uint residual = 0u;
    if (NORM_INPUT) {
        Floats both = Floats(packUint2x32(push.sums_address) + uint64_t(8u * n));
        const vec2 even = both.at[0], odd = both.at[1];
        by_weight = vec2(even.x, odd.x);
        bias = vec2(even.y, odd.y);
    } else bias = pair_or(push.bias_at, n, 0.0);
    const uint64_t residual_at = packUint2x32(push.residual_address);
    if (RESIDUAL) residual = Pairs(residual_at + uint64_t(2u * (row * push.residual_stride + n))).at[0];
    Words residuals = Words(residual_at + uint64_t(2u * (row0 + lane_row()) * push.residual_stride + 8u * lane_column()));
    const uint other_chunks = push.residual_stride >> 5;
    uvec4 others[OTHERS][2];
    if (NORM_RESIDUAL) {
        end_weight = pair_or(push.norm_weight_at, n, 1.0);
        end_bias = pair_or(push.norm_bias_at, n, 0.0);
        [[unroll]] for (uint d = 0; d < OTHERS; d++) {
            const uint chunk = min(subgroup + d * SUBGROUPS, other_chunks - 1u) * 4u;
            others[d] = uvec4[](residuals.at[chunk], residuals.at[chunk + push.residual_stride]);
        }
    }

    [[unroll]] for (uint c = 0; c < COLUMN_TILES; c++) sums[c] = MATRIX_SUM(16, 16)(0.0);
    ones_sum = square_sum = MATRIX_SUM(16, 16)(0.0);
    if (ATTEND) {
        for (uint head = subgroup; head < push.heads; head += SUBGROUPS) attend_head(head);
    } else multiply_inputs();
    if (NORM_RESIDUAL) {
        [[unroll]] for (uint d = 0; d < OTHERS; d++) {
            const bool there = subgroup + d * SUBGROUPS < other_chunks;
            add_row_sums(there ? others[d][0] : uvec4(0u), there ? others[d][1] : uvec4(0u));
        }
        for (uint chunk = subgroup + OTHERS * SUBGROUPS; chunk < other_chunks; chunk += SUBGROUPS)
            add_row_sums(residuals.at[chunk * 4u], residuals.at[chunk * 4u + push.residual_stride]);
    }
    if (NORM_INPUT || NORM_RESIDUAL) store_row_sums();
    [[unroll]] for (uint c = 0; c < COLUMN_TILES; c++)
        [[unroll]] for (uint h = 0; h < 2; h++)
            [[unroll]] for (uint r = 0; r < 2; r++)
                parts[(subgroup * PARTS + 4u * c + 2u * h + r) * 32u + lane] = vec2(sums[c][4u * r + 2u * h], sums[c][4u * r + 2u * h + 1u]);
    barrier();
    if (subgroup >= PARTS) return;

    vec2 sum = vec2(0.0);
    [[unroll]] for (uint i = 0; i < SUBGROUPS; i++) sum += parts[(i * PARTS + subgroup) * 32u + lane];
    vec2 added = unpackHalf2x16(residual);
    if (NORM_INPUT) {
        const vec2 by = row_norm(row_in, push.input_width);
        sum = sum * by.x + by_weight * by.y;
    }
    if (NORM_RESIDUAL) {
        const vec2 by = row_norm(row_in, push.output_width);
        added = (added * by.x + by.y) * end_weight + end_bias;
    }
    sum += bias;
    const bool before = RESIDUAL && push.residual_at == BEFORE_ACTIVATION;
    if (before) sum += added;
    sum = activate(sum.xyxy).xy;
    if (RESIDUAL && !before) sum += added;
    Results(packUint2x32(push.output_address) + uint64_t(2u * (row * push.output_stride + n))).at[0] = packHalf2x16(sum * within(n, push.output_width).xy);
}
