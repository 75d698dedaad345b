#version 450
// LINEAR_MAX in f16 by matrix hardware whose fragments lie as the weights' tiles do: linear_product.glsl. A workgroup takes one sequence (y) and BN outputs,
// walks over its rows BM at a time, and keeps the greatest product of each column where it is: in the lanes that hold it. A tile never ends past the value's last
// row; what it holds of other sequences is left out of the maximum.
#extension GL_GOOGLE_include_directive : require
#include "linear_product.glsl"
#include "linear_max.glsl"
#extension GL_KHR_shader_subgroup_shuffle : require

const int LEAST = int(0x80000000);

void main() {
    const uint cu = push.output_address.y + gl_WorkGroupID.y; // words in the batch buffer
    const uint first = batch[cu], end = batch[cu + 1u], rows = (batch[0] + 127u) & ~127u; // of the value
    const uint lane = gl_SubgroupInvocationID, column0 = gl_WorkGroupID.x * BN;

    int top[SIDE][4]; // of columns 16·j + 2·(lane % 4) + e % 2 + 8·(e / 2)
    [[unroll]] for (uint j = 0; j < SIDE; j++)
        [[unroll]] for (uint e = 0; e < 4; e++) top[j][e] = LEAST;
    for (uint from = first; from < end; from += BM) {
        const uint row0 = min(from, rows - BM);
        [[unroll]] for (uint i = 0; i < SIDE; i++)
            [[unroll]] for (uint j = 0; j < SIDE; j++) sum[i][j] = MATRIX_SUM(16, 16)(0.0);
        add_product(row0, column0);
        [[unroll]] for (uint i = 0; i < SIDE; i++)
            [[unroll]] for (uint h = 0; h < 2; h++) {
                const uint row = row0 + subgroup_row() + 16 * i + 8 * h + lane / 4;
                if (row >= first && row < end)
                    [[unroll]] for (uint j = 0; j < SIDE; j++)
                        [[unroll]] for (uint e = 0; e < 4; e++) top[j][e] = max(top[j][e], ordered(sum[i][j][4 * h + e]));
            }
    }
    [[unroll]] for (uint j = 0; j < SIDE; j++)
        [[unroll]] for (uint e = 0; e < 4; e++) {
            int best = top[j][e];
            best = max(best, subgroupShuffleXor(best, 4));
            best = max(best, subgroupShuffleXor(best, 8));
            best = max(best, subgroupShuffleXor(best, 16));
            const uint n = column0 + subgroup_column() + 16 * j + 2 * (lane % 4) + e % 2 + 8 * (e / 2);
            if (lane < 4 && n < push.output_stride) store_y(gl_WorkGroupID.y * push.output_stride + n, finish_max(best, n));
        }
}
