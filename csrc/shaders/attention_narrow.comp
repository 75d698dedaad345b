#version 450
// ATTENTION for few rows, f16, plain, head sizes that are multiples of 16: a workgroup takes a head (x) and 16 rows of the batch (y), whatever sequences they
// belong to; its subgroups share the keys of these sequences among themselves, 16 at a time, and meet in shared memory. Queries, keys and values go from
// memory straight into fragments; both products are done by matrix hardware.
#extension GL_GOOGLE_include_directive : require
#include "matrix.glsl"
#include "common.glsl"
#include "fragments.glsl"

layout(constant_id = 7) const uint D = 64; // head size, rounded up: multiple of 16
layout(constant_id = 8) const uint SUBGROUPS = 1;

const uint D16 = D / 16;
const float LOG2E = 1.4426950408889634;

shared vec2 row_parts[SUBGROUPS * 16]; // greatest score, sum of the exponentials
shared vec4 parts[SUBGROUPS * 2 * D16 * 32];

// The words that a lane holds of rows `low` and `high`, whose heads begin at element `at` of a row.
uvec4 load_rows(uint low, uint high, uint at) {
    const uint column = (at + lane_column()) >> 1, stride = push.input_stride >> 1;
    low = low * stride + column;
    high = high * stride + column;
    return uvec4(input1[low], input1[low + 4u], input1[high], input1[high + 4u]);
}

// The rows of the sequence that a row is in; of one past the batch, those of the last.
uvec2 sequence_of(uint row) {
    row = min(row, batch[0] - 1u);
    uvec2 range = uvec2(0u, batch[0]);
    for (uint b = 1u; b < batch[1]; b++) {
        const uint first = batch[push.cu_at + b];
        if (first <= row) range.x = first;
        else range.y = min(range.y, first);
    }
    return range;
}

void main() {
    const uint lane = gl_SubgroupInvocationID, subgroup = gl_SubgroupID, head = gl_WorkGroupID.x;
    const uint row0 = gl_WorkGroupID.y * 16u, row = row0 + lane_row();
    const uint size = push.head_size, query_at = head * size, key_at = query_at + push.heads * size, value_at = key_at + push.heads * size;

    const uvec2 low = sequence_of(row), high = sequence_of(row + 8u);
    const uint first = sequence_of(row0).x, end = sequence_of(row0 + 15u).y;

    MATRIX_A(16, 16) q[D16];
    [[unroll]] for (uint d = 0; d < D16; d++) {
        const uvec4 word = load_rows(row, row + 8u, query_at + 16u * d);
        SET_ELEMENTS(q[d], 16u * d < size ? word : uvec4(0u))
    }
    MATRIX_SUM(16, 16) o[D16];
    [[unroll]] for (uint d = 0; d < D16; d++) o[d] = MATRIX_SUM(16, 16)(0.0);
    vec2 top = vec2(LOWEST), total = vec2(0.0); // of rows `row` and `row + 8`

    for (uint key0 = first + 16u * subgroup; key0 < end; key0 += 16u * SUBGROUPS) {
        // Keys past the end are the last one again, and masked: what lies there may be anything.
        const uint key_low = min(key0 + lane_row(), end - 1u), key_high = min(key0 + lane_row() + 8u, end - 1u);
        uvec4 keys[D16], values[D16];
        [[unroll]] for (uint d = 0; d < D16; d++) keys[d] = load_rows(key_low, key_high, key_at + 16u * d);
        [[unroll]] for (uint d = 0; d < D16; d++) { // elements 2·lane_row() and the next, of four keys
            const uint column = (value_at + 16u * d + 2u * lane_row()) >> 1, stride = push.input_stride >> 1, key = key0 + lane_column();
            values[d] = uvec4(input1[min(key, end - 1u) * stride + column], input1[min(key + 1u, end - 1u) * stride + column],
                              input1[min(key + 8u, end - 1u) * stride + column], input1[min(key + 9u, end - 1u) * stride + column]);
        }

        MATRIX_SUM(16, 16) s = MATRIX_SUM(16, 16)(0.0);
        [[unroll]] for (uint d = 0; d < D16; d++) {
            MATRIX_B(16, 16) k;
            SET_ELEMENTS(k, 16u * d < size ? keys[d] : uvec4(0u))
            s = coopMatMulAdd(q[d], k, s);
        }

        MATRIX_A(16, 16) p;
        [[unroll]] for (uint h = 0; h < 2; h++) {
            const uvec2 range = h == 0u ? low : high;
            const uint key = key0 + lane_column();
            const uvec4 place = uvec4(key, key + 1u, key + 8u, key + 9u);
            const bvec4 seen = bvec4(uvec4(greaterThanEqual(place, uvec4(range.x))) & uvec4(lessThan(place, uvec4(range.y))));
            vec4 score = vec4(s[4u * h], s[4u * h + 1u], s[4u * h + 2u], s[4u * h + 3u]) * (push.scale * LOG2E);
            score = mix(vec4(LOWEST), score, seen);
            const float before = top[h];
            top[h] = max(before, row_greatest(max(max(score.x, score.y), max(score.z, score.w))));
            const float again = exp2(before - top[h]);
            const vec4 e = mix(vec4(0.0), exp2(score - top[h]), seen);
            total[h] = total[h] * again + row_total(e.x + e.y + e.z + e.w);
            [[unroll]] for (uint i = 0; i < 4; i++) p[4u * h + i] = float16_t(e[i]);
            [[unroll]] for (uint d = 0; d < D16; d++)
                [[unroll]] for (uint i = 0; i < 4; i++) o[d][4u * h + i] *= again;
        }
        [[unroll]] for (uint d = 0; d < D16; d++) { // column g is element 2·g, column g + 8 element 2·g + 1
            MATRIX_B(16, 16) v;
            const uvec4 word = 16u * d < size ? values[d] : uvec4(0u);
            [[unroll]] for (uint i = 0; i < 4; i++) {
                const f16vec2 pair = unpackFloat2x16(word[i]);
                v[i] = pair.x;
                v[i + 4u] = pair.y;
            }
            o[d] = coopMatMulAdd(p, v, o[d]);
        }
    }

    if (SUBGROUPS > 1) {
        const uint at = subgroup * 16u + lane_row();
        if (lane_column() == 0u) {
            row_parts[at] = vec2(top.x, total.x);
            row_parts[at + 8u] = vec2(top.y, total.y);
        }
        [[unroll]] for (uint d = 0; d < D16; d++) {
            const uint place = (subgroup * D16 + d) * 64u + lane;
            parts[place] = vec4(o[d][0], o[d][1], o[d][2], o[d][3]);
            parts[place + 32u] = vec4(o[d][4], o[d][5], o[d][6], o[d][7]);
        }
        barrier();
    }
    [[unroll]] for (uint d = 0; d < D16; d++) {
        if ((SUBGROUPS > 1 && d % SUBGROUPS != subgroup) || 16u * d >= size) continue;
        [[unroll]] for (uint h = 0; h < 2; h++) {
            vec4 v = vec4(o[d][4u * h], o[d][4u * h + 1u], o[d][4u * h + 2u], o[d][4u * h + 3u]);
            float sum = total[h];
            if (SUBGROUPS > 1) {
                float greatest = LOWEST;
                [[unroll]] for (uint i = 0; i < SUBGROUPS; i++) greatest = max(greatest, row_parts[i * 16u + 8u * h + lane_row()].x);
                v = vec4(0.0);
                sum = 0.0;
                [[unroll]] for (uint i = 0; i < SUBGROUPS; i++) {
                    const vec2 part = row_parts[i * 16u + 8u * h + lane_row()];
                    const float weight = exp2(part.x - greatest);
                    sum += weight * part.y;
                    v += weight * parts[(i * D16 + d) * 64u + 32u * h + lane];
                }
            }
            v /= max(sum, 1.0e-30); // rows past the batch may have none
            const uint at = (row + 8u * h) * push.output_stride + query_at + 16u * d + 2u * lane_column();
            output2[at >> 2] = uvec2(packHalf2x16(v.xz), packHalf2x16(v.yw)); // 4·t, + 2, + 1, + 3
        }
    }
    if (head + 1u != push.heads) return; // the columns past the width
    const uint words = (push.output_stride - push.output_width) >> 2;
    for (uint i = gl_LocalInvocationIndex; i < 16u * words; i += 32u * SUBGROUPS)
        output2[((row0 + i / words) * push.output_stride + push.output_width >> 2) + i % words] = uvec2(0u);
}
