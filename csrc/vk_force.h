/* vk_force.h: for the C tests and vkbert-bench alone: which row of the table of kernels is taken. */
#ifndef VKB_VK_FORCE_H
#define VKB_VK_FORCE_H

#include "vk_kernel.h"

/* Whether a device can do the task by this row at all, whatever its min_rows and `software` say. */
bool vkb_kernel_fits(const vkb_kernel *kernel, const vkb_abilities *abilities, const vkb_task *task);
/* From now on this row is chosen for all that it can do, by every program that is created; NULL ends that. Any thread. */
void vkb_kernel_force(const vkb_kernel *kernel);
const vkb_kernel *vkb_kernel_forced(void);

#endif /* VKB_VK_FORCE_H */
