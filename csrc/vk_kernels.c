/*
 * The table of kernels: every way to do every op, and which is taken where. A row is a shader of shaders/ and its specialisation constants,
 * or a kernel in CUDA C++.
 *
 * Rows for GPUs without `needs` and `folds` use no subgroup operation, so that any Vulkan 1.2 device runs them; the last row of each kind
 * needs no more than what every such device has: 128 invocations and 16 KiB of shared memory. Rows for software devices take lanes as rows.
 */
#include <stdatomic.h>
#include <string.h>

#include "cubin/attention_hopper.h"
#include "cubin/linear_hopper_bytes.h"
#include "cubin/linear_hopper_f16.h"
#include "cubin/linear_hopper_norm.h"
#include "cubin/tensor_maps.h"
#include "spirv/attention_fragments.h"
#include "spirv/attention_keys.h"
#include "spirv/attention_narrow.h"
#include "spirv/attention_tile.h"
#include "spirv/copy_out.h"
#include "spirv/embed_rows_shared.h"
#include "spirv/embed_rows_subgroup.h"
#include "spirv/gate_columns.h"
#include "spirv/linear_bytes_dot.h"
#include "spirv/linear_bytes_fragments.h"
#include "spirv/linear_bytes_lanes.h"
#include "spirv/linear_bytes_matrix.h"
#include "spirv/linear_bytes_plain.h"
#include "spirv/linear_few.h"
#include "spirv/linear_fragments.h"
#include "spirv/linear_lanes.h"
#include "spirv/linear_matrix.h"
#include "spirv/linear_matrix2.h"
#include "spirv/linear_max_bytes.h"
#include "spirv/linear_max_fragments.h"
#include "spirv/linear_max_tile.h"
#include "spirv/linear_narrow.h"
#include "spirv/linear_short.h"
#include "spirv/linear_split.h"
#include "spirv/linear_tile.h"
#include "spirv/norm_rows_shared.h"
#include "spirv/norm_rows_subgroup.h"
#include "spirv/norm_sums.h"
#include "spirv/norm_words.h"
#include "spirv/normalize_pooled.h"
#include "spirv/normalize_rows.h"
#include "spirv/pool_columns.h"
#include "spirv/probe_fragments.h"
#include "spirv/quantize_rows_shared.h"
#include "spirv/quantize_rows_subgroup.h"
#include "spirv/quantize_words.h"
#include "spirv/rotate_heads.h"
#include "vk_force.h"

#define SUBGROUP_ARITHMETIC 4u /* VK_SUBGROUP_FEATURE_ARITHMETIC_BIT */
#define SUBGROUP_BALLOT 8u     /* VK_SUBGROUP_FEATURE_BALLOT_BIT */
#define SUBGROUP_CLUSTERED 64u /* VK_SUBGROUP_FEATURE_CLUSTERED_BIT */
#define SUBGROUP_SHUFFLE 16u   /* VK_SUBGROUP_FEATURE_SHUFFLE_BIT */

#define FRAGMENTS (VKB_NEED_F16 | VKB_NEED_ADDRESSES | VKB_NEED_MATRIX | VKB_NEED_FRAGMENTS)

#define CODE(shader) .code = vkb_spirv_##shader, .code_bytes = sizeof vkb_spirv_##shader
#define ALL_GATES ((2u << VKB_ACT_SIGMOID) - 1)
#define LARGER(a, b) ((a) > (b) ? (a) : (b))
#define OWN(...) .own = {__VA_ARGS__}, .own_count = sizeof(uint32_t[]){__VA_ARGS__} / sizeof(uint32_t)

/* BM × BN outputs a workgroup, BK of K a step, TM × TN outputs an invocation. */
#define LINEAR_TILE(bm, bn, bk, tm, tn, stages) \
    .kind = VKB_OP_LINEAR, CODE(linear_tile), .local_size = 32 * (bm) / (4 * (tm)) * (bn) / (8 * (tn)), .tile_rows = bm, \
    .tile_columns = bn, OWN(bm, bn, bk, tm, tn, stages), .shared_bytes = 4 * (stages) * (bk) * ((bm) + (bn)), \
    .gates = (tn) == 8 ? ALL_GATES : 0
/* BM × BN outputs a workgroup, 64 × 64 a subgroup; of which K and N are multiples. */
#define LINEAR_FRAGMENTS(bm, bn, inputs, outputs) \
    .kind = VKB_OP_LINEAR, CODE(linear_fragments), .local_size = (bm) * (bn) / 128, .subgroups = (bm) * (bn) / 4096, .tile_rows = bm, \
    .tile_columns = bn, OWN(bm, bn, 8), .shared_bytes = 2 * (bm)*9 * 16, .needs = FRAGMENTS, .weights = 1 << VKB_WEIGHTS_F16_TILES, \
    .values = 1 << VKB_VALUES_F16, .inputs_multiple = inputs, .outputs_multiple = outputs, .gates = ALL_GATES
#define CUBIN(shader) .code = vkb_cubin_##shader, .code_bytes = sizeof vkb_cubin_##shader
/* Rows and outputs a workgroup; stages of 128 bytes of K and numbers that it keeps a row, for its memory. */
#define LINEAR_HOPPER(shader, form, bm, bn, stages, kept) \
    .kind = VKB_OP_LINEAR, CUBIN(shader), .local_size = 384, .tile_rows = bm, .tile_columns = bn, \
    .launched_bytes = (stages) * (((bm) + (bn)) * 128 + 16) + 4 * 64 * 128 + 4 * (bm) * (kept), \
    .needs = VKB_NEED_F16 | VKB_NEED_ADDRESSES | VKB_NEED_HOPPER, .weights = 1 << (form), .values = 1 << VKB_VALUES_F16, \
    .made_by = VKB_KERNEL_TENSOR_MAPS
/* It does no activation but GELU, in a GATE SiLU too. */
#define LINEAR_HOPPER_128(shader, form) \
    LINEAR_HOPPER(shader, form, 256, 128, 4, 0), .functions = {"plain", "activated", "gated_gelu", "gated_silu"}, .modes = 0xfe, \
                                                 .inputs_multiple = 128, .gates = 1 << VKB_ACT_GELU | 1 << VKB_ACT_SILU
/* It does no activation. */
#define LINEAR_HOPPER_384 \
    LINEAR_HOPPER(linear_hopper_norm, VKB_WEIGHTS_F16_TILES, 128, 384, 3, 1), \
        .functions = {"plain"}, .modes = 0xff, .outputs_multiple = 384, .max_outputs = 384, .folds = VKB_FOLD_NORM
/* One sequence, 64 rows at a time, and BN outputs a workgroup. */
#define LINEAR_MAX_FRAGMENTS(bn) \
    .kind = VKB_OP_LINEAR_MAX, CODE(linear_max_fragments), .local_size = (bn) / 2, .subgroups = (bn) / 64, .tile_rows = 1, \
    .tile_columns = bn, OWN(64, bn), .shared_bytes = 2 * 64 * 9 * 16, .needs = FRAGMENTS, .subgroup = SUBGROUP_SHUFFLE, \
    .weights = 1 << VKB_WEIGHTS_F16_TILES, .values = 1 << VKB_INPUT_F16, .inputs_multiple = 128
/* BM × 64 outputs a workgroup, ROWS × 32 a subgroup. */
#define LINEAR_MATRIX(bm, rows) \
    .kind = VKB_OP_LINEAR, CODE(linear_matrix), .subgroups = (bm) / (rows)*2, .tile_rows = bm, .tile_columns = 64, OWN(bm, rows), \
    .shared_bytes = 4 * ((bm) + 64) * 20 + 4 * (bm)*68, .needs = VKB_NEED_F16 | VKB_NEED_MATRIX, .weights = 1 << VKB_WEIGHTS_F16_TILES, \
    .values = 1 << VKB_VALUES_F16, .gates = ALL_GATES
/* By matrices of the whole workgroup. */
#define LINEAR_MATRIX2 \
    .kind = VKB_OP_LINEAR, CODE(linear_matrix2), .local_size = VKB_MATRIX2_INVOCATIONS, .tile_rows = VKB_MATRIX2_M, \
    .tile_columns = VKB_MATRIX2_N, OWN(VKB_MATRIX2_M, VKB_MATRIX2_N, VKB_MATRIX2_K), \
    .shared_bytes = 4 * VKB_MATRIX2_N * (VKB_MATRIX2_K / 2 + 4) + VKB_MATRIX2_RESERVED, \
    .needs = VKB_NEED_F16 | VKB_NEED_MATRIX | VKB_NEED_MATRIX2, .weights = 1 << VKB_WEIGHTS_F16_TILES, .values = 1 << VKB_VALUES_F16, \
    .outputs_multiple = VKB_MATRIX2_N
/* Sixteen rows; columns of an invocation; invocations that share a column. */
#define LINEAR_SPLIT(local, columns, lanes) \
    .kind = VKB_OP_LINEAR, CODE(linear_split), .local_size = local, .tile_rows = 16, .tile_columns = (local) / (lanes) * (columns), \
    OWN(16, columns, lanes), .shared_bytes = 4 * 16 * (columns) * (local)
/* Rows and columns of an invocation, eight invocations. */
#define LINEAR_LANES(rows, columns) \
    .kind = VKB_OP_LINEAR, CODE(linear_lanes), .local_size = 8, .tile_rows = 8 * (rows), .tile_columns = columns, OWN(rows, columns), \
    .subgroup = SUBGROUP_BALLOT, .software = true
/* Int8, integer arithmetic: LX × LY invocations, each ROWS × COLUMNS outputs. */
#define LINEAR_BYTES(shader, lx, ly, rows, columns) \
    .kind = VKB_OP_LINEAR, CODE(shader), .local_size = (lx) * (ly), .tile_rows = (ly) * (rows), .tile_columns = (lx) * (columns), \
    OWN(lx, rows, columns), .weights = 1 << VKB_WEIGHTS_I8
/* Int8 by fragments: BM × BN outputs a workgroup, 64 × 64 a subgroup, BK of K a step. */
#define LINEAR_BYTES_FRAGMENTS(bm, bn, bk) \
    .kind = VKB_OP_LINEAR, CODE(linear_bytes_fragments), .local_size = (bm) * (bn) / 128, .subgroups = (bm) * (bn) / 4096, \
    .tile_rows = bm, .tile_columns = bn, OWN(bm, bn, bk, 8), .shared_bytes = ((bm) + (bn)) * ((bk) + 16) + 4 * (bm), \
    .needs = VKB_NEED_F16 | VKB_NEED_FRAGMENTS | VKB_NEED_MATRIX_I8, .subgroup = SUBGROUP_SHUFFLE, .weights = 1 << VKB_WEIGHTS_I8, \
    .values = 1 << VKB_VALUES_F16, .inputs_multiple = bk
/* Int8 by matrices: BM × BN outputs a workgroup, SM × SN of them a subgroup, BK of K a step. */
#define LINEAR_BYTES_MATRIX(bm, bn, sm, sn, bk) \
    .kind = VKB_OP_LINEAR, CODE(linear_bytes_matrix), .subgroups = (bm) / (sm) * ((bn) / (sn)), .tile_rows = bm, .tile_columns = bn, \
    OWN(bm, bn, sm, sn, bk, 8), .shared_bytes = ((bm) + (bn)) * ((bk) + 16), .needs = VKB_NEED_MATRIX_I8, .weights = 1 << VKB_WEIGHTS_I8, \
    .inputs_multiple = bk
/* Tiles of 16 columns, at most half as many as subgroups, which split the inputs; chunks of so many steps of 16 inputs, and how many of
   them each has under way; what it folds beside norms. */
#define LINEAR_NARROW(columns, count, steps, depth, more) \
    .kind = VKB_OP_LINEAR, CODE(linear_narrow), .subgroups = count, .tile_rows = 16, .tile_columns = 16 * (columns), \
    OWN(columns, count, steps, depth), .shared_bytes = (count) * (1024 * (columns) + 128 + 256 * (2 * (steps) + 1)), \
    .needs = VKB_NEED_F16 | VKB_NEED_FRAGMENTS, .subgroup = SUBGROUP_SHUFFLE, .weights = 1 << VKB_WEIGHTS_F16_TILES, \
    .values = 1 << VKB_VALUES_F16, .folds = VKB_FOLD_NORM_INPUT | VKB_FOLD_NORM_RESIDUAL | (more)
/* Tiles of 16 rows and of 16 columns; subgroups, which split the inputs, a multiple of twice the latter; chunks of 32 inputs that each has
   under way. */
#define LINEAR_FEW(rows, columns, count, depth) \
    .kind = VKB_OP_LINEAR, CODE(linear_few), .subgroups = count, .tile_rows = 16 * (rows), .tile_columns = 16 * (columns), \
    OWN(columns, count, depth, rows), .needs = FRAGMENTS, .subgroup = SUBGROUP_SHUFFLE, \
    .shared_bytes = (count) * (LARGER(1024 * (rows) * (columns), 1280 * (rows)) + 128 * (rows) + 128 * (columns)), \
    .weights = 1 << VKB_WEIGHTS_F16_TILES, .values = 1 << VKB_VALUES_F16, .folds = VKB_FOLD_NORM_INPUT | VKB_FOLD_NORM_RESIDUAL
/* Of K inputs: tiles of 16 columns; subgroups, which split the inputs, at least four times as many; chunks of 32 columns of a residual that
   each normalises, at first; what it folds beside norms. */
#define LINEAR_SHORT(k, columns, count, others, more) \
    .kind = VKB_OP_LINEAR, CODE(linear_short), .subgroups = count, .tile_rows = 16, .tile_columns = 16 * (columns), .inputs = k, \
    OWN(columns, count, (k) / 16 / (count), others), .shared_bytes = (count) * (1024 * (columns) + 128), .needs = FRAGMENTS, \
    .subgroup = SUBGROUP_SHUFFLE, .weights = 1 << VKB_WEIGHTS_F16_TILES, .values = 1 << VKB_VALUES_F16, .max_rows = 128, \
    .folds = VKB_FOLD_NORM_INPUT | VKB_FOLD_NORM_RESIDUAL | (more), .head_multiple = 32, .made_by = VKB_KERNEL_NORM_SUMS
/* Heads up to D, subgroups that split the keys. */
#define ATTENTION_NARROW(d, count) \
    .kind = VKB_OP_ATTENTION, CODE(attention_narrow), .subgroups = count, .tile_rows = 16, OWN(d, count), .max_head = d, \
    .head_multiple = 16, .by_rows = true, .shared_bytes = (count) * (128 + 64 * (d)), .needs = VKB_NEED_F16 | VKB_NEED_FRAGMENTS, \
    .subgroup = SUBGROUP_SHUFFLE, .values = 1 << VKB_VALUES_F16, .modes = ~0u
/* Rows that are pooled at a time. */
#define NORMALIZE_POOLED(count) \
    .kind = VKB_OP_NORMALIZE, CODE(normalize_pooled), .subgroups = count, .tile_rows = 1, OWN(count, 64 * (count)), \
    .max_outputs = 64 * (count), .shared_bytes = (count) * (256 * (count) + 4), .subgroup = SUBGROUP_ARITHMETIC, \
    .folds = VKB_FOLD_POOL | VKB_FOLD_NORM_INPUT
/* BQ queries and BK keys at a time, heads up to D. */
#define ATTENTION_TILE(bq, bk, d) \
    .kind = VKB_OP_ATTENTION, CODE(attention_tile), .local_size = 2 * (bq), .tile_rows = bq, OWN(bq, bk, d), .max_head = d, \
    .shared_bytes = 4 * ((bq) * (d) + (bk) * (d) + (bq) * (bk))
/* `tiles` of 16 queries a subgroup, BK keys at a time, heads up to D. */
#define ATTENTION_FRAGMENTS(number, tiles, bk, d) \
    .kind = VKB_OP_ATTENTION, CODE(attention_fragments), .local_size = 32 * (number), .subgroups = number, \
    .tile_rows = 16 * (tiles) * (number), OWN(bk, d, tiles), .max_head = d, \
    .shared_bytes = 16 * ((bk) + LARGER(bk, 16 * (number))) * ((d) / 8 + 1), .needs = FRAGMENTS & ~(uint32_t)VKB_NEED_ADDRESSES, \
    .subgroup = SUBGROUP_SHUFFLE, .modes = VKB_ATTENTION_POSITIONS | VKB_ATTENTION_TYPES, .values = 1 << VKB_VALUES_F16
/* `groups` of four warps, `blocks` of 16 queries a warp, KEYS keys a stage, so many stages, heads of D: Shape of attention_hopper.cu. */
#define ATTENTION_HOPPER(function, d, groups, blocks, keys, stages) \
    .kind = VKB_OP_ATTENTION, CUBIN(attention_hopper), .functions = {function}, .local_size = 128 * (groups), .tile_rows = 64 * (blocks), \
    .max_head = d, .head_multiple = d, .launched_bytes = (groups) * ((stages)*2 * (d) * (64 * (blocks) + 2 * (keys)) + 8 * 16) + 16, \
    .needs = VKB_NEED_F16 | VKB_NEED_ADDRESSES | VKB_NEED_HOPPER, .values = 1 << VKB_VALUES_F16, .modes = ~0u
#define ATTENTION_KEYS(local, d) \
    .kind = VKB_OP_ATTENTION, CODE(attention_keys), .local_size = local, .tile_rows = 4, OWN(d), .max_head = d, \
    .shared_bytes = 16 * ((d) + (local))
/* BM rows and BN outputs at a time, BK of K a step. */
#define LINEAR_MAX_TILE(bm, bn, bk) \
    .kind = VKB_OP_LINEAR_MAX, CODE(linear_max_tile), .local_size = (bm) / 4 * (bn) / 8, .tile_rows = 1, .tile_columns = bn, \
    OWN(bm, bn, bk), .shared_bytes = 4 * ((bk) * ((bm) + (bn)) + (bm) / 4 * (bn))
/* Invocations that share a row; fours of a row that each keeps in registers. */
#define ROWS_KEPT(op, shader, local, lanes, kept) \
    .kind = op, CODE(shader), .local_size = local, .tile_rows = (local) / (lanes), OWN(lanes, kept), .shared_bytes = 8 * (local)
#define ROWS_SUBGROUPS(op, shader, lanes, kept) \
    ROWS_KEPT(op, shader, 128, lanes, kept), .subgroups = 4, .needs = VKB_NEED_SUBGROUP_32, .subgroup = SUBGROUP_CLUSTERED
#define ROWS_SUBGROUP(op, shader, kept) ROWS_SUBGROUPS(op, shader, 32, kept)
/* Invocations that share a row, 16 or 32; 16-byte words of it that each takes. */
#define NORM_WORDS(lanes, words) \
    .kind = VKB_OP_NORM, CODE(norm_words), .local_size = 128, .subgroups = 4, .tile_rows = 128 / (lanes), OWN(words, lanes), \
    .max_outputs = 8 * (lanes) * (words), .needs = VKB_NEED_SUBGROUP_32, .subgroup = SUBGROUP_CLUSTERED, .values = 1 << VKB_VALUES_F16
/* As NORM_WORDS. */
#define QUANTIZE_WORDS(lanes, words) \
    .kind = VKB_KERNEL_QUANTIZE, CODE(quantize_words), .local_size = 128, .subgroups = 4, .tile_rows = 128 / (lanes), OWN(words, lanes), \
    .max_outputs = 8 * (lanes) * (words), .needs = VKB_NEED_SUBGROUP_32, .subgroup = SUBGROUP_CLUSTERED, .values = 1 << VKB_VALUES_F16, \
    .folds = VKB_FOLD_NORM
/* A norm goes over what is kept. */
#define QUANTIZE_NORM(kept) .folds = VKB_FOLD_NORM, .max_outputs = 128 * (kept)
/* Invocations that share a row. */
#define ROWS(op, shader, local, lanes) \
    .kind = op, CODE(shader), .local_size = local, .tile_rows = (local) / (lanes), OWN(lanes), .shared_bytes = 8 * (local)
/* Invocations that share a column. */
#define POOL_COLUMNS(local, lanes) \
    .kind = VKB_OP_POOL, CODE(pool_columns), .local_size = local, .tile_rows = 1, .tile_columns = (local) / (lanes), OWN(lanes), \
    .shared_bytes = 4 * (local)

const vkb_kernel vkb_kernels[] = {
    /* 16 rows of 768: 10.1 us instead of 19.1, of 384: 7.2 instead of 9.1 (subgroup 8 and 4, one H200) */
    {.name = "embed few", ROWS_SUBGROUPS(VKB_OP_EMBED, embed_rows_subgroup, 128, 2), .max_rows = 16, .max_outputs = 1024},
    {.name = "embed subgroup 4", ROWS_SUBGROUP(VKB_OP_EMBED, embed_rows_subgroup, 4), .max_outputs = 512},
    {.name = "embed subgroup 8", ROWS_SUBGROUP(VKB_OP_EMBED, embed_rows_subgroup, 8)},
    {.name = "embed", ROWS_KEPT(VKB_OP_EMBED, embed_rows_shared, 128, 32, 4)},
    {.name = "embed lanes", ROWS_KEPT(VKB_OP_EMBED, embed_rows_shared, 8, 1, 1), .software = true},

    /* one H200, f16, with these instead of narrow and few: MiniLM-L6, 16 rows 0.106 ms instead of 0.138, 128 rows 0.190 instead of 0.244;
       base 0.280 instead of 0.383, 0.757 instead of 0.993. For 768 -> 2304 and 3072, 16 columns instead of 32: base 0.313 instead of
       0.289; for 3072 -> 768, 12, 16, 24 subgroups: 0.289, 0.282, 0.274 */
    {.name = "linear short 384", LINEAR_SHORT(384, 1, 12, 1, VKB_FOLD_ATTENTION)},
    {.name = "linear short 768", LINEAR_SHORT(768, 1, 12, 2, VKB_FOLD_ATTENTION), .max_outputs = 1024},
    {.name = "linear short 768 wide", LINEAR_SHORT(768, 2, 12, 2, VKB_FOLD_ATTENTION)},
    {.name = "linear short 1024", LINEAR_SHORT(1024, 1, 16, 2, VKB_FOLD_ATTENTION), .max_outputs = 1024},
    {.name = "linear short 1024 wide", LINEAR_SHORT(1024, 2, 16, 2, VKB_FOLD_ATTENTION)},
    {.name = "linear short 1536", LINEAR_SHORT(1536, 1, 12, 1, 0)},
    {.name = "linear short 3072", LINEAR_SHORT(3072, 1, 24, 1, 0)},
    {.name = "linear short 4096", LINEAR_SHORT(4096, 1, 32, 1, 0)},
    /* one H200: 3072 -> 768 for 16 rows 9.4 us instead of 10.9 (narrow 16x32 wide); base, 128 rows, 1.01 ms instead of 1.13 (narrow
       16x32), but MiniLM-L6 0.262 instead of 0.244. With a norm of the input narrow is better for 16 rows: 768 -> 3072 8.4 instead of
       10.3. From 97 rows on there are as many tiles of 32 as for 128 */
    {.name = "linear few 16x16", LINEAR_FEW(1, 1, 12, 2), .max_rows = 16, .from_inputs = 1088, .max_outputs = 1024},
    {.name = "linear few 32x32", LINEAR_FEW(2, 2, 8, 2), .min_rows = 97, .max_rows = 128, .from_inputs = 640, .from_outputs = 640},
    {.name = "linear narrow 16x32", LINEAR_NARROW(2, 8, 2, 2, 0), .min_rows = 17, .max_rows = 128},
    {.name = "linear narrow 16x32 wide", LINEAR_NARROW(2, 12, 2, 2, VKB_FOLD_ATTENTION), .max_rows = 16, .min_outputs = 640},
    {.name = "linear narrow 16x16", LINEAR_NARROW(1, 12, 2, 2, VKB_FOLD_ATTENTION), .max_rows = 16},
    {.name = "linear hopper 128x384", LINEAR_HOPPER_384, .min_rows = 4096},
    {.name = "linear hopper 256x128", LINEAR_HOPPER_128(linear_hopper_f16, VKB_WEIGHTS_F16_TILES), .min_rows = 4096},
    {.name = "linear fragments 64x256", LINEAR_FRAGMENTS(64, 256, 128, 256), .min_rows = 4096},
    /* for long K: 1536 → 384 in 144 µs instead of 164, but 384 → 1152 in 127 instead of 119 */
    {.name = "linear fragments 128x128", LINEAR_FRAGMENTS(128, 128, 512, 0), .min_rows = 4096},
    {.name = "linear fragments 64x128", LINEAR_FRAGMENTS(64, 128, 128, 0), .min_rows = 17},
    {.name = "linear matrix2 128x128", LINEAR_MATRIX2, .min_rows = 1024},
    {.name = "linear matrix 64x64", LINEAR_MATRIX(64, 32), .min_rows = 17},
    {.name = "linear bytes hopper 256x128", LINEAR_HOPPER_128(linear_hopper_bytes, VKB_WEIGHTS_I8), .min_rows = 4096},
    {.name = "linear bytes fragments 128x128", LINEAR_BYTES_FRAGMENTS(128, 128, 128), .min_rows = 1024},
    {.name = "linear bytes matrix 128x128", LINEAR_BYTES_MATRIX(128, 128, 64, 64, 128), .min_rows = 1024},
    {.name = "linear bytes matrix 64x64", LINEAR_BYTES_MATRIX(64, 64, 32, 32, 64), .min_rows = 128},
    {.name = "linear bytes matrix 32x32", LINEAR_BYTES_MATRIX(32, 32, 16, 16, 64)},
    {.name = "linear bytes dot", LINEAR_BYTES(linear_bytes_dot, 16, 8, 4, 4), .needs = VKB_NEED_DOT},
    {.name = "linear bytes", LINEAR_BYTES(linear_bytes_plain, 16, 8, 4, 4)},
    {.name = "linear bytes lanes", LINEAR_BYTES(linear_bytes_lanes, 1, 8, 4, 16), .subgroup = SUBGROUP_BALLOT, .software = true},
    {.name = "linear 128x128", LINEAR_TILE(128, 128, 16, 8, 8, 2), .min_rows = 4096},
    {.name = "linear 64x64", LINEAR_TILE(64, 64, 16, 4, 8, 2), .min_rows = 1024},
    {.name = "linear 32x64", LINEAR_TILE(32, 64, 32, 4, 4, 1), .min_rows = 128},
    {.name = "linear split", LINEAR_SPLIT(128, 2, 32)},
    {.name = "linear lanes 64x16", LINEAR_LANES(8, 16), .min_rows = 64},
    {.name = "linear lanes 32x16", LINEAR_LANES(4, 16), .min_rows = 17},
    {.name = "linear lanes 16x16", LINEAR_LANES(2, 16)},

    {.name = "attention narrow 4 head 32", ATTENTION_NARROW(32, 4), .min_rows = 17, .max_rows = 128},
    {.name = "attention narrow 4 head 64", ATTENTION_NARROW(64, 4), .min_rows = 17, .max_rows = 128},
    {.name = "attention narrow head 32", ATTENTION_NARROW(32, 1), .max_rows = 16},
    {.name = "attention narrow head 64", ATTENTION_NARROW(64, 1), .max_rows = 16},
    {.name = "attention hopper head 32", ATTENTION_HOPPER("head_32", 32, 4, 2, 64, 3), .min_rows = 1024},
    {.name = "attention hopper head 64", ATTENTION_HOPPER("head_64", 64, 3, 1, 64, 3), .min_rows = 1024},
    {.name = "attention fragments 64 head 16", ATTENTION_FRAGMENTS(4, 1, 64, 16)},
    {.name = "attention fragments 64 head 32", ATTENTION_FRAGMENTS(4, 1, 64, 32)},
    {.name = "attention fragments 128 head 32", ATTENTION_FRAGMENTS(4, 2, 64, 32)},
    /* 32 keys at a time leave room for more workgroups. One H200, 12 heads, the three in this order: 256 x 128 tokens 98, 108 and 118 us;
       64 x 512 239, 264 and 268; 300 x 67 on average 80, 78 and 92; 992 x 33 172, 123 and 151; 60 x 16 10.4, 7.9 and 10.6; 2 x 512 15.8,
       16.1 and 14.5. Of 64 keys and two tiles a subgroup: 107, 254, 100, 213, 15.8 and 19.7 */
    {.name = "attention fragments 128 by 32 head 64", ATTENTION_FRAGMENTS(8, 1, 32, 64), .min_rows = 4096},
    {.name = "attention fragments 64 by 32 head 64", ATTENTION_FRAGMENTS(4, 1, 32, 64), .min_rows = 1024},
    {.name = "attention fragments 64 head 64", ATTENTION_FRAGMENTS(4, 1, 64, 64)},
    {.name = "attention fragments 64 head 96", ATTENTION_FRAGMENTS(4, 1, 64, 96)},
    {.name = "attention fragments 64 head 128", ATTENTION_FRAGMENTS(4, 1, 64, 128)},
    {.name = "attention fragments 32 head 256", ATTENTION_FRAGMENTS(2, 1, 32, 256)},
    {.name = "attention 64x64 head 32", ATTENTION_TILE(64, 64, 32), .min_rows = 1024},
    {.name = "attention 32x32 head 32", ATTENTION_TILE(32, 32, 32), .min_rows = 64},
    {.name = "attention keys head 32", ATTENTION_KEYS(32, 32)},
    {.name = "attention 64x32 head 64", ATTENTION_TILE(64, 32, 64), .min_rows = 1024},
    {.name = "attention 32x32 head 64", ATTENTION_TILE(32, 32, 64), .min_rows = 64},
    {.name = "attention 16x32 head 64", ATTENTION_TILE(16, 32, 64), .min_rows = 64},
    {.name = "attention keys head 64", ATTENTION_KEYS(64, 64)},
    {.name = "attention 32x32 head 128", ATTENTION_TILE(32, 32, 128), .min_rows = 64},
    {.name = "attention 16x32 head 128", ATTENTION_TILE(16, 32, 128), .min_rows = 64},
    {.name = "attention keys head 128", ATTENTION_KEYS(64, 128)},
    {.name = "attention keys head 256", ATTENTION_KEYS(64, 256)},

    {.name = "norm words 3 of 16", NORM_WORDS(16, 3)},
    {.name = "norm words 2", NORM_WORDS(32, 2)},
    {.name = "norm words 3", NORM_WORDS(32, 3)},
    {.name = "norm words 4", NORM_WORDS(32, 4)},
    {.name = "norm subgroup 4", ROWS_SUBGROUP(VKB_OP_NORM, norm_rows_subgroup, 4), .max_outputs = 512},
    {.name = "norm subgroup 8", ROWS_SUBGROUP(VKB_OP_NORM, norm_rows_subgroup, 8)},
    {.name = "norm", ROWS_KEPT(VKB_OP_NORM, norm_rows_shared, 128, 32, 4)},
    {.name = "norm lanes", ROWS_KEPT(VKB_OP_NORM, norm_rows_shared, 8, 1, 1), .software = true},

    {.name = "pool", POOL_COLUMNS(128, 4)},
    {.name = "pool lanes", POOL_COLUMNS(8, 1), .software = true},

    {.name = "normalize pooled 512", NORMALIZE_POOLED(8), .max_rows = 16},
    {.name = "normalize pooled 1024", NORMALIZE_POOLED(16), .max_rows = 16},
    {.name = "normalize", ROWS(VKB_OP_NORMALIZE, normalize_rows, 128, 32)},
    {.name = "normalize lanes", ROWS(VKB_OP_NORMALIZE, normalize_rows, 8, 1), .software = true},

    {.name = "gate", .kind = VKB_OP_GATE, CODE(gate_columns), .local_size = 128, .tile_rows = 8, .tile_columns = 64, OWN(16)},

    {.name = "rotate", ROWS(VKB_OP_ROTATE, rotate_heads, 128, 32), .tile_columns = 1},
    {.name = "rotate lanes", ROWS(VKB_OP_ROTATE, rotate_heads, 8, 1), .tile_columns = 1, .software = true},

    {.name = "linear max fragments 64x128", LINEAR_MAX_FRAGMENTS(128)},
    {.name = "linear max 32x128", LINEAR_MAX_TILE(32, 128, 16)},
    {.name = "linear max bytes",
     .kind = VKB_OP_LINEAR_MAX,
     CODE(linear_max_bytes),
     .local_size = 64,
     .tile_rows = 1,
     .tile_columns = 64,
     .weights = 1 << VKB_WEIGHTS_I8},

    {.name = "quantize words 3 of 16", QUANTIZE_WORDS(16, 3)},
    {.name = "quantize words 2", QUANTIZE_WORDS(32, 2)},
    {.name = "quantize words 3", QUANTIZE_WORDS(32, 3)},
    {.name = "quantize words 4", QUANTIZE_WORDS(32, 4)},
    {.name = "quantize words 6", QUANTIZE_WORDS(32, 6)},
    {.name = "quantize words 12", QUANTIZE_WORDS(32, 12)},
    {.name = "quantize words 16", QUANTIZE_WORDS(32, 16)},
    {.name = "quantize subgroup 4", ROWS_SUBGROUP(VKB_KERNEL_QUANTIZE, quantize_rows_subgroup, 4), QUANTIZE_NORM(4)},
    {.name = "quantize subgroup 8", ROWS_SUBGROUP(VKB_KERNEL_QUANTIZE, quantize_rows_subgroup, 8), QUANTIZE_NORM(8)},
    {.name = "quantize subgroup 32", ROWS_SUBGROUP(VKB_KERNEL_QUANTIZE, quantize_rows_subgroup, 32)},
    {.name = "quantize", ROWS_KEPT(VKB_KERNEL_QUANTIZE, quantize_rows_shared, 128, 32, 4)},
    {.name = "quantize lanes", ROWS_KEPT(VKB_KERNEL_QUANTIZE, quantize_rows_shared, 8, 1, 1), .software = true},

    {.name = "norm sums",
     .kind = VKB_KERNEL_NORM_SUMS,
     CODE(norm_sums),
     .local_size = 64,
     .tile_rows = 1,
     .tile_columns = 64,
     .needs = FRAGMENTS,
     .weights = 1 << VKB_WEIGHTS_F16_TILES},

    {.name = "tensor maps",
     .kind = VKB_KERNEL_TENSOR_MAPS,
     CUBIN(tensor_maps),
     .functions = {"tensor_maps"},
     .local_size = 32,
     .tile_rows = 1,
     .needs = VKB_NEED_ADDRESSES | VKB_NEED_HOPPER},

    {.name = "copy out", .kind = VKB_KERNEL_COPY_OUT, CODE(copy_out), .local_size = 128, .tile_rows = 2, .tile_columns = 64, OWN(64)},

    {.name = "fragments",
     .kind = VKB_KERNEL_PROBE,
     CODE(probe_fragments),
     .local_size = 32,
     .subgroups = 1,
     .tile_rows = 1,
     .needs = VKB_NEED_F16 | VKB_NEED_MATRIX,
     .shared_bytes = 6 * 256},
};
const uint32_t vkb_kernel_count = sizeof vkb_kernels / sizeof vkb_kernels[0];

static _Atomic(const vkb_kernel *) forced;

void vkb_kernel_force(const vkb_kernel *kernel) { atomic_store(&forced, kernel); }

uint32_t vkb_kernel_invocations(const vkb_kernel *kernel, const vkb_abilities *abilities) {
    return kernel->local_size ? kernel->local_size : kernel->subgroups * abilities->subgroup_size;
}

static bool among(uint32_t bits, uint32_t form) { return !bits || bits >> form & 1; }

static bool reads_weights(const vkb_kernel *k, uint32_t form) { return k->weights ? k->weights >> form & 1 : form != VKB_WEIGHTS_I8; }

static bool divides(uint32_t multiple, uint32_t n) { return !multiple || n % multiple == 0; }

bool vkb_kernel_fits(const vkb_kernel *k, const vkb_abilities *a, const vkb_task *t) {
    return k->kind == t->kind && vkb_kernel_invocations(k, a) <= a->workgroup_invocations && k->shared_bytes <= a->shared_bytes &&
           !(k->needs & ~a->needs) && !(k->subgroup & ~a->subgroup_operations) && (!k->max_head || t->head_size <= k->max_head) &&
           !(k->modes & t->mode) && reads_weights(k, t->weights) && among(k->values, t->values) && (!k->inputs || t->inputs == k->inputs) &&
           divides(k->inputs_multiple, t->inputs) && divides(k->outputs_multiple, t->outputs) && divides(k->head_multiple, t->head_size) &&
           (!k->max_outputs || t->outputs <= k->max_outputs) && t->outputs >= k->min_outputs;
}

bool vkb_kernel_gates(const vkb_kernel *kernel, uint32_t activation) { return kernel->gates >> activation & 1; }

const vkb_kernel *vkb_kernel_forced(void) { return atomic_load(&forced); }

const vkb_kernel *vkb_kernel_choose(const vkb_abilities *abilities, const vkb_task *task, uint32_t rows) {
    const vkb_kernel *only = atomic_load(&forced), *best = NULL;
    if (only && only->kind == task->kind) return vkb_kernel_fits(only, abilities, task) ? only : NULL;
    uint32_t best_rank = 0;
    for (uint32_t i = 0; i < vkb_kernel_count; i++) {
        const vkb_kernel *k = &vkb_kernels[i];
        uint32_t state = abilities->rows ? abilities->rows[i] : VKB_ROW_USUAL;
        if (state == VKB_ROW_OFF || !vkb_kernel_fits(k, abilities, task)) continue;
        bool asked_for = rows >= k->min_rows && (!k->max_rows || rows <= k->max_rows) && task->inputs >= k->from_inputs &&
                         task->outputs >= k->from_outputs;
        uint32_t rank = state == VKB_ROW_FIRST ? 3 : !asked_for ? 0 : k->software == abilities->software ? 2 : 1;
        if (rank > best_rank) {
            best = k;
            best_rank = rank;
        }
    }
    return best;
}
