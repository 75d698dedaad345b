#version 450
// LINEAR in int8 by matrix hardware, 16×16×32, whose sums lie over a subgroup as vkb_weight_form's tiles do (VKB_NEED_FRAGMENTS): scales, bias and activation
// are applied in registers. Both operands come through shared memory, one stage of BK of K; the next one waits in registers.
//
// A workgroup makes BM × BN outputs, a subgroup 64 × 64 of them. They go through shared memory and are stored 16 bytes a lane.
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_int8 : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_shader_subgroup_basic : require
#include "common.glsl"
#include "bytes.glsl"
#include "fragments.glsl"

layout(constant_id = 7) const uint BM = 128;
layout(constant_id = 8) const uint BN = 128;
layout(constant_id = 9) const uint BK = 128;  // of K a stage: 64 or 128
layout(constant_id = 10) const uint GROUP = 8; // tiles of rows that neighbouring workgroups share the weights of

layout(set = 0, binding = 2) restrict readonly buffer ResidualWords { uvec4 residual_words[]; };
layout(set = 0, binding = 3) restrict writeonly buffer OutputWords { uvec4 output_words[]; };

#define MATRIX_A coopmat<int8_t, gl_ScopeSubgroup, 16, 32, gl_MatrixUseA>
#define MATRIX_B coopmat<int8_t, gl_ScopeSubgroup, 32, 16, gl_MatrixUseB>
#define MATRIX_SUM coopmat<int, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>

const bool RESIDUAL = (MODE & 0x1000u) != 0u;  // VKB_LINEAR_RESIDUAL
const uint SIDE = 4;                           // fragments of a subgroup along rows, and along columns
const uint WORDS = BK / 16;                    // sixteen numbers each, of a row
const uint ROW = WORDS + 1;                    // words from row to row: one more than needed, for the banks
const uint A_LOADS = BM * WORDS / LOCAL_SIZE, B_LOADS = BN * WORDS / LOCAL_SIZE, ROWS_APART = LOCAL_SIZE / WORDS;
const uint STAGED = 64 / 8 + 1;                // words of a row of 64 results in f16

shared uvec4 tile[(BM + BN) * ROW];
shared float row_scales[BM]; // of x

MATRIX_SUM sum[SIDE][SIDE];
uvec4 a_ahead[A_LOADS], b_ahead[B_LOADS];
uint a_at, b_at, tile_at, apart;

void load_words(uint step) {
    [[unroll]] for (uint i = 0; i < A_LOADS; i++) a_ahead[i] = input_words[a_at + i * apart + step * WORDS];
    [[unroll]] for (uint i = 0; i < B_LOADS; i++) b_ahead[i] = weight4[b_at + i * apart + step * WORDS];
}

void keep_words() {
    [[unroll]] for (uint i = 0; i < A_LOADS; i++) tile[tile_at + i * ROWS_APART * ROW] = a_ahead[i];
    [[unroll]] for (uint i = 0; i < B_LOADS; i++) tile[BM * ROW + tile_at + i * ROWS_APART * ROW] = b_ahead[i];
}

void multiply(uint a_row, uint b_row) {
    [[unroll]] for (uint k = 0; k < WORDS; k += 2) {
        MATRIX_A a[SIDE];
        [[unroll]] for (uint i = 0; i < SIDE; i++) coopMatLoad(a[i], tile, (a_row + i * 16) * ROW + k, ROW, gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint j = 0; j < SIDE; j++) {
            MATRIX_B b;
            coopMatLoad(b, tile, (BM + b_row + j * 16) * ROW + k, ROW, gl_CooperativeMatrixLayoutColumnMajor);
            [[unroll]] for (uint i = 0; i < SIDE; i++) sum[i][j] = coopMatMulAdd(a[i], b, sum[i][j]);
        }
    }
}

uint pair_place(uint at, uint r, uint j, uint half_) { return at + r * STAGED + 2 * j + half_; }

vec2 staged_pair(uint at, uint r, uint j, uint half_) { return unpackHalf2x16(tile[pair_place(at, r, j, half_)][gl_SubgroupInvocationID & 3u]); }

// Ones for the bits of columns within the width, of eight from `column` on.
uvec4 within_width(uint column) {
    uvec4 mask;
    [[unroll]] for (uint i = 0; i < 4; i++) {
        const uint c = column + 2 * i;
        mask[i] = c + 1 < push.output_width ? ~0u : c < push.output_width ? 0xFFFFu : 0u;
    }
    return mask;
}

vec2 vector2(uint at) { return vec2(vector1(at), vector1(at + 1)); }

// A strip of 16 rows: value[j][h] are columns 16j + lane_column() + {0, 1, 8, 9} of row lane_row() + 8h.
vec4 value[SIDE][2];

uvec4 residual[SIDE][4]; // of the subgroup's rows, all asked for at once

void load_residual(uint row0, uint column, bool there) {
    [[unroll]] for (uint i = 0; i < SIDE; i++)
        [[unroll]] for (uint t = 0; t < 4; t++) {
            const uint row = row0 + 16 * i + gl_SubgroupInvocationID / 8 + 4 * t;
            residual[i][t] = there ? residual_words[(row * push.residual_stride + column) >> 3] : uvec4(0);
        }
}

void stage_residual(uint i, uint at) {
    const uint r = gl_SubgroupInvocationID / 8, c = gl_SubgroupInvocationID % 8;
    [[unroll]] for (uint t = 0; t < 4; t++) tile[at + (r + 4 * t) * STAGED + c] = residual[i][t];
    subgroupBarrier();
}

void add_residual(uint at) {
    [[unroll]] for (uint j = 0; j < SIDE; j++)
        [[unroll]] for (uint h = 0; h < 2; h++)
            value[j][h] += vec4(staged_pair(at, lane_row() + 8 * h, j, 0), staged_pair(at, lane_row() + 8 * h, j, 1));
}

void store_halves(uint row, uint column, uint at, bool there) {
    [[unroll]] for (uint j = 0; j < SIDE; j++)
        [[unroll]] for (uint h = 0; h < 2; h++) {
            const uvec2 pairs = narrow(value[j][h]);
            tile[pair_place(at, lane_row() + 8 * h, j, 0)][gl_SubgroupInvocationID & 3u] = pairs.x;
            tile[pair_place(at, lane_row() + 8 * h, j, 1)][gl_SubgroupInvocationID & 3u] = pairs.y;
        }
    subgroupBarrier();
    const uint r = gl_SubgroupInvocationID / 8, c = gl_SubgroupInvocationID % 8;
    const uvec4 mask = within_width(column);
    [[unroll]] for (uint t = 0; t < 4; t++) {
        const uvec4 word = tile[at + (r + 4 * t) * STAGED + c] & mask;
        if (there) output_words[((row + r + 4 * t) * push.output_stride + column) >> 3] = word;
    }
    subgroupBarrier();
}

// row0, column0: the subgroup's first. first: its first row in the workgroup. at: its part of `tile`.
void finish(uint row0, uint column0, uint first, uint at) {
    const uint column = column0 + 8 * (gl_SubgroupInvocationID % 8);
    const bool there = column < push.output_stride, before = push.residual_at == BEFORE_ACTIVATION, biased = push.bias_at != NONE;
    if (RESIDUAL) load_residual(row0, column, there);
    vec4 scales[SIDE], bias[SIDE];
    [[unroll]] for (uint j = 0; j < SIDE; j++) {
        const uint c = column0 + 16 * j + lane_column(), from = weight_scales_at() + c;
        scales[j] = vec4(weight_scales[from], weight_scales[from + 1], weight_scales[from + 8], weight_scales[from + 9]);
        bias[j] = biased ? vec4(vector2(push.bias_at + c), vector2(push.bias_at + c + 8)) : vec4(0.0);
    }
    [[unroll]] for (uint i = 0; i < SIDE; i++) {
        const uint row = row0 + 16 * i;
        [[unroll]] for (uint h = 0; h < 2; h++) {
            const float scale = row_scales[first + 16 * i + lane_row() + 8 * h];
            [[unroll]] for (uint j = 0; j < SIDE; j++) {
                const vec4 products = vec4(sum[i][j][4 * h], sum[i][j][4 * h + 1], sum[i][j][4 * h + 2], sum[i][j][4 * h + 3]);
                value[j][h] = products * (scale * scales[j]) + bias[j];
            }
        }
        if (RESIDUAL) {
            stage_residual(i, at);
            if (before) add_residual(at);
        }
        if ((MODE & 0xFFu) != 0u)
            [[unroll]] for (uint j = 0; j < SIDE; j++)
                [[unroll]] for (uint h = 0; h < 2; h++) value[j][h] = activate(value[j][h]);
        if (RESIDUAL) {
            if (!before) add_residual(at);
            subgroupBarrier();
        }
        store_halves(row, column, at, there);
    }
}

void main() {
    // Neighbouring workgroups run at the same time: GROUP tiles of rows by each tile of columns, so that both stay in the second-level cache.
    const uint id = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    const uint first = id / (GROUP * gl_NumWorkGroups.x) * GROUP, rest = id % (GROUP * gl_NumWorkGroups.x);
    const uint high = min(GROUP, gl_NumWorkGroups.y - first);
    const uint row0 = (first + rest % high) * BM, column0 = rest / high * BN;

    const uint t = gl_LocalInvocationIndex, k16s = push.input_stride >> 4, subgroup = t / 32;
    const uint a_row = subgroup % (BM / 64) * 64, b_row = subgroup / (BM / 64) * 64;
    a_at = (row0 + t / WORDS) * k16s + t % WORDS;
    b_at = (column0 + t / WORDS) * k16s + t % WORDS;
    apart = ROWS_APART * k16s;
    tile_at = t / WORDS * ROW + t % WORDS;
    [[unroll]] for (uint i = 0; i < SIDE; i++)
        [[unroll]] for (uint j = 0; j < SIDE; j++) sum[i][j] = MATRIX_SUM(0);

    load_words(0);
    for (uint r = t; r < BM; r += LOCAL_SIZE) row_scales[r] = row_scale(row0 + r);
    const uint steps = push.input_stride / BK;
    [[dont_unroll]] for (uint step = 0; step < steps; step++) {
        barrier(); // the last stage has been read
        keep_words();
        barrier();
        load_words(min(step + 1, steps - 1));
        multiply(a_row, b_row);
    }
    barrier();
    finish(row0 + a_row, column0 + b_row, a_row, subgroup * (16 * STAGED));
}
