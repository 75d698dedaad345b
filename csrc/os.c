#include <stdlib.h>

#include "internal.h"

#if defined(_WIN32)

#include <windows.h>

struct vkb_mutex {
    SRWLOCK lock;
    CONDITION_VARIABLE woken;
};

vkb_mutex *vkb_mutex_create(void) { return calloc(1, sizeof(vkb_mutex)); } /* how both start */
void vkb_mutex_destroy(vkb_mutex *mutex) { free(mutex); }
void vkb_mutex_lock(vkb_mutex *mutex) { AcquireSRWLockExclusive(&mutex->lock); }
void vkb_mutex_unlock(vkb_mutex *mutex) { ReleaseSRWLockExclusive(&mutex->lock); }
void vkb_mutex_wait(vkb_mutex *mutex) { SleepConditionVariableSRW(&mutex->woken, &mutex->lock, INFINITE, 0); }
void vkb_mutex_wake(vkb_mutex *mutex) { WakeAllConditionVariable(&mutex->woken); }

struct vkb_thread {
    HANDLE handle;
    void (*main)(void *);
    void *argument;
};

static DWORD WINAPI begin(LPVOID p) {
    vkb_thread *thread = p;
    thread->main(thread->argument);
    return 0;
}

vkb_thread *vkb_thread_start(void (*main)(void *), void *argument) {
    vkb_thread *thread = malloc(sizeof *thread);
    if (!thread) return NULL;
    *thread = (vkb_thread){.main = main, .argument = argument};
    thread->handle = CreateThread(NULL, 0, begin, thread, 0, NULL);
    if (thread->handle) return thread;
    free(thread);
    return NULL;
}

void vkb_thread_join(vkb_thread *thread) {
    WaitForSingleObject(thread->handle, INFINITE);
    CloseHandle(thread->handle);
    free(thread);
}

double vkb_seconds(void) {
    LARGE_INTEGER now, frequency;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&frequency);
    return (double)now.QuadPart / (double)frequency.QuadPart;
}

uint32_t vkb_cpu_count(void) {
    DWORD n = GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
    return n ? (uint32_t)n : 1;
}

uint64_t vkb_host_memory_bytes(void) {
    MEMORYSTATUSEX status = {.dwLength = sizeof status};
    return GlobalMemoryStatusEx(&status) ? status.ullTotalPhys : 0;
}

#else

#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <sched.h>
#include <sys/mman.h>
#endif

struct vkb_mutex {
    pthread_mutex_t lock;
    pthread_cond_t woken;
};

vkb_mutex *vkb_mutex_create(void) {
    vkb_mutex *mutex = malloc(sizeof *mutex);
    if (!mutex) return NULL;
    if (pthread_mutex_init(&mutex->lock, NULL)) goto no_lock;
    if (pthread_cond_init(&mutex->woken, NULL)) goto no_condition;
    return mutex;
no_condition:
    pthread_mutex_destroy(&mutex->lock);
no_lock:
    free(mutex);
    return NULL;
}

void vkb_mutex_destroy(vkb_mutex *mutex) {
    if (!mutex) return;
    pthread_cond_destroy(&mutex->woken);
    pthread_mutex_destroy(&mutex->lock);
    free(mutex);
}

void vkb_mutex_lock(vkb_mutex *mutex) { pthread_mutex_lock(&mutex->lock); }
void vkb_mutex_unlock(vkb_mutex *mutex) { pthread_mutex_unlock(&mutex->lock); }
void vkb_mutex_wait(vkb_mutex *mutex) { pthread_cond_wait(&mutex->woken, &mutex->lock); }
void vkb_mutex_wake(vkb_mutex *mutex) { pthread_cond_broadcast(&mutex->woken); }

struct vkb_thread {
    pthread_t handle;
    void (*main)(void *);
    void *argument;
};

static void *begin(void *p) {
    vkb_thread *thread = p;
    thread->main(thread->argument);
    return NULL;
}

vkb_thread *vkb_thread_start(void (*main)(void *), void *argument) {
    vkb_thread *thread = malloc(sizeof *thread);
    if (!thread) return NULL;
    *thread = (vkb_thread){.main = main, .argument = argument};
    sigset_t all, before; /* the host program's signals are for its own threads */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&thread->handle, NULL, begin, thread) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started) return thread;
    free(thread);
    return NULL;
}

void vkb_thread_join(vkb_thread *thread) {
    pthread_join(thread->handle, NULL);
    free(thread);
}

double vkb_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

uint32_t vkb_cpu_count(void) {
    long count = sysconf(_SC_NPROCESSORS_ONLN);
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
#endif
    uint32_t n = count > 0 ? (uint32_t)count : 1, paid = vkb_cgroup_cpus("/sys/fs/cgroup", "/proc/self/cgroup");
    return paid && paid < n ? paid : n;
}

uint64_t vkb_host_memory_bytes(void) {
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

#endif

#if defined(__linux__) && defined(MADV_HUGEPAGE)

enum { LARGE_PAGE = 2 << 20 };

/* A whole number of large pages, so that none is shared; small requests are rounded up to small pages alone. */
static uint64_t page_bytes(uint64_t bytes) { return vkb_align_up(bytes ? bytes : 1, bytes < LARGE_PAGE ? 4096 : LARGE_PAGE); }

void *vkb_pages_alloc(uint64_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    size_t size = page_bytes(bytes), room = size < LARGE_PAGE ? size : size + LARGE_PAGE;
    uint8_t *p = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    if (room == size) return p;
    uint8_t *start = (uint8_t *)vkb_align_up((uintptr_t)p, LARGE_PAGE);
    if (start != p) munmap(p, (size_t)(start - p));
    if (start + size != p + room) munmap(start + size, (size_t)(p + room - start - size));
    madvise(start, size, MADV_HUGEPAGE); /* a wish: where it fails, pages are small */
    return start;
}

void vkb_pages_free(void *pages, uint64_t bytes) {
    if (pages) munmap(pages, page_bytes(bytes));
}

#else

void *vkb_pages_alloc(uint64_t bytes) {
    if (bytes > SIZE_MAX - 128) return NULL;
    uint8_t *p = calloc(bytes + 128, 1);
    if (!p) return NULL;
    uint8_t *start = (uint8_t *)vkb_align_up((uintptr_t)p + sizeof p, 64);
    ((void **)(void *)start)[-1] = p;
    return start;
}

void vkb_pages_free(void *pages, uint64_t bytes) {
    (void)bytes;
    if (pages) free(((void **)pages)[-1]);
}

#endif
