/*
 * vk_kernel.h: what the host side of the Vulkan backend (vk_*.c) and the shaders (shaders/) agree on: bindings, push constants, the batch
 * buffer, and the table of kernels (vk_kernels.c). shaders/common.glsl says the same in GLSL, and of it shaders/hopper.cuh what cubins need
 * in CUDA C++; change them together.
 *
 * All kernels of a program share one descriptor set layout (set 0: VKB_BIND_COUNT storage buffers) and one push constant block. A cubin
 * gets the block, and addresses, as parameters, and has nothing bound. Push constants are recorded into the command buffer, so they hold
 * only what never changes from batch to batch; what does lies in the batch buffer.
 *
 * A value lies row after row, `stride` elements apart (a multiple of VKB_COLUMN_ALIGN), in an arena whose row count is rounded up to
 * VKB_ROW_TILE: kernels may compute and write rows past the batch (whatever is in them never reaches a real row), and must write zeros to
 * the columns past a value's width. LINEAR weights lie as [outputs rounded up to VKB_OUTPUT_ALIGN, inputs rounded up to VKB_COLUMN_ALIGN],
 * the padding zero, so that the multiplication checks no bounds at all. TABLE rows lie [rows, cols rounded up to VKB_COLUMN_ALIGN]. f16
 * weights are packed two to a 32-bit word.
 */
#ifndef VKB_VK_KERNEL_H
#define VKB_VK_KERNEL_H

#include "internal.h"

#define VKB_COLUMN_ALIGN 64u
#define VKB_OUTPUT_ALIGN 128u
#define VKB_ROW_TILE 128u

enum vkb_binding {
    VKB_BIND_BATCH = 0,    /* uint[]: see vkb_batch_header */
    VKB_BIND_INPUT = 1,    /* value */
    VKB_BIND_RESIDUAL = 2, /* value */
    VKB_BIND_OUTPUT = 3,   /* value, read and written */
    VKB_BIND_WEIGHT = 4,   /* EMBED: a block of rows of the word table. LINEAR, LINEAR_MAX: the weight. ATTENTION: its distance bias */
    VKB_BIND_VECTORS = 5,  /* float[]: all VECTOR tensors of the weights; push constants say where each begins */
    VKB_BIND_POSITION = 6, /* position_table of EMBED, ATTENTION, ROTATE */
    VKB_BIND_TYPE = 7,     /* type_table of EMBED, ATTENTION. QUANTIZE: the int8 form that it makes */
    VKB_BIND_COUNT = 8     /* unused ones are bound to any buffer */
};

/* The first words of the batch buffer; the arrays that the *_at push constants point to follow. */
typedef struct vkb_batch_header {
    uint32_t tokens;      /* T */
    uint32_t sequences;   /* B */
    uint32_t query_tiles; /* entries of the attention list */
    uint32_t reserved;
} vkb_batch_header;

typedef struct vkb_query_tile { /* one entry of the attention list: up to kernel->tile_rows queries of one sequence */
    uint32_t first;             /* the sequence's first row */
    uint32_t length;            /* its rows */
    uint32_t query;             /* the tile's first query, counted from `first` */
    uint32_t count;             /* of the list's first entry: how many it has */
} vkb_query_tile;

typedef struct vkb_push { /* 128 bytes */
    union {
        struct {
            uint32_t ids_at, types_at, positions_at; /* words in the batch buffer: [T] each */
            uint32_t cu_at, pool_at, tiles_at;       /* [B + 1], [B], [query_tiles] vkb_query_tile (4 words each); LINEAR_MAX: tiles_at
                                                        is cu_at */
        };
        struct { /* LINEAR, where the device has buffer addresses; LINEAR_MAX: the first two. input: with int8 weights the int8 form's */
            uint64_t input_address, weight_address, output_address;
        };
    };
    uint32_t per_sequence;              /* rows are sequences, not tokens */
    uint32_t input_width, input_stride; /* elements; LINEAR's K is input_stride (its padding is zero on both sides) */
    uint32_t output_width, output_stride;
    uint32_t residual_stride; /* 0: no residual */
    uint32_t bias_at;         /* floats in VECTORS, or VKB_NONE; a bias vector is padded with zeros to VKB_OUTPUT_ALIGN. ATTENTION: slopes.
                                 ROTATE: norm_bias of k */
    uint32_t norm_weight_at, norm_bias_at; /* floats in VECTORS, or VKB_NONE */
    uint32_t norm;                         /* vkb_norm */
    float norm_eps;                        /* */
    float scale;                           /* EMBED, ATTENTION */
    uint32_t heads, head_size;             /* ATTENTION, ROTATE */
    uint32_t row_first, row_count;         /* EMBED: the table rows bound; a token with another id is left to another dispatch. Int8 forms:
                                              where the scales begin, words, of what is read and of what is made. LINEAR that does
                                              ATTENTION: cu_at, elements of a row of q|k|v */
    union {
        struct {
            uint32_t column;     /* POOL. ROTATE: of each head, the columns that are rotated */
            uint32_t has_tables; /* EMBED: bit 0 position, bit 1 type */
        };
        uint64_t sums_address; /* LINEAR by addresses: vk_sums.c */
    };
    uint32_t residual_at; /* vkb_residual: LINEAR, NORM */
    uint32_t kv_heads;    /* ATTENTION, ROTATE */
    union {
        struct {
            uint32_t window;                                   /* ATTENTION */
            uint32_t reach_weight, reach_position, reach_type; /* ATTENTION: R of each table */
        };
        struct { /* LINEAR by addresses */
            uint64_t residual_address, vectors_address;
        };
    };
    uint32_t key_weight_at; /* ROTATE: norm_weight of k, floats in VECTORS, or VKB_NONE */
} vkb_push;
_Static_assert(sizeof(vkb_push) == 128, "Push of hopper.cuh, and the 128 bytes that every device has");

/* Specialisation constants that every kernel declares (constant_id = place), beside its own from VKB_SPEC_OWN on. */
enum vkb_spec {
    VKB_SPEC_LOCAL_SIZE = 0, /* invocations a workgroup (local_size_x_id) */
    VKB_SPEC_WEIGHTS = 1,    /* vkb_weight_form of tables and LINEAR weights */
    VKB_SPEC_MODE = 2,       /* LINEAR, GATE: vkb_activation. POOL: vkb_pool. ATTENTION: vkb_attention. ROTATE: vkb_rotate */
    VKB_SPEC_VALUES = 3,     /* vkb_value_form */
    VKB_SPEC_MATRIX = 4,     /* and 5, 6: M, N, K of the device's cooperative matrices */
    VKB_SPEC_OWN = 7,        /* … a kernel's tunables */
    VKB_SPEC_MAX = 16
};

/*
 * How weights lie. Rows: TABLE [rows, cols], LINEAR [outputs, inputs], padded as said above. Tiles, LINEAR weights in f16 on devices with
 * matrix hardware: [outputs / 64][inputs / 16][4 tiles of 16 outputs × 16 inputs][32 lanes][8 halves], outputs and inputs padded as rows
 * are. Element i of lane L is of output L/4 + 8·(i/4), input 2·(L%4) + i%2 + 8·(i/2%2), of its tile: what a lane of an NVIDIA GPU holds of
 * a 16×16 B fragment, so that one 16-byte load fetches it (VKB_NEED_FRAGMENTS), and its two halves are those of two 16×8 ones. Int8, LINEAR
 * weights: rows, padded, and behind them each output's scale, f32 [outputs rounded up to VKB_OUTPUT_ALIGN].
 */
enum vkb_weight_form { VKB_WEIGHTS_F32 = 0, VKB_WEIGHTS_F16 = 1, VKB_WEIGHTS_F16_TILES = 2, VKB_WEIGHTS_I8 = 3 };

/*
 * The int8 form of a value that products in int8 read: q [rows, stride], four to a word, padded with zeros, and behind it the rows' scales,
 * f32. It lies behind the value in its slot (vkb_slot.i8_at) and is bound as VKB_BIND_TYPE by QUANTIZE, which makes it, as VKB_BIND_INPUT
 * by what reads it.
 */

/* Bits. A step's values all have the program's dtype, but that values per sequence are always f32. */
enum vkb_value_form { VKB_INPUT_F16 = 1, VKB_OUTPUT_F16 = 2, VKB_VALUES_F16 = 3 /* the residual too */ };

/* ATTENTION's options, so that the code of a plain one has none: shaders/attention_options.glsl. */
enum vkb_attention {
    VKB_ATTENTION_GROUPED = 1 << 0,
    VKB_ATTENTION_CAUSAL = 1 << 1,
    VKB_ATTENTION_WINDOW = 1 << 2,
    VKB_ATTENTION_DISTANCES = 1 << 3, /* weight */
    VKB_ATTENTION_SLOPES = 1 << 4,    /* bias */
    VKB_ATTENTION_POSITIONS = 1 << 5, /* position_table */
    VKB_ATTENTION_TYPES = 1 << 6,     /* type_table */
    VKB_ATTENTION_DISTANCES_F16 = 1 << 7,
    VKB_ATTENTION_POSITIONS_F16 = 1 << 8,
    VKB_ATTENTION_TYPES_F16 = 1 << 9,
};

enum { VKB_LINEAR_RESIDUAL = 1 << 12 }; /* of MODE, beside the activation and vkb_fold: the code for it is left out where there is none */

enum vkb_rotate {
    VKB_ROTATE_INTERLEAVED = 1 << 0,
    VKB_ROTATE_WHOLE = 1 << 1, /* workgroups (x) are q, k and v, else heads */
};

/* What a kernel may need beyond what every Vulkan 1.2 device has. */
enum vkb_need {
    VKB_NEED_F16 = 1 << 0,         /* 16-bit storage, f16 arithmetic */
    VKB_NEED_ADDRESSES = 1 << 1,   /* buffer device addresses, 64-bit integers */
    VKB_NEED_MATRIX = 1 << 2,      /* VK_KHR_cooperative_matrix, f16 × f16 → f32 by a subgroup, of any shape */
    VKB_NEED_FRAGMENTS = 1 << 3,   /* the same of 16×16×16 by subgroups of 32, whose elements lie as vkb_weight_form's tiles have them */
    VKB_NEED_SUBGROUP_32 = 1 << 4, /* subgroups of at least 32 invocations */
    VKB_NEED_MATRIX_I8 = 1 << 5,   /* VK_KHR_cooperative_matrix, int8 × int8 → int32 by a subgroup, of any shape */
    VKB_NEED_DOT = 1 << 6,         /* VK_KHR_shader_integer_dot_product */
    VKB_NEED_HOPPER = 1 << 7,      /* an NVIDIA GPU that runs csrc/cubin, and VK_NVX_binary_import */
    VKB_NEED_MATRIX2 = 1 << 8,     /* VK_NV_cooperative_matrix2: f16 × f16 → f32 by 128 invocations, of VKB_MATRIX2_M × N × K */
    VKB_NEED_ANY_MATRIX = VKB_NEED_MATRIX | VKB_NEED_FRAGMENTS | VKB_NEED_MATRIX_I8 | VKB_NEED_HOPPER | VKB_NEED_MATRIX2
};

enum { /* linear_matrix2 */
       VKB_MATRIX2_M = 128,
       VKB_MATRIX2_N = 128,
       VKB_MATRIX2_K = 64,
       VKB_MATRIX2_INVOCATIONS = 128,
       VKB_MATRIX2_RESERVED = 16384 /* bytes of workgroup memory that the driver may keep to itself */
};

enum vkb_row { VKB_ROW_USUAL = 0, VKB_ROW_OFF = 1, VKB_ROW_FIRST = 2 /* before all others, whatever its min_rows */ };

typedef struct vkb_abilities { /* of a device: what decides which kernels it can run */
    uint32_t workgroup_invocations, shared_bytes;
    uint32_t subgroup_operations; /* VkSubgroupFeatureFlags that compute shaders may use */
    uint32_t subgroup_size;
    uint32_t needs;        /* vkb_need: those that are met */
    uint32_t matrix[3];    /* M, N, K with VKB_NEED_MATRIX */
    uint32_t matrix_i8[3]; /* with VKB_NEED_MATRIX_I8 */
    bool software;
    const uint8_t *rows; /* [vkb_kernel_count] vkb_row, or NULL: all are as usual */
} vkb_abilities;

typedef struct vkb_task {     /* a dispatch, as far as that decides which kernels can do it */
    uint32_t kind;            /* vkb_op_kind or VKB_KERNEL_* */
    uint32_t mode;            /* VKB_SPEC_MODE */
    uint32_t weights;         /* vkb_weight_form */
    uint32_t values;          /* vkb_value_form */
    uint32_t head_size;       /* ATTENTION, else 0 */
    uint32_t inputs, outputs; /* LINEAR, LINEAR_MAX: padded */
} vkb_task;

/*
 * What a kernel can do by the way, so that another step is left out (vk_fold.c). The norms are bits of MODE too, where they are asked for:
 * the norm_* push constants are then those of the norm that has been left out. LINEAR: of its input, or of its residual; plain ATTENTION of
 * q|k|v, which is then bound as the position table, row_count elements a row (MODE from bit 16 on: head size / 16). NORMALIZE: POOL of what
 * is bound as the residual (MODE's lower byte: 1 + vkb_pool), and the norm of that. QUANTIZE: the
 * NORM that makes its value, which it writes too (vk_quantize.c). LINEAR: the NORM of its output; or the GATE of it, whose output is then
 * bound and what output_* are of (MODE's lower byte: the GATE's activation).
 */
enum vkb_fold {
    VKB_FOLD_NORM_INPUT = 1 << 8,
    VKB_FOLD_NORM_RESIDUAL = 1 << 9,
    VKB_FOLD_POOL = 1 << 10,
    VKB_FOLD_ATTENTION = 1 << 11,
    VKB_FOLD_NORM = 1 << 13,
    VKB_FOLD_GATE = 1 << 14
};

enum vkb_function { /* of a cubin's, by MODE: all others have the first alone */
                    VKB_FUNCTION_PLAIN,
                    VKB_FUNCTION_GELU,       /* LINEAR's activation */
                    VKB_FUNCTION_GATED_GELU, /* the GATE's that it folds */
                    VKB_FUNCTION_GATED_SILU,
                    VKB_FUNCTION_COUNT
};

/*
 * One way to do one dispatch. Workgroups: x = ceil(columns / tile_columns), y = ceil(rows / tile_rows), where rows are the batch's tokens
 * or sequences (ATTENTION: x = heads, y = query_tiles unless by_rows) and columns the output's stride; tile_columns = 0 means x = 1. A
 * cubin has as many as the device has multiprocessors, and shares the tiles out itself.
 */
typedef struct vkb_kernel {
    const char *name;     /* "linear 64x64" */
    uint32_t kind;        /* vkb_op_kind that it does, or VKB_KERNEL_* */
    const uint32_t *code; /* SPIR-V, or a cubin */
    size_t code_bytes;
    const char *functions[VKB_FUNCTION_COUNT]; /* of a cubin; without the first it is SPIR-V */
    uint32_t local_size;                       /* invocations; 0: `subgroups` of the device's size */
    uint32_t subgroups;                        /* 0: it does not ask which subgroup an invocation is in */
    uint32_t tile_rows, tile_columns;
    uint32_t own[VKB_SPEC_MAX - VKB_SPEC_OWN]; /* its tunables */
    uint32_t own_count;
    uint32_t shared_bytes;   /* of workgroup memory at these tunables */
    uint32_t launched_bytes; /* of a cubin, in place of it: Vulkan's limit is none there */
    uint32_t min_rows;       /* chosen when the batch has at least so many rows … */
    uint32_t max_rows;       /* … and at most so many; 0 = any number */
    uint32_t needs;          /* vkb_need */
    uint32_t subgroup;       /* subgroup operations it needs (VkSubgroupFeatureFlags) beside basic; 0 = none */
    bool software; /* for software devices only (their memory is one cache, their lanes SIMD); false: for the others only, unless alone */
    uint32_t max_head;                          /* ATTENTION: greatest head size; 0 = any */
    uint32_t modes;                             /* bits of MODE that it leaves out */
    uint32_t weights;                           /* bits 1 << vkb_weight_form: those it reads; 0 = any but int8 */
    uint32_t values;                            /* bits 1 << vkb_value_form: those it works on; 0 = any */
    uint32_t inputs_multiple, outputs_multiple; /* LINEAR: of which K and N are multiples; 0 = any */
    uint32_t inputs;                            /* LINEAR: the K that it is made for; 0 = any */
    uint32_t from_inputs, from_outputs;         /* LINEAR: chosen where K and N are at least so many */
    uint32_t head_multiple;                     /* ATTENTION, here or folded: of which the head size is a multiple; 0 = any */
    uint32_t min_outputs, max_outputs;          /* LINEAR, EMBED, NORM, NORMALIZE: least and greatest stride; 0 = any */
    uint32_t folds;                             /* bits of vkb_fold, but for the GATE */
    uint32_t gates;                             /* LINEAR: bits 1 << vkb_activation of the GATEs that it folds */
    uint32_t made_by;                           /* LINEAR: VKB_KERNEL_* that makes what it needs to know; 0: none */
    bool by_rows;                               /* ATTENTION: a tile is tile_rows rows of the batch, of whatever sequences */
} vkb_kernel;

enum {
    VKB_KERNEL_COPY_OUT = 100,   /* [rows, stride] of a value → [rows, width] f32 of a host-visible output buffer (INPUT → OUTPUT) */
    VKB_KERNEL_PROBE = 101,      /* how a cooperative matrix lies over a subgroup: probe_fragments.comp */
    VKB_KERNEL_QUANTIZE = 102,   /* a value's int8 form, from what is bound as OUTPUT */
    VKB_KERNEL_NORM_SUMS = 103,  /* what vk_sums.c keeps of a LINEAR */
    VKB_KERNEL_TENSOR_MAPS = 104 /* what vk_maps.c keeps of a LINEAR */
};

extern const vkb_kernel vkb_kernels[]; /* best first for each kind */
extern const uint32_t vkb_kernel_count;

/* Of the rows of the table that can do the task on the device and are meant for so many rows and such a shape the first, one for its kind
   of device (software or not) before others, and what VKBERT_VARIANTS asks for before all; NULL if there is none. */
const vkb_kernel *vkb_kernel_choose(const vkb_abilities *abilities, const vkb_task *task, uint32_t rows);
uint32_t vkb_kernel_invocations(const vkb_kernel *kernel, const vkb_abilities *abilities); /* a workgroup */
bool vkb_kernel_gates(const vkb_kernel *kernel, uint32_t activation);                      /* whether it folds such a GATE */

#endif /* VKB_VK_KERNEL_H */
