// A map of a matrix for copies of its tiles (CUtensorMap), made where it is used: by PTX's tensormap.replace, field by field from zeros.
// The result is, in the bytes that the hardware reads, what cuTensorMapEncodeTiled gives, which needs a CUDA context (checked for five
// matrices with driver 580).
#include "hopper.cuh"

struct Matrix {
    u64 address;
    u64 row_bytes; // from row to row: a multiple of 16
    u32 columns, rows;
    u32 box_rows; // of a tile, whose rows are 128 bytes
    u32 halves;   // elements are f16, else bytes
    u32 pairs; // a tile's rows are eight of the upper half of the matrix, the same eight of the lower half, the next eight of the upper …
    u32 unused;
};

static_assert(sizeof(Matrix) == 40, "matrix of vk_maps.c");

extern "C" __global__ void tensor_maps(const __grid_constant__ Matrix m, Map *map) {
    __shared__ Map made;
    if (threadIdx.x < 16) made.words[threadIdx.x] = 0;
    __syncwarp();
    const u32 at = (u32)__cvta_generic_to_shared(&made);
    if (threadIdx.x == 0) {
#define SET(field, type, constraint, value) \
    asm volatile("tensormap.replace.tile." field ".shared::cta.b1024." type ", %1;" ::"r"(at), constraint(value) : "memory")
        SET("global_address", "b64 [%0]", "l", m.address);
        SET("rank", "b32 [%0]", "r", m.pairs ? 4 - 1 : 2 - 1);
        SET("box_dim", "b32 [%0], 0", "r", m.halves ? 64 : 128);
        SET("box_dim", "b32 [%0], 1", "r", m.pairs ? 8 : m.box_rows);
        SET("global_dim", "b32 [%0], 0", "r", m.columns);
        SET("global_dim", "b32 [%0], 1", "r", m.pairs ? 8 : m.rows);
        SET("global_stride", "b64 [%0], 0", "l", m.row_bytes);
        SET("element_stride", "b32 [%0], 0", "r", 1);
        SET("element_stride", "b32 [%0], 1", "r", 1);
        if (m.pairs) { // rows are those of eight, the halves, the eights of a half
            SET("box_dim", "b32 [%0], 2", "r", 2);
            SET("box_dim", "b32 [%0], 3", "r", m.box_rows / 16);
            SET("global_dim", "b32 [%0], 2", "r", 2);
            SET("global_dim", "b32 [%0], 3", "r", m.rows / 16);
            SET("global_stride", "b64 [%0], 1", "l", m.rows / 2 * m.row_bytes);
            SET("global_stride", "b64 [%0], 2", "l", 8 * m.row_bytes);
            SET("element_stride", "b32 [%0], 2", "r", 1);
            SET("element_stride", "b32 [%0], 3", "r", 1);
        }
        if (m.halves)
            SET("elemtype", "b32 [%0]", "n", 6); // .f16
        else
            SET("elemtype", "b32 [%0]", "n", 0);      // .u8
        SET("interleave_layout", "b32 [%0]", "n", 0); // none
        SET("swizzle_mode", "b32 [%0]", "n", 3);      // 128 bytes
        SET("fill_mode", "b32 [%0]", "n", 0);         // zeros, past the matrix
    }
    __syncwarp();
    asm volatile("tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.gpu.sync.aligned [%0], [%1], 128;" ::"l"(map),
                 "r"(at)
                 : "memory");
}
