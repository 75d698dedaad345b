/*
 * The files of a device's cache: compiled pipelines, so that a second start compiles nothing, and what is known of its kernels
 * (vk_variants.c). A file is used only if it was made by this device, driver and table of kernels, and is whole: drivers have been seen to
 * crash on data that is not theirs. It is replaced by renaming, so that readers never see half of one. That it can't be read or written
 * costs time and nothing else: one line in the log.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#include <windows.h>
#define PROCESS() ((unsigned long)GetCurrentProcessId())
#else
#include <unistd.h>
#define PROCESS() ((unsigned long)getpid())
#endif

#include "vk_internal.h"

static const uint64_t max_payload = UINT64_C(64) << 20;

typedef struct cache_header {
    char magic[8];
    uint32_t vendor_id, device_id, driver_version, reserved;
    uint8_t uuid[16];
    uint64_t kernels;  /* hash of their code */
    uint64_t bytes;    /* of what follows */
    uint64_t checksum; /* of what follows */
} cache_header;

uint64_t vkb_vk_hash(uint64_t hash, const void *data, size_t bytes) { /* FNV-1a */
    const uint8_t *p = data;
    for (size_t i = 0; i < bytes; i++) hash = (hash ^ p[i]) * UINT64_C(1099511628211);
    return hash;
}

/* Of the table of kernels; the same all through the process. */
static uint64_t kernels_key(void) {
    static _Atomic uint64_t known;
    uint64_t key = atomic_load(&known);
    if (key) return key;
    key = VKB_VK_HASH_START;
    for (uint32_t i = 0; i < vkb_kernel_count; i++) {
        const vkb_kernel *k = &vkb_kernels[i];
        key = vkb_vk_hash(key, k->code, k->code_bytes);
        key = vkb_vk_hash(key, k->name, strlen(k->name) + 1);
        key = vkb_vk_hash(key, k->own, sizeof k->own);
    }
    atomic_store(&known, key);
    return key;
}

static cache_header header_for(const vkb_vk_physical *physical) {
    const vkb_device_info *info = &physical->info;
    cache_header h = {.magic = "vkbfile1",
                      .vendor_id = info->vendor_id,
                      .device_id = info->device_id,
                      .driver_version = physical->driver_version,
                      .kernels = kernels_key()};
    memcpy(h.uuid, info->uuid, sizeof h.uuid);
    return h;
}

/* Why the file was not used, or NULL. *data: what it holds, to be freed; NULL where there is no file. */
static const char *read_file(const char *path, const cache_header *want, void **data, size_t *bytes) {
    *data = NULL;
    *bytes = 0;
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    const char *why = "it is damaged";
    cache_header got;
    if (fread(&got, sizeof got, 1, file) != 1) goto done;
    if (memcmp(&got, want, offsetof(cache_header, bytes)) != 0) {
        why = "it was made by another device, driver or version";
        goto done;
    }
    if (got.bytes > max_payload || !(*data = malloc(got.bytes ? got.bytes : 1))) goto done;
    if (fread(*data, 1, got.bytes, file) != got.bytes || fgetc(file) != EOF) goto done;
    if (vkb_vk_hash(VKB_VK_HASH_START, *data, got.bytes) != got.checksum) goto done;
    *bytes = got.bytes;
    why = NULL;
done:
    fclose(file);
    if (why) {
        free(*data);
        *data = NULL;
    }
    return why;
}

char *vkb_vk_cache_path(const char *folder, const char *name, uint64_t key, const char *suffix) {
    size_t size = folder ? strlen(folder) + strlen(name) + strlen(suffix) + 32 : 0;
    char *path = size ? malloc(size) : NULL;
    if (path) snprintf(path, size, "%s/%s-%016llx%s", folder, name, (unsigned long long)key, suffix);
    return path;
}

uint64_t vkb_vk_cache_key(const vkb_vk_physical *physical) {
    cache_header header = header_for(physical);
    return vkb_vk_hash(VKB_VK_HASH_START, &header, offsetof(cache_header, bytes));
}

void *vkb_vk_cache_read(vkb_vk_device *device, const char *name, size_t *bytes) {
    void *data = NULL;
    cache_header want = header_for(&device->physical);
    char *path = vkb_vk_cache_path(device->cache_folder, name, vkb_vk_cache_key(&device->physical), ".bin");
    *bytes = 0;
    const char *why = path ? read_file(path, &want, &data, bytes) : NULL;
    if (why) vkb_log(&device->base, VKB_LOG_WARNING, "cache file %s is ignored: %s", path, why);
    free(path);
    return data;
}

static bool write_file(const char *path, cache_header header, const void *data, size_t bytes) {
    static atomic_uint serial; /* with the process: a name that no other writer has */
    size_t size = strlen(path) + 64;
    char *temporary = malloc(size);
    if (!temporary) return false;
    snprintf(temporary, size, "%s.%lu-%u.tmp", path, PROCESS(), atomic_fetch_add(&serial, 1));
    header.bytes = bytes;
    header.checksum = vkb_vk_hash(VKB_VK_HASH_START, data, bytes);
    FILE *file = fopen(temporary, "wb");
    bool ok = file && fwrite(&header, sizeof header, 1, file) == 1 && fwrite(data, 1, bytes, file) == bytes;
    if (file) ok = fclose(file) == 0 && ok;
#if defined(_WIN32)
    ok = ok && MoveFileExA(temporary, path, MOVEFILE_REPLACE_EXISTING);
#else
    ok = ok && rename(temporary, path) == 0;
#endif
    if (file && !ok) remove(temporary);
    free(temporary);
    return ok;
}

void vkb_vk_cache_write(vkb_vk_device *device, const char *name, const void *data, size_t bytes) {
    cache_header header = header_for(&device->physical);
    char *path = vkb_vk_cache_path(device->cache_folder, name, vkb_vk_cache_key(&device->physical), ".bin");
    if (path && !write_file(path, header, data, bytes) && !atomic_exchange(&device->cache_refused, true))
        vkb_log(&device->base, VKB_LOG_WARNING, "cache file %s can't be written; what it would hold is kept in memory", path);
    free(path);
}

vkb_status vkb_vk_cache_open(vkb_vk_device *device, const char *folder, vkb_error *error) {
    if (folder) {
        device->cache_folder = malloc(strlen(folder) + 1);
        if (!device->cache_folder) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "%s: out of memory", device->base.info.name);
        strcpy(device->cache_folder, folder);
    }
    size_t bytes;
    void *data = vkb_vk_cache_read(device, "pipelines", &bytes);
    VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO, .initialDataSize = bytes, .pInitialData = data};
    VkResult result = device->vk.CreatePipelineCache(device->handle, &info, NULL, &device->cache);
    free(data);
    if (result && bytes) {
        vkb_log(&device->base, VKB_LOG_WARNING, "the pipeline cache in %s is ignored: the driver refuses it", folder);
        info.initialDataSize = 0;
        info.pInitialData = NULL;
        result = device->vk.CreatePipelineCache(device->handle, &info, NULL, &device->cache);
    }
    return vkb_vk_check(device, result, "vkCreatePipelineCache", error);
}

/* The caller holds the mutex. */
static void save(vkb_vk_device *device) {
    if (!device->cache_folder || !device->cache_changed || atomic_load(&device->lost)) return;
    device->cache_changed = false;
    size_t bytes = 0;
    if (device->vk.GetPipelineCacheData(device->handle, device->cache, &bytes, NULL) || !bytes || bytes > max_payload) return;
    void *data = malloc(bytes);
    if (!data) return;
    VkResult result = device->vk.GetPipelineCacheData(device->handle, device->cache, &bytes, data);
    if (result == VK_SUCCESS) vkb_vk_cache_write(device, "pipelines", data, bytes);
    free(data);
}

void vkb_vk_cache_save(vkb_vk_device *device) {
    if (vkb_vk_selftest_kernel()) return; /* whoever has it tested will save all there is then */
    vkb_mutex_lock(device->pipeline_mutex);
    save(device);
    vkb_mutex_unlock(device->pipeline_mutex);
}
