/* What the system tells about the processor and the memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"

#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(_WIN32)
#include <windows.h>
#endif

#if defined(__linux__)
/* Copies what follows `key` and its colon in the first line of a /proc file that starts with it; false if there is none. */
static bool proc_line(const char *path, const char *key, char *text, size_t size) {
    FILE *file = fopen(path, "r");
    if (!file) return false;
    char line[512];
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) != 0) continue;
        const char *value = strchr(line, ':');
        if (!value) continue;
        value += 1 + strspn(value + 1, " \t");
        int length = (int)strcspn(value, "\n");
        snprintf(text, size, "%.*s", length, value);
        found = length > 0;
    }
    fclose(file);
    return found;
}
#endif

void vkb_cpu_model_name(char *name, size_t size) {
#if defined(__linux__)
    if (proc_line("/proc/cpuinfo", "model name", name, size)) return;
#elif defined(__APPLE__)
    size_t room = size;
    if (sysctlbyname("machdep.cpu.brand_string", name, &room, NULL, 0) == 0) return;
#elif defined(_WIN32)
    const char *identifier = getenv("PROCESSOR_IDENTIFIER");
    if (identifier) {
        snprintf(name, size, "%s", identifier);
        return;
    }
#endif
    snprintf(name, size, "CPU"); /* ARM's /proc/cpuinfo has no name */
}

uint64_t vkb_cpu_memory_available(void) {
#if defined(__linux__)
    char text[64];
    if (proc_line("/proc/meminfo", "MemAvailable", text, sizeof text)) return strtoull(text, NULL, 10) * 1024;
#endif
    return 0;
}

#if defined(__x86_64__) || defined(__i386__)

/* Intel's manual, volume 1, chapters 14 and 15. __builtin_cpu_supports would do, but not every compiler's run-time library fills what it
 * reads. */
static bool has(unsigned leaf1_ecx, unsigned leaf7_ebx, unsigned leaf7_ecx, unsigned states) {
    unsigned a, b, c, d, xcr0, high;
    const unsigned osxsave = 1u << 27;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & (osxsave | leaf1_ecx)) != (osxsave | leaf1_ecx)) return false;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & leaf7_ebx) != leaf7_ebx || (c & leaf7_ecx) != leaf7_ecx) return false;
    __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0)); /* which registers the system saves */
    return (xcr0 & states) == states;
}

bool vkb_cpu_has_avx2(void) {
    const unsigned fma = 1u << 12, avx = 1u << 28, f16c = 1u << 29, avx2 = 1u << 5, xmm_ymm = 0x06;
    return has(fma | avx | f16c, avx2, 0, xmm_ymm);
}

bool vkb_cpu_has_avx_vnni(void) {
    unsigned a, b, c, d;
    const unsigned avx_vnni = 1u << 4;
    return vkb_cpu_has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & avx_vnni);
}

static bool has_avx512(unsigned leaf7_ecx) {
    const unsigned f = 1u << 16, bw = 1u << 30, vl = 1u << 31, xmm_ymm_zmm_masks = 0xe6;
    return has(0, f | bw | vl, leaf7_ecx, xmm_ymm_zmm_masks);
}

bool vkb_cpu_has_avx512(void) { return has_avx512(0); }

bool vkb_cpu_has_avx512_vnni(void) { return has_avx512(1u << 11); }

#endif

#if defined(__aarch64__)

bool vkb_cpu_has_dotprod(void) {
#if defined(__linux__)
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#elif defined(__APPLE__)
    int has = 0;
    size_t size = sizeof has;
    return sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &size, NULL, 0) == 0 && has;
#elif defined(_WIN32)
    return IsProcessorFeaturePresent(PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE);
#else
    return false;
#endif
}

#endif
