/* The table of Vulkan kernels, without a device: what is chosen where, and that the least device that Vulkan 1.2 allows can do everything.
 */
#include "../vk_force.h"
#include "../vk_program.h"
#include "test.h"

static const struct {
    uint32_t kind, weights;
} kinds[] = {{VKB_OP_EMBED, VKB_WEIGHTS_F32},
             {VKB_OP_LINEAR, VKB_WEIGHTS_F32},
             {VKB_OP_LINEAR, VKB_WEIGHTS_I8},
             {VKB_OP_LINEAR_MAX, VKB_WEIGHTS_F32},
             {VKB_OP_LINEAR_MAX, VKB_WEIGHTS_I8},
             {VKB_OP_ATTENTION, 0},
             {VKB_OP_ROTATE, 0},
             {VKB_OP_NORM, 0},
             {VKB_OP_POOL, 0},
             {VKB_OP_NORMALIZE, 0},
             {VKB_OP_GATE, 0},
             {VKB_KERNEL_COPY_OUT, 0},
             {VKB_KERNEL_QUANTIZE, 0}};

static const vkb_abilities least = {.workgroup_invocations = 128, .shared_bytes = 16384, .subgroup_size = 64};
static const vkb_abilities large = {.workgroup_invocations = 1024, .shared_bytes = 49152, .subgroup_size = 32, .subgroup_operations = 0xff};
static const vkb_abilities software = {
    .software = true, .workgroup_invocations = 1024, .shared_bytes = 32768, .subgroup_size = 8, .subgroup_operations = 0xff};

static const vkb_kernel *choose(const vkb_abilities *device, uint32_t kind, uint32_t head, uint32_t rows) {
    return vkb_kernel_choose(device, &(vkb_task){.kind = kind, .head_size = head}, rows);
}

static void rows(void) {
    for (uint32_t i = 0; i < vkb_kernel_count; i++) {
        const vkb_kernel *k = &vkb_kernels[i];
        uint32_t magic = k->functions[0] ? 0x464c457f : 0x07230203; /* of an ELF file, of SPIR-V */
        CHECK(k->name && k->name[0] && k->code && k->code[0] == magic && k->code_bytes % 4 == 0, "row %u", i);
        CHECK((k->local_size || k->subgroups) && k->tile_rows && k->own_count <= COUNT(k->own), "%s: %u invocations, %u rows, %u constants",
              k->name, k->local_size, k->tile_rows, k->own_count);
        uint32_t outputs = k->outputs_multiple ? k->outputs_multiple : VKB_OUTPUT_ALIGN;
        bool bounded = k->functions[0]; /* it stores nothing past a value's rows, however many they are */
        CHECK((bounded || VKB_ROW_TILE % k->tile_rows == 0) && outputs % (k->tile_columns ? k->tile_columns : 1) == 0,
              "%s: tiles of %u × %u leave the padding", k->name, k->tile_rows, k->tile_columns);
        CHECK(k->software || k->needs || k->folds || !k->subgroup, "%s: a row for GPUs needs subgroup operations", k->name);
        for (uint32_t j = 0; j < i; j++) CHECK(strcmp(k->name, vkb_kernels[j].name), "two rows are named %s", k->name);
    }
}

static void every_device_does_everything(void) {
    static const vkb_abilities *const devices[] = {&least, &large, &software};
    for (uint32_t d = 0; d < COUNT(devices); d++) {
        for (uint32_t k = 0; k < COUNT(kinds); k++) {
            uint32_t kind = kinds[k].kind, heads = kind == VKB_OP_ATTENTION ? VKB_MAX_HEAD : 0;
            for (uint32_t head = heads ? 1 : 0; head <= heads; head++) {
                for (uint32_t n = 1; n <= 1 << 20; n *= 2) {
                    const vkb_task task = {.kind = kind, .weights = kinds[k].weights, .head_size = head};
                    const vkb_kernel *kernel = vkb_kernel_choose(devices[d], &task, n);
                    CHECK(kernel && kernel->kind == kind && kernel->min_rows <= n &&
                              kernel->local_size <= devices[d]->workgroup_invocations && kernel->shared_bytes <= devices[d]->shared_bytes &&
                              !(kernel->subgroup & ~devices[d]->subgroup_operations) && (!head || kernel->max_head >= head),
                          "device %u, kind %u, head size %u, %u rows: %s", d, kind, head, n, kernel ? kernel->name : "none");
                }
            }
        }
    }
}

static void choices(void) {
    static const struct {
        const vkb_abilities *device;
        uint32_t kind, head, rows;
        const char *want;
    } table[] = {{&large, VKB_OP_LINEAR, 0, 32768, "linear 128x128"},
                 {&large, VKB_OP_LINEAR, 0, 1, "linear split"},
                 {&least, VKB_OP_LINEAR, 0, 32768, "linear 64x64"},
                 {&software, VKB_OP_LINEAR, 0, 32768, "linear lanes 64x16"},
                 {&software, VKB_OP_LINEAR, 0, 1, "linear lanes 16x16"},
                 {&software, VKB_OP_NORM, 0, 1, "norm lanes"},
                 {&large, VKB_OP_NORM, 0, 1, "norm"},
                 {&large, VKB_OP_ATTENTION, 32, 32768, "attention 64x64 head 32"},
                 {&large, VKB_OP_ATTENTION, 33, 32768, "attention 64x32 head 64"},
                 {&large, VKB_OP_ATTENTION, 200, 32768, "attention keys head 256"},
                 {&least, VKB_OP_ATTENTION, 64, 32768, "attention 16x32 head 64"},
                 {&software, VKB_OP_ATTENTION, 32, 32768, "attention 64x64 head 32"}};
    for (uint32_t i = 0; i < COUNT(table); i++) {
        const vkb_kernel *k = choose(table[i].device, table[i].kind, table[i].head, table[i].rows);
        CHECK(k && !strcmp(k->name, table[i].want), "row %u: %s, want %s", i, k ? k->name : "none", table[i].want);
    }
    CHECK(!choose(&large, VKB_OP_ATTENTION, VKB_MAX_HEAD + 1, 1), "a head of %u", VKB_MAX_HEAD + 1);
    CHECK(!choose(&large, 50, 0, 1), "kind 50");
}

static void forcing(void) {
    const vkb_kernel *wide = NULL;
    for (uint32_t i = 0; i < vkb_kernel_count; i++)
        if (!strcmp(vkb_kernels[i].name, "linear 128x128")) wide = &vkb_kernels[i];
    REQUIRE(wide, "there is no linear 128x128");
    vkb_kernel_force(wide);
    CHECK(choose(&large, VKB_OP_LINEAR, 0, 1) == wide, "not the forced one");
    CHECK(!choose(&least, VKB_OP_LINEAR, 0, 1), "another one, where the forced one does not fit");
    const vkb_kernel *other = choose(&large, VKB_OP_NORM, 0, 1);
    CHECK(other && other->kind == VKB_OP_NORM, "another kind");
    vkb_kernel_force(NULL);
    CHECK(choose(&large, VKB_OP_LINEAR, 0, 1) != wide, "still forced");
}

static bool add_threshold(uint32_t *thresholds, uint32_t *count, uint32_t rows) {
    for (uint32_t i = 0; i < *count; i++)
        if (thresholds[i] == rows) return true;
    if (*count < VKB_VK_MAX_CLASSES) thresholds[*count] = rows;
    return ++*count <= VKB_VK_MAX_CLASSES;
}

/* The host side has room for so many size classes and lists of attention tiles. */
static void limits(void) {
    uint32_t thresholds[VKB_VK_MAX_CLASSES] = {1}, classes = 1, lists = 0;
    bool room = true;
    for (uint32_t i = 0; i < vkb_kernel_count && room; i++) {
        const vkb_kernel *k = &vkb_kernels[i];
        bool new_list = k->kind == VKB_OP_ATTENTION && !k->by_rows;
        for (uint32_t j = 0; j < i; j++)
            if (vkb_kernels[j].kind == VKB_OP_ATTENTION && !vkb_kernels[j].by_rows && vkb_kernels[j].tile_rows == k->tile_rows)
                new_list = false;
        if (k->min_rows > 1) room = add_threshold(thresholds, &classes, k->min_rows);
        if (room && k->max_rows) room = add_threshold(thresholds, &classes, k->max_rows + 1);
        lists += new_list;
    }
    CHECK(room && lists <= VKB_VK_MAX_LISTS, "%u classes of %d, %u lists of %d", classes, VKB_VK_MAX_CLASSES, lists, VKB_VK_MAX_LISTS);
}

int main(void) {
    rows();
    every_device_does_everything();
    choices();
    forcing();
    limits();
    return test_end();
}
