#version 450
//! target vulkan1.3
// LINEAR in f16 by matrices of whole workgroups (VK_NV_cooperative_matrix2): the driver says how they lie over invocations and brings the rows. For NVIDIA
// GPUs whose fragments do not lie as linear_fragments has them, or K is no multiple of 128; else it is slower. One H200, 768 → 3072, 32,768 rows: 201 TFLOP/s, linear_fragments 329,
// linear_matrix 92; 192 → 512: 107, linear_matrix 71.
//
// A workgroup makes BM × BN outputs. The weights' tiles are taken apart on their way to shared memory, [output][K].
#extension GL_GOOGLE_include_directive : require
#extension GL_NV_cooperative_matrix2 : require
#include "matrix.glsl"
#include "common.glsl"
#include "activation.glsl"

layout(constant_id = 7) const uint BM = 128;
layout(constant_id = 8) const uint BN = 128;
layout(constant_id = 9) const uint BK = 64;

layout(set = 0, binding = 1) restrict readonly buffer InputHalves { float16_t input_halves[]; };
layout(set = 0, binding = 2) restrict readonly buffer ResidualHalves { float16_t residual_halves[]; };
layout(set = 0, binding = 3) restrict writeonly buffer OutputHalves { float16_t output_halves[]; };
layout(set = 0, binding = 5) restrict readonly buffer VectorFloats { float vectors[]; };

const bool RESIDUAL = (MODE & 0x1000u) != 0u; // VKB_LINEAR_RESIDUAL

#define WIDE(T, ROWS, COLUMNS, USE) coopmat<T, gl_ScopeWorkgroup, ROWS, COLUMNS, USE>
#define SUM WIDE(float, BM, BN, gl_MatrixUseAccumulator)
#define HALF WIDE(float16_t, BM, BN, gl_MatrixUseAccumulator)

const uint ROW = BK / 2 + 4; // pairs from row to row: the banks

shared f16vec2 tile_w[BN * ROW];

float activated(const in uint row, const in uint column, const in float v) { return activate(vec4(v)).x; }

float existing(const in uint row, const in uint column, const in float v, const in uint column0) {
    return column0 + column < push.output_width ? v : 0.0;
}

// A lane's words of the tiles of BN outputs from column0 on and BK inputs from k on.
void keep_weights(uint column0, uint k) {
    for (uint i = gl_LocalInvocationIndex; i < (BN / 16) * (BK / 16) * 32; i += LOCAL_SIZE) {
        const uint lane = i % 32, n16 = i / 32 % (BN / 16), k16 = i / 32 / (BN / 16), n = column0 / 16 + n16;
        const uvec4 word = weight4[((n / 4 * (push.input_stride / 16) + k / 16 + k16) * 4 + n % 4) * 32 + lane];
        [[unroll]] for (uint q = 0; q < 4; q++)
            tile_w[(16 * n16 + lane / 4 + q / 2 * 8) * ROW + 8 * k16 + lane % 4 + q % 2 * 4] = unpackFloat2x16(word[q]);
    }
}

void main() {
    const uint row0 = gl_WorkGroupID.y * BM, column0 = gl_WorkGroupID.x * BN;
    // Strides are multiples of 64, which the compiler does not know and needs for wide reads.
    const uint inputs = push.input_stride & ~63u, outputs = push.output_stride & ~63u;
    tensorLayoutNV<2> x = setTensorLayoutDimensionNV(createTensorLayoutNV(2), row0 + BM, inputs);
    tensorLayoutNV<2> y = setTensorLayoutDimensionNV(createTensorLayoutNV(2), row0 + BM, outputs);
    tensorLayoutNV<2> bias = setTensorLayoutStrideNV(setTensorLayoutDimensionNV(createTensorLayoutNV(2), BM, BN), 0, 1);

    SUM sum = SUM(0.0);
    if (push.bias_at != NONE) coopMatLoadTensorNV(sum, vectors, push.bias_at + column0, sliceTensorLayoutNV(bias, 0, BM, 0, BN));
    for (uint k = 0; k < inputs; k += BK) {
        barrier(); // the last tiles have been read
        keep_weights(column0, k);
        barrier();
        WIDE(float16_t, BM, BK, gl_MatrixUseA) a;
        WIDE(float16_t, BK, BN, gl_MatrixUseB) b;
        coopMatLoadTensorNV(a, input_halves, 0, sliceTensorLayoutNV(x, row0, BM, k, BK));
        coopMatLoad(b, tile_w, 0, ROW, gl_CooperativeMatrixLayoutColumnMajor);
        sum = coopMatMulAdd(a, b, sum);
    }

    HALF residual;
    const bool before = push.residual_at == BEFORE_ACTIVATION;
    if (RESIDUAL) coopMatLoadTensorNV(residual, residual_halves, 0, sliceTensorLayoutNV(y, row0, BM, column0, BN));
    if (RESIDUAL && before) sum += SUM(residual);
    if ((MODE & 0xFFu) != 0u) coopMatPerElementNV(sum, sum, activated);
    if (RESIDUAL && !before) sum += SUM(residual);
    if (column0 + BN > push.output_width) coopMatPerElementNV(sum, sum, existing, column0);
    HALF result = HALF(sum);
    coopMatStoreTensorNV(result, output_halves, 0, sliceTensorLayoutNV(y, row0, BM, column0, BN));
}
