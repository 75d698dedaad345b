/* How many CPUs a cgroup's quota pays for: Linux's control groups, version 2 and 1. */
#include <stdio.h>
#include <string.h>

#include "internal.h"

enum { PATH_ROOM = 4096 };

static bool read_numbers(const char *path, long *first, long *second) {
    FILE *file = fopen(path, "r");
    if (!file) return false;
    int n = fscanf(file, second ? "%ld %ld" : "%ld", first, second); /* "max 100000" is no number */
    fclose(file);
    return n == (second ? 2 : 1);
}

/* The quota of one group, rounded up to whole CPUs; 0: it has none. */
static uint32_t paid_by(const char *folder, bool second_version) {
    char path[PATH_ROOM + 32];
    long quota = -1, period = 0;
    bool there;
    if (second_version) {
        snprintf(path, sizeof path, "%s/cpu.max", folder);
        there = read_numbers(path, &quota, &period);
    } else {
        snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
        there = read_numbers(path, &quota, NULL);
        snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
        there = there && read_numbers(path, &period, NULL);
    }
    return there && quota > 0 && period > 0 ? (uint32_t)((quota - 1) / period + 1) : 0;
}

/* The least quota of a group and of those that it is in: folder/group, and up to `folder` itself. In a container the group may be named
   as the host sees it, so that only `folder` is there. */
static uint32_t least_paid(const char *folder, const char *group, bool second_version) {
    char path[PATH_ROOM];
    uint32_t least = 0;
    size_t root = strlen(folder);
    if (snprintf(path, sizeof path, "%s%s", folder, group) >= (int)sizeof path) return 0;
    for (;;) {
        uint32_t paid = paid_by(path, second_version);
        if (paid && (!least || paid < least)) least = paid;
        char *slash = strrchr(path + root, '/');
        if (!slash) return least;
        *slash = 0;
    }
}

/* A line of /proc/self/cgroup is "0::/group" in version 2, "4:cpu,cpuacct:/group" in version 1. Sets the group, and the controllers. */
static bool parse(char *line, const char **controllers, const char **group) {
    line[strcspn(line, "\n")] = 0;
    char *first = strchr(line, ':'), *second = first ? strchr(first + 1, ':') : NULL;
    if (!second || second[1] != '/') return false;
    *second = 0;
    *controllers = first + 1;
    *group = second[2] ? second + 1 : ""; /* "/" is the root */
    return true;
}

static bool has_cpu(const char *controllers) {
    for (const char *at = controllers; (at = strstr(at, "cpu")); at += 3)
        if ((at == controllers || at[-1] == ',') && (at[3] == 0 || at[3] == ',')) return true;
    return false;
}

uint32_t vkb_cgroup_cpus(const char *mount, const char *self) {
    FILE *file = fopen(self, "r");
    if (!file) return 0;
    char line[PATH_ROOM], folder[PATH_ROOM];
    uint32_t least = 0;
    while (fgets(line, sizeof line, file)) {
        const char *controllers, *group;
        if (!parse(line, &controllers, &group) || (*controllers && !has_cpu(controllers))) continue;
        snprintf(folder, sizeof folder, "%s%s", mount, *controllers ? "/cpu" : "");
        uint32_t paid = least_paid(folder, group, !*controllers);
        if (paid && (!least || paid < least)) least = paid;
    }
    fclose(file);
    return least;
}
