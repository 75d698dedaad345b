/* x86 with AVX-512. */
#include "cpu.h"

#if defined(__x86_64__)

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl")))
#include "cpu_kernel_zmm.h"

#define I8_ROWS 8 /* with 12 GCC 12 spills widened weights: 329 GOP/s a core at 384 inputs, not 390 */
#define WIDEN_I8(bytes) ((vi)_mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)(bytes))))
#define NARROW(x) ((vq)_mm512_cvtepi32_epi16((__m512i)(x)))
#define PAIRS(a, b, sum) ((sum) + (vi)_mm512_madd_epi16((__m512i)(a), (__m512i)(b)))

#include "cpu_kernel.h"

const vkb_cpu_kernels vkb_cpu_avx512 = KERNELS("AVX-512", vkb_cpu_has_avx512);

#endif
