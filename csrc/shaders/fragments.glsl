// fragments.glsl: 16×16 fragments put together by hand (VKB_NEED_FRAGMENTS), for kernels whose rows are so few that staging them in shared memory would
// take longer than the multiplication. Lane L holds rows L/4 and L/4 + 8, and of each the columns 2·(L%4), + 1, + 8 and + 9.

#extension GL_KHR_shader_subgroup_shuffle : require

const uint HALVES = 8; // elements of a fragment that a lane holds

uint lane_row() { return gl_SubgroupInvocationID >> 2; }
uint lane_column() { return 2u * (gl_SubgroupInvocationID & 3u); }

// Over the four lanes that share a row.
float row_total(float v) {
    v += subgroupShuffleXor(v, 1u);
    return v + subgroupShuffleXor(v, 2u);
}

float row_greatest(float v) {
    v = max(v, subgroupShuffleXor(v, 1u));
    return max(v, subgroupShuffleXor(v, 2u));
}
