#version 450
// LINEAR_MAX: max over each sequence's rows of log(1 + relu(x·Wᵀ + bias)), the [T, outputs] matrix never made. A workgroup takes one sequence (y) and BN
// outputs, walks over its rows BM at a time, and keeps the greatest product.
//
// A product by register tiles as in linear_tile: BK of K at a time in shared memory, K outermost; an invocation makes 4 rows × 8 outputs. Rows past
// the sequence are its last row again, which changes no maximum.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "tiles.glsl"
#include "linear_max.glsl"

layout(constant_id = 7) const uint BM = 32;  // multiple of four
layout(constant_id = 8) const uint BN = 128; // multiple of eight that divides VKB_OUTPUT_ALIGN
layout(constant_id = 9) const uint BK = 16;  // 16 or 32

// LOCAL_SIZE must be BM / 4 · BN / 8.
const uint M4 = BM / 4, N4 = BN / 4, NX = BN / 8, KQ = BK / 4;
const uint A_BLOCKS = M4 * KQ, BLOCKS = A_BLOCKS + N4 * KQ; // of 4 × 4

shared vec4 tile_a[BK * M4]; // [k][row / 4]
shared vec4 tile_b[BK * N4]; // [k][output / 4]
shared ivec4 tops[M4 * N4];

void main() {
    const uint t = gl_LocalInvocationIndex, tx = t % NX, ty = t / NX;
    const uint first = batch[push.tiles_at + gl_WorkGroupID.y], last = batch[push.tiles_at + gl_WorkGroupID.y + 1u] - 1u;
    const uint column0 = gl_WorkGroupID.x * BN, k4s = push.input_stride >> 2;

    ivec4 top[2] = {ivec4(0x80000000), ivec4(0x80000000)};
    for (uint row0 = first; row0 <= last; row0 += BM) {
        vec4 sum[4][2];
        [[unroll]] for (uint i = 0; i < 4; i++) sum[i][0] = sum[i][1] = vec4(0.0);
        for (uint k4 = 0; k4 < k4s; k4 += KQ) {
            barrier(); // the last tiles have been read
            for (uint b = t; b < BLOCKS; b += LOCAL_SIZE) {
                bool is_a = b < A_BLOCKS;
                uint c = is_a ? b : b - A_BLOCKS, room = is_a ? M4 : N4, r4 = c % room, kq = c / room;
                mat4 m;
                [[unroll]] for (uint i = 0; i < 4; i++) {
                    if (is_a) {
                        m[i] = load_x4(min(row0 + 4 * r4 + i, last) * k4s + k4 + kq);
                    } else {
                        uint at = (column0 + 4 * r4 + i) * k4s + k4 + kq;
                        m[i] = WEIGHT_TILES ? widen(load_tiles(column0 + 4 * r4 + i, k4 + kq)) : WEIGHT_F16 ? widen(weight2[at]) : uintBitsToFloat(weight4[at]);
                    }
                }
                m = transpose(m);
                [[unroll]] for (uint i = 0; i < 4; i++) {
                    if (is_a) tile_a[(4 * kq + i) * M4 + r4] = m[i];
                    else tile_b[(4 * kq + i) * N4 + r4] = m[i];
                }
            }
            barrier();
            [[unroll]] for (uint k = 0; k < BK; k++) {
                vec4 a = tile_a[k * M4 + ty], b0 = tile_b[k * N4 + tx], b1 = tile_b[k * N4 + tx + NX];
                [[unroll]] for (uint i = 0; i < 4; i++) {
                    sum[i][0] = fma(vec4(a[i]), b0, sum[i][0]);
                    sum[i][1] = fma(vec4(a[i]), b1, sum[i][1]);
                }
            }
        }
        [[unroll]] for (uint i = 0; i < 4; i++)
            [[unroll]] for (uint g = 0; g < 2; g++)
                [[unroll]] for (uint j = 0; j < 4; j++) top[g][j] = max(top[g][j], ordered(sum[i][g][j]));
    }
    tops[ty * N4 + tx] = top[0];
    tops[ty * N4 + tx + NX] = top[1];
    barrier();

    for (uint n4 = t; n4 < N4; n4 += LOCAL_SIZE) {
        const uint n = column0 + 4 * n4;
        if (n >= push.output_stride) continue;
        ivec4 best = tops[n4];
        for (uint m4 = 1; m4 < M4; m4++) best = max(best, tops[m4 * N4 + n4]);
        vec4 v;
        [[unroll]] for (uint j = 0; j < 4; j++) v[j] = finish_max(best[j], n + j);
        store_y4((gl_WorkGroupID.y * push.output_stride + n) >> 2, v);
    }
}
