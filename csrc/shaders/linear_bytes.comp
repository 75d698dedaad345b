#version 450
//! variant plain
//! variant dot -DDOT
//! variant lanes -DUNIFORM
// LINEAR in int8 without matrix hardware: an invocation makes ROWS × COLUMNS outputs, sixteen of K at a time, and reads both operands as they lie; what
// neighbours read too is in the nearest cache. No shared memory.
//
// dot: four products and their sum by one instruction (VK_KHR_shader_integer_dot_product). lanes: for subgroups that are SIMD lanes of a CPU, with LX = 1: the weights' address is
// one for all lanes, and said to be, so that a driver loads once.
#extension GL_GOOGLE_include_directive : require
#ifdef DOT
#extension GL_EXT_spirv_intrinsics : require
#endif
#ifdef UNIFORM
#extension GL_KHR_shader_subgroup_ballot : require
#endif
#include "common.glsl"
#include "bytes.glsl"

layout(constant_id = 7) const uint LX = 16; // invocations side by side; the others lie below them
layout(constant_id = 8) const uint ROWS = 4;
layout(constant_id = 9) const uint COLUMNS = 4; // multiple of four

const uint LY = LOCAL_SIZE / LX;

#ifdef DOT
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6019, 6018], id = 4450)
int packed_dot(uint a, uint b, spirv_literal int four_bytes); // OpSDotKHR

int dot_add(uint a, uint b, int sum) { return sum + packed_dot(a, b, 0); }
#else
int dot_add(uint a, uint b, int sum) {
    const int x = int(a), w = int(b);
    sum += (x << 24 >> 24) * (w << 24 >> 24);
    sum += (x << 16 >> 24) * (w << 16 >> 24);
    sum += (x << 8 >> 24) * (w << 8 >> 24);
    return sum + (x >> 24) * (w >> 24);
}
#endif

#ifdef UNIFORM
uvec4 load_w(uint at) { return weight4[subgroupBroadcastFirst(at)]; }
#else
uvec4 load_w(uint at) { return weight4[at]; }
#endif

void main() {
    const uint row = gl_WorkGroupID.y * (LY * ROWS) + gl_LocalInvocationIndex / LX;                 // and each LY further
    const uint column = gl_WorkGroupID.x * (LX * COLUMNS) + gl_LocalInvocationIndex % LX * COLUMNS;
    const uint k16s = push.input_stride >> 4;

    int sum[ROWS][COLUMNS];
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        [[unroll]] for (uint c = 0; c < COLUMNS; c++) sum[r][c] = 0;

    for (uint k = 0; k < k16s; k++) {
        uvec4 x[ROWS];
        [[unroll]] for (uint r = 0; r < ROWS; r++) x[r] = input_words[(row + r * LY) * k16s + k];
        [[unroll]] for (uint c = 0; c < COLUMNS; c++) {
            const uvec4 w = load_w((column + c) * k16s + k);
            [[unroll]] for (uint r = 0; r < ROWS; r++)
                sum[r][c] = dot_add(x[r].w, w.w, dot_add(x[r].z, w.z, dot_add(x[r].y, w.y, dot_add(x[r].x, w.x, sum[r][c]))));
        }
    }

    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        const uint at = row + r * LY;
        const float scale = row_scale(at);
        [[unroll]] for (uint c = 0; c < COLUMNS; c += 4) {
            const vec4 products = vec4(sum[r][c], sum[r][c + 1], sum[r][c + 2], sum[r][c + 3]);
            const vec4 scales = weight_scales4[(weight_scales_at() + column + c) >> 2];
            store_output(at, column + c, finish_output(at, column + c, products * (scale * scales)));
        }
    }
}
