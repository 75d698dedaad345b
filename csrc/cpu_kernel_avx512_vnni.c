/* x86 with AVX-512 and its VNNI: Intel's servers since 2019, AMD's since 2022. */
#include "cpu.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#define LANES 16
#define TILE_ROWS 12
#define PAIRS_OF_PANELS /* 24 of 32 registers are sums: 130 GFMA/s a core of a Zen 5, with one panel 116 */
#define FMA(a, b, c) ((vf)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define WIDEN(halves) ((vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(halves))))
#define LEAST(a, b) ((vf)_mm512_min_ps((__m512)(a), (__m512)(b)))
#define GREATEST(a, b) ((vf)_mm512_max_ps((__m512)(a), (__m512)(b)))
#define NARROW(x) ((vq)_mm512_cvtepi32_epi8((__m512i)(x)))
#define DOT(a, b, sum) ((vi)_mm512_dpbusd_epi32((__m512i)(sum), (__m512i)(a), (__m512i)(b)))
#define I8_OFFSET 128

#include "cpu_kernel.h"

const vkb_cpu_kernels vkb_cpu_avx512_vnni = KERNELS("AVX-512, VNNI", vkb_cpu_has_avx512_vnni);

#endif
