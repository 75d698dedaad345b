/* The table of Vulkan kernels: what there is, and taking one of them where another would be chosen, to see which is best where. */
#include <stdio.h>
#include <string.h>

#include "../vk_force.h"
#include "bench.h"

int bench_force(const char *kernel) {
    for (uint32_t i = 0; i < vkb_kernel_count; i++) {
        if (strcmp(vkb_kernels[i].name, kernel) != 0) continue;
        vkb_kernel_force(&vkb_kernels[i]);
        return 0;
    }
    return fprintf(stderr, "vkbert-bench: kernel %s is unknown; vkbert-bench kernels lists them\n", kernel), 1;
}

int bench_kernels(const bench_options *o) {
    if (!o->json) printf("%-26s %11s %6s %6s %8s %9s %5s\n", "kernel", "invocations", "rows", "cols", "shared", "from rows", "head");
    for (uint32_t i = 0; i < vkb_kernel_count; i++) {
        const vkb_kernel *k = &vkb_kernels[i];
        printf(o->json ? "{\"kernel\":\"%s\",\"invocations\":%u,\"tile_rows\":%u,\"tile_columns\":%u,\"shared_bytes\":%u,\"min_rows\":%u,"
                         "\"max_head\":%u,\"software\":%s}\n"
                       : "%-26s %11u %6u %6u %8u %9u %5u %s\n",
               k->name, k->local_size, k->tile_rows, k->tile_columns, k->shared_bytes, k->min_rows, k->max_head,
               o->json ? (k->software ? "true" : "false") : (k->software ? "software devices" : ""));
    }
    return 0;
}

int bench_variants(const bench_options *o) {
    static const char *const states[] = {"runs", "off", "unfit", "untested"};
    static vkb_variant rows[256];
    vkb_device *device = NULL;
    vkb_error error = {0};
    uint32_t count = 0;
    if (bench_open_device(o, &device)) return 1;
    vkb_status status = vkb_device_variants(device, rows, sizeof rows / sizeof *rows, &count, &error);
    if (status) fprintf(stderr, "vkbert-bench: variants: %s\n", error.message);
    for (uint32_t i = 0; i < count && !status; i++)
        printf(o->json ? "{\"kernel\":\"%s\",\"state\":\"%s\",\"reason\":\"%s\"}\n" : "%-40s %-8s %s\n", rows[i].name,
               states[rows[i].state], rows[i].reason);
    vkb_device_close(device);
    return status != VKB_OK;
}
