#version 450
// LINEAR by register tiles through shared memory, f32 arithmetic. No subgroup operation.
//
// A workgroup makes a BM × BN tile of the output, an invocation TM × TN of it. Each BK of K, both operands go to shared memory with K outermost, so
// that an invocation reads four rows or four columns by one 16-byte load. A loader takes 4 rows × 4 of K, four 16-byte loads, and turns them in
// registers. Loads of the next BK are under way while this one is multiplied; with STAGES = 2 one barrier a step is enough.
//
// 32 neighbouring invocations make a patch of 16 rows × 32 columns (4 × 8 invocations): they read 4 and 8 distinct 16-byte words, each a bank
// group of its own. The same holds for the loaders' stores, where eight neighbours write eight consecutive words.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "linear.glsl"
#include "gate_output.glsl"

layout(constant_id = 7) const uint BM = 64; // multiple of 16·TM/4
layout(constant_id = 8) const uint BN = 64; // multiple of 32·TN/4
layout(constant_id = 9) const uint BK = 16; // 16 or 32
layout(constant_id = 10) const uint TM = 4;  // multiple of 4
layout(constant_id = 11) const uint TN = 8;  // multiple of 4
layout(constant_id = 12) const uint STAGES = 1;

// LOCAL_SIZE must be 32 · (BM / (4·TM)) · (BN / (8·TN)).
const uint WX = BN / (8 * TN);
const uint GM = TM / 4, GN = TN / 4;    // 16-byte groups of an invocation
const uint KQ = BK / 4;                 // loader blocks along K
const uint A_BLOCKS = BM / 4 * KQ, BLOCKS = A_BLOCKS + BN / 4 * KQ;
const uint LOADS = (BLOCKS + LOCAL_SIZE - 1) / LOCAL_SIZE;
const uint A_LANES = BM >= 32 ? 8 : BM / 4; // loader blocks that lie side by side in a row of shared memory

shared vec4 tile_a[STAGES * BK * BM / 4]; // [stage][k][row / 4]
shared vec4 tile_b[STAGES * BK * BN / 4]; // [stage][k][column / 4]

// This invocation's loader blocks: where they come from, where they go to, and what is on its way. Column r of a block: row from_row + r, four of K.
bool is_a[LOADS], is_any[LOADS];
uint from_row[LOADS], from_k4[LOADS], to[LOADS];
mat4 block[LOADS];

void place_blocks(uint row0, uint column0) {
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        uint b = gl_LocalInvocationIndex + i * LOCAL_SIZE;
        is_any[i] = BLOCKS % LOCAL_SIZE == 0 || b < BLOCKS;
        is_a[i] = b < A_BLOCKS;
        uint lanes = is_a[i] ? A_LANES : 8;
        b -= is_a[i] ? 0 : A_BLOCKS;
        uint r4 = b % lanes + b / (lanes * KQ) * lanes;
        from_k4[i] = b / lanes % KQ;
        from_row[i] = is_a[i] ? row0 + 4 * r4 : output_of(column0 + 4 * r4);
        to[i] = from_k4[i] * 4 * (is_a[i] ? BM / 4 : BN / 4) + r4;
    }
}

void load_blocks(uint step) {
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        if (!is_any[i]) continue;
        uint k4 = step * KQ + from_k4[i];
        if (is_a[i]) {
            [[unroll]] for (uint j = 0; j < 4; j++) block[i][j] = load_input(from_row[i] + j, k4);
        } else {
            [[unroll]] for (uint j = 0; j < 4; j++) block[i][j] = load_weight(from_row[i] + j, k4);
        }
    }
}

void store_blocks(uint stage) {
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        if (!is_any[i]) continue;
        mat4 turned = transpose(block[i]);
        if (is_a[i]) {
            [[unroll]] for (uint j = 0; j < 4; j++) tile_a[stage * (BK * BM / 4) + to[i] + j * (BM / 4)] = turned[j];
        } else {
            [[unroll]] for (uint j = 0; j < 4; j++) tile_b[stage * (BK * BN / 4) + to[i] + j * (BN / 4)] = turned[j];
        }
    }
}

void main() {
    const uint lane = gl_LocalInvocationIndex % 32, patch_x = gl_LocalInvocationIndex / 32 % WX, patch_y = gl_LocalInvocationIndex / 32 / WX;
    const uint m0 = patch_y * (GM * 4) + lane / 8; // first group of rows, in fours; the next ones 4 further on
    const uint n0 = patch_x * (GN * 8) + lane % 8; // first group of columns, in fours; the next ones 8 further on
    const uint row0 = gl_WorkGroupID.y * BM, column0 = gl_WorkGroupID.x * BN;

    vec4 sum[TM][GN];
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < GN; j++) sum[i][j] = vec4(0.0);

    place_blocks(row0, column0);
    load_blocks(0);
    const uint steps = push.input_stride / BK;
    for (uint step = 0; step < steps; step++) {
        const uint stage = step % STAGES;
        if (STAGES == 1 && step > 0) barrier(); // the last step's tiles have been read
        store_blocks(stage);
        barrier();
        if (step + 1 < steps) load_blocks(step + 1);
        [[unroll]] for (uint k = 0; k < BK; k++) {
            vec4 a[GM], b[GN];
            [[unroll]] for (uint i = 0; i < GM; i++) a[i] = tile_a[(stage * BK + k) * (BM / 4) + m0 + 4 * i];
            [[unroll]] for (uint j = 0; j < GN; j++) b[j] = tile_b[(stage * BK + k) * (BN / 4) + n0 + 8 * j];
            [[unroll]] for (uint i = 0; i < TM; i++)
                [[unroll]] for (uint j = 0; j < GN; j++) sum[i][j] = fma(vec4(a[i / 4][i % 4]), b[j], sum[i][j]);
        }
    }

    const uint row = row0 + 4 * m0, column = column0 + 4 * n0;
    if (GATE) { // with TN = 8, a row's fours are two and two of the same column of either half
        [[unroll]] for (uint j = 0; j + 1 < GN; j += 2) {
            const uint n = output_of(column + 32 * j);
            [[unroll]] for (uint i = 0; i < TM; i++) store_output(row + 16 * (i / 4) + i % 4, n, gate_output(n, sum[i][j], sum[i][j + 1]));
        }
        return;
    }
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < GN; j++) sum[i][j] = finish_output(row + 16 * (i / 4) + i % 4, column + 32 * j, sum[i][j]);
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < GN; j++) store_output(row + 16 * (i / 4) + i % 4, column + 32 * j, sum[i][j]);
}
