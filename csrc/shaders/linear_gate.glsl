// linear_gate.glsl: LINEAR with the GATE after it (VKB_FOLD_GATE), activation(left half) · right half. Of the product's columns 32 and 32 belong together, of
// either half. OUTPUT and output_* are of the results, whose width is a multiple of 64, so that there is no part of a tile of 64 or 128 columns.

const bool GATE = (MODE & 0x4000u) != 0u; // VKB_FOLD_GATE

// The output that column n of the product is: of a multiple of four it holds for four, of one of sixteen for sixteen.
uint output_of(uint n) {
    if (!GATE) return n;
    const uint gated = n / 64 * 32 + n % 32;
    return n % 64 < 32 ? gated : push.output_width + gated;
}
