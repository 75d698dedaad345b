// bytes.glsl: what the products in int8 share: y = activation(x·Wᵀ·scales + bias) + residual, x in its int8 form, W in int8 (vk_kernel.h).

#include "linear.glsl"

layout(set = 0, binding = 1) restrict readonly buffer InputWords { uvec4 input_words[]; }; // sixteen numbers each
layout(set = 0, binding = 1) restrict readonly buffer InputScales { float input_scales[]; };
layout(set = 0, binding = 4) restrict readonly buffer WeightScales { float weight_scales[]; };
layout(set = 0, binding = 4) restrict readonly buffer WeightScales4 { vec4 weight_scales4[]; };

// Where the weights' scales begin, floats: behind as many rows as VKB_OUTPUT_ALIGN asks for.
uint weight_scales_at() { return ((push.output_width + 127u) & ~127u) * (push.input_stride >> 2); }

float row_scale(uint row) { return input_scales[push.row_first + row]; }
