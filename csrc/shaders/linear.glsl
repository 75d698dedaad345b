// linear.glsl: what the LINEAR kernels share: y = activation(x·Wᵀ + bias) + residual, or activation(… + residual).
//
// x is [rows, K] and W is [outputs, K], both row-major with K = push.input_stride, a multiple of 32 whose padding is zero on one side at least;
// rows and outputs are padded to whole tiles. So nothing is checked in the loops, only which columns exist when the result is written.

#include "activation.glsl"

#include "tiles.glsl"

// Four inputs of an output's weights: row n, inputs 4·k4 … 4·k4 + 3.
vec4 load_weight(uint n, uint k4) {
    if (WEIGHT_TILES) return widen(load_tiles(n, k4));
    uint at = n * (push.input_stride >> 2) + k4;
    return WEIGHT_F16 ? widen(weight2[at]) : uintBitsToFloat(weight4[at]);
}

vec4 load_input(uint row, uint k4) { return load_x4(row * (push.input_stride >> 2) + k4); }

// What becomes of the products of columns n … n + 3 of a row; n is a multiple of four. Apart from the store, so that a kernel can have all its reads
// under way before its first write.
vec4 finish_output(uint row, uint n, vec4 sum) {
    if (n >= push.output_stride) return sum;
    if (push.bias_at != NONE) sum += vector4(push.bias_at + n);
    vec4 residual = push.residual_stride != 0u ? load_residual4((row * push.residual_stride + n) >> 2) : vec4(0.0);
    const bool before = push.residual_at == BEFORE_ACTIVATION;
    sum = activate(before ? sum + residual : sum);
    if (!before) sum += residual;
    return sum * within(n, push.output_width);
}

void store_output(uint row, uint n, vec4 finished) {
    if (n < push.output_stride) store_y4((row * push.output_stride + n) >> 2, finished);
}
