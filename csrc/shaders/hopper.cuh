// hopper.cuh: what the kernels in CUDA C++ share: vk_kernel.h in CUDA, and the instructions of NVIDIA's Hopper that have no name in the
// language. Change the first together with vk_kernel.h.
//
// The names of PTX are behind each: https://docs.nvidia.com/cuda/parallel-thread-execution/. NVRTC brings no headers.

#include "gelu_half.glsl"

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

struct Push { // vkb_push as LINEAR by addresses has it
    u64 input_address, weight_address, output_address;
    u32 per_sequence;
    u32 input_width, input_stride;
    u32 output_width, output_stride;
    u32 residual_stride;
    u32 bias_at;
    u32 norm_weight_at, norm_bias_at;
    u32 norm;
    float norm_eps;
    float scale;
    u32 heads, head_size;
    u32 row_first, row_count;
    u64 sums_address;
    u32 residual_at;
    u32 kv_heads;
    u64 residual_address, vectors_address;
    u32 key_weight_at;
};

static_assert(sizeof(Push) == 128, "vkb_push");

constexpr u32 NONE = 0xFFFFFFFFu, BEFORE_ACTIVATION = 1 /* vkb_residual */, RMS = 2 /* vkb_norm */;

struct alignas(128) Map { // of a matrix in memory, what copies of its tiles are made by: tensor_maps.cu
    u64 words[16];
};

__device__ __forceinline__ u32 least(u32 a, u32 b) { return a < b ? a : b; }

// ---- what a workgroup shares ----

extern __shared__ __align__(1024) u8 shared[];

__device__ __forceinline__ u32 shared_at(u32 offset) { return (u32)__cvta_generic_to_shared(shared) + offset; }

// Of a group of 128 threads.
__device__ __forceinline__ void group_barrier(u32 group) { asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory"); }

// ---- mbarriers, by their place in shared memory ----

__device__ __forceinline__ void barrier_init(u32 at, u32 arrivals) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(at), "r"(arrivals) : "memory");
}

__device__ __forceinline__ void arrive(u32 at) { asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(at) : "memory"); }

// And so many bytes that copies are to bring.
__device__ __forceinline__ void arrive_expecting(u32 at, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(at), "r"(bytes) : "memory");
}

__device__ __forceinline__ void wait(u32 at, u32 parity) {
    asm volatile("{\n.reg .pred p;\nAGAIN:\nmbarrier.try_wait.parity.shared.b64 p, [%0], %1;\n@!p bra AGAIN;\n}" ::"r"(at), "r"(parity)
                 : "memory");
}

// ---- copies into shared memory that arrive at a barrier by themselves ----

__device__ __forceinline__ void copy(u32 to, const u8 *from, u32 bytes, u32 barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to), "l"(from), "r"(bytes),
                 "r"(barrier)
                 : "memory");
}

__device__ __forceinline__ void copy_tile(u32 to, const Map *map, u32 column, u32 row, u32 barrier) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(to),
                 "l"(map), "r"(column), "r"(row), "r"(barrier)
                 : "memory");
}

// A tile of pairs of eight rows, as tensor_maps.cu has them: from the eight with this number on.
__device__ __forceinline__ void copy_pairs(u32 to, const Map *map, u32 column, u32 eight, u32 barrier) {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %3, %4}], [%5];" ::"r"(to),
        "l"(map), "r"(column), "r"(0), "r"(eight), "r"(barrier)
        : "memory");
}

// A tile from shared memory, what threads wrote there seen by the copy (staged_fence) before; its thread waits until all but LEFT of its
// copies have read what they copy.
__device__ __forceinline__ void staged_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

__device__ __forceinline__ void store_tile(const Map *map, u32 column, u32 row, u32 from) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map), "r"(column), "r"(row), "r"(from)
                 : "memory");
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

template <u32 LEFT> __device__ __forceinline__ void stores_wait() {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(LEFT) : "memory");
}

// What an earlier launch wrote there is a map.
__device__ __forceinline__ void map_acquire(const Map *map) {
    asm volatile("fence.proxy.tensormap::generic.acquire.gpu [%0], 128;" ::"l"(map) : "memory");
}

// ---- products of a warpgroup, 128 threads ----

__device__ __forceinline__ void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <u32 LEFT> __device__ __forceinline__ void products_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

// A tile in shared memory, rows of 128 bytes whose 16-byte words are swizzled: word w of row r lies at w ^ r % 8.
__device__ __forceinline__ u64 described(u32 at) { return (u64)(at >> 4) | (u64)1 << 16 | (u64)(8 * 128 >> 4) << 32 | (u64)1 << 62; }

// ---- the rest ----

__device__ __forceinline__ uint4 load_shared(u32 at) {
    uint4 v;
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at) : "memory");
    return v;
}

__device__ __forceinline__ uint2 load_shared_8(u32 at) {
    uint2 v;
    asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(at) : "memory");
    return v;
}

__device__ __forceinline__ float2 load_floats(u32 at) {
    const uint2 v = load_shared_8(at);
    return {__uint_as_float(v.x), __uint_as_float(v.y)};
}

__device__ __forceinline__ void store_word(u32 at, u32 v) { asm volatile("st.shared.u32 [%0], %1;" ::"r"(at), "r"(v) : "memory"); }

__device__ __forceinline__ void store_float(u32 at, float v) { store_word(at, __float_as_uint(v)); }

// Four 8×8 matrices of halves: lane L holds columns 2·(L % 4) + {0, 1} of row L / 4 of each, and they lie transposed: `at` is of row L % 8
// there, of matrix L / 8.
__device__ __forceinline__ void load_transposed(u32 (&v)[4], u32 at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
                 : "r"(at)
                 : "memory");
}

__device__ __forceinline__ void store_transposed(u32 at, const u32 (&v)[4]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(v[0]), "r"(v[1]), "r"(v[2]),
                 "r"(v[3])
                 : "memory");
}

__device__ __forceinline__ u32 narrow(float low, float high) {
    u32 v;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low));
    return v;
}

__device__ __forceinline__ float2 widen(u32 v) {
    float2 f;
    asm("{\n.reg .b16 low, high;\nmov.b32 {low, high}, %2;\ncvt.f32.f16 %0, low;\ncvt.f32.f16 %1, high;\n}"
        : "=f"(f.x), "=f"(f.y)
        : "r"(v));
    return f;
}

// gelu_half of activation.glsl, which says how exact it is. N at once: each is a chain of steps that wait for one another.
template <u32 N> __device__ __forceinline__ void gelu(float (&v)[N]) {
    float u[N], p[N];
#pragma unroll
    for (u32 i = 0; i < N; i++) {
        u[i] = v[i] * v[i];
        p[i] = fmaf(u[i], (float)GELU_HALF_8, (float)GELU_HALF_7);
    }
#define STEP(c) _Pragma("unroll") for (u32 i = 0; i < N; i++) p[i] = fmaf(p[i], u[i], (float)(c));
    GELU_HALF_REST(STEP)
#undef STEP
#pragma unroll
    for (u32 i = 0; i < N; i++) v[i] *= __saturatef(fmaf(v[i], p[i], 0.5f));
}

__device__ __forceinline__ float exp2_fast(float v) {
    float e;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(v));
    return e;
}

// v / (1 + e⁻ᵛ), N at once. By a divisor over 2¹²⁶ the quotient is zero, as it is in f16.
template <u32 N> __device__ __forceinline__ void silu(float (&v)[N]) {
    constexpr float LOG2E = 1.4426950408889634f;
#pragma unroll
    for (u32 i = 0; i < N; i++) v[i] = __fdividef(v[i], 1.0f + exp2_fast(-LOG2E * v[i]));
}

// ---- copies into shared memory that a thread waits for by groups ----

__device__ __forceinline__ void copy_16(u32 to, const u8 *from) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

__device__ __forceinline__ void copy_4(u32 to, const u32 *from) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(from) : "memory");
}

__device__ __forceinline__ void copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <u32 LEFT> __device__ __forceinline__ void copies_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory"); }

// ---- products of a warp ----

// As load_transposed, and store_transposed, of matrices that lie as they are.
__device__ __forceinline__ void load_matrices(u32 (&v)[4], u32 at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
                 : "r"(at)
                 : "memory");
}

__device__ __forceinline__ void store_matrices(u32 at, const u32 (&v)[4]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3])
                 : "memory");
}

// sum += a·b, of 16×16 and 16×8: element e of sum is of row L / 4 + 8·(e / 2) and column 2·(L % 4) + e % 2, L being the lane.
__device__ __forceinline__ void multiply_add(float (&sum)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
