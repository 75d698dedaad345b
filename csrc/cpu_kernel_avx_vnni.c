/* x86 with AVX2 and AVX-VNNI, which multiplies bytes as AVX-512's VNNI does: Intel's processors since 2021 that have no AVX-512. */
#include "cpu.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma,f16c,avxvnni")))
#define LANES 8
#define TILE_ROWS 6 /* 12 of 16 registers are sums */
#define FMA(a, b, c) ((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define WIDEN(halves) ((vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(halves))))
#define LEAST(a, b) ((vf)_mm256_min_ps((__m256)(a), (__m256)(b)))
#define GREATEST(a, b) ((vf)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define NARROW(x) ((vq)_mm_packus_epi16(both_halves((__m256i)(x)), _mm_setzero_si128())[0])
#define DOT(a, b, sum) ((vi)_mm256_dpbusd_avx_epi32((__m256i)(sum), (__m256i)(a), (__m256i)(b)))
#define I8_OFFSET 128

/* 32-bit integers to 16-bit ones. */
TARGET static inline __m128i both_halves(__m256i x) { return _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)); }

#include "cpu_kernel.h"

const vkb_cpu_kernels vkb_cpu_avx_vnni = KERNELS("AVX2, FMA, F16C, VNNI", vkb_cpu_has_avx_vnni);

#endif
