/* A machine without a Vulkan loader: this program's own dlopen finds none. */
#include <dlfcn.h>

#include "encoder.h"

static int asked;

void *dlopen(const char *name, int flags) {
    (void)name;
    (void)flags;
    asked++;
    return NULL;
}

char *dlerror(void) { return "libvulkan.so.1: cannot open shared object file"; }

int main(void) {
    vkb_device_info infos[8];
    uint32_t count = 0;
    vkb_error error = {0};
    CHECK(vkb_devices(NULL, infos, 8, &count, &error) == VKB_OK && count == 3, "%u rows: %s", count, error.message);
    CHECK(infos[0].kind == VKB_DEVICE_NONE && !infos[0].usable && strstr(infos[0].reason, "libvulkan"), "kind %u: %s", infos[0].kind,
          infos[0].reason);
    CHECK(infos[1].kind == VKB_DEVICE_CPU && infos[1].usable && infos[2].kind == VKB_DEVICE_REFERENCE && infos[2].usable, "kinds %u, %u",
          infos[1].kind, infos[2].kind);
    CHECK(asked, "dlopen was not asked");

    static const char *const selectors[] = {"vulkan", "vulkan:0", "vulkan:9", "vulkan:some name"};
    for (uint32_t i = 0; i < COUNT(selectors); i++) {
        vkb_device_options options = {.struct_size = sizeof options, .selector = selectors[i]};
        vkb_device *device = NULL;
        vkb_status status = vkb_device_open(&options, &device, &error);
        CHECK(status == VKB_ERROR_NO_DEVICE && !device && strstr(error.message, "loader"), "%s: status %d: %s", selectors[i], (int)status,
              error.message);
    }

    static const uint32_t lengths[] = {3};
    vkb_device *device = open_device("auto"); /* falls back as documented */
    CHECK(device->info.kind == VKB_DEVICE_CPU, "auto took kind %u", device->info.kind);
    fixture f;
    results r;
    encoder_begin(&f, lengths, 1, VKB_F32);
    if (fixture_run(&f, device, &r, "auto")) results_free(&r);
    fixture_end(&f);
    vkb_device_close(device);
    return test_end();
}
