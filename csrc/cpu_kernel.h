/*
 * cpu_kernel.h: the inner loops of the CPU backend, written once in vector extensions that GCC and Clang share. Included by each
 * cpu_kernel_*.c, which defines before:
 *
 *   TARGET         attribute of every function: its instruction sets
 *   LANES          floats in a vector; divides VKB_CPU_PANEL
 *   TILE_ROWS      rows of a product's tile: TILE_ROWS · 16 / LANES sums should fit the registers, with a few to spare
 *   FMA(a, b, c)   a·b + c on vectors. (The compiler must not fuse them by itself: GCC does not under -std=c11, Clang is told.)
 *   WIDEN(halves)  16-bit floats at `halves` to one vector
 * and may define
 *   LEAST(a, b), GREATEST(a, b)   of two vectors; b where either is NaN, as x86 does it
 *   TOTAL(x), MOST(x)             the sum of a vector's floats, upper half and lower half first and so on; the greatest of them
 *   WIDEN_I8(bytes)               8-bit integers at `bytes` to a vector of 16-bit ones
 *   NARROW(x)                     32-bit integers to half a vector of 16-bit ones, which they fit; with DOT to 8-bit ones, modulo 2⁸
 *   PAIRS(a, b, sum)              sum + a₀·b₀ + a₁·b₁ in every lane, a and b holding two 16-bit integers in each
 *   EIGHT(at, b, sum)             sum[v] += the products of eight bytes at `at`, unsigned, and those at b, signed, [2, 16, 4], v < VECTORS;
 *                                 used instead of all the others, with I8_WEIGHTS and I8_INPUTS
 *   I8_ROWS                       TILE_ROWS of products in int8, where it is another
 *   DOT(a, b, sum)                sum + a₀·b₀ + … + a₃·b₃ in every lane, modulo 2³², a and b holding four bytes in each, b's signed; used
 *                                 instead of those before
 *   PAIRS_OF_PANELS               where LANES and TILE_ROWS are so great that a tile has two panels side by side
 *   I8_OFFSET                     with DOT: 128 where a's bytes are unsigned, else 0
 *
 * Comparisons are written so that NaN passes through: a non-finite input must show in the output.
 */
#include <math.h>
#include <string.h>

#include "cpu.h"

#if defined(__clang__)
#pragma clang fp contract(off)
#define UNROLL /* it does so by itself */
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define PREFETCH(p) __builtin_prefetch(p, 0, 2)   /* beyond the nearest cache, which is full of what is at work */
#define KEEP(pointer) __asm__("" : "+r"(pointer)) /* in a register, and not computed anew at each use */

#define INLINE TARGET static inline __attribute__((always_inline))

enum { VECTORS = VKB_CPU_PANEL / LANES };

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));
typedef float vf_unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE vf splat(float x) { return x - (vf){0}; } /* and not x + 0, which is not x for −0 and so costs an addition */
INLINE vf load(const float *p) { return *(const vf_unaligned *)p; }
INLINE void store(float *p, vf x) { *(vf_unaligned *)p = x; }
INLINE vf pick(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }
#ifndef LEAST
#define LEAST(a, b) pick((a) < (b), a, b)
#define GREATEST(a, b) pick((a) > (b), a, b)
#endif
INLINE vf at_most(vf x, float limit) { return LEAST(splat(limit), x); }
INLINE vf at_least(vf x, float limit) { return GREATEST(splat(limit), x); }
INLINE vf absolute(vf x) { return (vf)((vu)x & 0x7fffffffu); }

#ifndef TOTAL
#define TOTAL(x) total(x)
#define MOST(x) greatest(x)
INLINE float total(vf x) {
    float part[LANES];
    memcpy(part, &x, sizeof part);
    UNROLL for (int n = LANES / 2; n; n /= 2) { UNROLL for (int i = 0; i < n; i++) part[i] += part[i + n]; }
    return part[0];
}

INLINE float greatest(vf x) {
    float part[LANES];
    memcpy(part, &x, sizeof part);
    UNROLL for (int n = LANES / 2; n; n /= 2) {
        UNROLL for (int i = 0; i < n; i++) part[i] = part[i] > part[i + n] ? part[i] : part[i + n];
    }
    return part[0];
}
#endif

/* The first n ≤ LANES floats at p; zeros beyond. */
INLINE vf load_part(const float *p, uint32_t n) {
    float part[LANES] = {0};
    memcpy(part, p, n * sizeof *p);
    return load(part);
}

INLINE void store_part(float *p, vf x, uint32_t n) { memcpy(p, &x, n * sizeof *p); }

#include "cpu_kernel_functions.h"

/*
 * Rows of a tile's inputs are at `three[r / 3] + r % 3 * stride`, as THREE and ROW tell: an address with a register and twice another costs
 * nothing, so that twelve rows take five registers and not twelve. GCC would spill the others: 54 GFMA/s a core of a Zen 4, not 58.
 */
#define THREE(name, rows, first, stride) \
    const char *name[(VKB_CPU_MAX_TILE + 2) / 3]; \
    UNROLL for (uint32_t r = 0; r < rows; r += 3) { \
        name[r / 3] = (const char *)(first) + r * (stride); \
        KEEP(name[r / 3]); \
    }
#define ROW(name, r, stride) (name[(r) / 3] + (r) % 3 * (stride))
#define ADVANCE(name, rows, bytes) UNROLL for (uint32_t r = 0; r < rows; r += 3) name[r / 3] += bytes

/* `rows` is a constant wherever this is inlined, and the sums stay in registers. */
INLINE void tile_of(const uint32_t rows, const float *a, size_t a_stride, const float *b, size_t b_stride, uint32_t depth, float *c,
                    size_t c_stride, vkb_cpu_ahead ahead) {
    vf sum[TILE_ROWS][VECTORS] = {{{0}}};
    size_t stride = a_stride * sizeof *a;
    KEEP(stride);
    THREE(three, rows, a, stride);
    for (uint32_t k = 0; k < depth; k++, b += b_stride, ahead.at += ahead.step) {
        PREFETCH(ahead.at);
        vf w[VECTORS];
        UNROLL for (uint32_t v = 0; v < VECTORS; v++) w[v] = load(b + v * LANES);
        UNROLL for (uint32_t r = 0; r < rows; r++) {
            vf x = splat(*(const float *)(const void *)ROW(three, r, stride));
            UNROLL for (uint32_t v = 0; v < VECTORS; v++) sum[r][v] = FMA(x, w[v], sum[r][v]);
        }
        ADVANCE(three, rows, sizeof *a);
    }
    UNROLL for (uint32_t r = 0; r < rows; r++) {
        UNROLL for (uint32_t v = 0; v < VECTORS; v++) store(c + r * c_stride + v * LANES, sum[r][v]);
    }
}

_Static_assert(TILE_ROWS <= VKB_CPU_MAX_TILE, "a tile's result must fit the callers' buffers");

#define CASES CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)

TARGET static void tile(uint32_t rows, const float *a, size_t a_stride, const float *b, size_t b_stride, uint32_t depth, float *c,
                        size_t c_stride, const vkb_cpu_ahead *ahead) {
#define CASE(n) \
    case n: \
        if (n <= TILE_ROWS) tile_of(n <= TILE_ROWS ? n : 1, a, a_stride, b, b_stride, depth, c, c_stride, *ahead); \
        break;
    switch (rows) { CASES }
#undef CASE
}

#if defined(PAIRS_OF_PANELS)
INLINE void tile_pair_of(const uint32_t rows, const float *a, size_t a_stride, const float *b, uint32_t depth, float *c, size_t second,
                         vkb_cpu_ahead ahead) {
    vf sum[TILE_ROWS][2] = {{{0}}};
    const float *next = b + (size_t)depth * VKB_CPU_PANEL;
    size_t stride = a_stride * sizeof *a, half = ahead.step / 2;
    KEEP(stride);
    THREE(three, rows, a, stride);
    for (uint32_t k = 0; k < depth; k++, b += VKB_CPU_PANEL, next += VKB_CPU_PANEL) {
        PREFETCH(ahead.at);
        ahead.at += half;
        PREFETCH(ahead.at);
        ahead.at += half;
        vf w[2] = {load(b), load(next)};
        UNROLL for (uint32_t r = 0; r < rows; r++) {
            vf x = splat(*(const float *)(const void *)ROW(three, r, stride));
            UNROLL for (uint32_t v = 0; v < 2; v++) sum[r][v] = FMA(x, w[v], sum[r][v]);
        }
        ADVANCE(three, rows, sizeof *a);
    }
    UNROLL for (uint32_t r = 0; r < rows; r++) {
        UNROLL for (uint32_t v = 0; v < 2; v++) store(c + r * VKB_CPU_PANEL + v * second, sum[r][v]);
    }
}

_Static_assert(VECTORS == 1, "a pair of panels is for vectors as wide as a panel");

TARGET static void tile_pair(uint32_t rows, const float *a, size_t a_stride, const float *b, uint32_t depth, float *c, size_t second,
                             const vkb_cpu_ahead *ahead) {
#define CASE(n) \
    case n: tile_pair_of(n, a, a_stride, b, depth, c, second, *ahead); break;
    switch (rows) { CASES }
#undef CASE
}
#define TILE_PAIR tile_pair
#else
#define TILE_PAIR NULL
#endif

/* `activation` is a constant wherever this is inlined. */
INLINE void finish_rows(const uint32_t activation, uint32_t rows, const float *c, const vkb_cpu_finish *f, float *y, size_t y_stride) {
    for (uint32_t r = 0; r < rows; r++, c += VKB_CPU_PANEL, y += y_stride) {
        for (uint32_t j = 0; j < f->columns; j += LANES) {
            uint32_t n = f->columns - j < LANES ? f->columns - j : LANES;
            vf x = load(c + j), add = {0};
            if (f->bias) x += load(f->bias + j);
            if (f->residual) {
                const float *residual = f->residual + r * f->residual_stride + j;
                add = n == LANES ? load(residual) : load_part(residual, n);
                if (f->residual_first) x += add;
            }
            x = activate(activation, x);
            if (f->residual && !f->residual_first) x += add;
            if (n == LANES)
                store(y + j, x);
            else
                store_part(y + j, x, n);
        }
    }
}

/* The same where all 16 columns are there and there is no residual. */
INLINE void finish_plain(const uint32_t activation, uint32_t rows, const float *c, const vkb_cpu_finish *f, float *y, size_t y_stride) {
    vf bias[VECTORS];
    UNROLL for (uint32_t v = 0; v < VECTORS; v++) bias[v] = f->bias ? load(f->bias + v * LANES) : splat(0);
    for (uint32_t r = 0; r < rows; r++, c += VKB_CPU_PANEL, y += y_stride) {
        UNROLL for (uint32_t v = 0; v < VECTORS; v++) store(y + v * LANES, activate(activation, load(c + v * LANES) + bias[v]));
    }
}

TARGET static void finish(uint32_t rows, const float *c, const vkb_cpu_finish *f, float *y, size_t y_stride) {
    bool plain = f->columns == VKB_CPU_PANEL && !f->residual;
#define CASE(activation) \
    case activation: plain ? finish_plain(activation, rows, c, f, y, y_stride) : finish_rows(activation, rows, c, f, y, y_stride); break;
    switch (f->activation) {
        CASE(VKB_ACT_NONE)
        CASE(VKB_ACT_GELU)
        CASE(VKB_ACT_GELU_TANH)
        CASE(VKB_ACT_RELU)
        CASE(VKB_ACT_SILU)
        CASE(VKB_ACT_TANH)
        CASE(VKB_ACT_SIGMOID)
    }
#undef CASE
}

#if defined(EIGHT)
typedef int8_t quantized;
#define I8_OFFSET 0
#elif defined(DOT)
typedef int8_t quantized;
#define PAIRS(a, b, sum) DOT(a, b, sum)
#define WIDEN_I8(bytes) (*(const vi_unaligned *)(bytes))
#else
typedef int16_t quantized;
#define I8_OFFSET 0
#endif

#ifndef NARROW
#define NARROW(x) __builtin_convertvector(x, vq)
#endif
#ifndef WIDEN_I8
#define WIDEN_I8(bytes) ((vi) __builtin_convertvector(*(const vb_unaligned *)(bytes), vs))
#endif
#ifndef PAIRS
#define PAIRS(a, b, sum) ((sum) + ((a) << 16 >> 16) * ((b) << 16 >> 16) + ((a) >> 16) * ((b) >> 16))
#endif

#ifndef I8_ROWS
#define I8_ROWS TILE_ROWS
#endif
#ifndef EIGHT
#define I8_WEIGHTS ((vkb_i8_range){.most = 127})
#define I8_INPUTS ((vkb_i8_range){.most = 127})
#endif

enum { I8_GROUP = 4 / sizeof(quantized) }; /* inputs side by side */

typedef quantized vq __attribute__((vector_size(sizeof(quantized) * LANES)));
typedef int32_t vi_unaligned __attribute__((vector_size(4 * LANES), aligned(1), may_alias));
typedef int16_t vs __attribute__((vector_size(4 * LANES)));
typedef int8_t vb __attribute__((vector_size(2 * LANES)));
typedef int8_t vb_unaligned __attribute__((vector_size(2 * LANES), aligned(1), may_alias));

INLINE void tile_i8_of(const uint32_t rows, const quantized *a, size_t stride, const vkb_cpu_i8_row *row, vkb_cpu_i8_panel b,
                       uint32_t depth, float *c, size_t c_stride, vkb_cpu_ahead ahead) {
    vi sum[I8_ROWS][VECTORS];
    KEEP(stride);
    THREE(three, rows, a, stride);
    UNROLL for (uint32_t r = 0; r < rows; r++) {
        UNROLL for (uint32_t v = 0; v < VECTORS; v++) sum[r][v] = row[r].low * *(const vi_unaligned *)(b.sum + v * LANES);
    }
    for (uint32_t k = 0; k < depth; k += VKB_CPU_I8_DEPTH, b.weights += VKB_CPU_I8_DEPTH * VKB_CPU_PANEL) {
        PREFETCH(ahead.at);
        ahead.at += VKB_CPU_I8_DEPTH / 2 * ahead.step; /* half as far as 8 inputs, since each is a line */
        PREFETCH(ahead.at);
        ahead.at += VKB_CPU_I8_DEPTH / 2 * ahead.step;
#if defined(EIGHT)
        UNROLL for (uint32_t r = 0; r < rows; r++) EIGHT(ROW(three, r, stride), b.weights, sum[r]);
#else
        UNROLL for (uint32_t i = 0; i < VKB_CPU_I8_DEPTH; i += I8_GROUP) {
            vi w[VECTORS];
            UNROLL for (uint32_t v = 0; v < VECTORS; v++) w[v] = WIDEN_I8(b.weights + i * VKB_CPU_PANEL + I8_GROUP * v * LANES);
            UNROLL for (uint32_t r = 0; r < rows; r++) {
                int32_t side_by_side;
                memcpy(&side_by_side, ROW(three, r, stride) + i * sizeof *a, sizeof side_by_side);
                vi x = side_by_side - (vi){0};
                UNROLL for (uint32_t v = 0; v < VECTORS; v++) sum[r][v] = PAIRS(x, w[v], sum[r][v]);
            }
        }
#endif
        ADVANCE(three, rows, VKB_CPU_I8_DEPTH * sizeof *a);
    }
    UNROLL for (uint32_t r = 0; r < rows; r++) {
        UNROLL for (uint32_t v = 0; v < VECTORS; v++) {
            vf scale = splat(row[r].scale) * load(b.scale + v * LANES);
            store(c + r * c_stride + v * LANES, __builtin_convertvector(sum[r][v], vf) * scale);
        }
    }
}

TARGET static void tile_i8(uint32_t rows, const void *a, size_t a_stride, const vkb_cpu_i8_row *row, const vkb_cpu_i8_panel *b,
                           uint32_t depth, float *c, size_t c_stride, const vkb_cpu_ahead *ahead) {
#define CASE(n) \
    case n: \
        if (n <= I8_ROWS) tile_i8_of(n <= I8_ROWS ? n : 1, a, a_stride, row, *b, depth, c, c_stride, *ahead); \
        break;
    switch (rows) { CASES }
#undef CASE
}

/* The same steps as vkb_quantize. */
TARGET static vkb_cpu_i8_row quantize(const float *x, uint32_t count, void *to) {
    const vkb_i8_range range = I8_INPUTS;
    quantized *q = to;
    uint32_t whole = count / LANES * LANES, rest = count - whole, i;
    vf last = load_part(x + whole, rest), up = at_least(last, 0), down = at_least(-last, 0), all = last * splat(0);
    for (i = 0; i < whole; i += LANES) {
        vf a = load(x + i);
        up = GREATEST(a, up);
        down = GREATEST(-a, down);
        all = FMA(a, splat(0), all);
    }
    float above = MOST(up), below = MOST(down), most = (float)range.most;
    float size = range.spread ? above + below : above > below ? above : below, scale = size / most, inverse = most / size;
    bool finite = TOTAL(all) == 0;
    if (!finite || size < 0x1p-100f) {
        inverse = 0;
        scale = finite ? 0 : NAN;
    }
    int32_t low = range.spread && inverse > 0 ? (int32_t)((-below * inverse + magic) - magic) : -I8_OFFSET;
    vi mask = -(int32_t)finite - (vi){0};
    vq narrow;
    for (i = 0; i < whole; i += LANES) {
        vf y = load(x + i) * splat(inverse) + splat(magic);
        narrow = NARROW((((vi)y - (vi)splat(magic)) & mask) - low);
        memcpy(q + i, &narrow, sizeof narrow);
    }
    last = last * splat(inverse) + splat(magic);
    narrow = NARROW((((vi)last - (vi)splat(magic)) & mask) - low);
    memcpy(q + whole, &narrow, rest * sizeof *q);
    for (i = count; i < vkb_cpu_i8_depth(count); i++) q[i] = 0;
    return (vkb_cpu_i8_row){scale, low};
}

TARGET static void gate(uint32_t activation, const float *left, const float *right, uint32_t count, float *y) {
    for (uint32_t i = 0; i < count; i += LANES) {
        uint32_t n = count - i < LANES ? count - i : LANES;
        if (n == LANES)
            store(y + i, activate(activation, load(left + i)) * load(right + i));
        else
            store_part(y + i, activate(activation, load_part(left + i, n)) * load_part(right + i, n), n);
    }
}

INLINE float mean_of(const float *row, uint32_t width) {
    uint32_t whole = width / LANES * LANES, i;
    vf sums = {0};
    for (i = 0; i < whole; i += LANES) sums += load(row + i);
    float sum = TOTAL(sums);
    for (; i < width; i++) sum += row[i];
    return sum / (float)width;
}

TARGET static void norm(uint32_t kind, float *row, uint32_t width, const float *weight, const float *bias, float eps) {
    uint32_t whole = width / LANES * LANES, i;
    float mean = kind == VKB_NORM_LAYER ? mean_of(row, width) : 0;
    vf squares = {0};
    for (i = 0; i < whole; i += LANES) {
        vf d = load(row + i) - splat(mean);
        squares = FMA(d, d, squares);
    }
    float square = TOTAL(squares);
    for (; i < width; i++) square += (row[i] - mean) * (row[i] - mean);
    float scale = 1 / sqrtf(square / (float)width + eps);

    for (i = 0; i < width; i += LANES) { /* weight and bias have room up to a multiple of 16 */
        uint32_t n = width - i < LANES ? width - i : LANES;
        vf x = ((n == LANES ? load(row + i) : load_part(row + i, n)) - splat(mean)) * splat(scale);
        if (weight) x *= load(weight + i);
        if (bias) x += load(bias + i);
        if (n == LANES)
            store(row + i, x);
        else
            store_part(row + i, x, n);
    }
}

TARGET static float softmax(float *row, const float *bias, uint32_t count, float scale) {
    uint32_t room = (uint32_t)vkb_align_up(count, VKB_CPU_PANEL);
    for (uint32_t i = count; i < room; i++) row[i] = -INFINITY;
    vf most = splat(-INFINITY);
    for (uint32_t i = 0; i < room; i += LANES) {
        vf x = load(row + i) * splat(scale);
        if (bias) x += load(bias + i);
        store(row + i, x);
        most = GREATEST(x, most);
    }
    vf max = splat(MOST(most)), sum = {0};
    for (uint32_t i = 0; i < room; i += LANES) {
        vf x = load(row + i) - max, y = exponential_within(at_least(x, -87.33f));
        x = (vf)(~(x < splat(-87.33f)) & (vi)y);
        store(row + i, x);
        sum += x;
    }
    return TOTAL(sum);
}

TARGET static void widen(const uint16_t *halves, uint64_t count, float *floats) {
    for (uint64_t i = 0; i < count; i += LANES) store(floats + i, WIDEN(halves + i));
}

#define KERNELS(sets, test) \
    { \
        .name = sets, .supported = test, .tile_rows = TILE_ROWS, .tile = tile, .tile_pair = TILE_PAIR, .finish = finish, .norm = norm, \
        .softmax = softmax, .gate = gate, .widen = widen, .quantize = quantize, .tile_i8 = tile_i8, .i8_rows = I8_ROWS, \
        .i8_weights = I8_WEIGHTS, .i8_inputs = I8_INPUTS, .i8_size = sizeof(quantized), .i8_offset = I8_OFFSET \
    }
