/*
 * vk_internal.h: what the files of the Vulkan backend share; about programs, vk_program.h has more.
 *
 * One VkInstance a process, one VkDevice and queue a vkb_device. Weights and programs own their memory and their command pools. What
 * threads meet at is behind a mutex each: the queue, the table of pipelines, and a program's frames, of which every run has one to itself.
 * A run's results are there before it returns; its fence, which follows some microseconds later, is waited for before its frame is used
 * again or freed. So whatever is to be freed is waited for first, and nothing else of ours is on the device while no call is under way.
 */
#ifndef VKB_VK_INTERNAL_H
#define VKB_VK_INTERNAL_H

#include "internal.h"
#include "vk_api.h"
#include "vk_kernel.h"

enum { VKB_BAND = 64 }; /* outputs whose weights lie together in tiles */

#define VKB_VK_ALIGN 256u /* of everything that is bound: Vulkan's greatest minStorageBufferOffsetAlignment */

/* ---- vk_instance.c ---- */

typedef struct vkb_vk_instance {
    VkInstance handle;
    vkb_vk_instance_table vk;
} vkb_vk_instance;

/* ---- vk_physical.c ---- */

typedef struct vkb_vk_features { /* what there is of what kernels may use: all of it is enabled */
    bool storage16, float16, storage8, int8, int64, dot, addresses, memory_model, memory_model_device;
    bool size_control, full_subgroups; /* of compute shaders */
    bool matrix;                       /* VK_KHR_cooperative_matrix, and the memory model that it needs */
    bool matrix2;                      /* VK_NV_cooperative_matrix2, as far as linear_matrix2 uses it, and Vulkan 1.3 */
    bool hopper;                       /* VK_NVX_binary_import on a GPU of the architecture that csrc/cubin is for */
} vkb_vk_features;

typedef struct vkb_vk_physical {
    VkPhysicalDevice handle;
    vkb_device_info info;
    VkPhysicalDeviceMemoryProperties memory;
    uint32_t main_heap; /* the largest device-local heap */
    uint32_t queue_family;
    uint32_t timestamp_bits;  /* 0: none */
    double timestamp_seconds; /* a tick */
    vkb_vk_features features;
    vkb_abilities abilities; /* without VKB_NEED_FRAGMENTS, which takes a try */
    uint64_t buffer_limit;   /* greatest buffer and allocation, bytes */
    uint32_t group_limit[2]; /* greatest dispatch, x and y */
    uint32_t driver_version;
    bool memory_budget;      /* VK_EXT_memory_budget */
    bool portability_subset; /* which has to be enabled where there is one */
} vkb_vk_physical;

/* Everything about one device that can be known without opening it; info.usable and info.reason say whether it can be used. False:
   there was not enough host memory to find out. */
bool vkb_vk_examine(const vkb_vk_instance *instance, VkPhysicalDevice handle, uint32_t index, vkb_vk_physical *physical);
/* Of the heap, what this process may still take: UINT64_MAX where the driver does not tell. */
uint64_t vkb_vk_heap_available(const vkb_vk_instance *instance, const vkb_vk_physical *physical, uint32_t heap);
/* Memory types of these kinds need features that are not enabled, or are not ours to use. */
bool vkb_vk_memory_type_ok(VkMemoryPropertyFlags flags);

/* As vkb_vk_examine, of the device that is "vulkan:index"; vk_instance.c. cache_dir: for markers, may be NULL */
vkb_status vkb_vk_physical_at(const char *cache_dir, uint32_t index, const vkb_vk_instance **instance, vkb_vk_physical *physical,
                              vkb_error *error);
/* vk_device.c: whether a process died when it opened the device for the first time; then it is not usable, and says so. */
bool vkb_vk_opening_killed(const char *cache_dir, vkb_vk_physical *physical);

/* ---- vk_device.c ---- */

typedef struct vkb_vk_pipeline {
    const vkb_kernel *kernel;
    uint32_t mode, weights, values; /* of the vkb_task */
    VkPipeline handle;              /* or, of a cubin: */
    VkCuModuleNVX module;
    VkCuFunctionNVX function;
} vkb_vk_pipeline;

typedef struct vkb_vk_variants vkb_vk_variants;

typedef struct vkb_vk_device {
    vkb_device base;
    const vkb_vk_instance *instance;
    vkb_vk_physical physical;
    vkb_abilities abilities;
    vkb_vk_device_table vk;
    VkDevice handle;
    VkQueue queue;
    vkb_mutex *queue_mutex; /* over the queue and: */
    uint32_t pauses;        /* threads that make a pipeline; nothing is submitted meanwhile */
    uint32_t kept_back;     /* threads that wait for that to end; no pause begins meanwhile */
    atomic_bool lost;
    atomic_bool hung;           /* lost too, and what is on it may still run: nothing that it may use is ever freed */
    uint32_t patience;          /* milliseconds that a submission may take beside its products; 0: any number, of what may be software */
    atomic_uint_least64_t owed; /* milliseconds that all that is submitted and not waited for may take */
    double spin_limit; /* seconds that a wait may keep a CPU busy; 0 on software devices, which compute on the CPU that would spin */

    VkDescriptorSetLayout set_layout; /* the same for all kernels */
    VkPipelineLayout pipeline_layout;
    vkb_mutex *pipeline_mutex; /* over what follows */
    vkb_vk_pipeline *pipelines;
    uint32_t pipeline_count, pipeline_capacity;
    VkPipelineCache cache;
    bool cache_changed;
    char *cache_folder; /* NULL: in memory only */
    atomic_bool cache_refused;
    vkb_vk_variants *variants;
} vkb_vk_device;

/* ---- vk_error.c ---- */

const char *vkb_vk_result_name(VkResult result);
/* VKB_OK for VK_SUCCESS, else fills `error` with the call's name. A lost device is marked as such. */
vkb_status vkb_vk_check(vkb_vk_device *device, VkResult result, const char *call, vkb_error *error);
/* VKB_ERROR_DEVICE_LOST if the device was lost earlier. */
vkb_status vkb_vk_alive(vkb_vk_device *device, vkb_error *error);

/* ---- vk_queue.c ---- */

typedef struct vkb_vk_fence { /* one that is all zeros may be destroyed too */
    VkFence handle;
    uint64_t own, limit; /* milliseconds that its work may take, and with what was submitted before; limit 0: any number */
} vkb_vk_fence;

vkb_status vkb_vk_fence_create(vkb_vk_device *device, vkb_vk_fence *fence, vkb_error *error);
void vkb_vk_fence_destroy(vkb_vk_device *device, vkb_vk_fence *fence);
/* Of command buffers for the queue; they go with it. VK_NULL_HANDLE may be destroyed too. */
vkb_status vkb_vk_pool_create(vkb_vk_device *device, VkCommandPoolCreateFlags flags, VkCommandPool *pool, vkb_error *error);
void vkb_vk_pool_destroy(vkb_vk_device *device, VkCommandPool pool);

typedef struct vkb_vk_work {
    const VkCommandBuffer *commands;
    uint32_t count;
    uint32_t alone;      /* the first so many commands are submitted one by one, what is left in one go */
    vkb_vk_fence *fence; /* reset, then signalled after the last of them */
    double products;     /* multiplications and additions, about */
    /* Counts submissions that have not been waited for, this one too. Then commands[0] puts the others behind earlier work, and is left out
       if there is none, or submitted with what follows it. NULL: nothing is counted */
    atomic_uint *under_way;
} vkb_vk_work;

/* Waits for pauses. On failure none of it is on the device. */
vkb_status vkb_vk_submit(vkb_vk_device *device, const vkb_vk_work *work, vkb_error *error);
/* Waits for the fence; for `spin` seconds without giving the CPU away. A GPU that takes longer than its slowest kind would is given up, as
   lost. On failure nothing is on the device any more, or it has hung. */
vkb_status vkb_vk_wait(vkb_vk_device *device, vkb_vk_fence *fence, double spin, vkb_error *error);
/* Its work is known to be done, though nobody has waited for the fence: what comes after it is not given the time for it too. */
void vkb_vk_done(vkb_vk_device *device, vkb_vk_fence *fence);
/*
 * Waits for all that was submitted; then no work is on this device, for other threads too, until as many calls of vkb_vk_resume as of
 * vkb_vk_pause that did not fail. Work that has to wait for that comes before the next pause.
 */
vkb_status vkb_vk_pause(vkb_vk_device *device, vkb_error *error);
void vkb_vk_resume(vkb_vk_device *device);
/* Reads memory that the device writes until none of `count` words is VKB_VK_UNSET, for `spin` seconds at most; true: so it is. */
bool vkb_vk_watch(const volatile uint32_t *words, uint64_t count, double spin);
#define VKB_VK_PATIENCE 20000    /* milliseconds; the longest that a driver has been seen to take for a first submission is far below */
#define VKB_VK_SPIN_LIMIT 600e-6 /* seconds: a base-sized model answers a query in half of it */
#define VKB_VK_UNSET UINT32_MAX  /* as a float a NaN that no arithmetic gives; should one come, the fence ends the wait */

/* ---- vk_once.c ---- */

typedef struct vkb_vk_once { /* one that is all zeros may be destroyed too */
    VkCommandPool pool;
    VkCommandBuffer commands; /* recorded between begin and run */
    vkb_vk_fence fence;
} vkb_vk_once;

/* To be destroyed, whether or not it fails. */
vkb_status vkb_vk_once_begin(vkb_vk_device *device, vkb_vk_once *once, vkb_error *error);
vkb_status vkb_vk_once_run(vkb_vk_device *device, vkb_vk_once *once, vkb_error *error);
void vkb_vk_once_destroy(vkb_vk_device *device, vkb_vk_once *once); /* nothing of it is on the device */

/* ---- vk_memory.c ---- */

typedef enum vkb_vk_use {
    VKB_VK_ARENA,    /* the device's alone */
    VKB_VK_WEIGHTS,  /* written once: mapped where the host reaches all of the device's memory, else filled by copies */
    VKB_VK_UPLOAD,   /* the host writes, the device reads: mapped, on the device if it can be */
    VKB_VK_STAGING,  /* source of copies: mapped */
    VKB_VK_READ_BACK /* the device writes, the host reads: mapped, cached if it can be */
} vkb_vk_use;

typedef struct vkb_vk_buffer {
    VkBuffer handle;
    VkDeviceMemory memory;
    uint64_t bytes;
    uint8_t *mapped;  /* NULL: not host-visible */
    uint64_t address; /* ARENA, WEIGHTS and UPLOAD, where the device has buffer addresses; else 0 */
    bool coherent, cached;
} vkb_vk_buffer;

/* `what` names it in messages. A buffer that is all zeros may be destroyed too. */
vkb_status vkb_vk_buffer_create(vkb_vk_device *device, uint64_t bytes, vkb_vk_use use, const char *what, vkb_vk_buffer *buffer,
                                vkb_error *error);
void vkb_vk_buffer_destroy(vkb_vk_device *device, vkb_vk_buffer *buffer);
/* Make the host's writes visible to submits that follow; the device's finished writes to the host. */
vkb_status vkb_vk_buffer_flush(vkb_vk_device *device, const vkb_vk_buffer *buffer, vkb_error *error);
vkb_status vkb_vk_buffer_invalidate(vkb_vk_device *device, const vkb_vk_buffer *buffer, vkb_error *error);

/* ---- vk_staging.c ---- */

typedef struct vkb_vk_staging vkb_vk_staging;

/* Fills and copies buffers. `bytes`: of its own memory, of which there are two halves, one being filled while the other is copied; 0 if it
   is for filling alone. */
vkb_status vkb_vk_staging_create(vkb_vk_device *device, uint64_t bytes, vkb_vk_staging **staging, vkb_error *error);
void vkb_vk_staging_destroy(vkb_vk_staging *staging); /* waits for copies under way */
/* Sets whole buffers to zero and waits. */
vkb_status vkb_vk_staging_zero(vkb_vk_staging *staging, const vkb_vk_buffer *buffers, uint32_t count, vkb_error *error);
/* Room for `bytes` (at most half of the memory), which will be copied to the target later. */
vkb_status vkb_vk_staging_reserve(vkb_vk_staging *staging, const vkb_vk_buffer *target, uint64_t offset, uint64_t bytes, uint8_t **room,
                                  vkb_error *error);
/* Copies what is left and waits. */
vkb_status vkb_vk_staging_finish(vkb_vk_staging *staging, vkb_error *error);

/* ---- vk_weights.c ---- */

typedef struct vkb_vk_range { /* what a descriptor takes */
    VkBuffer buffer;
    uint64_t offset, bytes;
} vkb_vk_range;

typedef struct vkb_vk_piece { /* rows of a tensor that lie together and can be bound at once */
    uint32_t block;           /* of weights->blocks */
    uint32_t row_first, rows;
    uint64_t offset, bytes;
} vkb_vk_piece;

typedef struct vkb_vk_tensor {
    uint32_t piece, piece_count; /* of weights->pieces */
    uint32_t form;               /* vkb_weight_form; 0 for VECTOR */
    uint64_t row_bytes;          /* of a padded row, tiles too */
    uint8_t *sent;               /* in tiles, until sealed: a bit for each band that is on the device */
} vkb_vk_tensor;

typedef struct vkb_vk_weights {
    vkb_weights base;
    vkb_vk_tensor *tensors;
    vkb_vk_piece *pieces;
    vkb_vk_buffer *blocks; /* the weight arena, in as many buffers as their limit asks for */
    uint32_t piece_count, piece_capacity, block_count;
    vkb_vk_piece vectors;    /* all VECTOR tensors */
    vkb_vk_staging *staging; /* until sealed; NULL where the blocks are mapped */
    struct {                 /* VKB_BAND outputs of a tensor in tiles, on the host while they are filled */
        uint32_t tensor;     /* VKB_NONE: none */
        uint64_t number, filled;
        uint16_t *data; /* [VKB_BAND, padded inputs] of the widest tensor in tiles, or NULL */
    } band;
} vkb_vk_weights;

vkb_status vkb_vk_weights_init(vkb_weights *weights, vkb_error *error);
vkb_status vkb_vk_weights_put(vkb_weights *weights, uint32_t tensor, uint64_t first, const float *x, uint64_t count, vkb_error *error);
vkb_status vkb_vk_weights_put_i8(vkb_weights *weights, uint32_t tensor, uint32_t row, const int8_t *q, float scale, vkb_error *error);
vkb_status vkb_vk_weights_seal(vkb_weights *weights, vkb_error *error);
void vkb_vk_weights_free(vkb_weights *weights);
vkb_vk_range vkb_vk_piece_range(const vkb_vk_weights *weights, const vkb_vk_piece *piece);

/* ---- vk_pipeline.c ---- */

vkb_status vkb_vk_layouts_create(vkb_vk_device *device, vkb_error *error);
/* The pipeline of a kernel for a task, made at first use and owned by the device. Any thread. */
vkb_status vkb_vk_pipeline_get(vkb_vk_device *device, const vkb_kernel *kernel, const vkb_task *task, vkb_vk_pipeline *pipeline,
                               vkb_error *error);
void vkb_vk_pipelines_destroy(vkb_vk_device *device);

/* ---- vk_cubin.c: kernels that are no SPIR-V ---- */

/* Fills module and function; destroys them. */
vkb_status vkb_vk_cubin_create(vkb_vk_device *device, vkb_vk_pipeline *pipeline, vkb_error *error);
void vkb_vk_cubin_destroy(const vkb_vk_device *device, const vkb_vk_pipeline *pipeline);
/* params: what the function takes, each where it lies; read now. */
void vkb_vk_cubin_launch(const vkb_vk_device *device, VkCommandBuffer commands, const vkb_vk_pipeline *pipeline, uint32_t groups,
                         const void *const *params, uint32_t param_count);

/* ---- vk_probe.c ---- */

/* Whether the elements of a cooperative matrix lie as vkb_weight_form's tiles have them: one small dispatch. */
vkb_status vkb_vk_fragments_probe(vkb_vk_device *device, bool *tiled, vkb_error *error);

typedef struct vkb_vk_program vkb_vk_program;

/* ---- vk_cache.c: the files of a device ---- */

#define VKB_VK_HASH_START UINT64_C(14695981039346656037)
uint64_t vkb_vk_hash(uint64_t hash, const void *data, size_t bytes);
/* A number of the device, its driver and the table of kernels. */
uint64_t vkb_vk_cache_key(const vkb_vk_physical *physical);
/* To be freed; NULL if the folder is NULL, or without memory. */
char *vkb_vk_cache_path(const char *folder, const char *name, uint64_t key, const char *suffix);
/* What the device's file of this name holds, to be freed; NULL where there is none that can be used. */
void *vkb_vk_cache_read(vkb_vk_device *device, const char *name, size_t *bytes);
void vkb_vk_cache_write(vkb_vk_device *device, const char *name, const void *data, size_t bytes);
/* Keeps the folder's name and makes the pipeline cache. */
vkb_status vkb_vk_cache_open(vkb_vk_device *device, const char *folder, vkb_error *error);
void vkb_vk_cache_save(vkb_vk_device *device); /* if pipelines were made since. Any thread */

/* ---- vk_marker.c: what is being tried for the first time, in a file, so that what kills the process kills only one ---- */

typedef struct vkb_marker vkb_marker;
enum { VKB_MARKER_TEXT = 128 };

/* Paths may be NULL: then nothing is marked. */
/* Whether a process died while it tried something, so that this one is not to: for the first death that is the process that finds it and no
   later one, for a second death all. `text` says what. False where it is still at it. */
bool vkb_marker_died(const char *path, char text[VKB_MARKER_TEXT]);
/* NULL where the file can't be made or another process is trying: then nothing is marked. */
vkb_marker *vkb_marker_begin(const char *path, const char *text);
void vkb_marker_end(vkb_marker *marker);   /* removes the file; NULL is legal */
void vkb_marker_leave(vkb_marker *marker); /* leaves the file behind, as a process that dies does; NULL is legal */
/* A number of the drivers that the loader will find, as far as their manifests tell. */
uint64_t vkb_vk_drivers_key(void);

/* ---- vk_selftest.c ---- */

typedef struct vkb_vk_usage { /* how a program uses a kernel */
    vkb_task task;
    const vkb_op *op;          /* whose step it is; NULL: not to be tested */
    const vkb_tensor *tensors; /* what op's tensors are */
    uint32_t activations;      /* vkb_dtype */
    uint32_t head_size;        /* ATTENTION, ROTATE */
    uint32_t inputs, width;    /* of op's input (0: none), of the step's output */
    bool attends;              /* LINEAR: of an ATTENTION's results, which its kernel may do by the way */
    uint32_t gate;             /* LINEAR: 1 + the activation of the GATE after it, which its kernel may do by the way; 0: none */
} vkb_vk_usage;

/* Does such an op, small, with this kernel and on the reference. `reason` stays empty where they agree. An error is one that says nothing
   about the kernel, or VKB_ERROR_DEVICE_LOST. */
vkb_status vkb_vk_selftest(vkb_vk_device *device, const vkb_kernel *kernel, const vkb_vk_usage *usage, char *reason, size_t size,
                           vkb_error *error);
/* Makes the pipelines that the test takes, and runs none of them. */
vkb_status vkb_vk_selftest_make(vkb_vk_device *device, const vkb_kernel *kernel, const vkb_vk_usage *usage, vkb_error *error);
/* The kernel that this thread is testing, or NULL. */
const vkb_kernel *vkb_vk_selftest_kernel(void);
/* Whether this thread makes a test's pipelines, and what they would work out is not wanted. */
bool vkb_vk_selftest_only_makes(void);
/* Makes programs that this thread creates take this kernel untested, as those of a test do; NULL ends it. Returns what was before. */
const vkb_kernel *vkb_vk_selftest_take(const vkb_kernel *kernel);
/* Whether this thread is testing a kernel that can do the task: then that one is taken. */
bool vkb_vk_selftest_takes(const vkb_abilities *abilities, const vkb_task *task);

/* ---- vk_denied.c ---- */

/* Why the device's driver is known to be wrong about this kernel, or NULL. kernel = NULL: about being asked for its matrix shapes. */
const char *vkb_vk_denied(const vkb_device_info *device, const vkb_kernel *kernel);

/* ---- vk_variants.c: which kernels may run ---- */

/* Sets device->variants; the cache is open. */
vkb_status vkb_vk_variants_open(vkb_vk_device *device, vkb_error *error);
/* vkb_kernel_choose among the kernels that may run: one that was not used so before is tested first. *kernel: NULL if there is none. */
vkb_status vkb_vk_variant_choose(vkb_vk_device *device, const vkb_vk_usage *usage, uint32_t rows, const vkb_kernel **kernel,
                                 vkb_error *error);
/* Tests what a program will choose for its classes side by side, on devices that compile slowly and run fast. */
vkb_status vkb_vk_variants_prepare(vkb_vk_program *program, vkb_error *error);
void vkb_vk_variants_save(vkb_vk_device *device); /* if tests were made since. Any thread */
/* Tests this use of the kernel, if it fits and was not tested, and says how things stand. */
vkb_status vkb_vk_variant_check(vkb_vk_device *device, const vkb_kernel *kernel, const vkb_vk_usage *usage, vkb_variant *variant,
                                vkb_error *error);

/* ---- vk_tune.c ---- */

enum { VKB_VK_CANDIDATES = 8 };
/* The kernels that are worth timing for the task with so many rows, in the table's order; fewer than two: it is not tuned. */
uint32_t vkb_vk_tune_candidates(const vkb_vk_device *device, const vkb_task *task, uint32_t rows, const vkb_kernel *candidates[]);
/* Times them; the fastest, or `usual` if that is about as fast. */
vkb_status vkb_vk_tune(vkb_vk_device *device, const vkb_vk_usage *usage, uint32_t rows, const vkb_kernel *const *candidates, uint32_t count,
                       const vkb_kernel *usual, const vkb_kernel **best, vkb_error *error);

/* ---- vk_report.c ---- */

vkb_status vkb_vk_report(vkb_device *device, vkb_variant *variants, uint32_t capacity, uint32_t *count, vkb_error *error);

#endif /* VKB_VK_INTERNAL_H */
