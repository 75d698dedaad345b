// attention.glsl: what the ATTENTION kernels share. INPUT's rows are q | k | v, each of `heads` heads side by side; a workgroup takes one entry of the
// query tile list (y) and one head (x).

const float LOG2E = 1.4426950408889634; // scores are kept in units that exp2 takes

struct QueryTile { uint first, tokens, query; }; // vkb_query_tile

QueryTile query_tile() {
    uint at = push.tiles_at + 4u * gl_WorkGroupID.y;
    return QueryTile(batch[at], batch[at + 1u], batch[at + 2u]);
}

const uint QUERIES = 0, KEYS = 1, VALUES = 2;

#include "attention_options.glsl"

// Where this workgroup's head begins in q, k or v of a row.
uint head_at(uint row, uint part) {
    uint head = part * push.heads + gl_WorkGroupID.x;
    if (GROUPED && part != QUERIES)
        head = push.heads + (part - KEYS) * push.kv_heads + gl_WorkGroupID.x / (push.heads / push.kv_heads);
    return row * push.input_stride + head * push.head_size;
}

// Heads' sizes are multiples of four: in f16 always, so that no two heads meet in a word.
#define WHOLE_FOURS (OUTPUT_F16 || (push.head_size & 3u) == 0u)

// Four elements from d on of the head that begins at `at`, zeros past the head. Heads of a size that is a multiple of four are aligned.
vec4 load_head(uint at, uint d) {
    if (WHOLE_FOURS) return d < push.head_size ? load_x4((at + d) >> 2) : vec4(0.0);
    vec4 v = vec4(0.0);
    [[unroll]] for (uint i = 0; i < 4; i++)
        if (d + i < push.head_size) v[i] = load_x(at + d + i);
    return v;
}

// The same of row row0 + r, zeros where r is not below `rows`. The read itself is always done, of a row that is there, so that several can be under way.
vec4 load_row(uint part, uint row0, uint r, uint rows, uint d) {
    uint at = head_at(row0 + min(r, rows - 1u), part);
    if (!WHOLE_FOURS) return r < rows ? load_head(at, d) : vec4(0.0);
    vec4 v = load_x4((at + min(d, push.head_size - 4u)) >> 2);
    return r < rows && d < push.head_size ? v : vec4(0.0);
}

// Rows r … r + 3, each a column of the result.
mat4 load_block(uint part, uint row0, uint r, uint rows, uint d) {
    mat4 m;
    if (!WHOLE_FOURS) {
        [[unroll]] for (uint i = 0; i < 4; i++) m[i] = load_row(part, row0, r + i, rows, d);
        return m;
    }
    uint from = min(d, push.head_size - 4u);
    [[unroll]] for (uint i = 0; i < 4; i++) m[i] = load_x4((head_at(row0 + min(r + i, rows - 1u), part) + from) >> 2);
    [[unroll]] for (uint i = 0; i < 4; i++) m[i] = r + i < rows && d < push.head_size ? m[i] : vec4(0.0);
    return m;
}

void store_head(uint row, uint d, vec4 v) {
    uint at = row * push.output_stride + gl_WorkGroupID.x * push.head_size + d;
    if (WHOLE_FOURS) {
        if (d < push.head_size) store_y4(at >> 2, v);
        return;
    }
    [[unroll]] for (uint i = 0; i < 4; i++)
        if (d + i < push.head_size) store_y(at + i, v[i]);
}

// The columns past the width, which the last head's workgroups take care of: `rows` rows from `row` on, by all invocations.
void store_padding(uint row, uint rows) {
    if (gl_WorkGroupID.x + 1u != push.heads) return;
    uint n = push.output_stride - push.output_width;
    if (WHOLE_FOURS) {
        n >>= 2;
        for (uint i = gl_LocalInvocationIndex; i < rows * n; i += LOCAL_SIZE)
            store_y4((((row + i / n) * push.output_stride + push.output_width) >> 2) + i % n, vec4(0.0));
        return;
    }
    for (uint i = gl_LocalInvocationIndex; i < rows * n; i += LOCAL_SIZE)
        store_y((row + i / n) * push.output_stride + push.output_width + i % n, 0.0);
}
