#version 450
// LINEAR in int8 by matrix hardware of any shape (VK_KHR_cooperative_matrix): both operands through shared memory, one stage, the next one waiting in
// registers. Nothing is known about how a matrix lies over a subgroup: sums go through shared memory, where their scales meet them.
//
// A workgroup makes BM × BN outputs, a subgroup SM × SN of them.
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_int8 : require
#extension GL_KHR_shader_subgroup_basic : require
#include "common.glsl"
#include "bytes.glsl"

layout(constant_id = 4) const uint MM = 16; // the device's matrices
layout(constant_id = 5) const uint MN = 16;
layout(constant_id = 6) const uint MK = 32;
layout(constant_id = 7) const uint BM = 128;
layout(constant_id = 8) const uint BN = 128;
layout(constant_id = 9) const uint SM = 64;
layout(constant_id = 10) const uint SN = 64;
layout(constant_id = 11) const uint BK = 128; // of K a stage: 64 or 128
layout(constant_id = 12) const uint GROUP = 8; // tiles of rows that neighbouring workgroups share the weights of

#define MATRIX_A coopmat<int8_t, gl_ScopeSubgroup, MM, MK, gl_MatrixUseA>
#define MATRIX_B coopmat<int8_t, gl_ScopeSubgroup, MK, MN, gl_MatrixUseB>
#define MATRIX_SUM coopmat<int, gl_ScopeSubgroup, MM, MN, gl_MatrixUseAccumulator>

const uint TM = SM / MM, TN = SN / MN;
const uint SUBGROUPS = BM / SM * (BN / SN), LANES = LOCAL_SIZE / SUBGROUPS;
const uint WORDS = BK / 16;                        // sixteen numbers each, of a row
const uint ROW = WORDS * 4 + 4;                    // fours from row to row: one word more than needed, for the banks
const uint A_WORDS = BM * WORDS, B_WORDS = BN * WORDS;
const uint A_LOADS = (A_WORDS + LOCAL_SIZE - 1) / LOCAL_SIZE, B_LOADS = (B_WORDS + LOCAL_SIZE - 1) / LOCAL_SIZE, ROWS_APART = LOCAL_SIZE / WORDS;
const uint STAGED = SN + 4; // sums from row to row, when they are done

shared uint tile[(BM + BN) * ROW];

MATRIX_SUM sum[TM][TN];
uvec4 a_ahead[A_LOADS], b_ahead[B_LOADS];
uint a_at, b_at, tile_at, apart;

// Whether this invocation has an i-th word of so many; always, but for small tiles and large subgroups.
bool is_there(uint i, uint words) { return words % LOCAL_SIZE == 0 || gl_LocalInvocationIndex + i * LOCAL_SIZE < words; }

void load_words(uint step) {
    [[unroll]] for (uint i = 0; i < A_LOADS; i++)
        if (is_there(i, A_WORDS)) a_ahead[i] = input_words[a_at + i * apart + step * WORDS];
    [[unroll]] for (uint i = 0; i < B_LOADS; i++)
        if (is_there(i, B_WORDS)) b_ahead[i] = weight4[b_at + i * apart + step * WORDS];
}

void keep(uint at, uvec4 word) {
    [[unroll]] for (uint q = 0; q < 4; q++) tile[at + q] = word[q];
}

void keep_words() {
    [[unroll]] for (uint i = 0; i < A_LOADS; i++)
        if (is_there(i, A_WORDS)) keep(tile_at + i * ROWS_APART * ROW, a_ahead[i]);
    [[unroll]] for (uint i = 0; i < B_LOADS; i++)
        if (is_there(i, B_WORDS)) keep(BM * ROW + tile_at + i * ROWS_APART * ROW, b_ahead[i]);
}

void multiply(uint a_row, uint b_row) {
    [[unroll]] for (uint k = 0; k < BK; k += MK) {
        MATRIX_A a[TM];
        [[unroll]] for (uint i = 0; i < TM; i++) coopMatLoad(a[i], tile, (a_row + i * MM) * ROW + k / 4, ROW, gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint j = 0; j < TN; j++) {
            MATRIX_B b;
            coopMatLoad(b, tile, (BM + b_row + j * MN) * ROW + k / 4, ROW, gl_CooperativeMatrixLayoutColumnMajor);
            [[unroll]] for (uint i = 0; i < TM; i++) sum[i][j] = coopMatMulAdd(a[i], b, sum[i][j]);
        }
    }
}

// MM rows at a time, through this subgroup's part of shared memory.
void finish(uint row0, uint column0) {
    const uint at = gl_SubgroupID * (MM * STAGED), quads = SN / 4;
    [[unroll]] for (uint i = 0; i < TM; i++) {
        [[unroll]] for (uint j = 0; j < TN; j++) coopMatStore(sum[i][j], tile, at + j * MN, STAGED, gl_CooperativeMatrixLayoutRowMajor);
        subgroupBarrier();
        [[unroll]] for (uint t = 0; t < MM * quads / LANES; t++) {
            const uint x = t * LANES + gl_SubgroupInvocationID, r = x / quads, c = x % quads * 4, from = at + r * STAGED + c;
            const uint row = row0 + i * MM + r, column = column0 + c;
            const vec4 products = vec4(ivec4(tile[from], tile[from + 1], tile[from + 2], tile[from + 3]));
            const vec4 scales = row_scale(row) * weight_scales4[(weight_scales_at() + column) >> 2];
            store_output(row, column, finish_output(row, column, products * scales));
        }
        subgroupBarrier();
    }
}

void main() {
    // Neighbouring workgroups run at the same time: GROUP tiles of rows by each tile of columns, so that both stay in the second-level cache.
    const uint id = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    const uint first = id / (GROUP * gl_NumWorkGroups.x) * GROUP, rest = id % (GROUP * gl_NumWorkGroups.x);
    const uint high = min(GROUP, gl_NumWorkGroups.y - first);
    const uint row0 = (first + rest % high) * BM, column0 = rest / high * BN;

    const uint t = gl_LocalInvocationIndex, k16s = push.input_stride >> 4;
    const uint a_row = gl_SubgroupID % (BM / SM) * SM, b_row = gl_SubgroupID / (BM / SM) * SN;
    a_at = (row0 + t / WORDS) * k16s + t % WORDS;
    b_at = (column0 + t / WORDS) * k16s + t % WORDS;
    apart = ROWS_APART * k16s;
    tile_at = t / WORDS * ROW + t % WORDS * 4;
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TN; j++) sum[i][j] = MATRIX_SUM(0);

    const uint steps = push.input_stride / BK;
    load_words(0);
    [[dont_unroll]] for (uint step = 0; step < steps; step++) {
        barrier(); // the last stage has been read
        keep_words();
        barrier();
        if (step + 1 < steps) load_words(step + 1);
        multiply(a_row, b_row);
    }
    barrier();
    finish(row0 + a_row, column0 + b_row);
}
