// rows.glsl: work on whole rows: LANES neighbouring invocations take one row, four floats at a time.
//
// Sums over a row meet in shared memory: one barrier, after which each lane adds all parts in the same order. With LANES = 1 (devices whose
// subgroups are SIMD lanes of a CPU) nothing meets anywhere. No subgroup operation; compiled with SUBGROUP, where subgroups have at least 32 invocations
// and LANES is a multiple of 32, they meet by one instead, those of several subgroups in shared memory.

layout(constant_id = 7) const uint LANES = 32; // a power of two; LOCAL_SIZE is a multiple of it

#ifdef SUBGROUP
#extension GL_KHR_shader_subgroup_clustered : require
#else
shared float parts[2 * LOCAL_SIZE];
#endif

uint row_lane() { return gl_LocalInvocationIndex % LANES; }
uint row_index() { return gl_WorkGroupID.y * (LOCAL_SIZE / LANES) + gl_LocalInvocationIndex / LANES; }

// The sum, or the maximum, over a row's lanes; in uniform control flow. `slot` alternates between 0 and 1 from call to call, so that a fast lane does
// not overwrite what a slow one still reads.
#ifdef SUBGROUP
const uint SHARERS = LANES / 32; // subgroups that share a row

shared float parts[2 * LOCAL_SIZE / 32];

// This subgroup's part goes where those that share its row find it; the place of the row's first.
uint hand_on(float part, uint slot) {
    const uint at = slot * (LOCAL_SIZE / 32) + gl_LocalInvocationIndex / 32;
    if (gl_LocalInvocationIndex % 32 == 0u) parts[at] = part;
    barrier();
    return at / SHARERS * SHARERS;
}

float row_sum(float part, uint slot) {
    float sum = subgroupClusteredAdd(part, 32);
    if (SHARERS == 1) return sum;
    const uint at = hand_on(sum, slot);
    sum = parts[at];
    for (uint i = 1; i < SHARERS; i++) sum += parts[at + i];
    return sum;
}

float row_max(float part, uint slot) {
    float top = subgroupClusteredMax(part, 32);
    if (SHARERS == 1) return top;
    const uint at = hand_on(top, slot);
    for (uint i = 0; i < SHARERS; i++) top = max(top, parts[at + i]);
    return top;
}
#else
float row_sum(float part, uint slot) {
    if (LANES == 1) return part;
    uint at = slot * LOCAL_SIZE + gl_LocalInvocationIndex;
    parts[at] = part;
    barrier();
    float sum = 0.0;
    at -= row_lane();
    for (uint l = 0; l < LANES; l++) sum += parts[at + l];
    return sum;
}

float row_max(float part, uint slot) {
    if (LANES == 1) return part;
    uint at = slot * LOCAL_SIZE + gl_LocalInvocationIndex;
    parts[at] = part;
    barrier();
    float top = part;
    at -= row_lane();
    for (uint l = 0; l < LANES; l++) top = max(top, parts[at + l]);
    return top;
}

#endif

float add4(vec4 v) { return (v.x + v.y) + (v.z + v.w); }
