/*
 * vk_program.h: what the files of the Vulkan backend share about programs: their steps, what steps do by the way, size classes, and the
 * frames of the runs under way. About devices, memory and kernels: vk_internal.h.
 */
#ifndef VKB_VK_PROGRAM_H
#define VKB_VK_PROGRAM_H

#include "vk_internal.h"

/* ---- vk_step.c: a program's ops as dispatches ---- */

typedef struct vkb_vk_step {             /* one dispatch, by whatever kernel a batch's size asks for */
    uint32_t op;                         /* it belongs to */
    vkb_task task;                       /* what its kernel is chosen for */
    uint32_t scope;                      /* vkb_scope of its rows */
    uint32_t columns;                    /* ATTENTION: heads */
    uint32_t input, residual, output;    /* values or VKB_NONE */
    vkb_vk_range ranges[VKB_BIND_COUNT]; /* what is bound; no buffer: the batch */
    vkb_push push;
    uint64_t maps_address; /* LINEAR: vk_maps.c */
} vkb_vk_step;

vkb_vk_usage vkb_vk_usage_of(const vkb_vk_program *program, const vkb_vk_step *step);
/* Fills program->steps and ->copies; the arena has its buffer and `places` is set. */
vkb_status vkb_vk_steps_build(vkb_vk_program *program, vkb_error *error);

/* ---- vk_fold.c: steps that others do by the way ---- */

typedef struct vkb_vk_folds {           /* of a step: the steps that it can do by the way, or VKB_NONE */
    uint32_t norm_input, norm_residual; /* what makes its input, its residual */
    uint32_t pool, attention;           /* what makes its input */
    uint32_t norm;                      /* of QUANTIZE: what makes its value */
    uint32_t norm_after, gate_after;    /* of LINEAR: what follows */
} vkb_vk_folds;

/* Fills program->folds; steps and `direct` are there. */
vkb_status vkb_vk_folds_init(vkb_vk_program *program, vkb_error *error);
/* A step that is left out, by whom: the one that makes what it reads, or those that read what it makes. */
enum vkb_folded { VKB_NOT_FOLDED = 0, VKB_FOLDED_BY_MAKER = 1, VKB_FOLDED_BY_READERS = 2 };

/* folded: [step_count] vkb_folded, in batches of these classes. */
void vkb_vk_folds_find(const vkb_vk_program *program, uint32_t tokens, uint32_t sequences, uint8_t *folded);
/* The step with all that it takes over. */
vkb_vk_step vkb_vk_folds_apply(const vkb_vk_program *program, const uint8_t *folded, uint32_t step);

/* ---- vk_make.c: what kernels have to know of a program, made once by others ---- */

/* Records what a kernel of one kind has to do for a program. */
typedef void (*vkb_vk_maker)(const vkb_vk_program *program, const vkb_vk_pipeline *pipeline, VkCommandBuffer commands);

/* Whether the step, in batches of some size, is done by a kernel that reads what those of this kind make. */
bool vkb_vk_made_for(const vkb_vk_program *program, uint32_t step, uint32_t kind);
/* Has the task's kernel do it, and waits. `what` it makes, for a message. */
vkb_status vkb_vk_make(vkb_vk_program *program, const vkb_task *task, const char *what, vkb_vk_maker maker, vkb_error *error);

/* ---- vk_sums.c: what linear_short.comp needs to know of weights to normalise by the way ---- */

/* Fills program->sums and the steps' sums_address; the folds are there. */
vkb_status vkb_vk_sums_init(vkb_vk_program *program, vkb_error *error);

/* ---- vk_maps.c: what linear_hopper.cu needs to know of the matrices that it copies tiles of ---- */

/* Fills program->maps and the steps' maps_address; the kernels are there. */
vkb_status vkb_vk_maps_init(vkb_vk_program *program, vkb_error *error);

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
void vkb_vk_quantize_find(const vkb_vk_program *program, uint32_t tokens, uint32_t sequences, uint8_t *folded);
void vkb_vk_quantize_apply(const vkb_vk_program *program, const uint8_t *folded, uint32_t step, vkb_vk_step *s);

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
    vkb_vk_buffer maps;    /* of LINEARs: vk_maps.c; may be empty */
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

/* Where a value lies, on devices with buffer addresses. */
static inline uint64_t vkb_vk_address_of(const vkb_vk_program *p, uint32_t value) { return p->arena.address + p->base.slots[value].offset; }
static inline vkb_vk_device *vkb_vk_device_of(const vkb_program *program) { return (vkb_vk_device *)program->weights->device; }
/* Numbers count a program's dispatches: its steps, then the copies of its outputs. */
static inline uint32_t vkb_vk_number_count(const vkb_vk_program *p) { return p->step_count + p->base.output_count; }
static inline const vkb_vk_step *vkb_vk_step_at(const vkb_vk_program *p, uint32_t number) {
    return number < p->step_count ? &p->steps[number] : &p->copies[number - p->step_count];
}
/* A dispatch's descriptors; of a LINEAR that does the GATE after it, others: each number has room for both. */
static inline uint32_t vkb_vk_set_of(const vkb_vk_program *p, uint32_t number, bool gated) {
    return gated ? vkb_vk_number_count(p) + number : number;
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
    uint8_t *folded;            /* [step_count]: vkb_folded */
    uint32_t *sized;            /* [sized_count], at most step_count: steps whose dispatches read their size from memory */
    uint32_t sized_count;
    VkCommandBuffer *segments; /* [segment_count], at most op_count: to be submitted in this order, each by itself */
    uint32_t segment_count;
    double products; /* multiplications and additions of the class's largest batch, about */
    double seconds;  /* that a run took lately, from its submission to its results; 0: none yet */
} vkb_vk_recording;

/* "Frames in flight": a run writes its batch and reads its results in one, while runs in the others are under way. All of them work in the
   program's one arena, one after another on the device. */
struct vkb_vk_frame {
    vkb_mutex *mutex;       /* held by the run that has it */
    uint32_t users;         /* that run and those that wait for it: under program->frame_mutex */
    vkb_vk_buffer upload;   /* the batch, and behind it the arguments of all dispatches */
    vkb_vk_buffer *results; /* [output_count]: [rows, width] f32; made when first needed */
    VkDescriptorPool descriptors;
    VkDescriptorSet *sets;   /* vkb_vk_set_of */
    VkCommandPool pool;      /* of what follows; recordings have their own */
    VkCommandBuffer order;   /* waits for the compute work of earlier submissions */
    VkCommandBuffer *copies; /* [output_count], NULL: not recorded */
    VkCommandBuffer *submit; /* [1 + op_count + output_count]: room for a run's list */
    vkb_vk_fence fence;
    bool submitted;                                                       /* and the fence not waited for yet */
    vkb_vk_recording *recordings[VKB_VK_MAX_CLASSES][VKB_VK_MAX_CLASSES]; /* by class of tokens and sequences; NULL: not made yet */
    uint32_t list_counts[VKB_VK_MAX_LISTS];                               /* of the batch at hand */
    uint32_t *sequences; /* [max_sequences]: the batch's, in the order that ATTENTION does them in */
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

#endif /* VKB_VK_PROGRAM_H */
