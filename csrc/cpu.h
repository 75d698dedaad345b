/* cpu.h: what the files of the CPU backend share. */
#ifndef VKB_CPU_H
#define VKB_CPU_H

#include "internal.h"

/* ---- cpu_info.c ---- */

void vkb_cpu_model_name(char *name, size_t size); /* "AMD EPYC 7R13 Processor"; "CPU" where the system does not tell */
uint64_t vkb_cpu_memory_available(void);          /* bytes; 0 = not known */
bool vkb_cpu_has_avx2(void);                      /* and FMA and F16C; processor and system both */
bool vkb_cpu_has_avx512(void);                    /* AVX-512F, BW and VL; processor and system both */
bool vkb_cpu_has_avx512_vnni(void);               /* the same, and its VNNI */
bool vkb_cpu_has_avx_vnni(void);                  /* what vkb_cpu_has_avx2 asks for, and AVX-VNNI */
bool vkb_cpu_has_dotprod(void);                   /* Arm's SDOT */

/* ---- cpu_pool.c: threads that sleep until there is work ---- */

typedef struct vkb_cpu_pool vkb_cpu_pool;
/* One task of many. worker: 0 … threads − 1, different for tasks that run at the same time. Must not call vkb_cpu_pool_run. */
typedef void (*vkb_cpu_task)(void *context, uint32_t task, uint32_t worker);

/* `threads` counts the calling thread too, so that 1 starts none. */
vkb_status vkb_cpu_pool_create(uint32_t threads, vkb_cpu_pool **pool, vkb_error *error);
void vkb_cpu_pool_destroy(vkb_cpu_pool *pool); /* outside its turns */
uint32_t vkb_cpu_pool_threads(const vkb_cpu_pool *pool);
/* All pools share their threads. Between _begin and _end it is the calling thread's turn, for which it may wait; _pause lets others that
   have waited come first. */
void vkb_cpu_pool_begin(vkb_cpu_pool *pool);
void vkb_cpu_pool_pause(vkb_cpu_pool *pool);
void vkb_cpu_pool_end(vkb_cpu_pool *pool);
/* Within a turn: does tasks 0 … count − 1 in any order, on this thread and the pool's, and returns when all are done. */
void vkb_cpu_pool_run(vkb_cpu_pool *pool, uint32_t count, vkb_cpu_task task, void *context);

/* ---- cpu_kernel_*.c: the inner loops, once for each instruction set; cpu_kernel.h is their common body ---- */

enum {
    VKB_CPU_PANEL = 16,       /* outputs that are computed side by side: the width of a weight panel */
    VKB_CPU_MAX_TILE = 12,    /* greatest tile_rows of any instruction set */
    VKB_CPU_SET_BYTES = 4096, /* of vkb_row_bytes: 64 sets of 64 bytes. A tile of twelve rows would have one of eight or twelve ways to
                                 itself, and weights */
    VKB_CPU_I8_DEPTH = 8,     /* int8: inputs are filled up to a multiple of this, weights with zeros */
};

static inline uint32_t vkb_cpu_ceil_div(uint32_t a, uint32_t b) { return a / b + (a % b != 0); }

/* Rows of the next tile where so many are left, so that all tiles are about equally high: one of 1 row takes as long as one of 4, waiting
   for its own sums. */
static inline uint32_t vkb_cpu_tile_height(uint32_t left, uint32_t most) { return vkb_cpu_ceil_div(left, vkb_cpu_ceil_div(left, most)); }

/* Asks for all lines of so many bytes, before they are needed. */
static inline void vkb_cpu_prefetch(const void *from, uint64_t bytes) {
#if defined(__GNUC__)
    for (uint64_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)from + i);
#else
    (void)from, (void)bytes;
#endif
}

static inline uint32_t vkb_cpu_i8_depth(uint32_t inputs) { return (uint32_t)vkb_align_up(inputs, VKB_CPU_I8_DEPTH); }

typedef struct vkb_cpu_finish { /* what happens to a tile of LINEAR after the product */
    const float *bias;          /* [16] or NULL */
    const float *residual;      /* [rows, columns] or NULL */
    size_t residual_stride;
    uint32_t activation; /* vkb_activation */
    uint32_t columns;    /* ≤ 16 */
    bool residual_first; /* it is added before the activation */
} vkb_cpu_finish;

typedef struct vkb_cpu_ahead { /* memory that is read soon, to be fetched meanwhile: with each k the line at `at` + k·`step` */
    const char *at;
    size_t step;
} vkb_cpu_ahead;

typedef struct vkb_cpu_i8_panel { /* with g = 4 / i8_size */
    const int8_t *weights;        /* [depth / g, 16, g] */
    const float *scale;           /* [16] */
    const int32_t *sum;           /* [16], of an output's weights */
} vkb_cpu_i8_panel;

typedef struct vkb_cpu_i8_row { /* of inputs: what is stored as q is scale·(q + low) */
    float scale;
    int32_t low;
} vkb_cpu_i8_row;

typedef struct vkb_cpu_kernels { /* structs go by address: read from the stack right after it was written, 16 bytes at a time, one stalls */
    const char *name;            /* of the instruction sets: "AVX2, FMA, F16C" */
    bool (*supported)(void);
    uint32_t tile_rows; /* most rows of one tile */
    uint32_t i8_rows;   /* the same of tile_i8 */
    uint32_t i8_size;   /* bytes of a quantised input: 2, or 1 where there are products of bytes; 4 / i8_size inputs lie side by side */
    int32_t i8_offset;  /* what is added to it: 128 where those bytes are unsigned */
    vkb_i8_range i8_weights, i8_inputs; /* which integers; spread: inputs have a low of their own, and no offset */
    /* c[r][j] = Σ a[r][k]·b[k][j] for r < rows ≤ tile_rows, j < 16, k < depth. Each sum is taken in the order of k whatever `rows` is, so
       that a row's result does not depend on its neighbours. */
    void (*tile)(uint32_t rows, const float *a, size_t a_stride, const float *b, size_t b_stride, uint32_t depth, float *c, size_t c_stride,
                 const vkb_cpu_ahead *ahead);
    /* As tile, of two panels one after the other, [2, depth, 16], the second's results `second` floats after the first's; with each k the
       two lines at `at` + k·`step` and half a step further are fetched. NULL: it would be no faster. */
    void (*tile_pair)(uint32_t rows, const float *a, size_t a_stride, const float *b, uint32_t depth, float *c, size_t second,
                      const vkb_cpu_ahead *ahead);
    /* Quantises a row as vkb_quantize does, and fills up to a multiple of VKB_CPU_I8_DEPTH. */
    vkb_cpu_i8_row (*quantize)(const float *x, uint32_t count, void *q);
    /* As tile, of quantised rows a, a_stride bytes apart, and a panel b: c[r][j] = row[r].scale·b.scale[j]·Σ, the sum exact. depth: a
       multiple of VKB_CPU_I8_DEPTH */
    void (*tile_i8)(uint32_t rows, const void *a, size_t a_stride, const vkb_cpu_i8_row *row, const vkb_cpu_i8_panel *b, uint32_t depth,
                    float *c, size_t c_stride, const vkb_cpu_ahead *ahead);
    /* y = activation(c + bias) + residual, or activation(c + bias + residual); c: [rows, 16] */
    void (*finish)(uint32_t rows, const float *c, const vkb_cpu_finish *finish, float *y, size_t y_stride);
    /* vkb_norm `kind` of one row, in place; weight and bias may be NULL */
    void (*norm)(uint32_t kind, float *row, uint32_t width, const float *weight, const float *bias, float eps);
    /* row[i] = exp(scale·row[i] + bias[i] − max) for i < count, zeros up to the next multiple of 16 (must be there, in `bias` too, which
       may be NULL); returns their sum */
    float (*softmax)(float *row, const float *bias, uint32_t count, float scale);
    void (*gate)(uint32_t activation, const float *left, const float *right, uint32_t count, float *y); /* y = activation(left)·right */
    void (*widen)(const uint16_t *halves, uint64_t count, float *floats);                               /* count: a multiple of 16 */
} vkb_cpu_kernels;

extern const vkb_cpu_kernels vkb_cpu_base;
extern const vkb_cpu_kernels vkb_cpu_avx2, vkb_cpu_avx_vnni, vkb_cpu_avx512, vkb_cpu_avx512_vnni; /* on x86 only */
extern const vkb_cpu_kernels vkb_cpu_dotprod;                                                     /* on Arm only */

/* ---- cpu_device.c, cpu_program.c ---- */

/* Those that this machine can run, best first; NULL for i past the last. */
const vkb_cpu_kernels *vkb_cpu_kernel_set(uint32_t i);
/* As vkb_cpu_open, with these kernels and not the best: for tests. */
vkb_status vkb_cpu_open_with(const vkb_cpu_kernels *kernels, const vkb_device_options *options, vkb_device **device, vkb_error *error);

typedef struct vkb_cpu_device {
    vkb_device base;
    const vkb_cpu_kernels *kernels;
    vkb_cpu_pool *pool;
} vkb_cpu_device;

/*
 * How a tensor is held, f32 or f16, LINEAR also int8:
 *   VECTOR  [cols], f32, with zeros up to a multiple of 16
 *   TABLE   [rows, cols]
 *   LINEAR  panels: [⌈outputs / 16⌉, inputs, 16], the missing outputs of the last panel zero;
 *           int8: those of vkb_cpu_i8_panel, then all scales, then all sums, [⌈outputs / 16⌉, 16] each
 */
typedef struct vkb_cpu_weights {
    vkb_weights base;
    void *memory; /* all tensors */
    void **data;  /* [count], each aligned to 64 bytes */
} vkb_cpu_weights;

typedef struct vkb_cpu_chunk { /* queries begin … begin + count − 1 of a sequence, rows first … end − 1 */
    uint32_t first, end, begin, count;
} vkb_cpu_chunk;

typedef struct vkb_cpu_share { /* of the weight panels of an op, one worker's */
    atomic_uint next;          /* the first that nobody has taken */
    uint32_t end;
    char apart[64 - sizeof(atomic_uint) - sizeof(uint32_t)]; /* on a cache line of its own */
} vkb_cpu_share;

typedef struct vkb_cpu_program {
    vkb_program base;
    const vkb_cpu_kernels *kernels;
    vkb_cpu_pool *pool;
    float *arena;          /* and behind it scratch; aligned to 64 bytes, as is scratch */
    uint64_t arena_bytes;  /* of both */
    float *scratch;        /* [threads, scratch_floats] */
    size_t scratch_floats; /* a multiple of 16 */
    vkb_cpu_share *shares; /* [threads] */
    vkb_cpu_chunk *chunks; /* of the batch at hand, for ATTENTION; NULL in a program without */
    uint32_t chunk_count;
    uint32_t piece_rows;    /* about how many a batch is cut into */
    uint32_t *cu_seqlens;   /* [max_sequences + 1], of a piece */
    const vkb_batch *batch; /* the piece at hand */
} vkb_cpu_program;

static inline float *vkb_cpu_value(const vkb_cpu_program *p, uint32_t value) {
    return p->arena + p->base.slots[value].offset / sizeof(float);
}
static inline uint32_t vkb_cpu_rows(const vkb_cpu_program *p, uint32_t value) {
    return p->base.values[value].scope == VKB_PER_TOKEN ? p->batch->tokens : p->batch->sequences;
}
/* of a tensor stored as int8 */
static inline const float *vkb_cpu_scales(const vkb_tensor *t, const void *data) {
    return (const float *)(const void *)((const int8_t *)data + vkb_align_up(t->rows, VKB_CPU_PANEL) * vkb_cpu_i8_depth(t->cols));
}
static inline const int32_t *vkb_cpu_sums(const vkb_tensor *t, const void *data) {
    return (const int32_t *)(const void *)(vkb_cpu_scales(t, data) + vkb_align_up(t->rows, VKB_CPU_PANEL));
}
static inline uint32_t vkb_cpu_tile_rows(const vkb_cpu_kernels *kernels, const vkb_tensor *t) { /* most rows of a product with t */
    return t->dtype == VKB_I8 ? kernels->i8_rows : kernels->tile_rows;
}
/* VKB_NONE gives NULL */
static inline const void *vkb_cpu_tensor(const vkb_cpu_program *p, uint32_t tensor) {
    return tensor == VKB_NONE ? NULL : ((const vkb_cpu_weights *)p->base.weights)->data[tensor];
}
static inline float *vkb_cpu_scratch(const vkb_cpu_program *p, uint32_t worker) { return p->scratch + worker * p->scratch_floats; }

typedef struct vkb_cpu_heads { /* how q|k|v is cut: heads, then kv_heads twice, each of `size` columns */
    uint32_t heads, kv_heads, size;
} vkb_cpu_heads;

static inline vkb_cpu_heads vkb_cpu_heads_of(const vkb_program *p, const vkb_op *op) { /* of ATTENTION or ROTATE */
    uint32_t kv = op->kv_heads ? op->kv_heads : op->heads;
    return (vkb_cpu_heads){op->heads, kv, op->head_size ? op->head_size : p->values[op->input].width / (op->heads + 2 * kv)};
}

vkb_status vkb_cpu_program_init(vkb_program *program, vkb_error *error);
vkb_status vkb_cpu_program_run(vkb_program *program, const vkb_batch *batch, const vkb_output *outputs, double *op_seconds,
                               vkb_error *error);
void vkb_cpu_program_free(vkb_program *program);

/* ---- cpu_linear.c, cpu_linear_max.c, cpu_attention.c, cpu_rotate.c, cpu_ops.c ---- */

/* Panels of a LINEAR tensor that LINEAR takes at a time, where there are as many: 1 or 2. */
static inline uint32_t vkb_cpu_panels_together(const vkb_cpu_kernels *kernels, const vkb_tensor *t) {
    return kernels->tile_pair && t->dtype != VKB_I8 ? 2 : 1;
}
/* What one worker needs for an op, in floats; false: overflow. */
bool vkb_cpu_linear_scratch(const vkb_cpu_program *p, const vkb_op *op, uint64_t *floats);
bool vkb_cpu_attention_scratch(const vkb_cpu_program *p, const vkb_op *op, uint64_t *floats);

enum { VKB_CPU_BLOCK_ROWS = 48 }; /* a multiple of every tile_rows; 48 rows of 1536 floats fit a level-2 cache */
/* A product of rows with a LINEAR tensor, for LINEAR and LINEAR_MAX: a worker begins a block of at most VKB_CPU_BLOCK_ROWS rows, then takes
   panels, and of each panel tiles of those rows. `scratch` is the worker's, `row` counts from the block's first, which x points to. */
void vkb_cpu_begin_block(const vkb_cpu_program *p, const vkb_tensor *t, const float *x, size_t x_stride, uint32_t rows, float *scratch);
const void *vkb_cpu_panels(const vkb_cpu_program *p, const vkb_tensor *t, const void *weight, uint32_t panel, uint32_t count,
                           float *scratch);
void vkb_cpu_tile(const vkb_cpu_program *p, const vkb_tensor *t, const void *weight, const void *panel_data, uint32_t panel, uint32_t row,
                  uint32_t rows, const float *x, size_t x_stride, const float *scratch, float *c, const vkb_cpu_ahead *ahead);

enum { VKB_CPU_QUERIES = 128 }; /* queries in a chunk: enough that copying the keys costs little beside using them */

/* y[i] = column first + i of a row of a TABLE, f32 or f16, i < count */
void vkb_cpu_table_row(const vkb_cpu_program *p, uint32_t table, uint32_t row, uint32_t first, uint32_t count, float *y);

/* Each does one op of the batch at hand, and cannot fail. */
void vkb_cpu_embed(const vkb_cpu_program *p, const vkb_op *op);
void vkb_cpu_linear(const vkb_cpu_program *p, const vkb_op *op);
void vkb_cpu_attention(const vkb_cpu_program *p, const vkb_op *op);
void vkb_cpu_norm(const vkb_cpu_program *p, const vkb_op *op);
void vkb_cpu_pooling(const vkb_cpu_program *p, const vkb_op *op);
void vkb_cpu_normalize(const vkb_cpu_program *p, const vkb_op *op);
void vkb_cpu_gate(const vkb_cpu_program *p, const vkb_op *op);
void vkb_cpu_rotate(const vkb_cpu_program *p, const vkb_op *op);
void vkb_cpu_linear_max(const vkb_cpu_program *p, const vkb_op *op);

#endif /* VKB_CPU_H */
