/* How many threads the CPU backend takes by itself: cgroup quotas, of both versions and of outer groups too, and the affinity mask. */
#include <sched.h>
#include <sys/stat.h>

#include "fixture.h"

static char top[64] = "/tmp/vkbert-cgroup-XXXXXX";

/* Writes a file below `top`, with the folders on the way. */
static void put(const char *name, const char *text) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", top, name);
    for (char *slash = path + strlen(top) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    REQUIRE(file && fputs(text, file) >= 0 && fclose(file) == 0, "%s", path);
}

static void quota(const char *about, const char *self, uint32_t want) {
    char mount[128], path[128];
    put("self", self);
    snprintf(mount, sizeof mount, "%s/mount", top);
    snprintf(path, sizeof path, "%s/self", top);
    uint32_t got = vkb_cgroup_cpus(mount, path);
    CHECK(got == want, "%s: %u CPUs, want %u", about, got, want);
}

static void quotas(void) {
    put("mount/cpu.max", "max 100000\n");
    put("mount/system.slice/cpu.max", "400000 100000\n");
    put("mount/system.slice/a.service/cpu.max", "150000 100000\n");
    put("mount/system.slice/b.service/cpu.max", "max 100000\n");
    put("mount/system.slice/c.service/cpu.max", "900000 100000\n");
    put("mount/tiny/cpu.max", "1000 100000\n");
    put("mount/broken/cpu.max", "none\n");
    put("mount/cpu/cpu.cfs_quota_us", "-1\n");
    put("mount/cpu/cpu.cfs_period_us", "100000\n");
    put("mount/cpu/docker/x/cpu.cfs_quota_us", "250000\n");
    put("mount/cpu/docker/x/cpu.cfs_period_us", "100000\n");
    quota("the root", "0::/\n", 0);
    quota("a service, rounded up", "0::/system.slice/a.service\n", 2);
    quota("a service without one in a slice with one", "0::/system.slice/b.service\n", 4);
    quota("a service with more than its slice", "0::/system.slice/c.service\n", 4);
    quota("a part of a CPU", "0::/tiny\n", 1);
    quota("a file that is none", "0::/broken\n", 0);
    quota("a group that is not there", "0::/elsewhere/a\n", 0);
    quota("version 1", "9:name=systemd:/\n4:cpu,cpuacct:/docker/x\n3:cpuset:/docker/x\n", 3);
    quota("version 1, another controller's group", "3:cpuset:/docker/x\n2:cpuacct:/docker/x\n4:cpu:/\n0::/\n", 0);
    quota("both versions", "4:cpuacct,cpu:/docker/x\n0::/system.slice/a.service\n", 2);
    quota("no line", "", 0);
    quota("lines that are none", "0\n0:\n:::\n0::relative\n", 0);
    put("mount/cpu.max", "50000 100000\n"); /* as a container sees its own group */
    quota("a container", "0::/\n", 1);
    quota("a container that sees its host's names", "0::/docker/0123\n", 1);
    CHECK(vkb_cgroup_cpus("/nonexistent", "/nonexistent") == 0, "no files");
}

/* A mask of one CPU leaves one thread, which computes what two do. */
static void affinity(void) {
    static const uint32_t lengths[] = {5, 17};
    vkb_device_options options = {.struct_size = sizeof options, .selector = "cpu"};
    vkb_device *device = NULL;
    vkb_error e = {0};
    vkb_device_info info = {.struct_size = sizeof info};
    cpu_set_t before, one;
    fixture f;
    results all, alone;
    REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0, "no mask");
    int cpu = 0;
    while (!CPU_ISSET(cpu, &before)) cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    fixture_begin(&f, lengths, COUNT(lengths), 1);
    fixture_small(&f, 33);
    device = open_device("cpu");
    bool ok = fixture_run(&f, device, &all, "two threads");
    vkb_device_close(device);
    REQUIRE(ok && sched_setaffinity(0, sizeof one, &one) == 0, "no mask can be set");
    CHECK(vkb_cpu_count() == 1, "%u CPUs in a mask of one", vkb_cpu_count());
    REQUIRE(vkb_device_open(&options, &device, &e) == VKB_OK, "%s", e.message);
    vkb_device_get_info(device, &info);
    CHECK(info.threads == 1, "%u threads on one CPU", info.threads);
    if (fixture_run(&f, device, &alone, "one thread")) {
        CHECK(!memcmp(alone.data[0], all.data[0], COUNT(lengths) * 33 * sizeof(float)), "another result on one thread");
        results_free(&alone);
    }
    vkb_device_close(device);
    sched_setaffinity(0, sizeof before, &before);
    results_free(&all);
    fixture_end(&f);
}

int main(void) {
    REQUIRE(mkdtemp(top), "no folder in /tmp");
    quotas();
    affinity();
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", top);
    CHECK(system(command) == 0, "%s stays", top);
    return test_end();
}
