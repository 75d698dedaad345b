#version 450
// ROTATE: norm and rotary embedding of q and k, v as it is. A workgroup (x) takes some rows' columns of one head, or where the norm is over all of q
// and all of k, of q, k or v as a whole; LANES neighbours take a row, one float at a time (a pair's floats may be anywhere).
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "rows.glsl"

const bool INTERLEAVED = (MODE & 1u) != 0u, WHOLE = (MODE & 2u) != 0u; // vkb_rotate in vk_kernel.h
const uint QUERIES = 0, KEYS = 1, VALUES = 2;

struct Part {
    uint kind;           // QUERIES, KEYS or VALUES
    uint from, width;    // its columns
    float mean, scale;   // of the row
    uint weight_at, bias_at; // of its norm
};

Part find_part() {
    const uint heads[3] = {push.heads, push.kv_heads, push.kv_heads};
    const uint group = gl_WorkGroupID.x;
    Part p = Part(QUERIES, 0, 0, 0.0, 1.0, NONE, NONE);
    if (WHOLE) {
        p.kind = group;
        p.from = (group == QUERIES ? 0 : push.heads + (group - KEYS) * push.kv_heads) * push.head_size;
        p.width = heads[group] * push.head_size;
    } else {
        p.kind = group < push.heads ? QUERIES : group < push.heads + push.kv_heads ? KEYS : VALUES;
        p.from = group * push.head_size;
        p.width = push.head_size;
    }
    if (p.kind == QUERIES) {
        p.weight_at = push.norm_weight_at;
        p.bias_at = push.norm_bias_at;
    } else if (p.kind == KEYS) {
        p.weight_at = push.key_weight_at;
        p.bias_at = push.bias_at;
    }
    return p;
}

float normed(Part p, uint from, uint c) {
    float v = (load_x(from + c) - p.mean) * p.scale;
    if (p.weight_at != NONE) v *= vector1(p.weight_at + c);
    if (p.bias_at != NONE) v += vector1(p.bias_at + c);
    return v;
}

// table: where the row's cosines begin; its sines follow.
float rotated(Part p, uint from, uint c, uint table) {
    const uint d = c % push.head_size, half_size = push.column / 2;
    float v = normed(p, from, c);
    if (d >= push.column || p.kind == VALUES) return v;
    const bool second = INTERLEAVED ? (d & 1u) == 1u : d >= half_size;
    const uint pair = INTERLEAVED ? d / 2 : second ? d - half_size : d, step = INTERLEAVED ? 1 : half_size;
    float other = normed(p, from, second ? c - step : c + step);
    float cosine = uintBitsToFloat(position1[table + pair]), sine = uintBitsToFloat(position1[table + half_size + pair]);
    return v * cosine + (second ? other : -other) * sine;
}

void main() {
    Part p = find_part();
    const uint row = row_index(), n = row < batch_rows() ? p.width : 0;
    const uint from = row * push.input_stride + p.from, to = row * push.output_stride + p.from;

    if (push.norm != 0u && p.kind != VALUES) {
        if (push.norm == 1u) { // LayerNorm: as norm.glsl
            float sum = 0.0;
            for (uint c = row_lane(); c < n; c += LANES) sum += load_x(from + c);
            p.mean = row_sum(sum, 0u) / float(p.width);
        }
        float squares = 0.0;
        for (uint c = row_lane(); c < n; c += LANES) {
            float d = load_x(from + c) - p.mean;
            squares += d * d;
        }
        p.scale = inversesqrt(row_sum(squares, 1u) / float(p.width) + push.norm_eps);
    }
    const uint table = n > 0 && push.column > 0 ? batch[push.positions_at + row] * ((push.column + 63u) & ~63u) : 0;
    const bool last = n > 0 && gl_WorkGroupID.x + 1 == gl_NumWorkGroups.x; // which sees to the columns past the width
    if (OUTPUT_F16) { // heads are multiples of eight
        for (uint c = 4 * row_lane(); c < n; c += 4 * LANES) {
            vec4 v;
            [[unroll]] for (uint i = 0; i < 4; i++) v[i] = rotated(p, from, c + i, table);
            store_y4((to + c) >> 2, v);
        }
        for (uint c = push.output_width + 4 * row_lane(); last && c < push.output_stride; c += 4 * LANES)
            store_y4((row * push.output_stride + c) >> 2, vec4(0.0));
        return;
    }
    for (uint c = row_lane(); c < n; c += LANES) store_y(to + c, rotated(p, from, c, table));
    for (uint c = push.output_width + row_lane(); last && c < push.output_stride; c += LANES) store_y(row * push.output_stride + c, 0.0);
}
