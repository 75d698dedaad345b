#version 450
// Whether the elements of 16×16 matrices lie as vkb_weight_form's tiles have them (vk_kernel.h): lane L of 32 holds as element i of A and of sums row
// L/4 + 8·(i/4), column 2·(L%4) + i%2 + 8·(i/2%2), of B the same with rows and columns swapped. OUTPUT: for each lane the elements that do not.
#extension GL_GOOGLE_include_directive : require
#include "matrix.glsl"
#include "common.glsl"

shared float16_t halves[256];
shared float floats[256];

void main() {
    const uint lane = gl_LocalInvocationIndex;
    for (uint i = lane; i < 256; i += LOCAL_SIZE) {
        halves[i] = float16_t(i);
        floats[i] = float(i);
    }
    barrier();
    MATRIX_A(16, 16) a;
    MATRIX_B(16, 16) b;
    MATRIX_SUM(16, 16) c;
    MATRIX_HALF(16, 16) h;
    coopMatLoad(a, halves, 0, 16, gl_CooperativeMatrixLayoutRowMajor);
    coopMatLoad(b, halves, 0, 16, gl_CooperativeMatrixLayoutColumnMajor);
    coopMatLoad(c, floats, 0, 16, gl_CooperativeMatrixLayoutRowMajor);
    coopMatLoad(h, halves, 0, 16, gl_CooperativeMatrixLayoutRowMajor);
    uint off = 0;
    if (a.length() != 8 || b.length() != 8 || c.length() != 8 || h.length() != 8 || gl_SubgroupSize != 32) off = 256;
    [[unroll]] for (uint i = 0; i < 8; i++) {
        const float want = float((lane / 4 + 8 * (i / 4)) * 16 + 2 * (lane % 4) + i % 2 + 8 * (i / 2 % 2));
        off += uint(float(a[i]) != want) + uint(float(b[i]) != want) + uint(c[i] != want) + uint(float(h[i]) != want);
    }
    store_y(lane, float(off));
}
