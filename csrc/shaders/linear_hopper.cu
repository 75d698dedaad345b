//! variant f16
//! variant bytes -DBYTES
// LINEAR for many rows on NVIDIA's Hopper, by the matrix instructions that Vulkan's cooperative matrices do not reach there (wgmma:
// products of a warpgroup, one operand or both from shared memory) and by copies of whole tiles (TMA). One H200, 32,768 rows: 768 -> 2304
// in 210 us, linear_fragments 307, cuBLAS 210.
//
// A workgroup makes 128 outputs of 256 rows, its two warpgroups 64 each, and goes on to another tile: there are as many workgroups as
// multiprocessors. Outputs are the rows of a product and x's rows are its columns: so the lanes of a warp hold a fragment of weights as
// they lie in tiles (vkb_weight_form), and no other form is needed. One thread more brings operands, 128 bytes of K at a time, into a ring
// of stages, after them the residual. In int8 (BYTES) both operands are tiles in shared memory.
#include "hopper.cuh"

constexpr u32 OUTPUTS = 128, ROWS = 256, HALF = 128; // HALF: of the rows, what is finished at a time
constexpr u32 WARPGROUP = 128, GROUPS = 2, WARPS = WARPGROUP / 32;
constexpr u32 LINE = 128; // bytes of K a stage, and of a row of 64 results
constexpr u32 STAGES = 4, W_BYTES = OUTPUTS * LINE, STAGE_BYTES = W_BYTES + ROWS * LINE, STAGED_BYTES = HALF * LINE;
constexpr u32 STAGED_AT = STAGES * STAGE_BYTES, BARRIERS_AT = STAGED_AT + GROUPS * STAGED_BYTES; // and 16 bytes a stage: vk_kernels.c

#ifdef BYTES
constexpr u32 ELEMENT = 1, UNROLLED = 1;
typedef int Sum;
#define WORD "r"
#else
constexpr u32 ELEMENT = 2, UNROLLED = 2; // so that the stage's fragments of weights are a constant
typedef float Sum;
#define WORD "f"
#endif

extern __shared__ __align__(1024) u8 shared[];

__device__ __forceinline__ u32 shared_at(u32 offset) { return (u32)__cvta_generic_to_shared(shared) + offset; }
__device__ __forceinline__ u32 full_at(u32 stage) { return shared_at(BARRIERS_AT + 8 * stage); }
__device__ __forceinline__ u32 empty_at(u32 stage) { return shared_at(BARRIERS_AT + 8 * (STAGES + stage)); }
__device__ __forceinline__ void group_barrier(u32 group) { asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory"); }

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
    Map x, residual, weights; // weights: BYTES
};

// ---- the thread that brings operands ----

__device__ __forceinline__ void produce(const Push &push, const Tiles &tiles, const Maps *maps) {
    const u32 stages = push.input_stride * ELEMENT / LINE, halves = push.residual_stride ? ROWS / HALF : 0;
    const u64 row_bytes = (u64)push.input_stride * ELEMENT;
    map_acquire(&maps->x);
    if (halves) map_acquire(&maps->residual);
    if (ELEMENT == 1) map_acquire(&maps->weights);
    Ring ring = {0, 1};
    for (u32 tile = blockIdx.x; tile < tiles.count; tile += gridDim.x) {
        const u32 row0 = tile / tiles.across * ROWS, column0 = tile % tiles.across * OUTPUTS;
        for (u32 k = 0; k < stages + halves; k++) {
            const u32 at = shared_at(ring.stage * STAGE_BYTES), full = full_at(ring.stage);
            wait(empty_at(ring.stage), ring.parity);
            if (k < stages) {
                arrive_expecting(full, STAGE_BYTES);
                copy_tile(at + W_BYTES, &maps->x, k * (LINE / ELEMENT), row0, full);
                if (ELEMENT == 1) copy_tile(at, &maps->weights, k * LINE, column0, full);
                if (ELEMENT == 2) {
                    const u8 *weights = (const u8 *)push.weight_address + column0 * row_bytes + k * 64 * LINE;
#pragma unroll
                    for (u32 i = 0; i < OUTPUTS / 64; i++) copy(at + i * 64 * LINE, weights + i * 64 * row_bytes, 64 * LINE, full);
                }
            } else {
                const u32 there = least((push.residual_stride - column0) / 64, GROUPS);
                arrive_expecting(full, there * STAGED_BYTES);
                for (u32 g = 0; g < there; g++)
                    copy_tile(at + g * STAGED_BYTES, &maps->residual, column0 + 64 * g, row0 + (k - stages) * HALF, full);
            }
            ring.next();
        }
    }
}

// ---- the warpgroups that calculate ----

// sum: of output L / 4 + 8·(e / 2 % 2), L being the lane, of the warp's 16, and row 8·(e / 4) + 2·(L % 4) + e % 2.
#define SUM(i) \
    "+" WORD(sum[i]), "+" WORD(sum[i + 1]), "+" WORD(sum[i + 2]), "+" WORD(sum[i + 3]), "+" WORD(sum[i + 4]), "+" WORD(sum[i + 5]), \
        "+" WORD(sum[i + 6]), "+" WORD(sum[i + 7])
#define SUMS \
    SUM(0), SUM(8), SUM(16), SUM(24), SUM(32), SUM(40), SUM(48), SUM(56), SUM(64), SUM(72), SUM(80), SUM(88), SUM(96), SUM(104), SUM(112), \
        SUM(120)
#define REGISTERS \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
    "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
    "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
    "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
    "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "

#ifdef BYTES
struct Fragments {};

__device__ __forceinline__ void load_weights(Fragments &, u32) {}

__device__ __forceinline__ void multiply(Sum (&sum)[ROWS / 2], const Fragments &, u32 w, u32 x, u32 step) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n256k32.s32.s8.s8 " REGISTERS "%128, %129, 1;"
                 : SUMS
                 : "l"(described(w) + 2 * step), "l"(described(x) + 2 * step));
}
#else
struct Fragments {
    uint4 of[4]; // 16 of K each
};

__device__ __forceinline__ void load_weights(Fragments &f, u32 w) {
#pragma unroll
    for (u32 i = 0; i < 4; i++) f.of[i] = load_shared(w + i * 64 * 32 + threadIdx.x % WARPGROUP * 16);
}

__device__ __forceinline__ void multiply(Sum (&sum)[ROWS / 2], const Fragments &f, u32 w, u32 x, u32 step) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16 " REGISTERS "{%128, %129, %130, %131}, %132, 1, 1, 1, 0;"
                 : SUMS
                 : "r"(f.of[step].x), "r"(f.of[step].z), "r"(f.of[step].y), "r"(f.of[step].w), "l"(described(x) + 2 * step));
}
#endif

__device__ __forceinline__ void multiply_stage(Sum (&sum)[ROWS / 2], Fragments &weights, u32 stage, u32 group) {
    const u32 at = shared_at(stage * STAGE_BYTES), w = at + group * 64 * LINE;
    load_weights(weights, w);
    products_begin();
#pragma unroll
    for (u32 i = 0; i < 4; i++) multiply(sum, weights, w, at + W_BYTES, i);
    products_commit();
}

__device__ __forceinline__ void release(u32 stage) {
    if (threadIdx.x % 32 == 0) arrive(empty_at(stage));
}

// sum = the products. Leaves the ring behind the last stage, which is free again.
__device__ __forceinline__ void sum_products(Sum (&sum)[ROWS / 2], Ring &ring, u32 stages, u32 group) {
    Fragments weights[UNROLLED];
    u32 before = 0;
#pragma unroll
    for (u32 i = 0; i < ROWS / 2; i++) sum[i] = 0;
    for (u32 k = 0; k < stages; k += UNROLLED) {
#pragma unroll
        for (u32 h = 0; h < UNROLLED; h++) {
            wait(full_at(ring.stage), ring.parity);
            multiply_stage(sum, weights[h], ring.stage, group);
            products_wait<1>();
            if (k + h > 0) release(before);
            before = ring.stage;
            ring.next();
        }
    }
    products_wait<0>();
    release(before);
}

__device__ __forceinline__ void add_halves(float (&v)[8], const u32 (&halves)[4]) {
#pragma unroll
    for (u32 e = 0; e < 4; e++) {
        const float2 pair = widen(halves[e]);
        v[2 * e] += pair.x;
        v[2 * e + 1] += pair.y;
    }
}

struct Outputs { // what belongs to a thread's two outputs
    float scale[2], bias[2];
    bool there[2];
};

__device__ __forceinline__ Outputs load_outputs(const Push &push, u32 output) {
    const float *vectors = (const float *)push.vectors_address;
    const float *scales = (const float *)(push.weight_address + (u64)((push.output_width + 127) & ~127u) * push.input_stride); // BYTES
    Outputs o;
#pragma unroll
    for (u32 i = 0; i < 2; i++) {
        o.scale[i] = ELEMENT == 1 ? scales[output + 8 * i] : 1.0f;
        o.bias[i] = push.bias_at == NONE ? 0.0f : vectors[push.bias_at + output + 8 * i];
        o.there[i] = output + 8 * i < push.output_width;
    }
    return o;
}

// Of 16 rows, as add_halves has them: what the products are before anything is added.
__device__ __forceinline__ void scale_products(float (&v)[8], const Sum *sum, const Outputs &o, const float *row_scales, u32 row,
                                               u32 last) {
#pragma unroll
    for (u32 e = 0; e < 8; e += 4) {
        float2 rows = {1.0f, 1.0f};
        if (ELEMENT == 1) rows = *(const float2 *)(row_scales + least(row + 2 * e, last & ~1u));
#pragma unroll
        for (u32 i = 0; i < 4; i++) v[e + i] = (float)sum[e + i] * ((i % 2 ? rows.y : rows.x) * o.scale[i / 2]) + o.bias[i / 2];
    }
}

template <bool GELU> __device__ __forceinline__ void consume(const Push &push, const Tiles &tiles) {
    const u32 group = threadIdx.x / WARPGROUP, t = threadIdx.x % WARPGROUP, lane = t % 32, warp = t / 32;
    const u32 stages = push.input_stride * ELEMENT / LINE;
    const bool residual = push.residual_stride != 0, before = push.residual_at == BEFORE_ACTIVATION;
    const float *row_scales = (const float *)push.input_address + push.row_first; // BYTES
    const u32 staged = shared_at(STAGED_AT + group * STAGED_BYTES);
    const u32 fragment = (lane % 8 + lane / 16 * 8) * LINE + ((warp * 2 + lane / 8 % 2 ^ lane % 8) << 4); // what load_transposed asks for
    Sum sum[ROWS / 2];
    Ring ring = {0, 0};
    for (u32 tile = blockIdx.x; tile < tiles.count; tile += gridDim.x) {
        const u32 row0 = tile / tiles.across * ROWS, column = tile % tiles.across * OUTPUTS + group * 64;
        const Outputs outputs = load_outputs(push, column + warp * 16 + lane / 4);
        u8 *to = (u8 *)push.output_address + ((u64)row0 * push.output_stride + column) * 2 + t % 8 * 16;
        sum_products(sum, ring, stages, group);
#pragma unroll
        for (u32 half = 0; half < ROWS / HALF; half++) {
            const u32 from = shared_at(ring.stage * STAGE_BYTES + group * STAGED_BYTES) + fragment;
            if (residual) wait(full_at(ring.stage), ring.parity);
            group_barrier(group); // what was staged has been read
#pragma unroll
            for (u32 j = 0; j < HALF / 16; j++) {
                u32 halves[4];
                float v[8];
                scale_products(v, sum + half * (HALF / 2) + 8 * j, outputs, row_scales, row0 + half * HALF + 16 * j + lane % 4 * 2,
                               tiles.rows - 1);
                if (residual) load_transposed(halves, from + j * 16 * LINE);
                if (residual && (!GELU || before)) add_halves(v, halves);
                if (GELU)
#pragma unroll
                    for (u32 e = 0; e < 8; e++) v[e] = gelu(v[e]);
                if (GELU && residual && !before) add_halves(v, halves);
#pragma unroll
                for (u32 e = 0; e < 4; e++) halves[e] = outputs.there[e % 2] ? narrow(v[2 * e], v[2 * e + 1]) : 0;
                store_transposed(staged + fragment + j * 16 * LINE, halves);
            }
            if (residual) {
                __syncwarp();
                release(ring.stage);
                ring.next();
            }
            group_barrier(group);
            if (column < push.output_stride)
#pragma unroll
                for (u32 i = 0; i < HALF; i += WARPGROUP / 8) {
                    const u32 row = t / 8 + i;
                    const uint4 word = load_shared(staged + row * LINE + ((t % 8 ^ row % 8) << 4));
                    if (row0 + half * HALF + row < tiles.rows) *(uint4 *)(to + (u64)(half * HALF + row) * push.output_stride * 2) = word;
                }
        }
    }
}

template <bool GELU> __device__ __forceinline__ void linear(const Push &push, const u32 *batch, const Maps *maps) {
    const u32 rows = batch[0], across = (push.output_stride + OUTPUTS - 1) / OUTPUTS;
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
        asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        consume<GELU>(push, tiles);
    } else {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == GROUPS * WARPGROUP) produce(push, tiles, maps);
    }
}

constexpr u32 THREADS = (GROUPS + 1) * WARPGROUP;

extern "C" __global__ void __launch_bounds__(THREADS, 1) plain(const __grid_constant__ Push push, const u32 *batch, const Maps *maps) {
    linear<false>(push, batch, maps);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) activated(const __grid_constant__ Push push, const u32 *batch, const Maps *maps) {
    linear<true>(push, batch, maps);
}
