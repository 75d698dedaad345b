// few_rows.glsl: what the LINEAR kernels for few rows share: rows of inputs as a subgroup's lanes hold them, norms, results. The kernel defines
//   SUBGROUPS
//   ROWS          of a workgroup
//   SEGMENTS      words of a row, eight inputs each, that a subgroup has at a time: neighbouring lanes have them
//   LANE_ROWS     rows that the lanes have between them: 32 / SEGMENTS
//   WORDS         that a lane has, of rows LANE_ROWS apart: ROWS / LANE_ROWS

const uint RMS = 2; // vkb_norm

shared vec2 row_sums[SUBGROUPS * ROWS]; // of the elements, of their squares

uint segment() { return gl_SubgroupInvocationID % SEGMENTS; }
uint chunk_row(uint i) { return gl_SubgroupInvocationID / SEGMENTS + i * LANE_ROWS; }

vec2 sums_of(uvec4 word) {
    vec2 sums = vec2(0.0);
    [[unroll]] for (uint i = 0; i < 4; i++) {
        const vec2 v = unpackHalf2x16(word[i]);
        sums += vec2(v.x + v.y, dot(v, v));
    }
    return sums;
}

// A subgroup's share of the sums over its rows; to be read after a barrier.
void store_sums(vec2 sums[WORDS]) {
    [[unroll]] for (uint i = 0; i < WORDS; i++) {
        [[unroll]] for (uint n = 1; n < SEGMENTS; n *= 2u) sums[i] += vec2(subgroupShuffleXor(sums[i].x, n), subgroupShuffleXor(sums[i].y, n));
        if (segment() == 0u) row_sums[gl_SubgroupID * ROWS + chunk_row(i)] = sums[i];
    }
}

// What a row is multiplied with and what is added then; after the barrier.
vec2 row_norm(uint row, uint width) {
    vec2 sums = vec2(0.0);
    [[unroll]] for (uint i = 0; i < SUBGROUPS; i++) sums += row_sums[i * ROWS + row];
    sums /= float(width);
    const float mean = push.norm == RMS ? 0.0 : sums.x;
    const float scale = inversesqrt(max(sums.y - mean * mean, 0.0) + push.norm_eps);
    return vec2(scale, -mean * scale);
}

// Outputs n, n + 1 of a row.
vec2 finish(vec2 sum, vec2 residual, uint n) {
    if (push.residual_at == BEFORE_ACTIVATION) sum += residual;
    sum = activate(sum.xyxy).xy;
    if (push.residual_at != BEFORE_ACTIVATION) sum += residual;
    return sum * within(n, push.output_width).xy;
}
