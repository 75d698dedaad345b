/*
 * vk_internal.h: what the files of the Vulkan backend share.
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

/* The process's instance, made at the first call and kept; VKB_ERROR_NO_DEVICE where there is no loader or no driver. Any thread. */
vkb_status vkb_vk_instance_get(const vkb_vk_instance **instance, vkb_error *error);

/* ---- vk_physical.c ---- */

typedef struct vkb_vk_features { /* what there is of what kernels may use: all of it is enabled */
    bool storage16, float16, storage8, int8, int64, dot, addresses, memory_model, memory_model_device;
    bool size_control, full_subgroups; /* of compute shaders */
    bool matrix;                       /* VK_KHR_cooperative_matrix, and the memory model that it needs */
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
    VkPipeline handle;
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
    vkb_mutex *queue_mutex;
    atomic_bool lost;
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

typedef struct vkb_vk_work {
    const VkCommandBuffer *commands;
    uint32_t count;
    uint32_t alone; /* the first so many commands are submitted one by one, what is left in one go */
    VkFence fence;  /* reset, then signalled after the last of them */
    /* Counts submissions that have not been waited for, this one too. Then commands[0] puts the others behind earlier work, and is left out
       if there is none, or submitted with what follows it. NULL: nothing is counted */
    atomic_uint *under_way;
} vkb_vk_work;

/* On failure none of it is on the device. */
vkb_status vkb_vk_submit(vkb_vk_device *device, const vkb_vk_work *work, vkb_error *error);
/* Waits for the fence, however long it takes; for `spin` seconds without giving the CPU away. On failure nothing is on the device any more.
 */
vkb_status vkb_vk_wait(vkb_vk_device *device, VkFence fence, double spin, vkb_error *error);
/* Reads memory that the device writes until none of `count` words is VKB_VK_UNSET, for `spin` seconds at most; true: so it is. */
bool vkb_vk_watch(const volatile uint32_t *words, uint64_t count, double spin);
#define VKB_VK_SPIN_LIMIT 600e-6 /* seconds: a base-sized model answers a query in half of it */
#define VKB_VK_UNSET UINT32_MAX  /* as a float a NaN that no arithmetic gives; should one come, the fence ends the wait */

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
    uint64_t address; /* ARENA and WEIGHTS, where the device has buffer addresses; else 0 */
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
vkb_status vkb_vk_pipeline_get(vkb_vk_device *device, const vkb_kernel *kernel, const vkb_task *task, VkPipeline *pipeline,
                               vkb_error *error);
void vkb_vk_pipelines_destroy(vkb_vk_device *device);

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
/* Whether a process died while it tried something; `text` says what. False where it is still at it. */
bool vkb_marker_died(const char *path, char text[VKB_MARKER_TEXT]);
/* NULL where the file can't be made or another process is trying: then nothing is marked. */
vkb_marker *vkb_marker_begin(const char *path, const char *text);
void vkb_marker_end(vkb_marker *marker); /* removes the file; NULL is legal */
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
} vkb_vk_usage;

/* Does such an op, small, with this kernel and on the reference. `reason` stays empty where they agree. An error is one that says nothing
   about the kernel, or VKB_ERROR_DEVICE_LOST. */
vkb_status vkb_vk_selftest(vkb_vk_device *device, const vkb_kernel *kernel, const vkb_vk_usage *usage, char *reason, size_t size,
                           vkb_error *error);
/* The kernel that this thread is testing, or NULL. */
const vkb_kernel *vkb_vk_selftest_kernel(void);
/* Makes programs that this thread creates take this kernel untested, as those of a test do; NULL ends it. Returns what was before. */
const vkb_kernel *vkb_vk_selftest_take(const vkb_kernel *kernel);
/* Whether this thread is testing a kernel that can do the task: then that one is taken. */
bool vkb_vk_selftest_takes(const vkb_abilities *abilities, const vkb_task *task);

/* ---- vk_variants.c: which kernels may run ---- */

/* Why the device's driver is known to be wrong about this kernel, or NULL. kernel = NULL: about being asked for its matrix shapes. */
const char *vkb_vk_denied(const vkb_device_info *device, const vkb_kernel *kernel);
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

/* ---- vk_step.c: a program's ops as dispatches ---- */

typedef struct vkb_vk_step {             /* one dispatch, by whatever kernel a batch's size asks for */
    uint32_t op;                         /* it belongs to */
    vkb_task task;                       /* what its kernel is chosen for */
    uint32_t scope;                      /* vkb_scope of its rows */
    uint32_t columns;                    /* ATTENTION: heads */
    uint32_t input, residual, output;    /* values or VKB_NONE */
    vkb_vk_range ranges[VKB_BIND_COUNT]; /* what is bound; no buffer: the batch */
    vkb_push push;
} vkb_vk_step;

typedef struct vkb_vk_program vkb_vk_program;

vkb_vk_usage vkb_vk_usage_of(const vkb_vk_program *program, const vkb_vk_step *step);
/* Fills program->steps and ->copies; the arena has its buffer and `places` is set. */
vkb_status vkb_vk_steps_build(vkb_vk_program *program, vkb_error *error);

/* ---- vk_fold.c: steps that others do by the way ---- */

typedef struct vkb_vk_folds {           /* of a step: the steps that it can do by the way, or VKB_NONE */
    uint32_t norm_input, norm_residual; /* what makes its input, its residual */
    uint32_t pool, attention;           /* what makes its input */
    uint32_t norm;                      /* of QUANTIZE: what makes its value */
} vkb_vk_folds;

/* Fills program->folds; steps and `direct` are there. */
vkb_status vkb_vk_folds_init(vkb_vk_program *program, vkb_error *error);
/* folded: [step_count], the steps that are left out in batches of these classes. */
void vkb_vk_folds_find(const vkb_vk_program *program, uint32_t tokens, uint32_t sequences, bool *folded);
/* The step with all that it takes over. */
vkb_vk_step vkb_vk_folds_apply(const vkb_vk_program *program, const bool *folded, uint32_t step);

/* ---- vk_sums.c: what linear_short.comp needs to know of weights to normalise by the way ---- */

/* Fills program->sums and the steps' sums_address; the folds are there. */
vkb_status vkb_vk_sums_init(vkb_vk_program *program, vkb_error *error);

/* ---- vk_quantize.c: values in int8, for products in int8 ---- */

uint64_t vkb_vk_i8_bytes(uint64_t rows, uint64_t stride);
/* Whether the value has an int8 form. */
bool vkb_vk_has_i8(const vkb_vk_program *program, uint32_t value);
/* Makes a LINEAR or LINEAR_MAX step read its input's int8 form. */
void vkb_vk_read_i8(const vkb_vk_program *program, vkb_vk_step *step);
/* Makes a step write the int8 form of its output. */
void vkb_vk_write_i8(const vkb_vk_program *program, vkb_vk_step *step);
/* The parts of vkb_vk_folds_init, _find and _apply that are about QUANTIZE. */
void vkb_vk_quantize_init(vkb_vk_program *program);
void vkb_vk_quantize_find(const vkb_vk_program *program, uint32_t tokens, uint32_t sequences, bool *folded);
void vkb_vk_quantize_apply(const vkb_vk_program *program, const bool *folded, uint32_t step, vkb_vk_step *s);

/* ---- vk_program.c ---- */

enum { VKB_VK_MAX_CLASSES = 16, VKB_VK_MAX_LISTS = 8, VKB_VK_MAX_FRAMES = 3 };

typedef struct vkb_vk_list { /* the attention list for one tile size */
    uint32_t tile_rows;
    uint32_t at; /* words in the batch buffer */
} vkb_vk_list;

typedef struct vkb_vk_frame vkb_vk_frame;

struct vkb_vk_program {
    vkb_program base;
    vkb_vk_buffer arena;
    vkb_vk_buffer sums;    /* of LINEARs whose input has a norm: [outputs, 2] f32 each; may be empty */
    uint64_t batch_bytes;  /* of a frame's upload buffer, what the kernels see */
    uint64_t arguments_at; /* bytes in that buffer: [step_count + output_count] VkDispatchIndirectCommand */
    vkb_push places;       /* the *_at fields, the same for all steps but tiles_at */
    vkb_vk_list lists[VKB_VK_MAX_LISTS];
    uint32_t list_count;
    vkb_vk_step *steps;
    vkb_vk_step *copies; /* [output_count]: each output's way to the host, where it is not direct */
    vkb_vk_folds *folds; /* [step_count] */
    bool *direct;        /* [output_count]: the step that makes it writes to the host's memory, and there is no copy */
    uint32_t step_count;
    uint32_t thresholds[VKB_VK_MAX_CLASSES]; /* least rows of each size class, rising, the first 1; of DETERMINISTIC's one, what kernels are
                                                chosen for */
    uint32_t alike[VKB_VK_MAX_CLASSES];      /* the first class with the same kernels for all steps per sequence */
    uint32_t class_count;
    const vkb_kernel **kernels; /* [class_count, step_count + output_count] */
    vkb_mutex *frame_mutex;     /* over what follows */
    vkb_vk_frame *frames[VKB_VK_MAX_FRAMES];
    uint32_t frame_count;
    atomic_uint under_way; /* frames that are on the device */
};

static inline vkb_vk_device *vkb_vk_device_of(const vkb_program *program) { return (vkb_vk_device *)program->weights->device; }
/* Numbers count a program's dispatches: its steps, then the copies of its outputs. */
static inline uint32_t vkb_vk_number_count(const vkb_vk_program *p) { return p->step_count + p->base.output_count; }
static inline const vkb_vk_step *vkb_vk_step_at(const vkb_vk_program *p, uint32_t number) {
    return number < p->step_count ? &p->steps[number] : &p->copies[number - p->step_count];
}
vkb_status vkb_vk_program_init(vkb_program *program, vkb_error *error);
void vkb_vk_program_free(vkb_program *program);

/* ---- vk_class.c: size classes and the kernels chosen for them ---- */

/* Fills thresholds, kernels and lists; an op that no kernel can do, or a dispatch over the device's limit, is an error. */
vkb_status vkb_vk_classes_init(vkb_vk_program *program, vkb_error *error);
uint32_t vkb_vk_class_of(const vkb_vk_program *program, uint32_t rows);
uint32_t vkb_vk_class_most(const vkb_vk_program *program, uint32_t class); /* rows */
/* Workgroups side by side. */
uint32_t vkb_vk_groups_x(const vkb_vk_step *step, const vkb_kernel *kernel);
/* What does a dispatch in batches of these classes of tokens and of sequences. */
const vkb_kernel *vkb_vk_kernel_for(const vkb_vk_program *program, uint32_t number, uint32_t tokens, uint32_t sequences);

/* ---- vk_frame.c: what a run has to itself ---- */

typedef struct vkb_vk_recording { /* the program's commands, for the batches of two classes */
    VkCommandPool pool;
    uint32_t tokens, sequences; /* classes */
    bool *folded;               /* [step_count]: left out, because others do it */
    uint32_t *sized;            /* [sized_count], at most step_count: steps whose dispatches read their size from memory */
    uint32_t sized_count;
    VkCommandBuffer *segments; /* [segment_count], at most op_count: to be submitted in this order, each by itself */
    uint32_t segment_count;
    double seconds; /* that a run took lately, from its submission to its results; 0: none yet */
} vkb_vk_recording;

/* "Frames in flight": a run writes its batch and reads its results in one, while runs in the others are under way. All of them work in the
   program's one arena, one after another on the device. */
struct vkb_vk_frame {
    vkb_mutex *mutex;       /* held by the run that has it */
    uint32_t users;         /* that run and those that wait for it: under program->frame_mutex */
    vkb_vk_buffer upload;   /* the batch, and behind it the arguments of all dispatches */
    vkb_vk_buffer *results; /* [output_count]: [rows, width] f32; made when first needed */
    VkDescriptorPool descriptors;
    VkDescriptorSet *sets;   /* [step_count + output_count] */
    VkCommandPool pool;      /* of what follows; recordings have their own */
    VkCommandBuffer order;   /* waits for the compute work of earlier submissions */
    VkCommandBuffer *copies; /* [output_count], NULL: not recorded */
    VkCommandBuffer *submit; /* [1 + op_count + output_count]: room for a run's list */
    VkFence fence;
    bool submitted;                                                       /* and the fence not waited for yet */
    vkb_vk_recording *recordings[VKB_VK_MAX_CLASSES][VKB_VK_MAX_CLASSES]; /* by class of tokens and sequences; NULL: not made yet */
    uint32_t list_counts[VKB_VK_MAX_LISTS];                               /* of the batch at hand */
};

/* A frame for one run: a free one, a new one while there are few, else the next to be free. Nothing of it is on the device. */
vkb_status vkb_vk_frame_acquire(vkb_vk_program *program, vkb_vk_frame **frame, vkb_error *error);
void vkb_vk_frame_release(vkb_vk_program *program, vkb_vk_frame *frame);
/* What hands out this output, made at first use. */
vkb_status vkb_vk_frame_output(vkb_vk_program *program, vkb_vk_frame *frame, uint32_t output, vkb_error *error);
/* Waits until nothing of it is on the device. */
vkb_status vkb_vk_frame_settle(vkb_vk_program *program, vkb_vk_frame *frame, double spin, vkb_error *error);
/* The first one, so that what can fail fails when the program is made. */
vkb_status vkb_vk_frames_init(vkb_vk_program *program, vkb_error *error);
void vkb_vk_frames_free(vkb_vk_program *program);

/* ---- vk_record.c ---- */

/* With `queries`, a timestamp before the first op and after each. */
vkb_status vkb_vk_record(vkb_vk_program *program, vkb_vk_frame *frame, uint32_t tokens, uint32_t sequences, VkQueryPool queries,
                         vkb_vk_recording **recording, vkb_error *error);
void vkb_vk_recording_destroy(vkb_vk_program *program, vkb_vk_recording *recording);
/* The commands for a batch of this size, made at first use. */
vkb_status vkb_vk_recording_for(vkb_vk_program *program, vkb_vk_frame *frame, uint32_t tokens, uint32_t sequences,
                                vkb_vk_recording **recording, vkb_error *error);
/* The commands that fill an output's buffer. */
vkb_status vkb_vk_copy_record(vkb_vk_program *program, vkb_vk_frame *frame, uint32_t output, vkb_error *error);
/* frame->order */
vkb_status vkb_vk_order_record(vkb_vk_device *device, VkCommandPool pool, VkCommandBuffer *commands, vkb_error *error);

/* ---- vk_run.c ---- */

vkb_status vkb_vk_program_run(vkb_program *program, const vkb_batch *batch, const vkb_output *outputs, double *op_seconds,
                              vkb_error *error);

#endif /* VKB_VK_INTERNAL_H */
