#version 450
// LINEAR in f16 by matrix hardware of any shape (VK_KHR_cooperative_matrix): both operands through shared memory, nothing known about how a matrix lies over
// a subgroup. The yardstick of linear_fragments, and what a device with other fragments takes.
//
// A workgroup makes BM × 64 outputs, a subgroup ROWS × 32 of them. The weights' tiles are taken apart on their way to shared memory, [output][K].
#extension GL_GOOGLE_include_directive : require
#include "matrix.glsl"
#include "common.glsl"
#include "linear.glsl"
#include "gate_output.glsl"

layout(constant_id = 4) const uint MM = 16; // the device's matrices
layout(constant_id = 5) const uint MN = 16;
layout(constant_id = 6) const uint MK = 16;
layout(constant_id = 7) const uint BM = 64;
layout(constant_id = 8) const uint ROWS = 32; // of a subgroup: there are BM / ROWS · 2 subgroups

layout(set = 0, binding = 1) readonly buffer InputWords { uvec4 input_words[]; };

const uint BN = 64, BK = 32;
const uint TM = ROWS / MM, TN = 32 / MN;
const uint ROW = BK / 2 + 4; // pairs from row to row: the banks
const uint STAGED = BN + 4;  // floats of a row of results

shared f16vec2 tile_a[BM * ROW]; // [row][K]
shared f16vec2 tile_b[BN * ROW]; // [output][K]
shared float staged[BM * STAGED];

void keep(uint at, bool is_a, uint word) {
    const f16vec2 pair = unpackFloat2x16(word);
    if (is_a) tile_a[at] = pair;
    else tile_b[at] = pair;
}

void main() {
    const uint t = gl_LocalInvocationIndex, sm = gl_SubgroupID / 2, sn = gl_SubgroupID % 2;
    const uint row0 = gl_WorkGroupID.y * BM, column0 = gl_WorkGroupID.x * BN;
    MATRIX_SUM(MM, MN) sum[TM][TN];
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TN; j++) sum[i][j] = MATRIX_SUM(MM, MN)(0.0);

    for (uint k = 0; k < push.input_stride; k += BK) {
        barrier(); // the last tiles have been read
        for (uint i = t; i < BM * (BK / 8); i += LOCAL_SIZE) {
            const uint r = i / (BK / 8), c = i % (BK / 8);
            const uvec4 word = input_words[((row0 + r) * push.input_stride + k) / 8 + c];
            [[unroll]] for (uint q = 0; q < 4; q++) keep(r * ROW + 4 * c + q, true, word[q]);
        }
        for (uint i = t; i < (BN / 16) * (BK / 16) * 32; i += LOCAL_SIZE) { // a lane's word of a tile
            const uint lane = i % 32, n16 = i / 32 % 4, k16 = i / 128;
            const uint n = output_of(column0 + 16 * n16) / 16; // tile of outputs
            const uvec4 word = weight4[((n / 4 * (push.input_stride / 16) + k / 16 + k16) * 4 + n % 4) * 32 + lane];
            [[unroll]] for (uint q = 0; q < 4; q++) keep((16 * n16 + lane / 4 + q / 2 * 8) * ROW + 8 * k16 + lane % 4 + q % 2 * 4, false, word[q]);
        }
        barrier();
        [[unroll]] for (uint s = 0; s < BK; s += MK) {
            MATRIX_A(MM, MK) a[TM];
            [[unroll]] for (uint i = 0; i < TM; i++)
                coopMatLoad(a[i], tile_a, (sm * ROWS + i * MM) * ROW + s / 2, ROW, gl_CooperativeMatrixLayoutRowMajor);
            [[unroll]] for (uint j = 0; j < TN; j++) {
                MATRIX_B(MK, MN) b;
                coopMatLoad(b, tile_b, (sn * 32 + j * MN) * ROW + s / 2, ROW, gl_CooperativeMatrixLayoutColumnMajor);
                [[unroll]] for (uint i = 0; i < TM; i++) sum[i][j] = coopMatMulAdd(a[i], b, sum[i][j]);
            }
        }
    }

    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TN; j++)
            coopMatStore(sum[i][j], staged, (sm * ROWS + i * MM) * STAGED + sn * 32 + j * MN, STAGED, gl_CooperativeMatrixLayoutRowMajor);
    barrier();
    if (GATE) {
        for (uint i = t; i < BM * (BN / 8); i += LOCAL_SIZE) {
            const uint r = i / (BN / 8), c = i % (BN / 8) * 4, at = r * STAGED + c, right = at + BN / 2, n = column0 / 2 + c;
            const vec4 products = vec4(staged[at], staged[at + 1], staged[at + 2], staged[at + 3]);
            store_output(row0 + r, n, gate_output(n, products, vec4(staged[right], staged[right + 1], staged[right + 2], staged[right + 3])));
        }
        return;
    }
    for (uint i = t; i < BM * (BN / 4); i += LOCAL_SIZE) {
        const uint r = i / (BN / 4), c = i % (BN / 4) * 4, at = r * STAGED + c;
        const vec4 products = vec4(staged[at], staged[at + 1], staged[at + 2], staged[at + 3]);
        store_output(row0 + r, column0 + c, finish_output(row0 + r, column0 + c, products));
    }
}
