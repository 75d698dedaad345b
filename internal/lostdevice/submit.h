/* submit.h: vkQueueSubmit as a test wants it. */
#ifndef VKB_LOSTDEVICE_SUBMIT_H
#define VKB_LOSTDEVICE_SUBMIT_H

typedef enum vkb_submit_mode {
    VKB_SUBMIT_WORKS,
    VKB_SUBMIT_LOSES, /* the next one loses its device; those after it wait */
    VKB_SUBMIT_WAITS  /* until the mode is another */
} vkb_submit_mode;

/* Goes between the core and Vulkan, for the devices that are opened from now on. */
void vkb_submit_install(void);
void vkb_submit_set(vkb_submit_mode mode);

#endif /* VKB_LOSTDEVICE_SUBMIT_H */
