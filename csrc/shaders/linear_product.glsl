// linear_product.glsl: the product of LINEAR and LINEAR_MAX by matrix hardware whose fragments lie as the weights' tiles do (VKB_NEED_FRAGMENTS): a lane fetches its
// part of a weight fragment by one 16-byte load, straight into the fragment. Sums in f32.
//
// A workgroup makes BM × BN outputs, a subgroup 64 × 64 of them. Rows of x come through shared memory, BK of K at a time in two stages: while one is multiplied,
// the next one waits in registers and the one after it is on its way. Weights are fetched one step of 16 ahead. Both read past the end of K at the end of it
// (vk_memory.c leaves room); what they read is not used. The loop takes two stages a turn, so that the stage is a constant: K is a multiple of 128.
//
// Addresses are a 64-bit base and a 32-bit offset with constant indices, which become immediates.

#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#define ADDRESSES
#include "matrix.glsl"
#include "common.glsl"
#include "linear_gate.glsl"

layout(constant_id = 7) const uint BM = 64;    // multiple of 64
layout(constant_id = 8) const uint BN = 256;   // multiple of 64

layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Words { uvec4 at[]; };

const uint BK = 64, STEPS = BK / 16;           // of K a stage, and its steps
const uint SIDE = 4;                           // fragments of a subgroup along rows, and along columns
const uint TOGETHER = GATE ? SIDE / 2 : SIDE;  // fragments whose columns are neighbours: with a GATE those of either half
const uint ROW = BK / 8 + 1;                   // words from row to row in shared memory: one more than needed, for the banks
const uint LOADS = BM * (BK / 8) / LOCAL_SIZE; // words of x that an invocation brings a stage
const uint ROWS_APART = LOCAL_SIZE / (BK / 8); // of one load and the next

shared uvec4 tile[2 * BM * ROW];

MATRIX_SUM(16, 16) sum[SIDE][SIDE];
MATRIX_A(16, 16) a[SIDE];
uvec4 ahead[LOADS];
uvec4 weights[2][SIDE];

uint64_t x_at, x_rows, w_at; // bytes: where this workgroup's rows of x begin, ROWS_APART of them, where this subgroup's weights begin
uint64_t w_right;            // bytes from the left half's weights to those of the right
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
    [[unroll]] for (uint j = 0; j < SIDE; j++) {
        const uint64_t from = j < TOGETHER ? w_at : w_at + w_right;
        weights[step & 1u][j] = Words(from + uint64_t(w_offset)).at[step * (SIDE * 32) + j % TOGETHER * 32];
    }
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

uint subgroup_row() { return gl_LocalInvocationIndex / 32 % (BM / 64) * 64; }
uint subgroup_column() { return gl_LocalInvocationIndex / 32 / (BM / 64) * 64; }

// Adds to `sum` the product of rows row0 … and the weights of outputs column0 …. All invocations of the workgroup come here; at its end nobody reads `tile` any more.
void add_product(uint row0, uint column0) {
    const uint t = gl_LocalInvocationIndex, lane = gl_SubgroupInvocationID;
    const uint row_bytes = 2 * push.input_stride;
    x_at = packUint2x32(push.input_address) + uint64_t(row0) * row_bytes;
    x_rows = uint64_t(row_bytes) * ROWS_APART;
    x_offset = t / (BK / 8) * row_bytes + t % (BK / 8) * 16;
    w_at = packUint2x32(push.weight_address) + uint64_t(column0) * row_bytes;
    w_offset = subgroup_column() * row_bytes + lane * 16;
    if (GATE) { // half a tile of 64 outputs
        const uint n = (column0 + subgroup_column()) / 2;
        w_at = packUint2x32(push.weight_address) + uint64_t(n & ~63u) * row_bytes;
        w_offset = (n & 32u) * 32 + lane * 16;
        w_right = uint64_t(push.output_width) * row_bytes;
    }
    tile_at = t / (BK / 8) * ROW + t % (BK / 8);
    rows_at = subgroup_row() * ROW;

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
}
