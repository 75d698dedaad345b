// quantize.glsl: numbers as int8 (VKB_I8 in vkbert.h): q = x·(127 / max|x|), rounded to the nearest, ties to even; scale max|x| / 127.

layout(set = 0, binding = 7) restrict writeonly buffer Bytes { uint bytes_out[]; };
layout(set = 0, binding = 7) restrict writeonly buffer Scales { float scales_out[]; };

const float UNBOUNDED = 3.4e38; // stands for the size of what is not finite: found by its bits, for a compiler may take it that there is none

float greatest4(vec4 v) {
    const uvec4 bits = floatBitsToUint(v) & 0x7FFFFFFFu;
    const uint top = max(max(bits.x, bits.y), max(bits.z, bits.w));
    return top >= 0x7F800000u ? UNBOUNDED : uintBitsToFloat(top);
}

// Zero for numbers that are (almost) zero, as for those that are not finite: these show by their scale.
float inverse_scale(float greatest) { return greatest < 7.9e-31 || greatest >= UNBOUNDED ? 0.0 : 127.0 / greatest; }

float scale_of(float greatest) {
    if (greatest >= UNBOUNDED) return uintBitsToFloat(0x7FC00000u);
    return greatest < 7.9e-31 ? 0.0 : greatest / 127.0;
}

// The four in one word: adding 3·2²² rounds to an integer, whose low byte is then the sum's.
uint quantize4(vec4 v, float inverse) {
    const uvec4 q = floatBitsToUint(v * inverse + 12582912.0) & 0xFFu;
    return (q.x | q.y << 8) | (q.z << 16 | q.w << 24);
}
