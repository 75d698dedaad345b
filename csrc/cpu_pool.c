/* The threads of the CPU backend. One run at a time; each is a counter that the threads take task numbers from. */
#include <stdlib.h>

#include "cpu.h"

#if defined(_WIN32)

#include <windows.h>

typedef SRWLOCK lock_t;
typedef CONDITION_VARIABLE signal_t;
typedef HANDLE thread_t;
#define THREAD_RESULT DWORD WINAPI
#define THREAD_RETURN 0

static bool lock_init(lock_t *lock) { return InitializeSRWLock(lock), true; }
static void lock_free(lock_t *lock) { (void)lock; }
static void lock_take(lock_t *lock) { AcquireSRWLockExclusive(lock); }
static void lock_give(lock_t *lock) { ReleaseSRWLockExclusive(lock); }
static bool signal_init(signal_t *signal) { return InitializeConditionVariable(signal), true; }
static void signal_free(signal_t *signal) { (void)signal; }
static void signal_one(signal_t *signal) { WakeConditionVariable(signal); }
static void signal_all(signal_t *signal) { WakeAllConditionVariable(signal); }
static void signal_wait(signal_t *signal, lock_t *lock) { SleepConditionVariableSRW(signal, lock, INFINITE, 0); }
static bool thread_start(thread_t *thread, LPTHREAD_START_ROUTINE start, void *argument) {
    *thread = CreateThread(NULL, 0, start, argument, 0, NULL);
    return *thread != NULL;
}
static void thread_join(thread_t thread) {
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}

#else

#include <pthread.h>
#include <signal.h>

typedef pthread_mutex_t lock_t;
typedef pthread_cond_t signal_t;
typedef pthread_t thread_t;
#define THREAD_RESULT void *
#define THREAD_RETURN NULL

static bool lock_init(lock_t *lock) { return pthread_mutex_init(lock, NULL) == 0; }
static void lock_free(lock_t *lock) { pthread_mutex_destroy(lock); }
static void lock_take(lock_t *lock) { pthread_mutex_lock(lock); }
static void lock_give(lock_t *lock) { pthread_mutex_unlock(lock); }
static bool signal_init(signal_t *signal) { return pthread_cond_init(signal, NULL) == 0; }
static void signal_free(signal_t *signal) { pthread_cond_destroy(signal); }
static void signal_one(signal_t *signal) { pthread_cond_signal(signal); }
static void signal_all(signal_t *signal) { pthread_cond_broadcast(signal); }
static void signal_wait(signal_t *signal, lock_t *lock) { pthread_cond_wait(signal, lock); }
static bool thread_start(thread_t *thread, void *(*start)(void *), void *argument) {
    sigset_t all, before; /* the host program's signals are for its own threads */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(thread, NULL, start, argument) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}
static void thread_join(thread_t thread) { pthread_join(thread, NULL); }

#endif

typedef struct helper {
    vkb_cpu_pool *pool;
    thread_t thread;
    uint32_t worker;
} helper;

struct vkb_cpu_pool {
    helper *helpers; /* [helper_count] */
    uint32_t helper_count;
    unsigned ready;  /* how many of turn, lock, wake, done have been initialised */
    lock_t turn;     /* held by the thread whose run is under way */
    lock_t lock;     /* guards what follows but for `next` */
    signal_t wake;   /* wanted > 0 or stop */
    signal_t done;   /* active == 0 */
    uint32_t wanted; /* helpers that the run can still use */
    uint32_t active; /* helpers at work */
    bool stop;
    vkb_cpu_task task;
    void *context;
    uint32_t count;
    atomic_uint next; /* task that nobody has taken yet */
};

/* `next` may pass `count` by one for each thread, which cannot wrap: count is at most UINT32_MAX − threads (see vkb_cpu_pool_run). */
static void work(vkb_cpu_pool *pool, vkb_cpu_task task, void *context, uint32_t count, uint32_t worker) {
    for (;;) {
        uint32_t i = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (i >= count) return;
        task(context, i, worker);
    }
}

static THREAD_RESULT helper_main(void *argument) {
    helper *self = argument;
    vkb_cpu_pool *pool = self->pool;
    lock_take(&pool->lock);
    for (;;) {
        while (!pool->wanted && !pool->stop) signal_wait(&pool->wake, &pool->lock);
        if (pool->stop) break;
        pool->wanted--;
        pool->active++;
        vkb_cpu_task task = pool->task;
        void *context = pool->context;
        uint32_t count = pool->count;
        lock_give(&pool->lock);
        work(pool, task, context, count, self->worker);
        lock_take(&pool->lock);
        if (--pool->active == 0) signal_one(&pool->done);
    }
    lock_give(&pool->lock);
    return THREAD_RETURN;
}

void vkb_cpu_pool_run(vkb_cpu_pool *pool, uint32_t count, vkb_cpu_task task, void *context) {
    if (count <= 1 || !pool->helper_count || count > UINT32_MAX - pool->helper_count - 1) {
        for (uint32_t i = 0; i < count; i++) task(context, i, 0);
        return;
    }
    uint32_t helpers = count - 1 < pool->helper_count ? count - 1 : pool->helper_count;
    lock_take(&pool->turn);
    lock_take(&pool->lock);
    pool->task = task;
    pool->context = context;
    pool->count = count;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    pool->wanted = helpers;
    if (helpers == pool->helper_count)
        signal_all(&pool->wake);
    else
        for (uint32_t i = 0; i < helpers; i++) signal_one(&pool->wake);
    lock_give(&pool->lock);

    work(pool, task, context, count, 0);

    lock_take(&pool->lock);
    pool->wanted = 0; /* a helper that is late is not waited for */
    while (pool->active) signal_wait(&pool->done, &pool->lock);
    lock_give(&pool->lock);
    lock_give(&pool->turn);
}

uint32_t vkb_cpu_pool_threads(const vkb_cpu_pool *pool) { return pool->helper_count + 1; }

void vkb_cpu_pool_destroy(vkb_cpu_pool *pool) {
    if (!pool) return;
    if (pool->helper_count) {
        lock_take(&pool->lock);
        pool->stop = true;
        signal_all(&pool->wake);
        lock_give(&pool->lock);
        for (uint32_t i = 0; i < pool->helper_count; i++) thread_join(pool->helpers[i].thread);
    }
    if (pool->ready > 3) signal_free(&pool->done);
    if (pool->ready > 2) signal_free(&pool->wake);
    if (pool->ready > 1) lock_free(&pool->lock);
    if (pool->ready > 0) lock_free(&pool->turn);
    free(pool->helpers);
    free(pool);
}

vkb_status vkb_cpu_pool_create(uint32_t threads, vkb_cpu_pool **pool, vkb_error *error) {
    *pool = NULL;
    vkb_cpu_pool *p = calloc(1, sizeof *p);
    helper *helpers = calloc(threads, sizeof *helpers);
    if (!p || !helpers) {
        free(p);
        free(helpers);
        return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "cpu: out of memory for %u threads", threads);
    }
    p->helpers = helpers;
    p->ready += lock_init(&p->turn);
    if (p->ready == 1) p->ready += lock_init(&p->lock);
    if (p->ready == 2) p->ready += signal_init(&p->wake);
    if (p->ready == 3) p->ready += signal_init(&p->done);
    if (p->ready < 4) {
        vkb_cpu_pool_destroy(p);
        return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "cpu: the system gives no more locks");
    }
    for (uint32_t i = 0; i + 1 < threads; i++) {
        helpers[i] = (helper){.pool = p, .worker = i + 1};
        if (!thread_start(&helpers[i].thread, helper_main, &helpers[i])) {
            vkb_cpu_pool_destroy(p);
            return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "cpu: the system refused thread %u of %u; ask for fewer", i + 2, threads);
        }
        p->helper_count++;
    }
    *pool = p;
    return VKB_OK;
}
