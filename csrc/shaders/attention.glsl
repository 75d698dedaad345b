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

// Four floats from d on of the head that begins at `at`, zeros past the head. Heads of a size that is a multiple of four are aligned.
vec4 load_head(uint at, uint d) {
    if ((push.head_size & 3u) == 0u) return d < push.head_size ? x4[(at + d) >> 2] : vec4(0.0);
    vec4 v = vec4(0.0);
    [[unroll]] for (uint i = 0; i < 4; i++)
        if (d + i < push.head_size) v[i] = x[at + d + i];
    return v;
}

void store_head(uint row, uint d, vec4 v) {
    uint at = row * push.output_stride + gl_WorkGroupID.x * push.head_size + d;
    if ((push.head_size & 3u) == 0u) {
        if (d < push.head_size) y4[at >> 2] = v;
        return;
    }
    [[unroll]] for (uint i = 0; i < 4; i++)
        if (d + i < push.head_size) y[at + i] = v[i];
}

// The columns past the width, which the last head's workgroups take care of: `rows` rows from `row` on, by all invocations.
void store_padding(uint row, uint rows) {
    if (gl_WorkGroupID.x + 1u != push.heads) return;
    uint n = push.output_stride - push.output_width;
    for (uint i = gl_LocalInvocationIndex; i < rows * n; i += LOCAL_SIZE)
        y[(row + i / n) * push.output_stride + push.output_width + i % n] = 0.0;
}
