#version 450
// LINEAR in f16 by matrix hardware whose fragments lie as the weights' tiles do: linear_product.glsl. The sums begin with the bias.
//
// Results go through shared memory and are stored 16 bytes a lane: a matrix stored to memory directly becomes two-byte stores (one H100, 32,768 rows, K = 768:
// 209 instead of 327 TFLOP/s).
#extension GL_GOOGLE_include_directive : require
#include "linear_product.glsl"
#include "activation.glsl"

layout(constant_id = 9) const uint GROUP = 8; // tiles of rows that neighbouring workgroups share the weights of

layout(buffer_reference, std430, buffer_reference_align = 16) writeonly buffer OutputWords { uvec4 at[]; };
layout(set = 0, binding = 2) restrict readonly buffer ResidualWords { uvec4 residual_words[]; };

const bool RESIDUAL = (MODE & 0x1000u) != 0u; // VKB_LINEAR_RESIDUAL
const uint STAGED = 64 / 8 + 1; // words of a row of 64 results, in shared memory

void activate_strip(uint i) {
    [[unroll]] for (uint j = 0; j < TOGETHER; j++)
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

// Ones for the bits of columns within the width, of eight from `column` on.
uvec4 within_width(uint column) {
    uvec4 mask;
    [[unroll]] for (uint i = 0; i < 4; i++) {
        const uint c = column + 2 * i;
        mask[i] = c + 1 < push.output_width ? ~0u : c < push.output_width ? 0xFFFFu : 0u;
    }
    return mask;
}

// Sixteen rows at a time: what is added to them comes, and what they become goes, through this subgroup's part of shared memory.
void finish(uint row0, uint column0, uint lane, uint at) {
    const uint r = lane / 8, c = lane % 8, column = column0 + 8 * c;
    const bool there = column < push.output_stride, before = push.residual_at == BEFORE_ACTIVATION;
    const uvec4 mask = within_width(column);
    const uint64_t to = packUint2x32(push.output_address);
    uvec4 residual[SIDE][4]; // all at once, so that they are waited for once
    if (RESIDUAL)
        [[unroll]] for (uint i = 0; i < SIDE; i++)
            [[unroll]] for (uint t = 0; t < 4; t++)
                residual[i][t] = there ? residual_words[((row0 + 16 * i + r + 4 * t) * push.residual_stride + column) >> 3] : uvec4(0);
    [[unroll]] for (uint i = 0; i < SIDE; i++) {
        const uint row = row0 + 16 * i + r;
        if (RESIDUAL) {
            [[unroll]] for (uint t = 0; t < 4; t++) tile[at + (r + 4 * t) * STAGED + c] = residual[i][t];
            subgroupBarrier();
            if (before) add_strip(i, at);
        }
        if ((MODE & 0xFFu) != 0u) activate_strip(i);
        if (RESIDUAL) {
            if (!before) add_strip(i, at);
            subgroupBarrier();
        }
        [[unroll]] for (uint j = 0; j < SIDE; j++) {
            MATRIX_HALF(16, 16) h = MATRIX_HALF(16, 16)(sum[i][j]);
            coopMatStore(h, tile, at + 2 * j, STAGED, gl_CooperativeMatrixLayoutRowMajor);
        }
        subgroupBarrier();
        [[unroll]] for (uint t = 0; t < 4; t++) {
            const uvec4 word = tile[at + (r + 4 * t) * STAGED + c] & mask;
            if (there) OutputWords(to + uint64_t(2u * ((row + 4 * t) * push.output_stride + column))).at[0] = word;
        }
        subgroupBarrier();
    }
}

// The same with a GATE: the two halves lie alike over the subgroup.
void finish_gated(uint row0, uint column0, uint lane, uint at) {
    const uint r = lane / 4, c = lane % 4;
    const uint64_t to = packUint2x32(push.output_address) + uint64_t(2u * ((row0 + r) * push.output_stride + column0 + 8 * c));
    [[unroll]] for (uint i = 0; i < SIDE; i++) {
        activate_strip(i);
        [[unroll]] for (uint j = 0; j < TOGETHER; j++) {
            [[unroll]] for (uint e = 0; e < 8; e++) sum[i][j][e] *= sum[i][j + TOGETHER][e];
            MATRIX_HALF(16, 16) h = MATRIX_HALF(16, 16)(sum[i][j]);
            coopMatStore(h, tile, at + 2 * j, STAGED, gl_CooperativeMatrixLayoutRowMajor);
        }
        subgroupBarrier();
        [[unroll]] for (uint t = 0; t < 2; t++)
            OutputWords(to + uint64_t(2u * (16 * i + 8 * t) * push.output_stride)).at[0] = tile[at + (r + 8 * t) * STAGED + c];
        subgroupBarrier();
    }
}

void main() {
    // Neighbouring workgroups run at the same time: GROUP tiles of rows by each tile of columns, so that both stay in the second-level cache.
    const uint id = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    const uint first = id / (GROUP * gl_NumWorkGroups.x) * GROUP, rest = id % (GROUP * gl_NumWorkGroups.x);
    const uint high = min(GROUP, gl_NumWorkGroups.y - first);
    const uint row0 = (first + rest % high) * BM, column0 = rest / high * BN;

    const uint column = column0 + subgroup_column();
    [[unroll]] for (uint j = 0; j < SIDE; j++) {
        MATRIX_SUM(16, 16) bias = MATRIX_SUM(16, 16)(0.0);
        if (push.bias_at != NONE) coopMatLoad(bias, vectors4, (push.bias_at + output_of(column + 16 * j)) >> 2, 0, gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint i = 0; i < SIDE; i++) sum[i][j] = bias;
    }
    add_product(row0, column0);
    const uint at = gl_LocalInvocationIndex / 32 * (16 * STAGED);
    if (GATE) finish_gated(row0 + subgroup_row(), column / 2, gl_SubgroupInvocationID, at);
    else finish(row0 + subgroup_row(), column, gl_SubgroupInvocationID, at);
}
