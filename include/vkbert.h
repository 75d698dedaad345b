/* clang-format off */
/*
 * vkbert.h: the public C API of vkbert's compute core.
 *
 * The core runs *programs*: short lists of transformer operations over packed batches of tokens. It knows devices, weights and numbers;
 * it knows no file format, no model name and no text. Numbers in, numbers out.
 *
 *   vkb_device_open  ->  vkb_weights_create, _put (many times), _seal  ->  vkb_program_create  ->  vkb_program_run (many times)
 *
 * Errors.   Every call that can fail returns a vkb_status and, when `error` is not NULL, fills it; on VKB_OK it is left alone. A call that
 *           fails has no effect but that (what it would have made is NULL), and leaves every object usable, unless its comment says
 *           otherwise. Nothing here prints, exits or aborts.
 * Objects.  Opaque, made by _open/_create, released by _close/_destroy, for which NULL is legal. Weights hold a reference to their device
 *           and programs to both, so that objects may be released in any order.
 * Threads.  Any thread may call anything at any time, except that an object must not be released while another thread is using it and
 *           that one vkb_weights is filled by one thread at a time. Runs of one program from several threads overlap on a GPU, where up to
 *           three of them are under way at once; elsewhere they are done one after another.
 * Structs.  A struct that starts with `struct_size` is filled in by the caller with sizeof of what it was compiled with.
 * Shapes.   Written [rows, columns], row-major. T is the number of tokens in a batch, B that of sequences. Outputs are f32.
 */
/* clang-format on */
#ifndef VKBERT_H
#define VKBERT_H

#include <stddef.h>
#include <stdint.h>

#define VKB_VERSION_MAJOR 0
#define VKB_VERSION_MINOR 1
#define VKB_VERSION_PATCH 0
#if defined(VKB_STATIC)
#define VKB_API
#elif defined(_WIN32)
#if defined(VKB_BUILD)
#define VKB_API __declspec(dllexport)
#else
#define VKB_API __declspec(dllimport)
#endif
#else
#define VKB_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define VKB_NONE UINT32_MAX /* "no tensor", "no value" */
typedef enum vkb_status {
    VKB_OK = 0,
    VKB_ERROR_INVALID_ARGUMENT = 1,     /* the call is wrong: a shape, an index, a null pointer, an id out of range */
    VKB_ERROR_OUT_OF_HOST_MEMORY = 2,   /* malloc failed, or a size overflows */
    VKB_ERROR_OUT_OF_DEVICE_MEMORY = 3, /* the message has the sizes */
    VKB_ERROR_NO_DEVICE = 4,            /* no loader, no such device, or none that can be used; the message says why */
    VKB_ERROR_UNSUPPORTED = 5,          /* the device or this version cannot do it */
    VKB_ERROR_DEVICE_LOST = 6,          /* the device must be closed; everything made on it is lost */
    VKB_ERROR_VULKAN = 7,               /* any other failed Vulkan call; vk_result holds its code */
    VKB_ERROR_NOT_FINITE = 8            /* the run was done, but an output holds NaN or infinity; the message names the first row */
} vkb_status;

typedef struct vkb_error {
    int32_t status;    /* vkb_status */
    int32_t vk_result; /* VkResult of the call that failed, else 0 */
    char message[256]; /* one line, NUL-terminated, no trailing newline */
} vkb_error;

typedef enum vkb_log_level { VKB_LOG_DEBUG = 0, VKB_LOG_INFO = 1, VKB_LOG_WARNING = 2 } vkb_log_level;

/* Called with one line of text, from any thread, and not while a run of the object at hand is on the device. Must not call into this
 * library. */
typedef void (*vkb_log_fn)(void *user, vkb_log_level level, const char *message);

/* ---- Devices ------------------------------------------------------------------------------------------------------------------------ */

typedef enum vkb_device_kind {
    VKB_DEVICE_DISCRETE = 0,   /* Vulkan, a GPU with its own memory */
    VKB_DEVICE_INTEGRATED = 1, /* Vulkan, a GPU that shares the host's memory */
    VKB_DEVICE_VIRTUAL = 2,    /* Vulkan, a virtualised GPU */
    VKB_DEVICE_SOFTWARE = 3,   /* Vulkan on the CPU (lavapipe, SwiftShader): for tests, never chosen by "auto" */
    VKB_DEVICE_CPU = 4,        /* the CPU backend */
    VKB_DEVICE_REFERENCE = 5,  /* cpu_ref: scalar, one thread, f64 accumulation; the yardstick, never chosen by "auto" */
    VKB_DEVICE_NONE = 6        /* no device: a row that says why Vulkan could not be used at all */
} vkb_device_kind;

/* bits of vkb_device_info.features */
enum vkb_feature {
    VKB_FEATURE_F16_STORAGE = 1 << 0,
    VKB_FEATURE_F16_ARITHMETIC = 1 << 1,
    VKB_FEATURE_I8_STORAGE = 1 << 2,
    VKB_FEATURE_I8_DOT = 1 << 3,        /* integer dot product */
    VKB_FEATURE_COOPMAT = 1 << 4,       /* VK_KHR_cooperative_matrix */
    VKB_FEATURE_COOPMAT2 = 1 << 5,      /* VK_NV_cooperative_matrix2 */
    VKB_FEATURE_COMPUTE_QUEUE = 1 << 6, /* a queue family for compute alone */
    VKB_FEATURE_HOST_VISIBLE = 1 << 7,  /* device-local memory that the host writes straight to */
    VKB_FEATURE_TIMESTAMPS = 1 << 8
};

typedef struct vkb_device_info {
    uint32_t struct_size;
    uint32_t kind;                                      /* vkb_device_kind */
    uint32_t usable;                                    /* 1: vkb_device_open takes it. 0: `reason` says why not */
    uint32_t features;                                  /* VKB_FEATURE_* */
    uint32_t api_version;                               /* of Vulkan, as VK_MAKE_API_VERSION packs it; 0 for the CPU */
    uint32_t vendor_id, device_id;                      /* PCI */
    uint32_t threads;                                   /* CPU backend: worker threads; else 0 */
    uint32_t subgroup_size, subgroup_min, subgroup_max; /* default, least, greatest; 0 for the CPU */
    uint32_t workgroup_invocations;                     /* limit */
    uint32_t shared_bytes;                              /* limit of a workgroup's shared memory */
    uint32_t processors;                                /* GPU: compute units as far as the driver tells; 0 = not known */
    uint64_t buffer_range;                              /* limit of one storage buffer binding, bytes */
    uint64_t memory_bytes;                              /* of the device (the host's memory for the CPU) */
    uint64_t memory_available;                          /* of those, free for this process as far as the driver tells; 0 = not known */
    uint8_t uuid[16];                                   /* of device and driver; zeros for the CPU */
    char selector[32];                                  /* what vkb_device_options.selector takes: "vulkan:0", "cpu", "reference" */
    char name[256];
    char driver[256]; /* driver name and version */
    char reason[256]; /* why it is not usable; empty where it is */
} vkb_device_info;

/*
 * Reports every device there is, the refused ones too: Vulkan's in the loader's order, then "cpu" and "reference". A machine without a
 * Vulkan loader has one row of kind VKB_DEVICE_NONE that says so. Writes up to `capacity` rows (struct_size of each is set by the call) and
 * the number that there are to *count; `infos` may be NULL if capacity is 0. cache_dir: as in vkb_device_options, or NULL.
 */
VKB_API vkb_status vkb_devices(const char *cache_dir, vkb_device_info *infos, uint32_t capacity, uint32_t *count, vkb_error *error);

typedef struct vkb_device vkb_device;

typedef struct vkb_device_options {
    uint32_t struct_size;
    uint32_t threads;      /* CPU backend: worker threads, 0 = as many as this process may use */
    const char *selector;  /* NULL: "auto" */
    const char *cache_dir; /* an existing folder for compiled kernels; NULL = memory only. A damaged or foreign file is ignored */
    vkb_log_fn log;        /* may be NULL; used until the last object on this device is released */
    void *log_user;
} vkb_device_options;

/* selector: "auto" (a discrete, integrated or virtual GPU, else the CPU), "vulkan" (the best Vulkan device that is not software),
   "vulkan:N" or "vulkan:part of a name" (software too), "cpu", "reference". NULL options are the defaults. Closing gives the caller's
   reference back. */
VKB_API vkb_status vkb_device_open(const vkb_device_options *options, vkb_device **device, vkb_error *error);
VKB_API void vkb_device_close(vkb_device *device);
VKB_API void vkb_device_get_info(const vkb_device *device, vkb_device_info *info); /* caller sets info->struct_size */

typedef enum vkb_variant_state {
    VKB_VARIANT_RUNS = 0,    /* it passed its self-test */
    VKB_VARIANT_OFF = 1,     /* it failed, or is forbidden: `reason` */
    VKB_VARIANT_UNFIT = 2,   /* the device lacks what it needs: `reason` */
    VKB_VARIANT_UNTESTED = 3 /* it has no test of its own */
} vkb_variant_state;

typedef struct vkb_variant { /* one way to do an op on a device */
    uint32_t struct_size;
    uint32_t state; /* vkb_variant_state */
    char op[16];
    char name[48];
    char reason[160];
} vkb_variant;

/* Reports the variants that there are, best first for each op; those that the device can run and that were not tested yet are tested now,
   which can take seconds. Capacity and count as in vkb_devices. A device that is not Vulkan's has none. */
VKB_API vkb_status vkb_device_variants(vkb_device *device, vkb_variant *variants, uint32_t capacity, uint32_t *count, vkb_error *error);

/* ---- Weights ------------------------------------------------------------------------------------------------------------------------ */

typedef enum vkb_dtype {
    VKB_F32 = 0,
    VKB_F16 = 1,
    VKB_BF16 = 2,
    /* LINEAR only, and only as stored. Row r of W holds q·scale[r], q from −127 to 127 and scale[r] = max|W[r]| / 127. The op's input is
       made such rows too: q = x·(127 / max|x|), rounded to the nearest, ties to even. Their product is summed in 32-bit integers, exactly,
       and times both scales is the f32 that bias, activation, residual and norm get. A CPU with AVX2, and neither VNNI nor AVX-512, takes 7
       bits: 63 in place of 127 for W, and q = x·(126 / (max(x, 0) − min(x, 0))). */
    VKB_I8 = 3
} vkb_dtype;

typedef enum vkb_layout {
    VKB_LAYOUT_VECTOR = 0, /* [1, cols]: a bias or a norm's weights; always stored as f32 */
    VKB_LAYOUT_TABLE = 1,  /* [rows, cols]: looked up by row (EMBED) */
    VKB_LAYOUT_LINEAR = 2  /* [rows = outputs, cols = inputs]: multiplied (LINEAR), laid out for the kernels */
} vkb_layout;

typedef struct vkb_tensor {
    uint32_t rows, cols; /* ≥ 1 */
    uint32_t layout;     /* vkb_layout */
    uint32_t dtype; /* how TABLE and LINEAR are stored: VKB_F32 or VKB_F16, LINEAR with at most 2¹⁷ columns also VKB_I8. Sums are f32,
                       of VKB_I8 exact */
} vkb_tensor;

typedef struct vkb_weights vkb_weights;

typedef struct vkb_weights_info {
    uint32_t struct_size;
    uint32_t first_non_finite; /* the tensor where the first such element was put; VKB_NONE: there is none */
    uint64_t bytes;            /* taken on the device, padding included */
    uint64_t non_finite;       /* elements that are NaN or infinite (after rounding to the stored dtype) */
} vkb_weights_info;

/* Allocates room for the tensors, which are from then on named by their place in the array. All elements are zero until put. A device that
   has no kernels for a dtype says VKB_ERROR_UNSUPPORTED. */
VKB_API vkb_status vkb_weights_create(vkb_device *device, const vkb_tensor *tensors, uint32_t count, vkb_weights **weights,
                                      vkb_error *error);
/* Copies `count` elements of dtype `source` into a tensor, starting at element `first` of its [rows, cols]; converts and lays them out. The
   memory at `data` needs no alignment and is free for other use on return. Before vkb_weights_seal only. A tensor stored as VKB_I8 takes a
   row's elements in order and whole rows one after another, in any order: a row's scale is known when all of it is. */
VKB_API vkb_status vkb_weights_put(vkb_weights *weights, uint32_t tensor, vkb_dtype source, uint64_t first, const void *data,
                                   uint64_t count, vkb_error *error);
/* Ends the filling: waits for copies under way. `info` may be NULL; else the caller sets its struct_size. */
VKB_API vkb_status vkb_weights_seal(vkb_weights *weights, vkb_weights_info *info, vkb_error *error);
VKB_API void vkb_weights_destroy(vkb_weights *weights);

/* ---- Programs ----------------------------------------------------------------------------------------------------------------------- */

typedef enum vkb_scope { VKB_PER_TOKEN = 0, VKB_PER_SEQUENCE = 1 } vkb_scope;

/* An intermediate result: [T, width] or [B, width]. */
typedef struct vkb_value {
    uint32_t scope; /* vkb_scope */
    uint32_t width;
} vkb_value;

typedef enum vkb_op_kind {
    VKB_OP_EMBED = 0,     /* scale·word[id] + position[pos] + type[type_id], then norm             -> [T, H] */
    VKB_OP_LINEAR = 1,    /* activation(x·Wᵀ + bias) + residual, then norm        [rows, in]       -> [rows, out] */
    VKB_OP_ATTENTION = 2, /* softmax(scale·q·kᵀ + bias)·v within each sequence    [T, q|k|v]       -> [T, heads·head_size] */
    VKB_OP_NORM = 3,      /* norm(x + residual)                                   [rows, H]        -> [rows, H] */
    VKB_OP_POOL = 4,      /* one mode over each sequence's rows from pool_start   [T, H]           -> [B, column … column + H) */
    VKB_OP_NORMALIZE = 5, /* x / max(‖x‖₂, 1e-12)                                 [rows, H]        -> [rows, H] */
    VKB_OP_GATE = 6,      /* activation(left half of x) · right half              [rows, 2·H]      -> [rows, H] */
    VKB_OP_ROTATE = 7,    /* norm, then rotary embedding of q and k; v as it is   [T, q|k|v]       -> [T, q|k|v] */
    VKB_OP_LINEAR_MAX = 8 /* max over each sequence of log(1 + relu(x·Wᵀ + bias)) [T, in]          -> [B, out] */
} vkb_op_kind;

/* clang-format off */
/*
 * q|k|v is heads·head_size columns of queries, then kv_heads·head_size of keys, then as many of values; query head h uses key and value
 * head h / (heads / kv_heads).
 *
 * ATTENTION, between rows i and j of a sequence, adds to scale·qᵢ·kⱼ before the softmax, each where it is given:
 *   weight [heads, 2R + 1] TABLE            distance bias: its entry for j − i, held within −R … R
 *   bias [heads] VECTOR                     ALiBi slopes: −slope·|i − j|                            (Press et al. 2021, arXiv:2108.12409)
 *   position_table [2R + 1, heads·head_size] TABLE   scale·qᵢ·row of i − j, held within −R … R        (He et al. 2020, arXiv:2006.03654)
 *   type_table     [2R + 1, heads·head_size] TABLE   scale·kⱼ·row of i − j, likewise
 * and leaves out rows j with |i − j| > window (0: none) and, with VKB_FLAG_CAUSAL, j > i.
 *
 * ROTATE normalises q and k, if it has a norm, over head_size columns at a time, or over all of q and all of k if the norm's vectors are so
 * wide: norm_weight, norm_bias for q; weight, bias for k. Then it takes the first columns of each head, as many as position_table
 * [positions, 2·half] (TABLE in f32: cosines, then sines) has, as pairs (a, b) of columns c and c + half, or with VKB_FLAG_INTERLEAVED
 * 2c and 2c + 1, and makes them (a·cos − b·sin, b·cos + a·sin).                                      (Su et al. 2021, arXiv:2104.09864)
 */
/* clang-format on */
enum { VKB_FLAG_CAUSAL = 1, VKB_FLAG_INTERLEAVED = 2 };

typedef enum vkb_activation {
    VKB_ACT_NONE = 0,
    VKB_ACT_GELU = 1,      /* x·Φ(x), by erf: what Hugging Face calls "gelu" */
    VKB_ACT_GELU_TANH = 2, /* its tanh approximation: "gelu_new", "gelu_pytorch_tanh" */
    VKB_ACT_RELU = 3,
    VKB_ACT_SILU = 4,
    VKB_ACT_TANH = 5,
    VKB_ACT_SIGMOID = 6
} vkb_activation;

typedef enum vkb_norm {
    VKB_NORM_NONE = 0,
    VKB_NORM_LAYER = 1, /* (x − mean)/√(variance + eps)·weight + bias */
    VKB_NORM_RMS = 2    /* x/√(mean of x² + eps)·weight + bias */
} vkb_norm;

typedef enum vkb_residual {
    VKB_RESIDUAL_BEFORE_NORM = 0,       /* norm(activation(…) + residual) */
    VKB_RESIDUAL_BEFORE_ACTIVATION = 1, /* norm(activation(… + residual)): LINEAR */
    VKB_RESIDUAL_AFTER_NORM = 2         /* norm(…) + residual: NORM */
} vkb_residual;

/* over rows i of a sequence, from its pool_start to its end; no rows give zeros */
typedef enum vkb_pool {
    VKB_POOL_CLS = 0, /* the first of them */
    VKB_POOL_MAX = 1,
    VKB_POOL_MEAN = 2,
    VKB_POOL_MEAN_SQRT_LEN = 3, /* sum / √rows */
    VKB_POOL_WEIGHTED_MEAN = 4, /* row i of the sequence weighs i + 1 */
    VKB_POOL_LAST = 5           /* the last of them */
} vkb_pool;

/* One step of a program. Fields that a kind does not use must be as VKB_OP_INIT has them. */
typedef struct vkb_op {
    uint32_t kind;           /* vkb_op_kind */
    uint32_t input;          /* value; not for EMBED */
    uint32_t output;         /* value; written by this op alone (POOL: these columns by this op alone) */
    uint32_t residual;       /* value of the output's shape or VKB_NONE: LINEAR, NORM */
    uint32_t weight;         /* EMBED: word TABLE [vocabulary, H]. LINEAR, LINEAR_MAX: LINEAR [out, in]. ATTENTION, ROTATE: see above */
    uint32_t bias;           /* LINEAR, LINEAR_MAX: VECTOR [out] or VKB_NONE. ATTENTION, ROTATE: see above */
    uint32_t position_table; /* EMBED: TABLE [positions, H] or VKB_NONE. ATTENTION, ROTATE: see above */
    uint32_t type_table;     /* EMBED: TABLE [types, H] or VKB_NONE. ATTENTION: see above */
    uint32_t norm;           /* vkb_norm: NORM; EMBED, LINEAR, ROTATE (VKB_NORM_NONE for none) */
    uint32_t norm_weight;    /* VECTOR [width of output; ROTATE: see above] or VKB_NONE (all ones) */
    uint32_t norm_bias;      /* the same, or VKB_NONE (all zeros) */
    float norm_eps;          /* > 0 */
    uint32_t activation;     /* vkb_activation: LINEAR, GATE */
    uint32_t heads;          /* ATTENTION, ROTATE */
    float scale;             /* EMBED: of the word row. ATTENTION: of q·k */
    uint32_t pool;           /* vkb_pool: POOL */
    uint32_t column;         /* POOL: first column written */
    uint32_t residual_at;    /* vkb_residual: LINEAR, NORM */
    uint32_t kv_heads;       /* ATTENTION, ROTATE: divides heads; 0 = heads */
    uint32_t head_size;      /* ATTENTION, ROTATE: at most 256; 0 = input width / (heads + 2·kv_heads) */
    uint32_t window;         /* ATTENTION */
    uint32_t flags;          /* VKB_FLAG_* */
} vkb_op;

/* An op without values and tensors, all else 0, to start from: vkb_op op = VKB_OP_INIT; (C, or C++20 and later) */
#define VKB_OP_INIT \
    { \
        .input = VKB_NONE, .output = VKB_NONE, .residual = VKB_NONE, .weight = VKB_NONE, .bias = VKB_NONE, .position_table = VKB_NONE, \
        .type_table = VKB_NONE, .norm_weight = VKB_NONE, .norm_bias = VKB_NONE \
    }

typedef struct vkb_program vkb_program;

enum { VKB_PROGRAM_DETERMINISTIC = 1 }; /* a sequence has the same bits whatever batch it is in: kernels do not depend on its size */

typedef struct vkb_program_desc {
    uint32_t struct_size;
    uint32_t value_count;
    const vkb_value *values;
    const vkb_op *ops; /* done in order; a value is written before it is read */
    uint32_t op_count;
    uint32_t output_count;
    const uint32_t *outputs; /* values to hand out */
    uint32_t max_tokens;     /* limits of one batch, ≥ 1: memory for the intermediate results is taken once, for these */
    uint32_t max_sequences;  /* ≤ max_tokens */
    uint32_t activations; /* vkb_dtype of per-token values: VKB_F32, or VKB_F16, which a device may take as f32. Sums are f32 either way */
    uint32_t flags;       /* VKB_PROGRAM_* */
} vkb_program_desc;

typedef struct vkb_program_info {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t arena_bytes; /* device memory for intermediate results */
    uint64_t host_bytes;  /* host memory for inputs and outputs of each run that is under way at once */
} vkb_program_info;

/* Checks the program, takes its memory, makes its kernels. The arrays of `desc` are free for other use on return. */
VKB_API vkb_status vkb_program_create(vkb_weights *weights, const vkb_program_desc *desc, vkb_program **program, vkb_error *error);
VKB_API void vkb_program_destroy(vkb_program *program);
VKB_API void vkb_program_get_info(const vkb_program *program, vkb_program_info *info); /* caller sets info->struct_size */

typedef struct vkb_batch { /* sequences packed end to end, no padding */
    uint32_t struct_size;
    uint32_t tokens;    /* T, 1 … max_tokens */
    uint32_t sequences; /* B, 1 … max_sequences */
    uint32_t reserved;
    const int32_t *ids;       /* [T], each < the word table's rows */
    const int32_t *type_ids;  /* [T] or NULL: zeros */
    const int32_t *positions; /* [T] or NULL: 0, 1, 2, … within each sequence */
    const uint32_t *cu_seqlens; /* [B + 1]: 0 = first < second < … < last = T; sequence b is rows cu_seqlens[b] … cu_seqlens[b + 1] − 1 */
    const uint32_t *pool_start; /* [B] or NULL: rows of a sequence that POOL leaves out at its start */
} vkb_batch;

typedef struct vkb_output {
    float *data;       /* [T, width] or [B, width], rows without gaps; NULL: not wanted */
    uint64_t capacity; /* room at data, in floats */
} vkb_output;

/* Runs one batch and waits for it. outputs[i] belongs to desc.outputs[i]. Inputs are checked before the device sees them. On failure the
   contents of the outputs are unspecified. */
VKB_API vkb_status vkb_program_run(vkb_program *program, const vkb_batch *batch, const vkb_output *outputs, vkb_error *error);
/* As vkb_program_run without outputs, and writes the time of each op to op_seconds [op_count]; slower than a plain run. */
VKB_API vkb_status vkb_program_profile(vkb_program *program, const vkb_batch *batch, double *op_seconds, vkb_error *error);

/* ---- Version ------------------------------------------------------------------------------------------------------------------------ */

/* A number made of the sizes of all structs above, as the library was compiled; differs from VKB_ABI where the two do not fit together. */
VKB_API uint64_t vkb_abi(void);
VKB_API const char *vkb_version(void);                                                   /* "0.1.0" */
#define VKB_ABI_STEP(h, type) (((h) ^ (uint64_t)sizeof(type)) * UINT64_C(1099511628211)) /* FNV-1a */
#define VKB_ABI_1 VKB_ABI_STEP(VKB_ABI_STEP(UINT64_C(14695981039346656037), vkb_error), vkb_device_info)
#define VKB_ABI_2 VKB_ABI_STEP(VKB_ABI_STEP(VKB_ABI_STEP(VKB_ABI_1, vkb_device_options), vkb_tensor), vkb_weights_info)
#define VKB_ABI_3 VKB_ABI_STEP(VKB_ABI_STEP(VKB_ABI_STEP(VKB_ABI_2, vkb_value), vkb_op), vkb_program_desc)
#define VKB_ABI_4 VKB_ABI_STEP(VKB_ABI_3, vkb_variant)
#define VKB_ABI VKB_ABI_STEP(VKB_ABI_STEP(VKB_ABI_STEP(VKB_ABI_4, vkb_program_info), vkb_batch), vkb_output)

#ifdef __cplusplus
}
#endif
#endif /* VKBERT_H */
