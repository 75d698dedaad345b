/* The instruction set that every machine of an architecture has: SSE2, NEON, or what the compiler makes of vectors elsewhere. */
#include <stdint.h>

#if defined(__aarch64__)
#include <arm_neon.h>
#define NAME "NEON"
#define TILE_ROWS 4
#define FMA(a, b, c) ((vf)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#else
#if defined(__SSE2__)
#define NAME "SSE2"
#else
#define NAME "portable"
#endif
#define TILE_ROWS 2
#define FMA(a, b, c) ((a) * (b) + (c))
#endif

#define TARGET
#define LANES 4
#if defined(__aarch64__)
#define WIDEN(halves) ((vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(halves))))
#else
#define WIDEN(halves) widen4(halves)
#endif
#if defined(__SSE2__)
#include <emmintrin.h>
#define LEAST(a, b) ((vf)_mm_min_ps((__m128)(a), (__m128)(b)))
#define GREATEST(a, b) ((vf)_mm_max_ps((__m128)(a), (__m128)(b)))
#define PAIRS(a, b, sum) ((sum) + (vi)_mm_madd_epi16((__m128i)(a), (__m128i)(b)))
#elif defined(__aarch64__)
#define DOT(a, b, sum) ((vi)dot((int8x16_t)(a), (int8x16_t)(b), (int32x4_t)(sum)))
#define I8_OFFSET 0

/* Two products of numbers in ±127 fit 16 bits. */
static inline int32x4_t dot(int8x16_t a, int8x16_t b, int32x4_t sum) {
    return vpadalq_s16(sum, vpaddq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)), vmull_high_s8(a, b)));
}
#endif

#if !defined(__aarch64__)

typedef float float4 __attribute__((vector_size(16)));
typedef int32_t int4 __attribute__((vector_size(16)));

/* Shifts exponent and fraction into place and corrects the exponent's bias by a product, which is right for subnormals too; the exponent of
   infinity and NaN is set by hand. */
static inline float4 widen4(const uint16_t *h) {
    int4 bits = {h[0], h[1], h[2], h[3]};
    float4 size = (float4)((bits & 0x7fff) << 13) * 0x1p112f;
    int4 special = (bits & 0x7c00) == 0x7c00;
    return (float4)((int4)size | (special & 0x7f800000) | ((bits >> 15) * INT32_MIN));
}

#endif

#include "cpu_kernel.h"

static bool supported(void) { return true; }

const vkb_cpu_kernels vkb_cpu_base = KERNELS(NAME, supported);
