/*
 * The CPU's products in int8, kernel by kernel: quantize against vkb_quantize, and tile_i8 against sums in plain C, bit by bit: weights and
 * inputs at both ends of their range, all heights of a tile, and as many inputs as there may be, where sums come near 2³¹.
 */
#include "fixture.h"

#include "../cpu.h"

enum { MOST_ROWS = VKB_CPU_MAX_TILE };

static uint32_t state = 1;

static uint32_t next_random(void) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state >> 8;
}

typedef enum pattern { ANY, ENDS, TOP, OPPOSITE, PATTERNS } pattern;

static int32_t element(pattern p, bool weight, int32_t least, int32_t most) {
    if (p == ANY) return least + (int32_t)(next_random() % (uint32_t)(most - least + 1));
    if (p == ENDS) return next_random() % 2 ? most : least;
    return p == OPPOSITE && weight ? least : most;
}

/* The input that is stored at place i. */
static int32_t value_at(const vkb_cpu_kernels *kernels, const char *q, uint32_t i, int32_t low) {
    int16_t two;
    memcpy(&two, q + i * 2, sizeof two);
    bool is_unsigned = kernels->i8_offset || kernels->i8_inputs.spread;
    return (kernels->i8_size == 2 ? two : is_unsigned ? (uint8_t)q[i] : (int8_t)q[i]) + low;
}

/* c[r][j] of a tile in plain C. */
static float product(const int8_t *a, const int8_t *b, uint32_t depth, float scale) {
    int64_t sum = 0;
    for (uint32_t k = 0; k < depth; k++) sum += a[k] * b[k];
    return (float)(int32_t)sum * scale;
}

static void tiles(const vkb_cpu_kernels *kernels, uint32_t depth, uint32_t rows, pattern p) {
    const uint32_t group = 4 / kernels->i8_size;
    int8_t *a = malloc((size_t)rows * depth), *b = malloc((size_t)VKB_CPU_PANEL * depth), *panel = malloc((size_t)VKB_CPU_PANEL * depth);
    const size_t stride = (size_t)depth * kernels->i8_size + (depth % 3 ? 64 : 0);
    char *q = malloc(rows * stride);
    vkb_cpu_i8_row row[MOST_ROWS];
    float scale[VKB_CPU_PANEL], c[MOST_ROWS * VKB_CPU_PANEL];
    int32_t sums[VKB_CPU_PANEL], most = kernels->i8_inputs.most, weight = kernels->i8_weights.most;
    REQUIRE(a && b && panel && q, "out of memory");
    for (uint32_t r = 0; r < rows; r++) {
        int32_t low = -kernels->i8_offset;
        if (kernels->i8_inputs.spread) low = r % 3 == 0 ? 0 : r % 3 == 1 ? -most : -most / 3;
        row[r] = (vkb_cpu_i8_row){(float)(1 << r), low};
    }
    for (size_t i = 0; i < (size_t)rows * depth; i++) {
        int32_t low = row[i / depth].low;
        a[i] = (int8_t)(kernels->i8_inputs.spread ? element(p, false, low, low + most) : element(p, false, -most, most));
        int16_t two = (int16_t)(a[i] - low);
        uint8_t one = (uint8_t)two;
        memcpy(q + i / depth * stride + i % depth * kernels->i8_size, kernels->i8_size == 2 ? (void *)&two : (void *)&one,
               kernels->i8_size);
    }
    for (uint32_t j = 0; j < VKB_CPU_PANEL; j++) {
        int32_t sum = 0;
        for (uint32_t k = 0; k < depth; k++) {
            int8_t w = b[(size_t)j * depth + k] = (int8_t)element(p, true, -weight, weight);
            panel[((size_t)(k / group) * VKB_CPU_PANEL + j) * group + k % group] = w;
            sum += w;
        }
        sums[j] = sum;
        scale[j] = 1.0f / (float)(1 << j); /* a power of two, so that a sum times it is as exact as the sum */
    }
    kernels->tile_i8(rows, q, stride, row, &(vkb_cpu_i8_panel){panel, scale, sums}, depth, c, VKB_CPU_PANEL, &(vkb_cpu_ahead){.at = q});
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t j = 0; j < VKB_CPU_PANEL; j++) {
            float want = product(a + (size_t)r * depth, b + (size_t)j * depth, depth, row[r].scale * scale[j]);
            CHECK(c[r * VKB_CPU_PANEL + j] == want, "%s, %u rows of %u, pattern %d: [%u, %u] is %.9g, want %.9g", kernels->name, rows,
                  depth, (int)p, r, j, (double)c[r * VKB_CPU_PANEL + j], (double)want);
        }
    free(a);
    free(b);
    free(panel);
    free(q);
}

static void quantizes(const vkb_cpu_kernels *kernels, uint32_t count, float top) {
    float x[300];
    int8_t want[300];
    char q[304 * 2];
    float least = next_random() % 2 ? 1000 : (float)(next_random() % 1000); /* of all, with a sign */
    for (uint32_t i = 0; i < count; i++) x[i] = top * ((float)(next_random() % 1001) * (1000 + least) / 1000 - least) / 1000;
    x[count / 2] = top;
    memset(q, 0x55, sizeof q);
    float scale = vkb_quantize(x, count, kernels->i8_inputs, want);
    vkb_cpu_i8_row got = kernels->quantize(x, count, q);
    CHECK(got.scale == scale, "%s: the scale of %u numbers up to %g is %.9g, want %.9g", kernels->name, count, (double)top,
          (double)got.scale, (double)scale);
    for (uint32_t i = 0; i < count; i++) {
        int32_t value = value_at(kernels, q, i, got.low), stored = value - got.low;
        CHECK(value == want[i], "%s: number %u of %u, %.9g, becomes %d, want %d", kernels->name, i, count, (double)x[i], value, want[i]);
        CHECK(!kernels->i8_inputs.spread || stored <= kernels->i8_inputs.most + 1, "%s: %.9g is stored as %d", kernels->name, (double)x[i],
              stored);
    }
    for (size_t i = (size_t)vkb_cpu_i8_depth(count) * kernels->i8_size; i < sizeof q; i++)
        CHECK(q[i] == 0x55, "%s: quantize of %u numbers writes byte %zu", kernels->name, count, i);
}

int main(int argc, char **argv) {
    static const uint32_t depths[] = {8, 16, 24, 40, 104, 1032}, counts[] = {1, 2, 3, 7, 15, 16, 17, 31, 33, 64, 255, 300};
    static const float tops[] = {1, 3e-20f, 1e30f, 0};
    vkb_device *device = open_device(argc > 1 ? argv[1] : "cpu");
    const vkb_cpu_kernels *kernels = ((const vkb_cpu_device *)device)->kernels;
    for (pattern p = ANY; p < PATTERNS; p++) {
        for (uint32_t i = 0; i < COUNT(depths); i++)
            for (uint32_t rows = 1; rows <= kernels->i8_rows; rows++) tiles(kernels, depths[i], rows, p);
        tiles(kernels, VKB_I8_MAX_COLUMNS, kernels->i8_rows, p);
    }
    for (uint32_t i = 0; i < COUNT(counts); i++)
        for (uint32_t t = 0; t < COUNT(tops); t++) quantizes(kernels, counts[i], tops[t]);
    printf("%s: ", kernels->name);
    vkb_device_close(device);
    return test_end();
}
