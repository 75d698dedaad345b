/* intercept.h: Vulkan calls that fail on demand, and a count of the objects that are alive. */
#ifndef VKB_TEST_INTERCEPT_H
#define VKB_TEST_INTERCEPT_H

#include <stdbool.h>

#include "../vk_api.h"

/* Goes between the library and Vulkan; before the library's first call. */
void intercept_install(void);
/* From now on the calls that can fail are counted, and number `fail_at` (from 1) gives `result`; 0: none. */
void intercept_arm(uint32_t fail_at, VkResult result);
uint32_t intercept_calls(void);     /* since then */
const char *intercept_failed(void); /* the call that was made to fail, or NULL */
int intercept_alive(void);          /* objects created and not destroyed, instances apart */
uint32_t intercept_beside(void);    /* pipelines made while commands might run, and commands submitted while pipelines were made */

/* A driver that lies: pipelines of this shader (a vkb_kernel's code) have another activation than was asked for. NULL: none */
void intercept_lie(const uint32_t *code);
/* A driver that hangs from the next pipeline on, or no more: nothing that is submitted seems to end. */
void intercept_hang(bool hangs);
/* A driver that crashes: making a pipeline of this shader, or this call ("vkCreateDevice"), aborts. */
void intercept_crash(const uint32_t *code, const char *call);

#endif /* VKB_TEST_INTERCEPT_H */
