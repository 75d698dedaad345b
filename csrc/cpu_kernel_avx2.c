/* x86 with AVX2, FMA and F16C: all processors since 2013 to 2015, but for the smallest. */
#include "cpu.h"

#if defined(__x86_64__) || defined(__i386__)

#define TARGET __attribute__((target("avx2,fma,f16c")))
#include "cpu_kernel_ymm.h"

/*
 * Products of bytes come as sums of two in 16 bits, and are 12.8 an instruction where two such sums fit 16 bits too: 4 · 127 · 63 < 2¹⁵. So
 * inputs are 0 … 127 and weights −63 … 63. In assembly, for GCC 12 moves sums around between the products and spills half of them; a row's
 * are one statement, so that its order stays.
 */
typedef int8_t bytes32[32];
#define I8_ROWS 5 /* 10 registers of sums, 4 of products, the ones */
#define I8_WEIGHTS ((vkb_i8_range){.most = 63})
#define I8_INPUTS ((vkb_i8_range){.most = 126, .spread = true})
#define EIGHT(at, b, sum) \
    do { \
        __m256i x, y, z, t; \
        __asm__ volatile( \
            "vpbroadcastd %[first], %[x]\n\t" \
            "vpbroadcastd %[second], %[z]\n\t" \
            "vpmaddubsw %[w0], %[x], %[y]\n\t" \
            "vpmaddubsw %[w1], %[x], %[x]\n\t" \
            "vpmaddubsw %[w2], %[z], %[t]\n\t" \
            "vpmaddubsw %[w3], %[z], %[z]\n\t" \
            "vpaddw %[t], %[y], %[y]\n\t" \
            "vpaddw %[z], %[x], %[x]\n\t" \
            "vpmaddwd %[ones], %[y], %[y]\n\t" \
            "vpmaddwd %[ones], %[x], %[x]\n\t" \
            "vpaddd %[y], %[s0], %[s0]\n\t" \
            "vpaddd %[x], %[s1], %[s1]" \
            : [s0] "+x"((sum)[0]), [s1] "+x"((sum)[1]), [x] "=&x"(x), [y] "=&x"(y), [z] "=&x"(z), [t] "=&x"(t) \
            : [first] "m"(*(const int32_t *)(const void *)(at)), [second] "m"(*(const int32_t *)(const void *)((at) + 4)), \
              [w0] "m"(*(const bytes32 *)(b)), [w1] "m"(*(const bytes32 *)((b) + 32)), [w2] "m"(*(const bytes32 *)((b) + 64)), \
              [w3] "m"(*(const bytes32 *)((b) + 96)), [ones] "x"(_mm256_set1_epi16(1))); \
    } while (0)

#include "cpu_kernel.h"

const vkb_cpu_kernels vkb_cpu_avx2 = KERNELS("AVX2, FMA, F16C", vkb_cpu_has_avx2);

#endif
