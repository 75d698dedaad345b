#version 450
// LINEAR in f16 by matrix hardware whose fragments lie as the weights' tiles do (VKB_NEED_FRAGMENTS): a lane fetches its part of a weight fragment by one
// 16-byte load, straight into the fragment. Sums in f32, which begin with the bias.
//
// A workgroup makes BM × BN outputs, a subgroup 64 × 64 of them. Rows of x come through shared memory, BK of K at a time in two stages: while one is multiplied,
// the next one waits in registers and the one after it is on its way. Weights are fetched one step of 16 ahead. Both read past the end of K at the end of it
// (vk_memory.c leaves room); what they read is not used. The loop takes two stages a turn, so that the stage is a constant: K is a multiple of 128.
//
// What counts (one H100, 32,768 rows): results go through shared memory and are stored 16 bytes a lane (a matrix stored to memory directly becomes two-byte
// stores: 209 instead of 327 TFLOP/s at K = 768); addresses are a 64-bit base and a 32-bit offset with constant indices, which become immediates.
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#define ADDRESSES
#include "matrix.glsl"
#include "common.glsl"
#include "activation.glsl"

layout(constant_id = 7) const uint BM = 64;    // multiple of 64
layout(constant_id = 8) const uint BN = 256;   // multiple of 64
layout(constant_id = 9) const uint GROUP = 8;  // tiles of rows that neighbouring workgroups share the weights of

layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Words { uvec4 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) writeonly buffer OutputWords { uvec4 at[]; };
layout(set = 0, binding = 2) restrict readonly buffer ResidualWords { uvec4 residual_words[]; };

const uint BK = 64, STEPS = BK / 16;           // of K a stage, and its steps
const uint SIDE = 4;                           // fragments of a subgroup along rows, and along columns
const uint ROW = BK / 8 + 1;                   // words from row to row in shared memory: one more than needed, for the banks
const uint LOADS = BM * (BK / 8) / LOCAL_SIZE; // words of x that an invocation brings a stage
const uint ROWS_APART = LOCAL_SIZE / (BK / 8); // of one load and the next
const uint STAGED = 64 / 8 + 1;                // words of a row of 64 results, in shared memory

shared uvec4 tile[2 * BM * ROW];

MATRIX_SUM(16, 16) sum[SIDE][SIDE];
MATRIX_A(16, 16) a[SIDE];
uvec4 ahead[LOADS];
uvec4 weights[2][SIDE];

uint64_t x_at, x_rows, w_at; // bytes: where this workgroup's rows of x begin, ROWS_APART of them, where this subgroup's weights begin
uint x_offset, w_offset;     // this invocation's, within
uint tile_at;                // its place in a stage
uint rows_at;                // this subgroup's rows in a stage

void load_rows(uint stage) {
    [[unroll]] for (uint i = 0; i < LOADS; i++) ahead[i] = Words(x_at + x_rows * i + uint64_t(x_offset)).at[stage * (BK / 8)];
}

void keep_rows(uint stage) {
    [[unroll]] for (uint i = 0; i < LOADS; i++) tile[stage * (BM * ROW) + tile_at + i * ROWS_APART * ROW] = ahead[i];
}

void load_weights(uint step) {
    [[unroll]] for (uint j = 0; j < SIDE; j++) weights[step & 1u][j] = Words(w_at + uint64_t(w_offset)).at[step * (SIDE * 32) + j * 32];
}

void multiply(uint stage) {
    [[unroll]] for (uint s = 0; s < STEPS; s++) {
        const uint step = stage * STEPS + s;
        load_weights(step + 1);
        [[unroll]] for (uint i = 0; i < SIDE; i++)
            coopMatLoad(a[i], tile, stage * (BM * ROW) + rows_at + i * 16 * ROW + s * 2, ROW, gl_CooperativeMatrixLayoutRowMajor);
        if (s == 1) {
            keep_rows(stage ^ 1u);
            load_rows(stage + 2);
        }
        [[unroll]] for (uint j = 0; j < SIDE; j++) {
            MATRIX_B(16, 16) b;
            SET_ELEMENTS(b, weights[step & 1u][j])
            [[unroll]] for (uint i = 0; i < SIDE; i++) sum[i][j] = coopMatMulAdd(a[i], b, sum[i][j]);
        }
    }
    barrier();
}

void activate_strip(uint i) {
    [[unroll]] for (uint j = 0; j < SIDE; j++)
        [[unroll]] for (uint e = 0; e < 8; e += 4) {
            vec4 v = activate(vec4(sum[i][j][e], sum[i][j][e + 1], sum[i][j][e + 2], sum[i][j][e + 3]));
            [[unroll]] for (uint q = 0; q < 4; q++) sum[i][j][e + q] = v[q];
        }
}

void add_strip(uint i, uint at) {
    [[unroll]] for (uint j = 0; j < SIDE; j++) {
        MATRIX_HALF(16, 16) h;
        coopMatLoad(h, tile, at + 2 * j, STAGED, gl_CooperativeMatrixLayoutRowMajor);
        sum[i][j] += MATRIX_SUM(16, 16)(h);
    }
}

// Zeros for columns past the width.
uvec4 cut(uvec4 word, uint column) {
    [[unroll]] for (uint i = 0; i < 4; i++) {
        if (column + 2 * i >= push.output_width) word[i] = 0u;
        else if (column + 2 * i + 1 >= push.output_width) word[i] &= 0xFFFFu;
    }
    return word;
}

// Sixteen rows at a time: what is added to them comes, and what they become goes, through this subgroup's part of shared memory.
void finish(uint row0, uint column0, uint lane, uint at) {
    const uint r = lane / 8, c = lane % 8, column = column0 + 8 * c;
    const bool there = column < push.output_stride, residual = push.residual_stride != 0u, before = push.residual_at == BEFORE_ACTIVATION;
    const uint64_t to = packUint2x32(push.output_address);
    [[unroll]] for (uint i = 0; i < SIDE; i++) {
        const uint row = row0 + 16 * i + r;
        if (residual) {
            uvec4 word[4];
            [[unroll]] for (uint t = 0; t < 4; t++)
                word[t] = there ? residual_words[((row + 4 * t) * push.residual_stride + column) >> 3] : uvec4(0);
            [[unroll]] for (uint t = 0; t < 4; t++) tile[at + (r + 4 * t) * STAGED + c] = word[t];
            subgroupBarrier();
            if (before) add_strip(i, at);
        }
        if (MODE != 0u) activate_strip(i);
        if (residual) {
            if (!before) add_strip(i, at);
            subgroupBarrier();
        }
        [[unroll]] for (uint j = 0; j < SIDE; j++) {
            MATRIX_HALF(16, 16) h = MATRIX_HALF(16, 16)(sum[i][j]);
            coopMatStore(h, tile, at + 2 * j, STAGED, gl_CooperativeMatrixLayoutRowMajor);
        }
        subgroupBarrier();
        [[unroll]] for (uint t = 0; t < 4; t++) {
            uvec4 word = tile[at + (r + 4 * t) * STAGED + c];
            if (column + 8 > push.output_width) word = cut(word, column);
            if (there) OutputWords(to + uint64_t(2u * ((row + 4 * t) * push.output_stride + column))).at[0] = word;
        }
        subgroupBarrier();
    }
}

void main() {
    const uint t = gl_LocalInvocationIndex, lane = gl_SubgroupInvocationID, subgroup = t / 32;
    const uint sm = subgroup % (BM / 64), sn = subgroup / (BM / 64);

    // Neighbouring workgroups run at the same time: GROUP tiles of rows by each tile of columns, so that both stay in the second-level cache.
    const uint id = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    const uint first = id / (GROUP * gl_NumWorkGroups.x) * GROUP, rest = id % (GROUP * gl_NumWorkGroups.x);
    const uint high = min(GROUP, gl_NumWorkGroups.y - first);
    const uint row0 = (first + rest % high) * BM, column0 = rest / high * BN;

    const uint row_bytes = 2 * push.input_stride;
    x_at = packUint2x32(push.input_address) + uint64_t(row0) * row_bytes;
    x_rows = uint64_t(row_bytes) * ROWS_APART;
    x_offset = t / (BK / 8) * row_bytes + t % (BK / 8) * 16;
    w_at = packUint2x32(push.weight_address) + uint64_t(column0) * row_bytes;
    w_offset = sn * 64 * row_bytes + lane * 16;
    tile_at = t / (BK / 8) * ROW + t % (BK / 8);
    rows_at = sm * 64 * ROW;

    const uint column = column0 + sn * 64;
    [[unroll]] for (uint j = 0; j < SIDE; j++) {
        MATRIX_SUM(16, 16) bias = MATRIX_SUM(16, 16)(0.0);
        if (push.bias_at != NONE) coopMatLoad(bias, vectors4, (push.bias_at + column + 16 * j) >> 2, 0, gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint i = 0; i < SIDE; i++) sum[i][j] = bias;
    }

    load_weights(0);
    load_rows(0);
    keep_rows(0);
    load_rows(1);
    barrier();
    const uint turns = push.input_stride / (2 * BK);
    [[dont_unroll]] for (uint turn = 0; turn < turns; turn++) {
        multiply(0);
        multiply(1);
        x_at += 2 * BK * 2;
        w_at += 2 * STEPS * (SIDE * 32) * 16;
    }

    finish(row0 + sm * 64, column, lane, subgroup * (16 * STAGED));
}
