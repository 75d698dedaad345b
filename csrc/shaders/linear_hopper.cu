//! variant f16
//! variant bytes -DBYTES
//! variant norm -DNORM
// LINEAR for many rows on NVIDIA's Hopper, by the matrix instructions that Vulkan's cooperative matrices do not reach there (wgmma:
// products of a warpgroup, one operand or both from shared memory) and by copies of whole tiles (TMA). One H200, 32,768 rows: 768 -> 2304
// in 210 us, linear_fragments 307, cuBLAS 210.
//
// A workgroup makes 128 outputs of 256 rows, its two warpgroups 64 each, and goes on to another tile: there are as many workgroups as
// multiprocessors. Outputs are the rows of a product and x's rows are its columns: so the lanes of a warp hold a fragment of weights as
// they lie in tiles (vkb_weight_form), and no other form is needed. One thread more brings operands, 128 bytes of K at a time, into a ring
// of stages, after them the residual. Results go the other way, by copies of tiles too: rows past the batch, as far as there is room for
// them, with those of the batch. In int8 (BYTES) both operands are tiles in shared memory.
//
// With NORM a workgroup makes 384 outputs of 128 rows, which are whole rows where there are no more outputs, and normalises them: a pass
// over them less, in memory.
//
// With a GATE after it (VKB_FOLD_GATE) a workgroup makes 64 of its outputs. A warp's sixteen of the product are eight of the left half and
// the same of the right, so that a thread has what belongs together; the two warpgroups write one part of results. In int8 a map of pairs
// of eight rows brings weights in that order (tensor_maps.cu).
#include "hopper.cuh"

#ifdef NORM
constexpr bool NORMS = true;
constexpr u32 THREAD_REGISTERS = 240, OTHER_REGISTERS = 24;
constexpr u32 BLOCKS = 3, ROWS = 128, STAGES = 3; // BLOCKS: of 64 outputs, that a warpgroup has
#else
constexpr bool NORMS = false;
constexpr u32 THREAD_REGISTERS = 232, OTHER_REGISTERS = 40;
constexpr u32 BLOCKS = 1, ROWS = 256, STAGES = 4;
#endif
constexpr u32 WARPGROUP = 128, GROUPS = 2, WARPS = WARPGROUP / 32, OUTPUTS = GROUPS * BLOCKS * 64;
constexpr u32 PART = 64, ROW_PARTS = ROWS / PART, PARTS = BLOCKS * ROW_PARTS; // what is finished at a time: rows of a block
constexpr u32 LINE = 128;                                                     // bytes of K a stage, and of a row of a part
constexpr u32 BOX = 128;                                                      // rows that a copy of x brings
constexpr u32 W_BYTES = OUTPUTS * LINE, STAGE_BYTES = W_BYTES + ROWS * LINE, PART_BYTES = PART * LINE;
constexpr u32 HELD = PARTS / 2; // of the residual in a stage
constexpr u32 STAGED_AT = STAGES * STAGE_BYTES, BARRIERS_AT = STAGED_AT + GROUPS * 2 * PART_BYTES;
// Behind the barriers, 16 bytes a stage, NORM keeps a number a row: vk_kernels.c says what a launch needs.

static_assert(HELD * GROUPS * PART_BYTES <= STAGE_BYTES, "residual");

#ifdef BYTES
constexpr u32 ELEMENT = 1;
typedef int Sum;
#define WORD "r"
#else
constexpr u32 ELEMENT = 2;
typedef float Sum;
#define WORD "f"
#endif

__device__ __forceinline__ u32 full_at(u32 stage) { return shared_at(BARRIERS_AT + 8 * stage); }
__device__ __forceinline__ u32 empty_at(u32 stage) { return shared_at(BARRIERS_AT + 8 * (STAGES + stage)); }

struct Ring {
    u32 stage, parity;
    __device__ __forceinline__ void next() {
        if (++stage < STAGES) return;
        stage = 0;
        parity ^= 1;
    }
};

struct Tiles {
    u32 rows, across, count;
};

struct Maps {
    Map x, residual, weights, output, gated, pairs; // weights: BYTES; gated: the output of a GATE; pairs: its weights, BYTES
};

// Of the products, or of the left half of what a GATE reads.
enum Activation { NO_ACTIVATION, GELU, SILU };

template <Activation A, u32 N> __device__ __forceinline__ void activate(float (&v)[N]) {
    if (A == GELU) gelu(v);
    if (A == SILU) silu(v);
}

// ---- the thread that brings operands ----

template <bool GATE> __device__ __forceinline__ void produce(const Push &push, const Tiles &tiles, const Maps *maps) {
    const u32 stages = push.input_stride * ELEMENT / LINE, more = push.residual_stride ? PARTS / HELD : 0;
    const u64 row_bytes = (u64)push.input_stride * ELEMENT, block_bytes = (GATE ? push.output_width : 64) * row_bytes;
    map_acquire(&maps->x);
    if (more) map_acquire(&maps->residual);
    if (ELEMENT == 1) map_acquire(GATE ? &maps->pairs : &maps->weights);
    Ring ring = {0, 1};
    for (u32 tile = blockIdx.x; tile < tiles.count; tile += gridDim.x) {
        const u32 row0 = tile / tiles.across * ROWS, column0 = tile % tiles.across * (GATE ? OUTPUTS / 2 : OUTPUTS);
        for (u32 k = 0; k < stages + more; k++) {
            const u32 at = shared_at(ring.stage * STAGE_BYTES), full = full_at(ring.stage);
            wait(empty_at(ring.stage), ring.parity);
            if (k < stages) {
                arrive_expecting(full, STAGE_BYTES);
#pragma unroll
                for (u32 i = 0; i < ROWS; i += BOX) copy_tile(at + W_BYTES + i * LINE, &maps->x, k * (LINE / ELEMENT), row0 + i, full);
                if (ELEMENT == 1 && GATE) copy_pairs(at, &maps->pairs, k * LINE, column0 / 8, full);
                if (ELEMENT == 1 && !GATE) copy_tile(at, &maps->weights, k * LINE, column0, full);
                if (ELEMENT == 2) {
                    const u8 *weights = (const u8 *)push.weight_address + column0 * row_bytes + k * 64 * LINE;
#pragma unroll
                    for (u32 i = 0; i < OUTPUTS / 64; i++) copy(at + i * 64 * LINE, weights + i * block_bytes, 64 * LINE, full);
                }
            } else {
                const u32 there = least((push.residual_stride - column0) / (BLOCKS * 64), GROUPS), first = (k - stages) * HELD;
                arrive_expecting(full, HELD * there * PART_BYTES);
                for (u32 i = 0; i < HELD; i++)
                    for (u32 g = 0; g < there; g++)
                        copy_tile(at + (i * GROUPS + g) * PART_BYTES, &maps->residual,
                                  column0 + (g * BLOCKS + (first + i) / ROW_PARTS) * 64, row0 + (first + i) % ROW_PARTS * PART, full);
            }
            ring.next();
        }
    }
}

// ---- the warpgroups that calculate ----

__device__ __forceinline__ void all_barrier() { asm volatile("bar.sync %0, %1;" ::"n"(GROUPS + 1), "n"(GROUPS * WARPGROUP) : "memory"); }

// sum: of output L / 4 + 8·(e / 2 % 2), L being the lane, of the warp's 16, and row 8·(e / 4) + 2·(L % 4) + e % 2.
#define SUM(i) \
    "+" WORD(sum[i]), "+" WORD(sum[i + 1]), "+" WORD(sum[i + 2]), "+" WORD(sum[i + 3]), "+" WORD(sum[i + 4]), "+" WORD(sum[i + 5]), \
        "+" WORD(sum[i + 6]), "+" WORD(sum[i + 7])
#define SUMS_64 SUM(0), SUM(8), SUM(16), SUM(24), SUM(32), SUM(40), SUM(48), SUM(56)
#define SUMS_128 SUMS_64, SUM(64), SUM(72), SUM(80), SUM(88), SUM(96), SUM(104), SUM(112), SUM(120)
#define REGISTERS_64 \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define REGISTERS_128 \
    REGISTERS_64 \
    ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
    "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
    "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
    "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

typedef Sum Sums[BLOCKS][ROWS / 2];

__device__ __forceinline__ void release(u32 stage) {
    if (threadIdx.x % 32 == 0) arrive(empty_at(stage));
}

// sum = the products: sum_products, which leaves the ring behind the last stage, which is free again.
#ifdef NORM
__device__ __forceinline__ void multiply(Sum (&sum)[ROWS / 2], const uint4 &w, u64 x) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" REGISTERS_64 "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 0;"
                 : SUMS_64
                 : "r"(w.x), "r"(w.z), "r"(w.y), "r"(w.w), "l"(x));
}

// What is read from shared memory is not yet what a product takes: a copy of v, in other registers than the read's, which is under way
// while a product reads the last ones. For a mere move the compiler would take the same.
__device__ __forceinline__ uint4 taken(const uint4 &v, u32 zero) {
    uint4 w;
    asm volatile("xor.b32 %0, %4, %8;\nxor.b32 %1, %5, %8;\nxor.b32 %2, %6, %8;\nxor.b32 %3, %7, %8;"
                 : "=r"(w.x), "=r"(w.y), "=r"(w.z), "=r"(w.w)
                 : "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w), "r"(zero));
    return w;
}

// zero: is that, which the compiler does not know (`taken`).
//
// Sums leave room for weights of 16 of K alone, so that those products end before the next begin; meanwhile the other warpgroup's go on.
template <bool> __device__ __forceinline__ void sum_products(Sums &sum, Ring &ring, u32 stages, u32 group, u32 zero) {
    u32 before = 0;
#pragma unroll
    for (u32 b = 0; b < BLOCKS; b++)
#pragma unroll
        for (u32 i = 0; i < ROWS / 2; i++) sum[b][i] = 0;
#pragma unroll 1
    for (u32 k = 0; k < stages; k++) {
        const u32 at = shared_at(ring.stage * STAGE_BYTES), from = at + group * BLOCKS * 64 * LINE + threadIdx.x % WARPGROUP * 16;
        const u64 x = described(at + W_BYTES);
        wait(full_at(ring.stage), ring.parity);
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            uint4 read[BLOCKS], w[BLOCKS];
#pragma unroll
            for (u32 b = 0; b < BLOCKS; b++) read[b] = load_shared(from + b * 64 * LINE + i * 64 * 32);
            products_wait<0>();
            if (i == 0 && k > 0) release(before);
#pragma unroll
            for (u32 b = 0; b < BLOCKS; b++) w[b] = taken(read[b], zero);
            products_begin();
#pragma unroll
            for (u32 b = 0; b < BLOCKS; b++) multiply(sum[b], w[b], x + 2 * i);
            products_commit();
        }
        before = ring.stage;
        ring.next();
    }
    products_wait<0>();
    release(before);
}
#else
#ifdef BYTES
struct Fragments {};

template <bool> __device__ __forceinline__ void load_weights(Fragments &, u32, u32) {}

__device__ __forceinline__ void multiply(Sum (&sum)[ROWS / 2], const Fragments &, u32 w, u32 x, u32 step) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n256k32.s32.s8.s8 {" REGISTERS_128 "}, %128, %129, 1;"
                 : SUMS_128
                 : "l"(described(w) + 2 * step), "l"(described(x) + 2 * step));
}
#else
struct Fragments {
    uint4 of[4]; // 16 of K each
};

// w: a stage's. Of a fragment's rows, the first eight are a lane's first eight bytes.
template <bool GATE> __device__ __forceinline__ void load_weights(Fragments &f, u32 w, u32 group) {
    const u32 from = w + threadIdx.x % WARPGROUP * 16;
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        if (GATE) {
            const uint2 left = load_shared_8(from + i * 64 * 32 + group * 8),
                        right = load_shared_8(from + 64 * LINE + i * 64 * 32 + group * 8);
            f.of[i] = {left.x, left.y, right.x, right.y};
        } else {
            f.of[i] = load_shared(from + group * 64 * LINE + i * 64 * 32);
        }
    }
}

__device__ __forceinline__ void multiply(Sum (&sum)[ROWS / 2], const Fragments &f, u32 w, u32 x, u32 step) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16 {" REGISTERS_128 "}, {%128, %129, %130, %131}, %132, 1, 1, 1, 0;"
                 : SUMS_128
                 : "r"(f.of[step].x), "r"(f.of[step].z), "r"(f.of[step].y), "r"(f.of[step].w), "l"(described(x) + 2 * step));
}
#endif

template <bool GATE> __device__ __forceinline__ void multiply_stage(Sum (&sum)[ROWS / 2], Fragments &weights, u32 stage, u32 group) {
    const u32 at = shared_at(stage * STAGE_BYTES), w = at + group * 64 * LINE;
    load_weights<GATE>(weights, at, group);
    products_begin();
#pragma unroll
    for (u32 i = 0; i < 4; i++) multiply(sum, weights, w, at + W_BYTES, i);
    products_commit();
}

constexpr u32 UNROLLED = ELEMENT; // in f16 the stage's fragments of weights are a constant then

template <bool GATE> __device__ __forceinline__ void sum_products(Sums &sums, Ring &ring, u32 stages, u32 group, u32) {
    Sum(&sum)[ROWS / 2] = sums[0];
    Fragments weights[UNROLLED];
    u32 before = 0;
#pragma unroll
    for (u32 i = 0; i < ROWS / 2; i++) sum[i] = 0;
    for (u32 k = 0; k < stages; k += UNROLLED) {
#pragma unroll
        for (u32 h = 0; h < UNROLLED; h++) {
            wait(full_at(ring.stage), ring.parity);
            multiply_stage<GATE>(sum, weights[h], ring.stage, group);
            products_wait<1>();
            if (k + h > 0) release(before);
            before = ring.stage;
            ring.next();
        }
    }
    products_wait<0>();
    release(before);
}
#endif

__device__ __forceinline__ void add_halves(float (&v)[8], const u32 (&halves)[4]) {
#pragma unroll
    for (u32 e = 0; e < 4; e++) {
        const float2 pair = widen(halves[e]);
        v[2 * e] += pair.x;
        v[2 * e + 1] += pair.y;
    }
}

struct Outputs { // what belongs to a thread's two outputs of a block
    float scale[2], bias[2];
    float norm_weight[2], norm_bias[2]; // NORM
};

__device__ __forceinline__ float vector_or(const Push &push, u32 at, u32 output, float otherwise) {
    return at == NONE ? otherwise : ((const float *)push.vectors_address)[at + output];
}

// Behind so many outputs' weights, in int8.
__device__ __forceinline__ const float *scales_behind(const Push &push, u32 outputs) {
    return (const float *)(push.weight_address + (u64)((outputs + 127) & ~127u) * push.input_stride);
}

// Of two rows from this one on, of which the last is there.
__device__ __forceinline__ float2 row_scales(const Push &push, u32 row, u32 last) {
    return ELEMENT == 1 ? *(const float2 *)((const float *)push.input_address + push.row_first + least(row, last & ~1u))
                        : float2{1.0f, 1.0f};
}

__device__ __forceinline__ Outputs load_outputs(const Push &push, u32 output) {
    const float *scales = scales_behind(push, push.output_width);
    Outputs o;
#pragma unroll
    for (u32 i = 0; i < 2; i++) {
        const bool there = output + 8 * i < push.output_width;
        o.scale[i] = ELEMENT == 1 ? scales[output + 8 * i] : 1.0f;
        o.bias[i] = vector_or(push, push.bias_at, output + 8 * i, 0.0f);
        o.norm_weight[i] = there ? vector_or(push, push.norm_weight_at, output + 8 * i, 1.0f) : 0.0f;
        o.norm_bias[i] = there ? vector_or(push, push.norm_bias_at, output + 8 * i, 0.0f) : 0.0f;
    }
    return o;
}

// Of 16 rows, as add_halves has them: what the products are before anything is added.
__device__ __forceinline__ void scale_products(float (&v)[8], const Sum *sum, const Outputs &o, const Push &push, u32 row, u32 last) {
#pragma unroll
    for (u32 e = 0; e < 8; e += 4) {
        const float2 rows = row_scales(push, row + 2 * e, last);
#pragma unroll
        for (u32 i = 0; i < 4; i++) v[e + i] = (float)sum[e + i] * ((i % 2 ? rows.y : rows.x) * o.scale[i / 2]) + o.bias[i / 2];
    }
}

// Waits for the residual, of which a stage holds HELD parts, before the first of them, and gives the stage back after the last.
__device__ __forceinline__ u32 residual_at(const Ring &ring, u32 part, u32 group) {
    if (part % HELD == 0) wait(full_at(ring.stage), ring.parity);
    return shared_at(ring.stage * STAGE_BYTES + (part % HELD * GROUPS + group) * PART_BYTES);
}

__device__ __forceinline__ void residual_read(Ring &ring, u32 part) {
    if (part % HELD != HELD - 1) return;
    __syncwarp();
    release(ring.stage);
    ring.next();
}

#ifdef NORM
constexpr u32 OF_ROWS_AT = BARRIERS_AT + 16 * STAGES;

// v: of rows 2·(L % 4) + {0, 1} and 8 more. The sum over the eight lanes that have the same: of row 8·(L / 16) + 2·(L % 4) + L / 8 % 2.
__device__ __forceinline__ float add_lanes(const float (&v)[4]) {
    const u32 lane = threadIdx.x % 32;
    const bool lower = lane & 16, odd = lane & 8;
    float even = lower ? v[2] : v[0], other = lower ? v[3] : v[1];
    even += __shfl_xor_sync(~0u, lower ? v[0] : v[2], 16);
    other += __shfl_xor_sync(~0u, lower ? v[1] : v[3], 16);
    float sum = odd ? other : even;
    sum += __shfl_xor_sync(~0u, odd ? even : other, 8);
    return sum + __shfl_xor_sync(~0u, sum, 4);
}

// Of a lane's rows, as add_lanes has them: what is kept a row, in floats, at `at` for row 0.
__device__ __forceinline__ void load_rows(float (&of)[4], u32 at, u32 j) {
#pragma unroll
    for (u32 i = 0; i < 2; i++) {
        const float2 v = load_floats(at + 4 * (16 * j + 8 * i + threadIdx.x % 4 * 2));
        of[2 * i] = v.x;
        of[2 * i + 1] = v.y;
    }
}

// Normalises rows, but for the norm's weight and bias: the mean first, then the variance from it, as norm_words.glsl does. `output`: the
// thread's first. Each warp's sums lie where results are staged.
__device__ __forceinline__ void normalize(const Push &push, Sums &sum, u32 output) {
    const u32 lane = threadIdx.x % 32, of_rows = shared_at(OF_ROWS_AT);
    const u32 part =
        shared_at(STAGED_AT) + 4 * (threadIdx.x / 32 * ROWS + lane / 16 * 8 + lane % 4 * 2 + lane / 8 % 2); // of add_lanes' row
    float there[2]; // of the last block: the others are
#pragma unroll
    for (u32 i = 0; i < 2; i++) there[i] = output + (BLOCKS - 1) * 64 + 8 * i < push.output_width ? 1.0f : 0.0f;
    if (threadIdx.x % WARPGROUP == 0) stores_wait<0>();
    all_barrier(); // what was staged has been read
#pragma unroll
    for (u32 pass = 0; pass < 2; pass++) {
#pragma unroll
        for (u32 j = 0; j < ROWS / 16; j++) {
            float v[4] = {0.0f, 0.0f, 0.0f, 0.0f}, of[4];
            if (pass) load_rows(of, of_rows, j);
#pragma unroll
            for (u32 b = 0; b < BLOCKS; b++)
#pragma unroll
                for (u32 e = 0; e < 8; e++) {
                    float &x = sum[b][8 * j + e];
                    if (pass) x -= of[e / 4 * 2 + e % 2];
                    if (pass && b == BLOCKS - 1) x *= there[e / 2 % 2];
                    v[e / 4 * 2 + e % 2] += pass ? x * x : x;
                }
            const float all = add_lanes(v);
            if (!(lane & 4)) store_float(part + 4 * 16 * j, all);
        }
        all_barrier();
        if (threadIdx.x < ROWS) {
            float all = 0.0f;
#pragma unroll
            for (u32 i = 0; i < GROUPS * WARPS; i++) all += ((const float *)(shared + STAGED_AT))[i * ROWS + threadIdx.x];
            all /= (float)push.output_width;
            store_float(of_rows + 4 * threadIdx.x, pass ? rsqrtf(all + push.norm_eps) : push.norm == RMS ? 0.0f : all);
        }
        all_barrier();
    }
#pragma unroll
    for (u32 j = 0; j < ROWS / 16; j++) {
        float of[4];
        load_rows(of, of_rows, j);
#pragma unroll
        for (u32 b = 0; b < BLOCKS; b++)
#pragma unroll
            for (u32 e = 0; e < 8; e++) sum[b][8 * j + e] *= of[e / 4 * 2 + e % 2];
    }
}

static_assert(4 * GROUPS * WARPS * ROWS <= PART_BYTES, "the warps' sums");

// Makes the sums what results are, but for the norm's weight and bias.
__device__ __forceinline__ void complete(const Push &push, Sums &sum, Ring &ring, u32 group, u32 output, u32 fragment) {
    const bool residual = push.residual_stride != 0;
#pragma unroll
    for (u32 part = 0; part < PARTS; part++) {
        const u32 b = part / ROW_PARTS, from = residual ? residual_at(ring, part, group) + fragment : 0;
        const Outputs outputs = load_outputs(push, output + b * 64);
#pragma unroll
        for (u32 j = 0; j < PART / 16; j++) {
            float(&v)[8] = *(float(*)[8]) & sum[b][part % ROW_PARTS * (PART / 2) + 8 * j];
            u32 halves[4];
#pragma unroll
            for (u32 e = 0; e < 8; e++) v[e] += outputs.bias[e / 2 % 2];
            if (residual) load_transposed(halves, from + j * 16 * LINE);
            if (residual) add_halves(v, halves);
        }
        if (residual) residual_read(ring, part);
    }
    if (push.norm) normalize(push, sum, output);
}

// Of 16 rows from `row` on.
template <Activation>
__device__ __forceinline__ void finish(float (&v)[8], const Push &push, const Tiles &, const Sum *sum, const Outputs &o, u32, u32) {
#pragma unroll
    for (u32 e = 0; e < 8; e++) v[e] = push.norm ? fmaf(sum[e], o.norm_weight[e / 2 % 2], o.norm_bias[e / 2 % 2]) : sum[e];
}
#else
__device__ __forceinline__ void complete(const Push &, Sums &, Ring &, u32, u32, u32) {}

// from: the residual, if there is one.
template <Activation A>
__device__ __forceinline__ void finish(float (&v)[8], const Push &push, const Tiles &tiles, const Sum *sum, const Outputs &o, u32 row,
                                       u32 from) {
    const bool residual = push.residual_stride != 0, before = push.residual_at == BEFORE_ACTIVATION;
    u32 halves[4];
    scale_products(v, sum, o, push, row + threadIdx.x % 4 * 2, tiles.rows - 1);
    if (residual) load_transposed(halves, from);
    if (residual && (!A || before)) add_halves(v, halves);
    activate<A>(v);
    if (A && residual && !before) add_halves(v, halves);
}
#endif

template <Activation A> __device__ __forceinline__ void consume(const Push &push, const Tiles &tiles, const Maps *maps) {
    const u32 group = threadIdx.x / WARPGROUP, t = threadIdx.x % WARPGROUP, lane = t % 32, warp = t / 32;
    const u32 stages = push.input_stride * ELEMENT / LINE;
    const bool residual = push.residual_stride != 0 && !NORMS; // which is added to the parts: `complete` did it
    const u32 fragment = (lane % 8 + lane / 16 * 8) * LINE + ((warp * 2 + lane / 8 % 2 ^ lane % 8) << 4); // what load_transposed asks for
    if (t == 0) map_acquire(&maps->output);
    Sums sum;
    Ring ring = {0, 0};
    for (u32 tile = blockIdx.x; tile < tiles.count; tile += gridDim.x) {
        const u32 row0 = tile / tiles.across * ROWS, column = tile % tiles.across * OUTPUTS + group * BLOCKS * 64;
        const u32 output = column + warp * 16 + lane / 4;
        sum_products<false>(sum, ring, stages, group, push.per_sequence);
        complete(push, sum, ring, group, output, fragment);
#pragma unroll
        for (u32 part = 0; part < PARTS; part++) {
            const u32 b = part / ROW_PARTS, first = part % ROW_PARTS * PART,
                      staged = shared_at(STAGED_AT + (group * 2 + part % 2) * PART_BYTES);
            const Outputs outputs = load_outputs(push, output + b * 64);
            const u32 from = residual ? residual_at(ring, part, group) + fragment : 0;
            if (t == 0) stores_wait<1>();
            group_barrier(group); // the last but one that was staged has been read
#pragma unroll
            for (u32 j = 0; j < PART / 16; j++) {
                float v[8];
                u32 halves[4];
                finish<A>(v, push, tiles, sum[b] + first / 2 + 8 * j, outputs, row0 + first + 16 * j, from + j * 16 * LINE);
#pragma unroll
                for (u32 e = 0; e < 4; e++) halves[e] = narrow(v[2 * e], v[2 * e + 1]); // zeros past the width, as all they are made of
                store_transposed(staged + fragment + j * 16 * LINE, halves);
            }
            if (residual) residual_read(ring, part);
            staged_fence();
            group_barrier(group);
            if (t == 0 && column < push.output_stride) store_tile(&maps->output, column + b * 64, row0 + first, staged);
        }
    }
    if (t == 0) stores_wait<0>();
}

// The width is a multiple of 64: there is no part of a tile.
template <Activation A> __device__ __forceinline__ void consume_gated(const Push &push, const Tiles &tiles, const Maps *maps) {
    const u32 group = threadIdx.x / WARPGROUP, lane = threadIdx.x % 32, warp = threadIdx.x % WARPGROUP / 32;
    const u32 stages = push.input_stride * ELEMENT / LINE, word = ELEMENT == 1 ? group * WARPS + warp : warp * 2 + group; // of a part's row
    const u32 fragment = lane * LINE + ((word ^ lane % 8) << 4); // what store_transposed asks for, of 32 rows
    const float *scales = scales_behind(push, 2 * push.output_width);
    const bool stores = threadIdx.x == 0;
    if (stores) map_acquire(&maps->gated);
    Sums sum;
    Ring ring = {0, 0};
    for (u32 tile = blockIdx.x; tile < tiles.count; tile += gridDim.x) {
        const u32 row0 = tile / tiles.across * ROWS, column = tile % tiles.across * 64, output = column + word * 8 + lane / 4;
        float scale[2], bias[2]; // left, right
#pragma unroll
        for (u32 i = 0; i < 2; i++) {
            scale[i] = ELEMENT == 1 ? scales[i * push.output_width + output] : 1.0f;
            bias[i] = vector_or(push, push.bias_at, i * push.output_width + output, 0.0f);
        }
        sum_products<true>(sum, ring, stages, group, 0);
        if (stores) stores_wait<0>();
        all_barrier(); // what was staged has been read
#pragma unroll
        for (u32 part = 0; part < PARTS; part++) {
            const u32 staged = shared_at(STAGED_AT + part * PART_BYTES);
#pragma unroll
            for (u32 j = 0; j < PART / 32; j++) {
                const Sum *from = sum[0] + part * (PART / 2) + 16 * j;
                float v[8], right[8]; // of 32 rows: 8·(e / 2) + 2·(L % 4) + e % 2
                u32 halves[4];
#pragma unroll
                for (u32 e = 0; e < 8; e++) {
                    const float2 rows = row_scales(push, row0 + part * PART + 32 * j + e / 2 * 8 + lane % 4 * 2, tiles.rows - 1);
                    const float row = e % 2 ? rows.y : rows.x;
                    v[e] = (float)from[e / 2 * 4 + e % 2] * (row * scale[0]) + bias[0];
                    right[e] = (float)from[e / 2 * 4 + 2 + e % 2] * (row * scale[1]) + bias[1];
                }
                activate<A>(v);
#pragma unroll
                for (u32 e = 0; e < 8; e++) v[e] *= right[e];
#pragma unroll
                for (u32 e = 0; e < 4; e++) halves[e] = narrow(v[2 * e], v[2 * e + 1]);
                store_transposed(staged + fragment + j * 32 * LINE, halves);
            }
            staged_fence();
            all_barrier();
            if (stores) store_tile(&maps->gated, column, row0 + part * PART, staged);
        }
    }
    if (stores) stores_wait<0>();
}

template <Activation A, bool GATE> __device__ __forceinline__ void linear(const Push &push, const u32 *batch, const Maps *maps) {
    constexpr u32 WIDTH = GATE ? OUTPUTS / 2 : OUTPUTS;
    const u32 rows = batch[0], across = (push.output_stride + WIDTH - 1) / WIDTH;
    const Tiles tiles = {rows, across, (rows + ROWS - 1) / ROWS * across};
    if (threadIdx.x == 0) {
        for (u32 s = 0; s < STAGES; s++) {
            barrier_init(full_at(s), 1);
            barrier_init(empty_at(s), GROUPS * WARPS);
        }
        asm volatile("fence.proxy.async;" ::: "memory"); // the copies see them
    }
    __syncthreads();
    // A launch gives all threads as many registers. Those who calculate need more, and get what the warps of the one that brings operands
    // give back.
    if (threadIdx.x < GROUPS * WARPGROUP) {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(THREAD_REGISTERS));
        if constexpr (GATE)
            consume_gated<A>(push, tiles, maps);
        else
            consume<A>(push, tiles, maps);
    } else {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(OTHER_REGISTERS));
        if (threadIdx.x == GROUPS * WARPGROUP) produce<GATE>(push, tiles, maps);
    }
}

constexpr u32 THREADS = (GROUPS + 1) * WARPGROUP;

#define KERNEL(name, activation, gate) \
    extern "C" __global__ void __launch_bounds__(THREADS, 1) name(const __grid_constant__ Push push, const u32 *batch, const Maps *maps) { \
        linear<activation, gate>(push, batch, maps); \
    }

KERNEL(plain, NO_ACTIVATION, false)
#ifndef NORM
KERNEL(activated, GELU, false)
KERNEL(gated_gelu, GELU, true)
KERNEL(gated_silu, SILU, true)
#endif
