/*
 * Markers: a file that says what this process is about to try for the first time, and is removed when it has survived. A file that is left
 * behind, by a process that does not hold its lock any more, names what may have killed it: or somebody ended that process from outside. So
 * what was tried is left alone by the process that finds the file, tried once more by the next one, and after a second death not again
 * until the file is removed. The file holds the text, and after a tab how far that has come.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vk_internal.h"

#if defined(_WIN32)

#include <windows.h>

typedef HANDLE file;
static const file no_file = INVALID_HANDLE_VALUE;

/* A file that is open can't be opened again: that is the lock. */
static file open_locked(const char *path, bool create) {
    return CreateFileA(path, GENERIC_READ | GENERIC_WRITE, 0, NULL, create ? OPEN_ALWAYS : OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
}

static size_t read_text(file f, char *text, size_t size) {
    DWORD n = 0;
    return ReadFile(f, text, (DWORD)size, &n, NULL) ? n : 0;
}

static bool write_text(file f, const char *text) {
    DWORD n = 0;
    return SetFilePointer(f, 0, NULL, FILE_BEGIN) == 0 && SetEndOfFile(f) && WriteFile(f, text, (DWORD)strlen(text), &n, NULL) &&
           FlushFileBuffers(f);
}

static void close_file(file f) { CloseHandle(f); }

static uint64_t folder_key(const char *folder) { /* manifests are in the registry */
    (void)folder;
    return 0;
}

#else

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

typedef int file;
static const file no_file = -1;

static file open_locked(const char *path, bool create) {
    int f = open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0600);
    if (f >= 0 && flock(f, LOCK_EX | LOCK_NB)) {
        close(f);
        return no_file;
    }
    return f;
}

static size_t read_text(file f, char *text, size_t size) {
    ssize_t n = pread(f, text, size, 0);
    return n > 0 ? (size_t)n : 0;
}

static bool write_text(file f, const char *text) {
    size_t n = strlen(text);
    return ftruncate(f, 0) == 0 && pwrite(f, text, n, 0) == (ssize_t)n;
}

static void close_file(file f) { close(f); }

static uint64_t file_key(const char *path, const char *name) {
    struct stat info;
    if (stat(path, &info)) return 0;
    const int64_t words[] = {info.st_mtime, info.st_size};
    return vkb_vk_hash(vkb_vk_hash(VKB_VK_HASH_START, name, strlen(name)), words, sizeof words);
}

/* The same in whatever order the folder lists its files. */
static uint64_t folder_key(const char *folder) {
    uint64_t key = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[512];
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%.200s/%.255s", folder, entry->d_name);
        key += file_key(path, entry->d_name);
    }
    if (dir) closedir(dir);
    return key;
}

#endif

struct vkb_marker {
    file file;
    char path[];
};

static const char left_alone[] = "\tleft alone", tried_again[] = "\ttried again";

typedef struct found { /* a file that this process has found: it does not try what that names */
    struct found *next;
    char path[];
} found;

static _Atomic(found *) all_found; /* kept to the end of the process */

static bool has_found(const char *path) {
    for (found *f = atomic_load(&all_found); f; f = f->next)
        if (!strcmp(f->path, path)) return true;
    return false;
}

static void note_found(const char *path) {
    found *f = malloc(sizeof *f + strlen(path) + 1);
    if (!f) return;
    strcpy(f->path, path);
    f->next = atomic_load(&all_found);
    while (!atomic_compare_exchange_weak(&all_found, &f->next, f)) continue;
}

static void write_state(file f, const char *text, const char *state) {
    char all[VKB_MARKER_TEXT + sizeof tried_again];
    snprintf(all, sizeof all, "%s%s", text, state);
    write_text(f, all);
}

bool vkb_marker_died(const char *path, char text[VKB_MARKER_TEXT]) {
    file f = path ? open_locked(path, false) : no_file;
    *text = '\0';
    if (f == no_file) return false;
    text[read_text(f, text, VKB_MARKER_TEXT - 1)] = '\0';
    char *state = strchr(text, '\t');
    bool died = *text && (!state || !strcmp(state, tried_again) || has_found(path));
    if (died && !state) {
        write_state(f, text, left_alone);
        note_found(path);
    }
    if (state) *state = '\0';
    close_file(f);
    return died;
}

vkb_marker *vkb_marker_begin(const char *path, const char *text) {
    if (!path) return NULL;
    vkb_marker *marker = malloc(sizeof *marker + strlen(path) + 1);
    if (!marker) return NULL;
    strcpy(marker->path, path);
    marker->file = open_locked(path, true);
    if (marker->file != no_file) {
        char before[VKB_MARKER_TEXT];
        before[read_text(marker->file, before, sizeof before - 1)] = '\0';
        write_state(marker->file, text, strchr(before, '\t') ? tried_again : "");
        return marker;
    }
    free(marker);
    return NULL;
}

void vkb_marker_end(vkb_marker *marker) {
    if (!marker) return;
    write_text(marker->file, ""); /* for who has the file open already, or where it can't be removed */
#if defined(_WIN32)
    close_file(marker->file);
    remove(marker->path);
#else
    remove(marker->path);
    close_file(marker->file);
#endif
    free(marker);
}

void vkb_marker_leave(vkb_marker *marker) {
    if (!marker) return;
    close_file(marker->file);
    free(marker);
}

uint64_t vkb_vk_drivers_key(void) {
    static const char *const names[] = {"VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES", "VK_LOADER_DRIVERS_SELECT",
                                        "VK_LOADER_DRIVERS_DISABLE"};
    static const char *const folders[] = {"/etc/vulkan/icd.d", "/usr/share/vulkan/icd.d", "/usr/local/etc/vulkan/icd.d",
                                          "/usr/local/share/vulkan/icd.d"};
    uint64_t key = VKB_VK_HASH_START;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        if (value) key = vkb_vk_hash(key, value, strlen(value) + 1);
    }
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        uint64_t files = folder_key(folders[i]);
        key = vkb_vk_hash(key, &files, sizeof files);
    }
    return key;
}
