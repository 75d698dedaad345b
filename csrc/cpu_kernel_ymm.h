/* cpu_kernel_ymm.h: vectors of 256 bits for cpu_kernel.h, which the kernel sets with AVX2, FMA and F16C have in common. TARGET is defined
 * before. */
#include <immintrin.h>

#define LANES 8
#define TILE_ROWS 6 /* 12 of 16 registers are sums */
#define FMA(a, b, c) ((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define WIDEN(halves) ((vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(halves))))
#define LEAST(a, b) ((vf)_mm256_min_ps((__m256)(a), (__m256)(b)))
#define GREATEST(a, b) ((vf)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define TOTAL(x) total_ymm((__m256)(x))
#define MOST(x) most_ymm((__m256)(x))
#define NARROW(x) ((vq)_mm_packus_epi16(both_halves((__m256i)(x)), _mm_setzero_si128())[0])

/* 32-bit integers to 16-bit ones. */
TARGET static inline __m128i both_halves(__m256i x) { return _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)); }

TARGET static inline float total_ymm(__m256 x) {
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
}

TARGET static inline float most_ymm(__m256 x) {
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
}
