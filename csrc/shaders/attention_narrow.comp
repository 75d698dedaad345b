#version 450
// ATTENTION for few rows, f16, plain, head sizes that are multiples of 16: a workgroup takes a head (x) and 16 rows of the batch (y), whatever sequences they
// belong to; its subgroups share the keys of these sequences among themselves, 16 at a time, and meet in shared memory.
#extension GL_GOOGLE_include_directive : require
#include "matrix.glsl"
#include "common.glsl"
#include "fragments.glsl"

layout(constant_id = 7) const uint D = 64; // head size, rounded up: multiple of 16
layout(constant_id = 8) const uint SUBGROUPS = 1;

const uint D16 = D / 16;
#define QKV input1
#define QKV_STRIDE push.input_stride
#define cu_at push.cu_at
#include "attend.glsl"

shared vec2 row_parts[SUBGROUPS * 16]; // greatest score, sum of the exponentials
shared vec4 parts[SUBGROUPS * 2 * D16 * 32];

void main() {
    const uint lane = gl_SubgroupInvocationID, subgroup = gl_SubgroupID, head = gl_WorkGroupID.x;
    const uint row0 = gl_WorkGroupID.y * 16u, row = row0 + lane_row(), size = push.head_size;
    attend(head, row0, subgroup, SUBGROUPS);

    if (SUBGROUPS > 1) {
        const uint at = subgroup * 16u + lane_row();
        if (lane_column() == 0u) {
            row_parts[at] = vec2(attended_top.x, attended_total.x);
            row_parts[at + 8u] = vec2(attended_top.y, attended_total.y);
        }
        [[unroll]] for (uint d = 0; d < D16; d++) {
            const uint place = (subgroup * D16 + d) * 64u + lane;
            parts[place] = vec4(attended[d][0], attended[d][1], attended[d][2], attended[d][3]);
            parts[place + 32u] = vec4(attended[d][4], attended[d][5], attended[d][6], attended[d][7]);
        }
        barrier();
    }
    [[unroll]] for (uint d = 0; d < D16; d++) {
        if ((SUBGROUPS > 1 && d % SUBGROUPS != subgroup) || 16u * d >= size) continue;
        [[unroll]] for (uint h = 0; h < 2; h++) {
            vec4 v = vec4(attended[d][4u * h], attended[d][4u * h + 1u], attended[d][4u * h + 2u], attended[d][4u * h + 3u]);
            float sum = attended_total[h];
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
            const uint at = (row + 8u * h) * push.output_stride + head * size + 16u * d + 2u * lane_column();
            output2[at >> 2] = uvec2(packHalf2x16(v.xz), packHalf2x16(v.yw)); // 4·t, + 2, + 1, + 3
        }
    }
    if (head + 1u != push.heads) return; // the columns past the width
    const uint words = (push.output_stride - push.output_width) >> 2;
    for (uint i = gl_LocalInvocationIndex; i < 16u * words; i += 32u * SUBGROUPS)
        output2[((row0 + i / words) * push.output_stride + push.output_width >> 2) + i % words] = uvec2(0u);
}
