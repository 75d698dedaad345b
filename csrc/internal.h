/*
 * internal.h: what the files of the core share. Nothing here is public. Every symbol that is not static starts with vkb_, because all cgo
 * packages of a program share one name space.
 *
 * The seam: device.c, weights.c and program.c hold what is common (arguments checked, references counted, memory planned) and call a
 * `vkb_backend`. There are three: cpu_ref.c (the yardstick), cpu_*.c (the CPU) and vk_*.c (Vulkan).
 */
#ifndef VKB_INTERNAL_H
#define VKB_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../include/vkbert.h"

#if defined(__GNUC__)
#define VKB_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define VKB_PRINTF(text, first)
#endif

#define VKB_MAX_HEAD 256u /* greatest head size of ATTENTION */

/* ---- error.c ---- */

/* Fills `error` (may be NULL) and returns `status`, so that `return vkb_fail(…)` is the whole of an error path. */
vkb_status vkb_fail(vkb_error *error, vkb_status status, const char *format, ...) VKB_PRINTF(3, 4);
/* As vkb_fail, and records the VkResult. */
vkb_status vkb_fail_vk(vkb_error *error, vkb_status status, int32_t vk_result, const char *format, ...) VKB_PRINTF(4, 5);
#define VKB_DIED "a process died" /* what the reasons begin with why something is left alone after a process's death */

void vkb_log(const vkb_device *device, vkb_log_level level, const char *format, ...) VKB_PRINTF(3, 4);

/* ---- size.c: all size arithmetic; overflow is an error, never a wrap ---- */

bool vkb_mul(uint64_t a, uint64_t b, uint64_t *product);
bool vkb_add(uint64_t a, uint64_t b, uint64_t *sum);
static inline uint64_t vkb_align_up(uint64_t n, uint64_t alignment) { return (n + alignment - 1) / alignment * alignment; }

/* From one row to the next: rows a multiple of set_bytes apart share a set of the first-level cache and get a line more. 0: none do. */
static inline uint64_t vkb_row_bytes(uint64_t bytes, uint32_t set_bytes) {
    return set_bytes && bytes % set_bytes == 0 ? bytes + 64 : bytes;
}

/* ---- half.c: dtypes ---- */

uint32_t vkb_dtype_size(uint32_t dtype); /* bytes an element, 0 for an unknown dtype */
/* Which integers VKB_I8 makes of a row: −most … most, or with `spread` any most + 1 that follow one another, 0 among them: as many as a
   row of numbers of one sign would have, and twice as fine for it. */
typedef struct vkb_i8_range {
    int32_t most; /* ≤ 127 */
    bool spread;
} vkb_i8_range;
/* VKB_I8 of one row: q[i] = x[i]·(most / size), rounded; size: max|x|, or with `spread` max(x, 0) − min(x, 0). Returns the scale, size /
   most. Rows that are (almost) zero have scale 0, those with a number that is not finite have scale NaN, so that it shows in the result. */
float vkb_quantize(const float *x, uint32_t count, vkb_i8_range range, int8_t *q);
enum { VKB_I8_MAX_COLUMNS = 1 << 17 }; /* 127·127 times as many is less than 2³¹ */
float vkb_f16_to_f32(uint16_t h);
uint16_t vkb_f32_to_f16(float f); /* round to nearest even; overflow gives infinity */
void vkb_to_f16(const float *x, uint64_t count, uint16_t *out);
void vkb_round_to_f16(float *x, uint64_t count);
static inline float vkb_bf16_to_f32(uint16_t h) {
    union {
        uint32_t u;
        float f;
    } bits = {(uint32_t)h << 16};
    return bits.f;
}
/* data: `count` elements of `dtype`, any alignment */
void vkb_to_f32(uint32_t dtype, const void *data, uint64_t count, float *out);
/* A test of the bits: a compiler told that there are no NaNs may drop x != x. */
static inline bool vkb_is_finite(float f) {
    union {
        float f;
        uint32_t u;
    } bits = {f};
    return (bits.u & 0x7f800000u) != 0x7f800000u;
}

/* ---- os.c: the little of an operating system that the core needs ---- */

typedef struct vkb_mutex vkb_mutex; /* not recursive */
vkb_mutex *vkb_mutex_create(void);  /* NULL when out of memory */
void vkb_mutex_destroy(vkb_mutex *mutex);
void vkb_mutex_lock(vkb_mutex *mutex);
void vkb_mutex_unlock(vkb_mutex *mutex);
/* The caller holds it, gives it away, and has it again when another thread wakes it, or for no reason. */
void vkb_mutex_wait(vkb_mutex *mutex);
void vkb_mutex_wake(vkb_mutex *mutex); /* all that wait */
typedef struct vkb_thread vkb_thread;
vkb_thread *vkb_thread_start(void (*main)(void *), void *argument); /* NULL: the system refuses. It gets no signals */
void vkb_thread_join(vkb_thread *thread);                           /* once */
double vkb_seconds(void);                                           /* a monotonic clock */
uint32_t vkb_cpu_count(void);         /* CPUs that this process may use: affinity mask and cgroup quota, at least 1 */
uint64_t vkb_host_memory_bytes(void); /* 0 = not known */
/* cgroup.c: the CPUs that the quota of the process's cgroup pays for, or of one that it is in, rounded up; 0: there is no quota. `mount` is
   /sys/fs/cgroup, `self` /proc/self/cgroup, but in tests. */
uint32_t vkb_cgroup_cpus(const char *mount, const char *self);
/* Zeroed memory, aligned to 64 bytes, that the system gives when it is first used, in large pages where it can: a product that strides
   through small ones waits for the TLB (2 to 5 % of its time on an AMD EPYC). NULL when out of memory. */
void *vkb_pages_alloc(uint64_t bytes);
void vkb_pages_free(void *pages, uint64_t bytes); /* NULL is legal */

/* ---- the seam ---- */

typedef struct vkb_backend vkb_backend;

struct vkb_device {
    const vkb_backend *backend;
    vkb_device_info info;
    vkb_log_fn log;
    void *log_user;
    vkb_i8_range i8_weights, i8_inputs; /* 127 both, unless its kernels ask for less */
    atomic_uint references;             /* the caller's, and one for each vkb_weights */
};

typedef struct vkb_i8_row { /* of a tensor stored as VKB_I8, while it is being put */
    uint64_t next;          /* element that comes next */
    float *x;               /* [cols]: the row that it belongs to, as far as it is there; NULL between rows */
} vkb_i8_row;

struct vkb_weights {
    vkb_device *device;
    vkb_tensor *tensors;
    vkb_i8_row *i8_rows; /* [count] */
    uint32_t count;
    bool sealed;
    uint64_t bytes; /* set by backend->weights_init */
    uint64_t non_finite;
    uint32_t first_non_finite;
    atomic_uint references; /* the caller's, and one for each vkb_program */
};

typedef struct vkb_slot { /* where a value lies in the activation arena; values whose lives do not overlap share room */
    uint64_t offset;      /* bytes, a multiple of backend->arena_align */
    uint64_t bytes;       /* rows · stride · size, and the int8 form */
    uint64_t i8_at;       /* bytes in the slot: where the value's int8 form lies, behind the value; 0: it has none */
    uint32_t rows;        /* max_tokens or max_sequences, rounded up to backend->row_tile */
    uint32_t stride;      /* elements from row to row: width rounded up to backend->column_align, or a cache line more */
    uint32_t size;        /* bytes of an element: 2 for values per token of a program with activations in f16, else 4 */
} vkb_slot;

struct vkb_program {
    vkb_weights *weights;
    vkb_value *values;
    vkb_slot *slots; /* [value_count] */
    vkb_op *ops;
    uint32_t *outputs;
    uint32_t value_count, op_count, output_count;
    uint32_t max_tokens, max_sequences;
    uint32_t activations;                  /* vkb_dtype, as the backend takes them */
    uint32_t flags;                        /* VKB_PROGRAM_* */
    uint32_t vocabulary, positions, types; /* least row counts of the tables that EMBED reads; types = UINT32_MAX without a type table */
    uint64_t arena_bytes;
    uint64_t host_bytes;        /* set by backend->program_init */
    vkb_mutex *mutex;           /* one run at a time; NULL, as what follows, if the backend does several */
    int32_t *positions_default; /* [max_tokens]: filled when a batch brings none */
    int32_t *zeros;             /* [max_tokens] */
};

/*
 * A backend's device, weights and program are structs that begin with the common one; the sizes say how much to allocate (zeroed). An _init
 * that fails must leave what _free can release; _free is called once for each _init, failed or not. All arguments have been checked.
 */
struct vkb_backend {
    uint64_t arena_align;  /* bytes */
    uint32_t row_tile;     /* rows of a value are rounded up to this; rows past the batch may hold anything, also NaN */
    uint32_t column_align; /* elements; columns past the width must be written as zeros, so that kernels may read them */
    uint32_t set_bytes;    /* of vkb_row_bytes */
    /* Bytes of the int8 form, as the backend keeps it, of a value that a LINEAR or LINEAR_MAX with weights in VKB_I8 reads; NULL: it keeps
       none. rows, stride: the slot's */
    uint64_t (*i8_bytes)(uint64_t rows, uint64_t stride);
    bool concurrent; /* runs of one program may come from several threads at a time, in batches whose type_ids and positions may be NULL */
    size_t weights_size;
    size_t program_size;
    void (*device_free)(vkb_device *device); /* frees the struct too */
    /* NULL: it has none. struct_size of the rows is set */
    vkb_status (*device_variants)(vkb_device *device, vkb_variant *variants, uint32_t capacity, uint32_t *count, vkb_error *error);
    vkb_status (*weights_init)(vkb_weights *weights, vkb_error *error);
    /* x: `count` f32 elements for places first … of the tensor's logical row-major [rows, cols]; already rounded to the stored dtype, which
       is not VKB_I8 */
    vkb_status (*weights_put)(vkb_weights *weights, uint32_t tensor, uint64_t first, const float *x, uint64_t count, vkb_error *error);
    /* A whole row of a tensor stored as VKB_I8, q [cols]; rows that never come are zero. NULL: such tensors are refused. */
    vkb_status (*weights_put_i8)(vkb_weights *weights, uint32_t tensor, uint32_t row, const int8_t *q, float scale, vkb_error *error);
    vkb_status (*weights_seal)(vkb_weights *weights, vkb_error *error);
    void (*weights_free)(vkb_weights *weights);
    /* Whether values per token can be f16 in this program, of which ops and values are there; NULL: in none. */
    bool (*takes_f16)(const vkb_program *program);
    vkb_status (*program_init)(vkb_program *program, vkb_error *error);
    /* batch: checked; complete but for pool_start, unless `concurrent`. outputs: NULL for none. op_seconds: NULL unless
     * profiling. */
    vkb_status (*program_run)(vkb_program *program, const vkb_batch *batch, const vkb_output *outputs, double *op_seconds,
                              vkb_error *error);
    void (*program_free)(vkb_program *program);
};

/* device.c: fills the common part; `device` comes zeroed from the backend's open. */
void vkb_device_setup(vkb_device *device, const vkb_backend *backend, const vkb_device_options *options);
void vkb_device_release(vkb_device *device);
void vkb_weights_release(vkb_weights *weights);

/* cpu_ref.c and cpu_device.c */
void vkb_ref_info(vkb_device_info *info);
vkb_status vkb_ref_open(const vkb_device_options *options, vkb_device **device, vkb_error *error);
void vkb_cpu_info(vkb_device_info *info);
vkb_status vkb_cpu_open(const vkb_device_options *options, vkb_device **device, vkb_error *error);

/* vk_instance.c: the loader is opened at the first call and stays open. `infos` rows are zeroed but for struct_size. A machine without
   Vulkan gives one row of kind VKB_DEVICE_NONE; this fails only for want of memory. */
vkb_status vkb_vk_devices(const char *cache_dir, vkb_device_info *infos, uint32_t capacity, uint32_t *count, vkb_error *error);
/* index: that of "vulkan:index" */
vkb_status vkb_vk_open(uint32_t index, const vkb_device_options *options, vkb_device **device, vkb_error *error);

/* plan.c: slots of all values from their lives, and arena_bytes. */
vkb_status vkb_plan(vkb_program *program, vkb_error *error);

/* check.c: everything a program or a batch can have wrong, before anything is allocated or run. */
const char *vkb_op_name(uint32_t kind);
vkb_status vkb_check_program(const vkb_weights *weights, const vkb_program_desc *desc, vkb_error *error);
vkb_status vkb_check_batch(const vkb_program *program, const vkb_batch *batch, vkb_error *error);

#endif /* VKB_INTERNAL_H */
