// tiles.glsl: LINEAR weights in tiles (vkb_weight_form in vk_kernel.h) as kernels see them that don't take them straight into fragments.

// Inputs 4·k4 … 4·k4 + 3 of output n: two words, of neighbouring lanes.
uvec2 load_tiles(uint n, uint k4) {
    uint tile = ((n >> 6) * (push.input_stride >> 4) + (k4 >> 2)) * 4u + ((n >> 4) & 3u);
    uint word = tile * 128u + (n & 7u) * 16u + (k4 & 1u) * 8u + ((n >> 3) & 1u) * 2u + ((k4 >> 1) & 1u);
    return uvec2(weight1[word], weight1[word + 4u]);
}
