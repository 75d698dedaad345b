/* x86 with AVX2, FMA and F16C: all processors since 2013 to 2015, but for the smallest. */
#include "cpu.h"

#if defined(__x86_64__) || defined(__i386__)

#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma,f16c")))
#define LANES 8
#define TILE_ROWS 6 /* 12 of 16 registers are sums */
#define FMA(a, b, c) ((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define WIDEN(halves) ((vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(halves))))
#define PAIRS(a, b, sum) ((sum) + (vi)_mm256_madd_epi16((__m256i)(a), (__m256i)(b)))

#include "cpu_kernel.h"

const vkb_cpu_kernels vkb_cpu_avx2 = KERNELS("AVX2, FMA, F16C", vkb_cpu_has_avx2);

#endif
