/* Arm with products of bytes (SDOT): all processors of ARMv8.4, and many of ARMv8.2. */
#include "cpu.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#if defined(__clang__)
#define TARGET __attribute__((target("dotprod")))
#else
#define TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#endif
#define LANES 4
#define TILE_ROWS 4
#define FMA(a, b, c) ((vf)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#define WIDEN(halves) ((vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(halves))))
#define DOT(a, b, sum) ((vi)dot((int8x16_t)(a), (int8x16_t)(b), (int32x4_t)(sum)))
#define I8_OFFSET 0

/* arm_neon.h of Clang before 16 has vdotq_s32 only where the whole file is compiled for it. */
TARGET static inline int32x4_t dot(int8x16_t a, int8x16_t b, int32x4_t sum) {
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(a), "w"(b));
    return sum;
}

#include "cpu_kernel.h"

const vkb_cpu_kernels vkb_cpu_dotprod = KERNELS("NEON, dot products", vkb_cpu_has_dotprod);

#endif
