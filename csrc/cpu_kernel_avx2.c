/* x86 with AVX2, FMA and F16C: all processors since 2013 to 2015, but for the smallest. */
#include "cpu.h"

#if defined(__x86_64__) || defined(__i386__)

#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma,f16c")))
#define LANES 8
#define TILE_ROWS 6 /* 12 of 16 registers are sums */
#define FMA(a, b, c) ((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define WIDEN(halves) ((vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(halves))))
#define LEAST(a, b) ((vf)_mm256_min_ps((__m256)(a), (__m256)(b)))
#define GREATEST(a, b) ((vf)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define WIDEN_I8(bytes) ((vi)_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(bytes))))
#define NARROW(x) ((vq)_mm_packs_epi32(_mm256_castsi256_si128((__m256i)(x)), _mm256_extracti128_si256((__m256i)(x), 1)))

/* In assembly: GCC 12 moves sums around between the products and spills half of them. One row's are one statement, so that its order stays.
 */
#define PAIRS_ROW(at, w, sum) \
    do { \
        __m256i x, y; \
        __asm__ volatile("vpbroadcastd %[two], %[x]\n\t" \
                         "vpmaddwd %[w0], %[x], %[y]\n\t" \
                         "vpaddd %[y], %[s0], %[s0]\n\t" \
                         "vpmaddwd %[w1], %[x], %[x]\n\t" \
                         "vpaddd %[x], %[s1], %[s1]" \
                         : [s0] "+x"((sum)[0]), [s1] "+x"((sum)[1]), [x] "=&x"(x), [y] "=&x"(y) \
                         : [two] "m"(*(const int32_t *)(const void *)(at)), [w0] "x"((w)[0]), [w1] "x"((w)[1])); \
    } while (0)

#include "cpu_kernel.h"

const vkb_cpu_kernels vkb_cpu_avx2 = KERNELS("AVX2, FMA, F16C", vkb_cpu_has_avx2);

#endif
