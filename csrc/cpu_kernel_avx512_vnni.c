/* x86 with AVX-512 and its VNNI: Intel's servers since 2019, AMD's since 2022. */
#include "cpu.h"

#if defined(__x86_64__)

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#include "cpu_kernel_zmm.h"

#define NARROW(x) ((vq)_mm512_cvtepi32_epi8((__m512i)(x)))
#define DOT(a, b, sum) ((vi)_mm512_dpbusd_epi32((__m512i)(sum), (__m512i)(a), (__m512i)(b)))
#define I8_OFFSET 128

#include "cpu_kernel.h"

const vkb_cpu_kernels vkb_cpu_avx512_vnni = KERNELS("AVX-512, VNNI", vkb_cpu_has_avx512_vnni);

#endif
