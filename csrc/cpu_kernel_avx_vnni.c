/* x86 with AVX2 and AVX-VNNI, which multiplies bytes as AVX-512's VNNI does: Intel's processors since 2021 that have no AVX-512. */
#include "cpu.h"

#if defined(__x86_64__)

#define TARGET __attribute__((target("avx2,fma,f16c,avxvnni")))
#include "cpu_kernel_ymm.h"

#define DOT(a, b, sum) ((vi)_mm256_dpbusd_avx_epi32((__m256i)(sum), (__m256i)(a), (__m256i)(b)))
#define I8_OFFSET 128

#include "cpu_kernel.h"

const vkb_cpu_kernels vkb_cpu_avx_vnni = KERNELS("AVX2, FMA, F16C, VNNI", vkb_cpu_has_avx_vnni);

#endif
