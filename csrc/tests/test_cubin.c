/*
 * Kernels in CUDA C++ where there is no Hopper: a software device that says it is one and offers VK_NVX_binary_import. Whatever that
 * extension then fails with, the kernel is off with a reason, others do its work and no object is left; and what a launch is given is
 * looked at.
 */
#include <math.h>
#include <pthread.h>

#include "../vk_force.h"
#include "../vk_program.h"
#include "fixture.h"
#include "intercept.h"

enum { PROCESSORS = 3, ROWS = 9, K = 128, OUTPUTS = 200, GATED = 128, HEADS = 3, HEAD = 32, MAX_MAPS = 64, NAMES = 8 };

typedef struct driver { /* how it goes wrong */
    const char *about;
    const char *reason; /* that the kernel is off; NULL: it is not asked for */
    bool lacks_functions;
    VkResult module, function;
    const char *variants;
} driver;

static const driver drivers[] = {
    {.about = "no functions", .reason = "the driver lacks functions", .lacks_functions = true},
    {.about = "no module", .reason = "VK_ERROR_INITIALIZATION_FAILED", .module = VK_ERROR_INITIALIZATION_FAILED},
    {.about = "no function", .reason = "VK_ERROR_UNKNOWN", .function = VK_ERROR_UNKNOWN},
    {.about = "no results", .reason = "is off: "},
    {.about = "lost", .reason = "lost the device", .module = VK_ERROR_DEVICE_LOST},
    {.about = "forbidden maps", .variants = "-tensor maps"},
    {.about = "forbidden", .variants = "-*hopper*"},
};
static const driver *now;

typedef struct work { /* a program that takes a kernel */
    const char *kernel;
    uint32_t needs; /* beside those of all */
    bool maps;
    uint32_t imports; /* modules and functions */
    fixture f;
    results want;
} work;

static bool is_software; /* the device that was opened last */
static uint32_t needs;   /* that it meets */

/* ---- The device ---- */

static PFN_vkGetPhysicalDeviceProperties true_GetPhysicalDeviceProperties;
static PFN_vkGetPhysicalDeviceProperties2 true_GetPhysicalDeviceProperties2;
static PFN_vkEnumerateDeviceExtensionProperties true_EnumerateDeviceExtensionProperties;
static PFN_vkCreateDevice true_CreateDevice;
static PFN_vkGetDeviceProcAddr true_GetDeviceProcAddr;

static void disguise(VkPhysicalDeviceProperties *p) {
    p->deviceType = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
    p->vendorID = 0x10de;
    p->deviceID = 0x2335;
    snprintf((char *)p->pipelineCacheUUID, VK_UUID_SIZE, "%s", now->about); /* what was found of one is not known of the next */
}

static VKAPI_ATTR void VKAPI_CALL fake_GetPhysicalDeviceProperties(VkPhysicalDevice device, VkPhysicalDeviceProperties *properties) {
    true_GetPhysicalDeviceProperties(device, properties);
    disguise(properties);
}

static VKAPI_ATTR void VKAPI_CALL fake_GetPhysicalDeviceProperties2(VkPhysicalDevice device, VkPhysicalDeviceProperties2 *properties) {
    true_GetPhysicalDeviceProperties2(device, properties);
    disguise(&properties->properties);
    for (VkBaseOutStructure *s = properties->pNext; s; s = s->pNext)
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV)
            ((VkPhysicalDeviceShaderSMBuiltinsPropertiesNV *)(void *)s)->shaderSMCount = PROCESSORS;
}

static const char *const offered[] = {VK_NVX_BINARY_IMPORT_EXTENSION_NAME, VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME};

static VKAPI_ATTR VkResult VKAPI_CALL fake_EnumerateDeviceExtensionProperties(VkPhysicalDevice device, const char *layer, uint32_t *count,
                                                                              VkExtensionProperties *list) {
    uint32_t room = *count;
    if (list) *count = room - COUNT(offered); /* it asked how many there are */
    VkResult result = true_EnumerateDeviceExtensionProperties(device, layer, count, list);
    for (size_t i = 0; i < COUNT(offered); i++, ++*count)
        if (list) {
            list[*count] = (VkExtensionProperties){.specVersion = 1};
            snprintf(list[*count].extensionName, sizeof list->extensionName, "%s", offered[i]);
        }
    return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL fake_CreateDevice(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                                                        const VkAllocationCallbacks *a, VkDevice *device) {
    VkPhysicalDeviceProperties properties;
    VkDeviceCreateInfo other = *info;
    const char *names[NAMES];
    bool asked = false;
    true_GetPhysicalDeviceProperties(physical, &properties);
    is_software = properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
    other.enabledExtensionCount = 0;
    other.ppEnabledExtensionNames = names;
    REQUIRE(info->enabledExtensionCount <= NAMES, "%u extensions", info->enabledExtensionCount);
    for (uint32_t i = 0; i < info->enabledExtensionCount; i++) {
        bool import = !strcmp(info->ppEnabledExtensionNames[i], VK_NVX_BINARY_IMPORT_EXTENSION_NAME);
        asked = asked || import;
        if (!import) names[other.enabledExtensionCount++] = info->ppEnabledExtensionNames[i];
    }
    CHECK(asked, "%s: the extension is not enabled", now->about);
    return true_CreateDevice(physical, &other, a, device);
}

/* ---- The extension ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;                                  /* kernels are tested by several threads */
static uint32_t modules, launches, map_launches, map_count;                                /* launches: but those for maps */
enum { TENSOR_MAPS = 1, LINEAR, GATED_LINEAR = LINEAR + 2, ATTENTION = GATED_LINEAR + 2 }; /* of the functions, the first of a kind */
static const char *functions[] = {"", "tensor_maps", "plain", "activated", "gated_gelu", "gated_silu", "head_32", "head_64"};

typedef struct matrix { /* as vk_maps.c has it */
    uint64_t address, row_bytes;
    uint32_t columns, rows, box_rows, halves, pairs, unused;
} matrix;

static struct {
    uint64_t at;
    matrix of;
} maps[MAX_MAPS]; /* the latest first */

static VKAPI_ATTR VkResult VKAPI_CALL fake_CreateCuModuleNVX(VkDevice device, const VkCuModuleCreateInfoNVX *info,
                                                             const VkAllocationCallbacks *a, VkCuModuleNVX *module) {
    (void)device;
    (void)a;
    pthread_mutex_lock(&mutex);
    modules++;
    pthread_mutex_unlock(&mutex);
    CHECK(!memcmp(info->pData, "\177ELF", 4) && info->dataSize > 1000, "%s: a module of %zu bytes", now->about, info->dataSize);
    if (!now->module) *module = (VkCuModuleNVX)(uintptr_t)1;
    return now->module;
}

static VKAPI_ATTR VkResult VKAPI_CALL fake_CreateCuFunctionNVX(VkDevice device, const VkCuFunctionCreateInfoNVX *info,
                                                               const VkAllocationCallbacks *a, VkCuFunctionNVX *function) {
    (void)device;
    (void)a;
    uintptr_t found = 0;
    for (uintptr_t i = 1; i < COUNT(functions); i++)
        if (!strcmp(info->pName, functions[i])) found = i;
    CHECK(found, "%s: there is no function %s", now->about, info->pName);
    if (!now->function) *function = (VkCuFunctionNVX)found;
    return now->function;
}

static VKAPI_ATTR void VKAPI_CALL fake_DestroyCuModuleNVX(VkDevice device, VkCuModuleNVX module, const VkAllocationCallbacks *a) {
    (void)device;
    (void)a;
    CHECK(module == (VkCuModuleNVX)(uintptr_t)1, "%s: a module that was not made is destroyed", now->about);
}

static VKAPI_ATTR void VKAPI_CALL fake_DestroyCuFunctionNVX(VkDevice device, VkCuFunctionNVX function, const VkAllocationCallbacks *a) {
    (void)device;
    (void)a;
    CHECK(function, "%s: no function is destroyed", now->about);
}

static const matrix *map_at(uint64_t address) {
    static const matrix none;
    for (uint32_t i = 0; i < map_count; i++)
        if (maps[i].at == address) return &maps[i].of;
    return &none;
}

static void look_at_maps(const VkCuLaunchInfoNVX *launch) {
    matrix m;
    uint64_t at;
    CHECK(launch->gridDimX == 1 && launch->blockDimX == 32 && launch->paramCount == 2, "a launch of %u groups of %u with %zu parameters",
          launch->gridDimX, launch->blockDimX, launch->paramCount);
    memcpy(&m, launch->pParams[0], sizeof m);
    memcpy(&at, launch->pParams[1], sizeof at);
    CHECK(at % 128 == 0 && m.address % 16 == 0 && m.row_bytes % 16 == 0 && m.box_rows <= 256, "a map at %llx of what lies at %llx",
          (unsigned long long)at, (unsigned long long)m.address);
    memmove(maps + 1, maps, sizeof maps - sizeof *maps);
    maps[0].at = at;
    maps[0].of = m;
    map_count += map_count < MAX_MAPS;
    map_launches++;
}

/* All that it reads tiles of has its map. */
static void look_at_linear(const VkCuLaunchInfoNVX *launch, bool gated) {
    vkb_push push;
    uint64_t batch, first;
    CHECK(launch->gridDimX == PROCESSORS && launch->paramCount == 3, "a launch of %u groups with %zu parameters", launch->gridDimX,
          launch->paramCount);
    memcpy(&push, launch->pParams[0], sizeof push);
    memcpy(&batch, launch->pParams[1], sizeof batch);
    memcpy(&first, launch->pParams[2], sizeof first);
    const matrix *x = map_at(first), *residual = map_at(first + 128), *weights = map_at(first + (gated ? 640 : 256)),
                 *output = map_at(first + (gated ? 512 : 384));
    CHECK(batch && x->address == push.input_address && x->columns == push.input_stride, "its input has no map");
    CHECK(x->halves || (weights->address == push.weight_address && weights->rows % VKB_OUTPUT_ALIGN == 0 && weights->pairs == gated),
          "its weights have no map");
    CHECK(!gated || x->halves || weights->rows == 2 * push.output_width, "%u rows of weights for a GATE of %u", weights->rows,
          push.output_width);
    CHECK(!push.residual_stride || (residual->address == push.residual_address && residual->columns == push.residual_stride),
          "its residual has no map");
    CHECK(output->address == push.output_address && output->columns == push.output_stride, "its output has no map");
    launches++;
}

static void look_at_attention(const VkCuLaunchInfoNVX *launch) {
    vkb_push push;
    uint64_t batch, input, output;
    CHECK(launch->gridDimX == PROCESSORS && launch->paramCount == 4, "a launch of %u groups with %zu parameters", launch->gridDimX,
          launch->paramCount);
    memcpy(&push, launch->pParams[0], sizeof push);
    memcpy(&batch, launch->pParams[1], sizeof batch);
    memcpy(&input, launch->pParams[2], sizeof input);
    memcpy(&output, launch->pParams[3], sizeof output);
    CHECK(batch && input && output && input != output && input % 16 == 0 && output % 16 == 0, "what it reads and writes has no place");
    CHECK(push.tiles_at && push.head_size == HEAD && push.input_stride % VKB_COLUMN_ALIGN == 0, "a list at %u, heads of %u", push.tiles_at,
          push.head_size);
    launches++;
}

/* It does nothing. */
static VKAPI_ATTR void VKAPI_CALL fake_CmdCuLaunchKernelNVX(VkCommandBuffer commands, const VkCuLaunchInfoNVX *launch) {
    (void)commands;
    if (vkb_vk_selftest_only_makes()) return; /* it is never run, so nothing has to be there */
    pthread_mutex_lock(&mutex);
    uintptr_t function = (uintptr_t)launch->function;
    if (function == TENSOR_MAPS)
        look_at_maps(launch);
    else if (function >= ATTENTION)
        look_at_attention(launch);
    else
        look_at_linear(launch, function >= GATED_LINEAR);
    pthread_mutex_unlock(&mutex);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL fake_GetDeviceProcAddr(VkDevice device, const char *name) {
#define OFFER(call) \
    if (!strcmp(name, "vk" #call)) return now->lacks_functions ? NULL : (PFN_vkVoidFunction)fake_##call;
    VKB_VK_OPTIONAL_DEVICE_FUNCTIONS(OFFER)
    return true_GetDeviceProcAddr(device, name);
}

static PFN_vkVoidFunction (*counted)(const char *name, PFN_vkVoidFunction function);

static PFN_vkVoidFunction intercept(const char *name, PFN_vkVoidFunction function) {
#define FAKE(call) \
    if (!strcmp(name, "vk" #call)) { \
        true_##call = (PFN_vk##call)function; \
        function = (PFN_vkVoidFunction)fake_##call; \
    }
    FAKE(GetPhysicalDeviceProperties)
    FAKE(GetPhysicalDeviceProperties2)
    FAKE(EnumerateDeviceExtensionProperties)
    FAKE(CreateDevice)
    FAKE(GetDeviceProcAddr)
    return counted(name, function);
}

/* ---- Programs that take the kernels ---- */

static const char *selector;
static char logged[1 << 15];

static void log_line(void *user, vkb_log_level level, const char *message) {
    (void)user;
    size_t at = strlen(logged);
    if (level == VKB_LOG_WARNING) snprintf(logged + at, sizeof logged - at, "%s\n", message);
}

static vkb_op linear_op(fixture *f, uint32_t input, uint32_t width, uint32_t dtype) {
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_LINEAR;
    op.input = input;
    f->dtype = dtype;
    op.weight = fixture_tensor(f, width, K, VKB_LAYOUT_LINEAR, 2 / sqrtf(K));
    return op;
}

static uint32_t add_linear(fixture *f, uint32_t input, bool plain) {
    vkb_op op = linear_op(f, input, OUTPUTS, VKB_I8);
    f->dtype = VKB_F32;
    op.bias = fixture_vector(f, OUTPUTS, 1);
    op.activation = plain ? VKB_ACT_NONE : VKB_ACT_GELU;
    if (!plain) op.residual = fixture_input(f, OUTPUTS, 1);
    return fixture_op(f, op, VKB_PER_TOKEN, OUTPUTS);
}

static void add_gate(fixture *f, uint32_t input, uint32_t activation, uint32_t dtype) {
    vkb_op both = linear_op(f, input, 2 * GATED, dtype), op = VKB_OP_INIT; /* whose results nobody else wants */
    both.output = op.input = fixture_value(f, VKB_PER_TOKEN, 2 * GATED);
    f->ops[f->op_count++] = both;
    op.kind = VKB_OP_GATE;
    op.activation = activation;
    fixture_op(f, op, VKB_PER_TOKEN, GATED);
}

static void add_attention(fixture *f) {
    vkb_op op = VKB_OP_INIT;
    op.kind = VKB_OP_ATTENTION;
    op.input = fixture_input(f, 3 * HEADS * HEAD, 1);
    op.heads = HEADS;
    op.scale = 0.2f;
    fixture_op(f, op, VKB_PER_TOKEN, HEADS * HEAD);
}

static vkb_status live(const fixture *f, results *r, vkb_error *error) {
    vkb_device_options options = {.struct_size = sizeof options, .selector = selector, .log = log_line};
    vkb_device *device = NULL;
    memset(r, 0, sizeof *r);
    vkb_status status = vkb_device_open(&options, &device, error);
    if (device) needs = ((vkb_vk_device *)device)->abilities.needs;
    if (device && (!is_software || !(needs & VKB_NEED_F16))) exit(SKIPPED);
    if (!status) status = fixture_try(f, device, r, error);
    vkb_device_close(device);
    CHECK(intercept_alive() == 0, "%s: %d objects are left", now->about, intercept_alive());
    return status;
}

static void one(const work *w) {
    const fixture *f = &w->f;
    results got;
    vkb_error error = {0};
    char name[64];
    snprintf(name, sizeof name, "kernel \"%s\"", w->kernel);
    logged[0] = '\0';
    modules = launches = map_launches = map_count = 0;
    if (now->variants)
        setenv("VKBERT_VARIANTS", now->variants, 1);
    else
        unsetenv("VKBERT_VARIANTS");
    vkb_status status = live(f, &got, &error);
    for (int i = 0; i < 2 && status == VKB_ERROR_DEVICE_LOST && now->module == VK_ERROR_DEVICE_LOST; i++) {
        results_free(&got);
        status = live(f, &got, &error); /* until it is known what loses it */
    }
    CHECK(!status, "%s: %s", now->about, error.message);
    for (uint32_t i = 0; i < f->output_count && !status; i++)
        check_near(got.data[i], w->want.data[i], NULL, 0.02f, ROWS, f->values[f->outputs[i]].width, now->about);
    CHECK(!now->reason || (strstr(logged, name) && strstr(logged, now->reason)), "%s, %s: %s", w->kernel, now->about, logged);
    CHECK(now->reason || (!modules && !logged[0]), "%s: %u modules: %s", now->about, modules, logged);
    bool runs = now->reason && !now->lacks_functions && !now->module && !now->function;
    CHECK(runs == (launches > 0) && (runs && w->maps) == (map_launches > 0), "%s, %s: %u launches, %u for maps", w->kernel, now->about,
          launches, map_launches);
    results_free(&got);
}

/* Forced it is taken without a test; it makes nothing, but all calls for it are made, and each of them may fail. */
static void each_call(const work *w) {
    static const driver willing = {.about = "forced"};
    uint32_t calls = 1, errors = 0, imports = 0;
    bool unheard = false; /* a fault of the run's wait when its results had been seen in memory: that is a matter of time */
    results got;
    vkb_error error = {0};
    now = &willing;
    vkb_status status = live(&w->f, &got, &error); /* tests the others */
    results_free(&got);
    for (uint32_t i = 0; i < vkb_kernel_count; i++)
        if (!strcmp(vkb_kernels[i].name, w->kernel)) vkb_kernel_force(&vkb_kernels[i]);
    launches = map_launches = map_count = 0;
    for (uint32_t n = 0; n <= calls && !status; n++) {
        intercept_arm(n, VK_ERROR_OUT_OF_DEVICE_MEMORY);
        vkb_status faulty = live(&w->f, &got, &error);
        const char *failed = intercept_failed() ? intercept_failed() : "";
        bool garbage = faulty == VKB_ERROR_NOT_FINITE;
        CHECK(!faulty || garbage || *failed, "forced: %s", error.message);
        if (!n) calls = intercept_calls();
        bool wait = !strcmp(failed, "vkGetFenceStatus") || !strcmp(failed, "vkWaitForFences");
        unheard = unheard || (wait && (!faulty || garbage));
        errors += faulty == VKB_ERROR_OUT_OF_DEVICE_MEMORY;
        imports += faulty == VKB_ERROR_OUT_OF_DEVICE_MEMORY && strstr(failed, "NVX");
        results_free(&got);
    }
    CHECK(!status && launches && w->maps == (map_launches > 0), "%s forced: %u launches, %u for maps: %s", w->kernel, launches,
          map_launches, error.message);
    CHECK(imports == w->imports && errors + unheard + 5 > calls, "%s forced: of %u faults %u gave an error, %u of modules and functions",
          w->kernel, calls, errors, imports);
    vkb_kernel_force(NULL);
}

/* Deterministic: then kernels are those of large batches. */
static void begin(fixture *f) {
    static const uint32_t length = ROWS;
    fixture_begin(f, &length, 1, 5);
    f->activations = VKB_F16;
    f->flags = VKB_PROGRAM_DETERMINISTIC;
}

int main(int argc, char **argv) {
    static work works[] = {{.kernel = "linear bytes hopper 256x128", .maps = true, .imports = 10},
                           {.kernel = "attention hopper head 32", .imports = 2},
                           {.kernel = "linear hopper 256x128", .needs = VKB_NEED_MATRIX, .maps = true, .imports = 6}};
    selector = argc > 1 ? argv[1] : "vulkan:0";
    for (size_t i = 0; i < COUNT(works); i++) begin(&works[i].f);
    uint32_t x = fixture_input(&works[0].f, K, 1);
    add_linear(&works[0].f, x, true);
    add_linear(&works[0].f, x, false);
    add_gate(&works[0].f, x, VKB_ACT_GELU, VKB_I8);
    add_gate(&works[0].f, x, VKB_ACT_SILU, VKB_I8);
    add_attention(&works[1].f);
    x = fixture_input(&works[2].f, K, 1);
    add_gate(&works[2].f, x, VKB_ACT_GELU, VKB_F16);
    add_gate(&works[2].f, x, VKB_ACT_SILU, VKB_F16);
    vkb_error error = {0};
    vkb_device *reference = open_device("reference");
    for (size_t i = 0; i < COUNT(works); i++) REQUIRE(!fixture_try(&works[i].f, reference, &works[i].want, &error), "%s", error.message);
    vkb_device_close(reference);
    intercept_install();
    counted = vkb_vk_intercept;
    vkb_vk_intercept = intercept;
    for (size_t w = 0; w < COUNT(works); w++) {
        for (size_t i = 0; i < COUNT(drivers) && !(works[w].needs & ~needs); i++) {
            now = &drivers[i];
            if (works[w].maps || !now->variants || strchr(now->variants, '*')) one(&works[w]); /* without maps it can do attention */
        }
        if (!(works[w].needs & ~needs)) each_call(&works[w]);
        results_free(&works[w].want);
        fixture_end(&works[w].f);
    }
    return test_end();
}
