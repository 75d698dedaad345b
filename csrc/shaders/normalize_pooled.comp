#version 450
// NORMALIZE of few rows, and by the way what makes them, where that has been left to it (MODE): POOL, and the norm of POOL's input. A workgroup takes a
// sequence, a subgroup every SUBGROUPS-th of its rows, a lane every LANES-th pair of columns. What is pooled is bound as the residual.
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "common.glsl"

layout(constant_id = 7) const uint SUBGROUPS = 16;
layout(constant_id = 8) const uint WIDTH = 1024; // greatest

const uint POOL = MODE & 0xFFu;         // 0: the input is pooled already, else 1 + vkb_pool
const bool NORM = (MODE & 0x100u) != 0u; // vkb_fold
const uint CLS = 1, MAXIMUM = 2, MEAN = 3, MEAN_SQRT_LEN = 4, WEIGHTED_MEAN = 5, LAST = 6;
const uint RMS = 2; // vkb_norm
const uint LANES = LOCAL_SIZE / SUBGROUPS, PAIRS = WIDTH / (2 * LANES); // of a lane

layout(set = 0, binding = 1) readonly buffer InputPairs { vec2 input_pairs[]; };
layout(set = 0, binding = 2) restrict readonly buffer RowWords { uint row_words[]; };
layout(set = 0, binding = 2) restrict readonly buffer RowPairs { vec2 row_pairs[]; };
layout(set = 0, binding = 3) buffer OutputPairs { vec2 output_pairs[]; };
layout(set = 0, binding = 5) restrict readonly buffer Vectors2 { vec2 vectors2[]; };

shared vec2 parts[SUBGROUPS * WIDTH / 2]; // then, in its first WIDTH / 2, the row
shared float subgroup_parts[SUBGROUPS];

// Over the workgroup; all come here.
float whole_sum(float part) {
    part = subgroupAdd(part);
    barrier(); // what was there before has been read
    if (gl_SubgroupInvocationID == 0u) subgroup_parts[gl_SubgroupID] = part;
    barrier();
    float sum = 0.0;
    [[unroll]] for (uint i = 0; i < SUBGROUPS; i++) sum += subgroup_parts[i];
    return sum;
}

float whole_max(float part) {
    part = subgroupMax(part);
    barrier();
    if (gl_SubgroupInvocationID == 0u) subgroup_parts[gl_SubgroupID] = part;
    barrier();
    float top = 0.0;
    [[unroll]] for (uint i = 0; i < SUBGROUPS; i++) top = max(top, subgroup_parts[i]);
    return top;
}

vec2 norm_weights[PAIRS], norm_biases[PAIRS];

uint pair_column(uint p) { return 2u * (LANES * p + gl_SubgroupInvocationID); }

vec2 load_pair(uint row, uint p) {
    const uint at = (row * push.residual_stride + min(pair_column(p), push.residual_stride - 2u)) >> 1;
    if (INPUT_F16) return unpackHalf2x16(row_words[at]);
    return row_pairs[at];
}

// Asked for before the batch's header is waited for. Here and below reads are always done, of a place that is there: one in a branch of its own would be waited
// for before the next.
void load_norm() {
    [[unroll]] for (uint p = 0; p < PAIRS; p++) {
        const uint c = min(pair_column(p), push.residual_stride - 2u);
        const vec2 weight = vectors2[(push.norm_weight_at == NONE ? 0u : push.norm_weight_at + c) >> 1];
        const vec2 bias = vectors2[(push.norm_bias_at == NONE ? 0u : push.norm_bias_at + c) >> 1];
        norm_weights[p] = push.norm_weight_at == NONE ? vec2(1.0) : weight;
        norm_biases[p] = push.norm_bias_at == NONE ? vec2(0.0) : bias;
    }
}

// A row's columns, normalised; zeros past the width.
void load_row(uint row, out vec2 v[PAIRS]) {
    [[unroll]] for (uint p = 0; p < PAIRS; p++) {
        const uint c = pair_column(p);
        v[p] = mix(vec2(0.0), load_pair(row, p), lessThan(uvec2(c, c + 1u), uvec2(push.input_width)));
    }
    if (!NORM) return;
    float mean = 0.0, squares = 0.0;
    if (push.norm != RMS) {
        [[unroll]] for (uint p = 0; p < PAIRS; p++) mean += v[p].x + v[p].y;
        mean = subgroupAdd(mean) / float(push.input_width);
    }
    [[unroll]] for (uint p = 0; p < PAIRS; p++) {
        v[p] = (v[p] - mean) * within(pair_column(p), push.input_width).xy;
        squares += dot(v[p], v[p]);
    }
    const float scale = inversesqrt(subgroupAdd(squares) / float(push.input_width) + push.norm_eps);
    [[unroll]] for (uint p = 0; p < PAIRS; p++) {
        const uint c = pair_column(p);
        v[p] = (v[p] * scale * norm_weights[p] + norm_biases[p]) * within(c, push.input_width).xy;
    }
}

// Leaves the pooled row in `parts`.
void pool(uint sequence) {
    if (NORM) load_norm();
    const uint first = batch[push.cu_at + sequence], n = batch[push.cu_at + sequence + 1u] - first;
    uint start = min(batch[push.pool_at + sequence], n), end = n;
    if (POOL == CLS) end = min(start + 1u, n);
    if (POOL == LAST) start = max(start, n - 1u);

    vec2 sums[PAIRS], v[PAIRS];
    [[unroll]] for (uint p = 0; p < PAIRS; p++) sums[p] = vec2(POOL == MAXIMUM ? LOWEST : 0.0);
    for (uint i = start + gl_SubgroupID; i < end; i += SUBGROUPS) {
        load_row(first + i, v);
        [[unroll]] for (uint p = 0; p < PAIRS; p++) {
            if (POOL == MAXIMUM) sums[p] = max(sums[p], v[p]);
            else if (POOL == WEIGHTED_MEAN) sums[p] += float(i + 1u) * v[p];
            else sums[p] += v[p];
        }
    }
    [[unroll]] for (uint p = 0; p < PAIRS; p++) parts[gl_SubgroupID * (WIDTH / 2u) + LANES * p + gl_SubgroupInvocationID] = sums[p];
    barrier();

    const float rows = float(end - start);
    float weight = 1.0;
    if (POOL == MEAN) weight = 1.0 / max(rows, 1.0);
    if (POOL == MEAN_SQRT_LEN) weight = inversesqrt(max(rows, 1.0));
    if (POOL == WEIGHTED_MEAN) weight = 1.0 / max(0.5 * rows * float(start + 1u + end), 1.0); // (start + 1) + … + end
    if (start == end) weight = 0.0;
    for (uint t = gl_LocalInvocationIndex; t < WIDTH / 2u; t += LOCAL_SIZE) {
        vec2 sum = parts[t];
        [[unroll]] for (uint i = 1; i < SUBGROUPS; i++) {
            const vec2 part = parts[i * (WIDTH / 2u) + t];
            sum = POOL == MAXIMUM ? max(sum, part) : sum + part;
        }
        parts[t] = sum * weight;
    }
}

void main() {
    const uint sequence = gl_WorkGroupID.y, pairs = push.output_stride >> 1;
    if (POOL != 0u) pool(sequence);
    else
        for (uint t = gl_LocalInvocationIndex; t < pairs; t += LOCAL_SIZE)
            parts[t] = input_pairs[sequence * (push.input_stride >> 1) + t] * within(2u * t, push.output_width).xy;

    // As normalize_rows: the squares are of elements divided by the greatest, so that they neither overflow nor vanish. Each invocation comes back to its own.
    float top = 0.0, squares = 0.0;
    for (uint t = gl_LocalInvocationIndex; t < pairs; t += LOCAL_SIZE) top = max(top, max(abs(parts[t].x), abs(parts[t].y)));
    top = whole_max(top);
    const float divisor = top > 0.0 ? top : 1.0;
    for (uint t = gl_LocalInvocationIndex; t < pairs; t += LOCAL_SIZE) squares += dot(parts[t] / divisor, parts[t] / divisor);
    const float root = max(sqrt(whole_sum(squares)), 1.0e-12 / divisor);
    for (uint t = gl_LocalInvocationIndex; t < pairs; t += LOCAL_SIZE)
        output_pairs[sequence * pairs + t] = parts[t] / divisor / root;
}
