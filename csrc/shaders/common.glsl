// common.glsl: what all kernels share: vk_kernel.h in GLSL. Change the two together.
//
// A kernel includes this after its #version line. Bindings hold words; each is seen as what the kernel needs (floats, vec4, f16 pairs). INPUT and OUTPUT may
// be the same memory (NORM in place); all others are `restrict`: nothing that is written is read through them.
// No feature beyond Vulkan 1.2's required ones is used here: f16 is read and written as words, by unpackHalf2x16 and packHalf2x16. Values are f32 or f16;
// kernels reach them by the functions below and calculate in f32.

#extension GL_EXT_control_flow_attributes : require

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64; // invocations a workgroup
layout(constant_id = 1) const uint WEIGHTS = 0;     // vkb_weight_form of tables and LINEAR weights
layout(constant_id = 2) const uint MODE = 0;        // LINEAR, GATE: activation. POOL: its mode. ATTENTION, ROTATE: options
layout(constant_id = 3) const uint VALUE_FORM = 0;  // vkb_value_form

const bool WEIGHT_F16 = WEIGHTS != 0u, WEIGHT_TILES = WEIGHTS == 2u;
const bool INPUT_F16 = (VALUE_FORM & 1u) != 0u, OUTPUT_F16 = (VALUE_FORM & 2u) != 0u;

const uint NONE = 0xFFFFFFFFu;

// Stands for minus infinity: finite, so that no difference of two of them is NaN, and so low that exp2 of a difference to any score is 0.
const float LOWEST = -3.0e38;

layout(push_constant) uniform Push { // vkb_push
#ifdef ADDRESSES
    uvec2 input_address, weight_address, output_address;
#else
    uint ids_at, types_at, positions_at;
    uint cu_at, pool_at, tiles_at;
#endif
    uint per_sequence;
    uint input_width, input_stride;
    uint output_width, output_stride;
    uint residual_stride;
    uint bias_at;
    uint norm_weight_at, norm_bias_at;
    uint norm;
    float norm_eps;
    float scale;
    uint heads, head_size;
#ifdef ADDRESSES
    uint cu_at, row_count;
    uvec2 sums_address;
    uint residual_at;
    uint kv_heads;
    uvec2 residual_address, vectors_address;
#else
    uint row_first, row_count;
    uint column;
    uint has_tables;
    uint residual_at;
    uint kv_heads, window;
    uint reach_weight, reach_position, reach_type;
#endif
    uint key_weight_at;
} push;

layout(set = 0, binding = 0) restrict readonly buffer Batch { uint batch[]; };
layout(set = 0, binding = 1) readonly buffer Input1 { uint input1[]; };
layout(set = 0, binding = 1) readonly buffer Input2 { uvec2 input2[]; };
layout(set = 0, binding = 1) readonly buffer Input4 { vec4 input4[]; };
layout(set = 0, binding = 2) restrict readonly buffer Residual2 { uvec2 residual2[]; };
layout(set = 0, binding = 2) restrict readonly buffer Residual4 { vec4 residual4[]; };
layout(set = 0, binding = 3) buffer Output1 { float output1[]; };
layout(set = 0, binding = 3) buffer Output2 { uvec2 output2[]; };
layout(set = 0, binding = 3) buffer Output4 { vec4 output4[]; };
layout(set = 0, binding = 4) restrict readonly buffer Weight1 { uint weight1[]; };
layout(set = 0, binding = 4) restrict readonly buffer Weight2 { uvec2 weight2[]; };
layout(set = 0, binding = 4) restrict readonly buffer Weight4 { uvec4 weight4[]; };
layout(set = 0, binding = 5) restrict readonly buffer Vectors { vec4 vectors4[]; };
layout(set = 0, binding = 6) restrict readonly buffer Position1 { uint position1[]; };
layout(set = 0, binding = 6) restrict readonly buffer Position2 { uvec2 position2[]; };
layout(set = 0, binding = 6) restrict readonly buffer Position4 { uvec4 position4[]; };
layout(set = 0, binding = 7) restrict readonly buffer Type1 { uint type1[]; };
layout(set = 0, binding = 7) restrict readonly buffer Type2 { uvec2 type2[]; };
layout(set = 0, binding = 7) restrict readonly buffer Type4 { uvec4 type4[]; };

// Rows of this op's values in the batch: its tokens or its sequences.
uint batch_rows() { return push.per_sequence != 0u ? batch[1] : batch[0]; }

const uint BEFORE_ACTIVATION = 1, AFTER_NORM = 2; // vkb_residual

vec4 widen(uvec2 h) { return vec4(unpackHalf2x16(h.x), unpackHalf2x16(h.y)); }

uvec2 narrow(vec4 v) { return uvec2(packHalf2x16(v.xy), packHalf2x16(v.zw)); }

// Elements 4·i … 4·i + 3 of a value, or element i.
vec4 load_x4(uint i) {
    if (INPUT_F16) return widen(input2[i]);
    return input4[i];
}

float load_x(uint i) {
    if (INPUT_F16) return unpackHalf2x16(input1[i >> 1])[i & 1u];
    return uintBitsToFloat(input1[i]);
}

vec4 load_residual4(uint i) {
    if (OUTPUT_F16) return widen(residual2[i]);
    return residual4[i];
}

void store_y4(uint i, vec4 v) {
    if (OUTPUT_F16) output2[i] = narrow(v);
    else output4[i] = v;
}

// For values in f32 alone: two neighbours would meet in a word.
void store_y(uint i, float v) { output1[i] = v; }

// Four consecutive floats of a VECTOR, which begins at a multiple of four and is padded with zeros.
vec4 vector4(uint at) { return vectors4[at >> 2]; }

float vector1(uint at) { return vectors4[at >> 2][at & 3u]; }

// 1 for the columns c … c + 3 that lie within the width, else 0.
vec4 within(uint c, uint width) { return vec4(lessThan(uvec4(c, c + 1u, c + 2u, c + 3u), uvec4(width))); }
