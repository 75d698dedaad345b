/* What the system tells about the processor and the memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"

#if defined(__APPLE__)
#include <sys/sysctl.h>
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
