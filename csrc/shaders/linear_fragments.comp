#version 450
// LINEAR in f16 by matrix hardware whose fragments lie as the weights' tiles do: linear_product.glsl. The sums begin with the bias.
//
// Results go through shared memory and are stored 16 bytes a lane: a matrix stored to memory directly becomes two-byte stores (one H100, 32,768 rows, K = 768:
// 209 instead of 327 TFLOP/s).
//
// A workgroup makes one tile after another, however many workgroups there are: with as many as the device holds at a time, the next tile's first loads are under
// way while the last one is finished, and none waits for a place.
#extension GL_GOOGLE_include_directive : require
#include "linear_product.glsl"
#include "activation.glsl"

layout(constant_id = 9) const uint GROUP = 8;      // tiles of rows that neighbouring workgroups share the weights of
layout(constant_id = 10) const bool AHEAD = false; // start the next tile's loads before the last one is finished

layout(buffer_reference, std430, buffer_reference_align = 16) writeonly buffer OutputWords { uvec4 at[]; };
layout(set = 0, binding = 2) restrict readonly buffer ResidualWords { uvec4 residual_words[]; };

const bool RESIDUAL = (MODE & 0x1000u) != 0u; // VKB_LINEAR_RESIDUAL
const uint STAGED = 64 / 8 + 1; // words of a row of 64 results, in shared memory

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
    const uint64_t to = packUint2x32(push.output_address) + 2 * (uint64_t(row0) * push.output_stride + column0);
    const uint64_t four_rows = 8 * uint64_t(push.output_stride);
    const uint mine = 2 * r * push.output_stride + 16 * c;
    [[unroll]] for (uint i = 0; i < SIDE; i++) {
        const uint row = row0 + 16 * i + r;
        if (RESIDUAL) {
            uvec4 word[4];
            [[unroll]] for (uint t = 0; t < 4; t++)
                word[t] = there ? residual_words[((row + 4 * t) * push.residual_stride + column) >> 3] : uvec4(0);
            [[unroll]] for (uint t = 0; t < 4; t++) tile[at + (r + 4 * t) * STAGED + c] = word[t];
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
            if (there) OutputWords(to + four_rows * (4 * i + t) + uint64_t(mine)).at[0] = word;
        }
        subgroupBarrier();
    }
}

// Neighbouring workgroups run at the same time: GROUP tiles of rows by each tile of columns, so that both stay in the second-level cache.
uvec2 tile_place(uint id, uint row_tiles, uint column_tiles) {
    const uint first = id / (GROUP * column_tiles) * GROUP, rest = id % (GROUP * column_tiles);
    const uint high = min(GROUP, row_tiles - first);
    return uvec2((first + rest % high) * BM, rest / high * BN);
}

void begin_sums(uint column) {
    [[unroll]] for (uint j = 0; j < SIDE; j++) {
        MATRIX_SUM(16, 16) bias = MATRIX_SUM(16, 16)(0.0);
        if (push.bias_at != NONE) coopMatLoad(bias, vectors4, (push.bias_at + column + 16 * j) >> 2, 0, gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint i = 0; i < SIDE; i++) sum[i][j] = bias;
    }
}

void main() {
    const uint row_tiles = (batch_rows() + BM - 1) / BM, column_tiles = (push.output_stride + BN - 1) / BN;
    const uint tiles = row_tiles * column_tiles, apart = gl_NumWorkGroups.x * gl_NumWorkGroups.y;
    const uint staged = gl_LocalInvocationIndex / 32 * (16 * STAGED);
    uint id = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (id >= tiles) return;
    uvec2 place = tile_place(id, row_tiles, column_tiles);
    if (AHEAD) begin_product(place.x, place.y);
    [[dont_unroll]] for (;;) {
        const uint row = place.x + subgroup_row(), column = place.y + subgroup_column();
        if (!AHEAD) begin_product(place.x, place.y);
        begin_sums(column);
        multiply_rows();
        id += apart;
        if (id < tiles) {
            place = tile_place(id, row_tiles, column_tiles);
            if (AHEAD) begin_product(place.x, place.y);
        }
        finish(row, column, gl_SubgroupInvocationID, staged);
        if (id >= tiles) return;
        barrier(); // what was staged has been read
    }
}
