// Plain ATTENTION in f16 for many rows on NVIDIA's Hopper: heads of 32 and of 64. What a workgroup of attention_fragments waits for, its
// keys after its queries after its place in the batch, and the end of its work, costs it more than its work does; here all that is copied
// while earlier work is done.
//
// There are as many workgroups as multiprocessors. Each is some groups of four warps, and an item of work is one entry of the query tile
// list and one head, for a group. A group has a ring of stages, each KEYS keys and values, and before the first of an item its queries;
// they are copied in the order they are used in, over the ends of items. A warp has 16 queries, or twice 16. The softmax is online, in f32,
// on the products as they lie over lanes: rounded, they are the left operand of the second product.
#include "hopper.cuh"

constexpr float LOG2E = 1.4426950408889634f;
constexpr u32 WARPS = 4, GROUP = 32 * WARPS; // as group_barrier has it
constexpr u32 ENTRIES = 8;                   // of the ring of items: twice the stages, at least
constexpr float SLACK = 8.0f;                // powers of two by which a weight may be above 1

struct AttentionPush { // vkb_push as ATTENTION has it
    u32 of_batch[5], tiles_at;
    u32 per_sequence, input_width, input_stride, output_width, output_stride;
    u32 of_linear[6];
    float scale;
    u32 heads, head_size;
    u32 rest[12];
};

static_assert(sizeof(AttentionPush) == 128, "vkb_push");

struct Entry { // vkb_query_tile, and in place of the list's length a head: NONE is behind the last item
    u32 first, length, query, head;
};

// For heads of D: groups, blocks of 16 queries a warp, keys and values a stage, stages.
template <u32 D_, u32 GROUPS_, u32 BLOCKS_, u32 KEYS_, u32 STAGES_> struct Shape {
    static constexpr u32 D = D_, GROUPS = GROUPS_, BLOCKS = BLOCKS_, KEYS = KEYS_, STAGES = STAGES_;
    static constexpr u32 ROW = 2 * D, WORDS = ROW / 16; // of a head's row
    static constexpr u32 QUERIES = 16 * WARPS * BLOCKS;
    static constexpr u32 K_AT = QUERIES * ROW, V_AT = K_AT + KEYS * ROW, STAGE_BYTES = V_AT + KEYS * ROW;
    static constexpr u32 GROUP_BYTES = STAGES * STAGE_BYTES + ENTRIES * sizeof(Entry);
    static constexpr u32 THREADS = GROUPS * GROUP, BYTES = GROUPS * GROUP_BYTES + 16; // and a counter of items
    static constexpr u32 STEPS = D / 16;
    static constexpr u32 DEALT = 2 * STAGES - 1; // items that a group has been given before it has finished one

    // Word w of row r: words of eight rows that follow each other lie in different banks.
    static __device__ __forceinline__ u32 turned(u32 r) { return D == 64 ? r % 8 : r / 2 % 4; }
    static __device__ __forceinline__ u32 after(u32 slot) { return slot + 1 == STAGES ? 0 : slot + 1; }
    static __device__ __forceinline__ u32 place(u32 r, u32 w) { return r * ROW + ((w ^ turned(r)) << 4); }
};

// ---- copies ----

template <typename S> struct Feed {
    const AttentionPush &push;
    const u32 *batch;
    const u8 *input;
    u32 items;
    u32 counter, stages, entries; // in shared memory
    u32 group, lane;              // lane: of the group
    u32 next;                     // the item that is being copied, counted from the group's first
    u32 key;                      // its keys from here on are next
    u32 slot;                     // where they go

    // Copies an item's entry, the group's `number`: only one thread does. The first ones are dealt, the others are for who comes first.
    __device__ __forceinline__ void copy_entry(u32 number) {
        const u32 at = entries + number % ENTRIES * sizeof(Entry);
        u32 n = group + number * S::GROUPS, head = NONE;
        if (number >= S::DEALT) asm volatile("atom.shared.add.u32 %0, [%1], 1;" : "=r"(n) : "r"(counter) : "memory");
        const u32 item = n * gridDim.x + blockIdx.x;
        if (item < items) {
            const u32 *from = batch + push.tiles_at + item / push.heads * 4;
            head = item % push.heads;
#pragma unroll
            for (u32 i = 0; i < 3; i++) copy_4(at + 4 * i, from + i);
        }
        store_word(at + 12, head);
    }

    __device__ __forceinline__ Entry entry(u32 number) const {
        const uint4 v = load_shared(entries + number % ENTRIES * sizeof(Entry));
        return {v.x, v.y, v.z, v.w};
    }

    // `rows` rows from `first` on; past `last`, which counts from there, comes that row again. Rows past a multiple of 16 are left out.
    template <u32 MOST> __device__ __forceinline__ void copy_rows(u32 to, const u8 *from, u32 stride, u32 first, u32 last, u32 rows) {
        const u32 r = lane / S::WORDS, w = lane % S::WORDS;
        from += w * 16;
#pragma unroll
        for (u32 i = 0; i < MOST; i += GROUP / S::WORDS)
            if (r + i < rows && (MOST % (GROUP / S::WORDS) == 0 || r + i < MOST))
                copy_16(to + S::place(r + i, w), from + (u64)least(first + r + i, last) * stride);
    }

    // What the next stage holds, and the entry of an item that is STAGES further.
    __device__ __forceinline__ void advance() {
        const Entry e = entry(next);
        if (e.head != NONE) {
            const u32 stride = 2 * push.input_stride, part = push.heads * S::ROW, to = stages + slot * S::STAGE_BYTES;
            const u8 *from = input + (u64)e.first * stride + e.head * S::ROW;
            const u32 keys = (least(e.length - key, S::KEYS) + 15) & ~15u;
            if (key == 0) {
                const u32 queries = (least(e.length - e.query, S::QUERIES) + 15) & ~15u;
                copy_rows<S::QUERIES>(to, from, stride, e.query, e.length - 1, queries);
            }
            copy_rows<S::KEYS>(to + S::K_AT, from + part, stride, key, e.length - 1, keys);
            copy_rows<S::KEYS>(to + S::V_AT, from + 2 * part, stride, key, e.length - 1, keys);
            if (key == 0 && lane == 0) copy_entry(next + S::STAGES);
            key += S::KEYS;
            if (key >= e.length) {
                key = 0;
                next++;
            }
        }
        slot = S::after(slot);
        copies_commit();
    }
};

// ---- products ----

template <typename S> struct Rows { // of a warp. What there are two of is of rows lane / 4 and lane / 4 + 8 of a block
    u32 q[S::BLOCKS][S::STEPS][4];
    float o[S::BLOCKS][2 * S::STEPS][4];
    float off[S::BLOCKS][2]; // what is added to scores: -factor · some score, not far from the row's maximum
    float sum[S::BLOCKS][2]; // of this lane's keys alone
};

struct Lane {                // what it asks of load_matrices and load_transposed
    u32 by_rows;             // where its row of four matrices is that lie two and two, in this order: down, then right …
    u32 by_words;            // … right, then down
    u32 row_turn, word_turn; // and which word of it, turned
};

template <typename S> __device__ __forceinline__ Lane lane_of(u32 lane) {
    Lane l;
    const u32 down = lane % 8 + lane / 8 % 2 * 8, right = lane % 8 + lane / 16 * 8;
    l.by_rows = down * S::ROW;
    l.by_words = right * S::ROW;
    l.row_turn = (lane / 16 ^ S::turned(lane % 8)) << 4;
    l.word_turn = (lane / 8 % 2 ^ S::turned(lane % 8)) << 4;
    return l;
}

// Raises what scores are measured against: to the greatest of m, a lane's own.
template <typename S> __device__ __forceinline__ void raise(Rows<S> &rows, u32 b, float (&m)[2], float factor) {
#pragma unroll
    for (u32 h = 0; h < 2; h++) {
        m[h] = fmaxf(m[h], __shfl_xor_sync(~0u, m[h], 1));
        m[h] = fmaxf(m[h], __shfl_xor_sync(~0u, m[h], 2));
        const float off = fminf(rows.off[b][h], -factor * m[h]), shrink = exp2_fast(off - rows.off[b][h]);
        rows.off[b][h] = off;
        rows.sum[b][h] *= shrink;
#pragma unroll
        for (u32 d = 0; d < 2 * S::STEPS; d++) {
            rows.o[b][d][2 * h] *= shrink;
            rows.o[b][d][2 * h + 1] *= shrink;
        }
    }
}

// 16 · SETS keys, of which `left` are there, for the first BLOCKS blocks.
template <typename S, u32 BLOCKS, u32 SETS>
__device__ __forceinline__ void attend(Rows<S> &rows, const Lane &l, u32 k_at, u32 v_at, u32 left, float factor) {
    float s[BLOCKS][2 * SETS][4];
    u32 p[BLOCKS][SETS][4];
#pragma unroll
    for (u32 b = 0; b < BLOCKS; b++)
#pragma unroll
        for (u32 n = 0; n < 2 * SETS; n++)
#pragma unroll
            for (u32 e = 0; e < 4; e++) s[b][n][e] = 0.0f;
#pragma unroll
    for (u32 t = 0; t < SETS; t++)
#pragma unroll
        for (u32 d = 0; d < S::STEPS; d++) {
            u32 k[4];
            load_matrices(k, k_at + t * 16 * S::ROW + l.by_words + (l.word_turn ^ 2 * d << 4));
#pragma unroll
            for (u32 b = 0; b < BLOCKS; b++) {
                multiply_add(s[b][2 * t], rows.q[b][d], k[0], k[1]);
                multiply_add(s[b][2 * t + 1], rows.q[b][d], k[2], k[3]);
            }
        }
    if (left < 16 * SETS) {
        const u32 first = threadIdx.x % 4 * 2;
#pragma unroll
        for (u32 n = 0; n < 2 * SETS; n++)
#pragma unroll
            for (u32 e = 0; e < 4; e++)
                if (first + 8 * n + e % 2 >= left)
#pragma unroll
                    for (u32 b = 0; b < BLOCKS; b++) s[b][n][e] = -__int_as_float(0x7F800000);
    }
#pragma unroll
    for (u32 b = 0; b < BLOCKS; b++) {
        float m[2];
#pragma unroll
        for (u32 h = 0; h < 2; h++) {
            m[h] = fmaxf(s[b][0][2 * h], s[b][0][2 * h + 1]);
#pragma unroll
            for (u32 n = 1; n < 2 * SETS; n++) m[h] = fmaxf(m[h], fmaxf(s[b][n][2 * h], s[b][n][2 * h + 1]));
        }
        const bool above = fmaf(m[0], factor, rows.off[b][0]) > SLACK || fmaf(m[1], factor, rows.off[b][1]) > SLACK;
        if (__any_sync(~0u, above)) raise(rows, b, m, factor);
        float sum[2] = {0.0f, 0.0f};
#pragma unroll
        for (u32 n = 0; n < 2 * SETS; n++)
#pragma unroll
            for (u32 h = 0; h < 2; h++) {
                const float low = exp2_fast(fmaf(s[b][n][2 * h], factor, rows.off[b][h]));
                const float high = exp2_fast(fmaf(s[b][n][2 * h + 1], factor, rows.off[b][h]));
                sum[h] += low + high;
                p[b][n / 2][n % 2 * 2 + h] = narrow(low, high);
            }
        rows.sum[b][0] += sum[0];
        rows.sum[b][1] += sum[1];
    }
#pragma unroll
    for (u32 t = 0; t < SETS; t++)
#pragma unroll
        for (u32 d = 0; d < S::STEPS; d++) {
            u32 v[4];
            load_transposed(v, v_at + t * 16 * S::ROW + l.by_rows + (l.row_turn ^ 2 * d << 4));
#pragma unroll
            for (u32 b = 0; b < BLOCKS; b++) {
                multiply_add(rows.o[b][2 * d], p[b][t], v[0], v[1]);
                multiply_add(rows.o[b][2 * d + 1], p[b][t], v[2], v[3]);
            }
        }
}

// A stage's keys for BLOCKS blocks.
template <typename S, u32 BLOCKS>
__device__ __forceinline__ void attend_stage(Rows<S> &rows, const Lane &l, u32 stage, u32 keys, float factor) {
    u32 k_at = stage + S::K_AT, v_at = stage + S::V_AT;
#pragma unroll 1
    while (keys > 16) {
        attend<S, BLOCKS, 2>(rows, l, k_at, v_at, keys, factor);
        k_at += 32 * S::ROW;
        v_at += 32 * S::ROW;
        keys -= least(keys, 32);
    }
    if (keys) attend<S, BLOCKS, 1>(rows, l, k_at, v_at, keys, factor);
}

template <typename S> __device__ __forceinline__ void begin(Rows<S> &rows, const Lane &l, u32 queries_at, u32 blocks, bool negative) {
#pragma unroll
    for (u32 b = 0; b < S::BLOCKS; b++) {
        if (b >= blocks) break;
#pragma unroll
        for (u32 d = 0; d < S::STEPS; d++) {
            load_matrices(rows.q[b][d], queries_at + b * 16 * WARPS * S::ROW + l.by_rows + (l.row_turn ^ 2 * d << 4));
            if (negative)
#pragma unroll
                for (u32 e = 0; e < 4; e++) rows.q[b][d][e] ^= 0x80008000;
        }
#pragma unroll
        for (u32 d = 0; d < 2 * S::STEPS; d++)
#pragma unroll
            for (u32 e = 0; e < 4; e++) rows.o[b][d][e] = 0.0f;
#pragma unroll
        for (u32 h = 0; h < 2; h++) {
            rows.off[b][h] = __int_as_float(0x7F800000);
            rows.sum[b][h] = 0.0f;
        }
    }
}

// Results, by way of where the stage's queries would be: there are none, or they have been read. `to` is of the block's first query.
template <typename S>
__device__ __forceinline__ void finish(const Rows<S> &rows, u32 b, const Lane &l, u32 at, u8 *to, u32 stride, u32 queries) {
    const u32 lane = threadIdx.x % 32;
    float factor[2];
#pragma unroll
    for (u32 h = 0; h < 2; h++) {
        float all = rows.sum[b][h];
        all += __shfl_xor_sync(~0u, all, 1);
        all += __shfl_xor_sync(~0u, all, 2);
        factor[h] = __fdividef(1.0f, all);
    }
#pragma unroll
    for (u32 d = 0; d < S::STEPS; d++) {
        u32 v[4];
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const float *o = &rows.o[b][2 * d + i / 2][i % 2 * 2];
            v[i] = narrow(o[0] * factor[i % 2], o[1] * factor[i % 2]);
        }
        store_matrices(at + l.by_rows + (l.row_turn ^ 2 * d << 4), v);
    }
    __syncwarp();
#pragma unroll
    for (u32 i = 0; i < 16; i += 32 / S::WORDS) {
        const u32 r = i + lane / S::WORDS, w = lane % S::WORDS;
        const uint4 word = load_shared(at + S::place(r, w));
        if (r < queries) *(uint4 *)(to + (u64)r * stride + w * 16) = word;
    }
}

// The columns past the width.
template <typename S> __device__ __forceinline__ void store_padding(const AttentionPush &push, u8 *rows, u32 queries, u32 lane) {
    const u32 words = (push.output_stride - push.output_width) / 8;
    for (u32 i = lane; i < queries * words; i += GROUP)
        *(uint4 *)(rows + ((u64)(i / words) * push.output_stride + push.output_width + i % words * 8) * 2) = make_uint4(0, 0, 0, 0);
}

template <typename S> __device__ __forceinline__ void attention(const AttentionPush &push, const u32 *batch, const u8 *input, u8 *output) {
    const u32 group = threadIdx.x / GROUP, lane = threadIdx.x % GROUP, warp = lane / 32;
    const u32 base = shared_at(group * S::GROUP_BYTES), counter = shared_at(S::GROUPS * S::GROUP_BYTES);
    const u32 items = batch[push.tiles_at + 3] * push.heads;
    Feed<S> feed = {push, batch, input, items, counter, base, base + S::STAGES * S::STAGE_BYTES, group, lane, 0, 0, 0};
    if (threadIdx.x == 0) store_word(counter, S::GROUPS * S::DEALT);
    __syncthreads();
    if (lane == 0)
        for (u32 i = 0; i < S::STAGES; i++) feed.copy_entry(i);
    copies_commit();
    copies_wait<0>();
    group_barrier(group);
    for (u32 i = 0; i + 1 < S::STAGES; i++) feed.advance();

    const Lane l = lane_of<S>(lane % 32);
    const float factor = fmaxf(fabsf(push.scale) * LOG2E, 1.0e-30f);
    Rows<S> rows;
    u32 slot = 0;
    for (u32 item = 0;; item++) {
        Entry e;
        u32 queries = 0, blocks = 0;
        for (u32 key = 0;; key += S::KEYS) {
            copies_wait<S::STAGES - 2>();
            group_barrier(group); // the stage has been copied, and the one before is free
            const u32 stage = base + slot * S::STAGE_BYTES;
            if (key == 0) {
                e = feed.entry(item);
                if (e.head == NONE) return;
                queries = least(e.length - e.query, S::QUERIES);
                blocks = ((queries + 15) / 16 + WARPS - 1 - warp) / WARPS;
                begin(rows, l, stage + warp * 16 * S::ROW, blocks, push.scale < 0.0f);
            }
            feed.advance();
            const u32 keys = least(e.length - key, S::KEYS);
            if (S::BLOCKS == 2 && blocks == 2)
                attend_stage<S, S::BLOCKS>(rows, l, stage, keys, factor);
            else if (blocks)
                attend_stage<S, 1>(rows, l, stage, keys, factor);
            if (key + S::KEYS >= e.length) break;
            slot = S::after(slot);
        }
        const u32 stride = 2 * push.output_stride, at = base + slot * S::STAGE_BYTES;
        u8 *to = output + (u64)(e.first + e.query) * stride;
#pragma unroll
        for (u32 b = 0; b < S::BLOCKS; b++) {
            const u32 first = 16 * (warp + b * WARPS);
            if (b < blocks) finish<S>(rows, b, l, at + first * S::ROW, to + (u64)first * stride + e.head * S::ROW, stride, queries - first);
        }
        if (e.head + 1 == push.heads) store_padding<S>(push, to, queries, lane);
        slot = S::after(slot);
    }
}

typedef Shape<32, 4, 2, 64, 3> Shape32;
typedef Shape<64, 3, 1, 64, 3> Shape64;

static_assert(Shape32::BYTES <= 232448 && Shape64::BYTES <= 232448, "shared memory");
static_assert(ENTRIES >= 2 * Shape32::STAGES && ENTRIES >= 2 * Shape64::STAGES, "entries");

extern "C" __global__ void __launch_bounds__(Shape32::THREADS, 1)
    head_32(const __grid_constant__ AttentionPush push, const u32 *batch, const u8 *input, u8 *output) {
    attention<Shape32>(push, batch, input, output);
}

extern "C" __global__ void __launch_bounds__(Shape64::THREADS, 1)
    head_64(const __grid_constant__ AttentionPush push, const u32 *batch, const u8 *input, u8 *output) {
    attention<Shape64>(push, batch, input, output);
}
