#include "submit.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "../../csrc/vk_api.h"

static atomic_int submit_mode;
static PFN_vkQueueSubmit real_submit; /* the same for all devices of a driver */

static VKAPI_ATTR VkResult VKAPI_CALL submit(VkQueue queue, uint32_t count, const VkSubmitInfo *infos, VkFence fence) {
    int loses = VKB_SUBMIT_LOSES;
    if (atomic_compare_exchange_strong(&submit_mode, &loses, VKB_SUBMIT_WAITS)) return VK_ERROR_DEVICE_LOST;
    while (atomic_load(&submit_mode) == VKB_SUBMIT_WAITS) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return real_submit(queue, count, infos, fence);
}

static PFN_vkVoidFunction pass(const char *name, PFN_vkVoidFunction function) {
    if (strcmp(name, "vkQueueSubmit")) return function;
    real_submit = (PFN_vkQueueSubmit)function;
    return (PFN_vkVoidFunction)submit;
}

void vkb_submit_install(void) { vkb_vk_intercept = pass; }

void vkb_submit_set(vkb_submit_mode mode) { atomic_store(&submit_mode, mode); }
