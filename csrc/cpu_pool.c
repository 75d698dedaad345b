/*
 * The threads of the CPU backend: one set a process, which every model shares, so that many open models do not mean many threads. Who
 * has the turn makes runs, one at a time: a word that holds the number of the run and the next task, from which the threads take tasks.
 * Threads that run out of work look for more for a moment before they sleep: the ops of a program follow one another within microseconds,
 * and a wake-up costs tens.
 */
#include <stdlib.h>

#include "cpu.h"

#if defined(_WIN32)

#include <windows.h>

#define LOCK_READY SRWLOCK_INIT
#define SIGNAL_READY CONDITION_VARIABLE_INIT
typedef SRWLOCK lock_t;
typedef CONDITION_VARIABLE signal_t;

static void lock_take(lock_t *lock) { AcquireSRWLockExclusive(lock); }
static void lock_give(lock_t *lock) { ReleaseSRWLockExclusive(lock); }
static void signal_all(signal_t *signal) { WakeAllConditionVariable(signal); }
static void signal_wait(signal_t *signal, lock_t *lock) { SleepConditionVariableSRW(signal, lock, INFINITE, 0); }

#else

#include <pthread.h>

#define LOCK_READY PTHREAD_MUTEX_INITIALIZER
#define SIGNAL_READY PTHREAD_COND_INITIALIZER
typedef pthread_mutex_t lock_t;
typedef pthread_cond_t signal_t;

static void lock_take(lock_t *lock) { pthread_mutex_lock(lock); }
static void lock_give(lock_t *lock) { pthread_mutex_unlock(lock); }
static void signal_all(signal_t *signal) { pthread_cond_broadcast(signal); }
static void signal_wait(signal_t *signal, lock_t *lock) { pthread_cond_wait(signal, lock); }

#endif

enum {
    MAX_THREADS = 1024,
    SPIN_MICROSECONDS = 50,  /* what a thread without work burns at most before it sleeps */
    TURN_MICROSECONDS = 2000 /* after which others that wait come first */
};

struct vkb_cpu_pool { /* a user's share of the threads */
    uint32_t threads; /* with the calling one */
    bool spins;       /* there is a processor for each of them */
    double until;     /* a turn begun then is over when others wait */
};

typedef struct run { /* every field is read without a lock and counts only when a task was taken from `next` after it */
    _Atomic(vkb_cpu_task) task;
    _Atomic(void *) context;
    atomic_uint count;
    atomic_uint threads; /* helpers with a lower number take part */
    atomic_bool spins;
} run;

static struct {
    lock_t lock;               /* guards what follows, but for atomics */
    signal_t turn;             /* `serving` has changed */
    uint32_t tickets, serving; /* turns asked for; the one that is under way or next */
    signal_t wake;             /* there is a new run, or stop */
    signal_t done;             /* the last task of the run is done */
    uint32_t pools;            /* that were created and not destroyed */
    uint32_t helpers;
    vkb_thread *threads[MAX_THREADS]; /* [helpers] */
    bool stop;
    run run;
    atomic_ullong next;   /* number of the run << 32 | task that nobody has taken yet. Odd numbers: between two runs */
    atomic_uint finished; /* tasks of the run */
    atomic_uint sleepers; /* helpers that wait for `wake` */
    atomic_bool waiting;  /* the run's own thread waits for `done` */
} set = {.lock = LOCK_READY, .turn = SIGNAL_READY, .wake = SIGNAL_READY, .done = SIGNAL_READY};

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
    __asm__ volatile("yield");
#endif
}

/* Takes a task of run `number`; false when there is none left, or that run is over. */
static bool take(uint32_t number, uint32_t *task) {
    unsigned long long next = atomic_load(&set.next);
    while (next >> 32 == number && (uint32_t)next < atomic_load_explicit(&set.run.count, memory_order_relaxed)) {
        if (!atomic_compare_exchange_weak(&set.next, &next, next + 1)) continue;
        *task = (uint32_t)next;
        return true;
    }
    return false;
}

/* A run cannot end, nor its fields change, between taking a task and counting it as finished. */
static void work(uint32_t number, uint32_t worker) {
    for (uint32_t task; take(number, &task);) {
        vkb_cpu_task function = atomic_load_explicit(&set.run.task, memory_order_relaxed);
        uint32_t count = atomic_load_explicit(&set.run.count, memory_order_relaxed);
        function(atomic_load_explicit(&set.run.context, memory_order_relaxed), task, worker);
        if (atomic_fetch_add(&set.finished, 1) + 1 != count || !atomic_load(&set.waiting)) continue;
        lock_take(&set.lock);
        signal_all(&set.done);
        lock_give(&set.lock);
    }
}

static uint32_t current(void) { return (uint32_t)(atomic_load(&set.next) >> 32); }

/* Returns when there is another run than `seen`, or after a while. */
static void look(uint32_t seen) {
    if (!atomic_load(&set.run.spins)) return;
    double end = vkb_seconds() + 1e-6 * SPIN_MICROSECONDS;
    do {
        for (int i = 0; i < 32; i++) {
            if (current() != seen) return;
            relax();
        }
    } while (vkb_seconds() < end);
}

static void helper_main(void *argument) {
    uint32_t worker = (uint32_t)(uintptr_t)argument, seen = 0;
    for (;;) {
        look(seen);
        if (current() == seen) {
            lock_take(&set.lock);
            atomic_fetch_add(&set.sleepers, 1); /* before the check: who begins a run stores it before looking for sleepers */
            while (current() == seen && !set.stop) signal_wait(&set.wake, &set.lock);
            atomic_fetch_sub(&set.sleepers, 1);
            bool stop = set.stop;
            lock_give(&set.lock);
            if (stop) return;
        }
        seen = current();
        if (worker < atomic_load(&set.run.threads)) work(seen, worker);
    }
}

static void begin(const vkb_cpu_pool *pool, uint32_t number, uint32_t count, vkb_cpu_task task, void *context) {
    atomic_store(&set.next, (unsigned long long)(number - 1) << 32 | UINT32_MAX); /* so that nobody takes a task while fields change */
    atomic_store(&set.finished, 0);
    atomic_store_explicit(&set.run.task, task, memory_order_relaxed);
    atomic_store_explicit(&set.run.context, context, memory_order_relaxed);
    atomic_store_explicit(&set.run.count, count, memory_order_relaxed);
    atomic_store_explicit(&set.run.threads, pool->threads, memory_order_relaxed);
    atomic_store_explicit(&set.run.spins, pool->spins, memory_order_relaxed);
    atomic_store(&set.next, (unsigned long long)number << 32);
    if (!atomic_load(&set.sleepers)) return;
    lock_take(&set.lock);
    signal_all(&set.wake);
    lock_give(&set.lock);
}

static void end(const vkb_cpu_pool *pool, uint32_t count) {
    double limit = pool->spins ? vkb_seconds() + 1e-6 * SPIN_MICROSECONDS : 0;
    do {
        for (int i = 0; i < 32; i++) {
            if (atomic_load(&set.finished) == count) return;
            relax();
        }
    } while (limit > 0 && vkb_seconds() < limit);
    lock_take(&set.lock);
    atomic_store(&set.waiting, true);
    while (atomic_load(&set.finished) != count) signal_wait(&set.done, &set.lock);
    atomic_store(&set.waiting, false);
    lock_give(&set.lock);
}

void vkb_cpu_pool_run(vkb_cpu_pool *pool, uint32_t count, vkb_cpu_task task, void *context) {
    if (count <= 1 || pool->threads == 1) {
        for (uint32_t i = 0; i < count; i++) task(context, i, 0);
        return;
    }
    uint32_t number = current() + 2;
    begin(pool, number, count, task, context);
    work(number, 0);
    end(pool, count);
}

/* Under the lock. Turns come in the order in which they were asked for. */
static void turn_begin(void) {
    uint32_t ticket = set.tickets++;
    while (set.serving != ticket) signal_wait(&set.turn, &set.lock);
}

static void turn_end(void) {
    set.serving++;
    if (set.serving != set.tickets) signal_all(&set.turn);
}

void vkb_cpu_pool_begin(vkb_cpu_pool *pool) {
    if (pool->threads == 1) return;
    lock_take(&set.lock);
    turn_begin();
    lock_give(&set.lock);
    pool->until = vkb_seconds() + 1e-6 * TURN_MICROSECONDS;
}

void vkb_cpu_pool_end(vkb_cpu_pool *pool) {
    if (pool->threads == 1) return;
    lock_take(&set.lock);
    turn_end();
    lock_give(&set.lock);
}

void vkb_cpu_pool_pause(vkb_cpu_pool *pool) {
    if (pool->threads == 1 || vkb_seconds() < pool->until) return;
    lock_take(&set.lock);
    bool others = set.tickets - set.serving > 1;
    if (others) {
        turn_end();
        turn_begin();
    }
    lock_give(&set.lock);
    pool->until = vkb_seconds() + 1e-6 * TURN_MICROSECONDS;
}

uint32_t vkb_cpu_pool_threads(const vkb_cpu_pool *pool) { return pool->threads; }

/* Under the lock. */
static bool grow(uint32_t helpers) {
    while (set.helpers < helpers) {
        set.threads[set.helpers] = vkb_thread_start(helper_main, (void *)(uintptr_t)(set.helpers + 1));
        if (!set.threads[set.helpers]) return false;
        set.helpers++;
    }
    return true;
}

/* The last pool ends the threads. */
void vkb_cpu_pool_destroy(vkb_cpu_pool *pool) {
    if (!pool) return;
    free(pool);
    lock_take(&set.lock);
    turn_begin(); /* no run can begin, and pools are created and destroyed one at a time */
    bool last = --set.pools == 0;
    set.stop = last;
    signal_all(&set.wake);
    lock_give(&set.lock);
    for (uint32_t i = 0; last && i < set.helpers; i++) vkb_thread_join(set.threads[i]);
    lock_take(&set.lock);
    if (last) set.helpers = 0;
    set.stop = false;
    turn_end();
    lock_give(&set.lock);
}

vkb_status vkb_cpu_pool_create(uint32_t threads, vkb_cpu_pool **pool, vkb_error *error) {
    *pool = calloc(1, sizeof **pool);
    if (!*pool) return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "cpu: out of memory for a pool of %u threads", threads);
    **pool = (vkb_cpu_pool){.threads = threads, .spins = threads <= vkb_cpu_count()};
    lock_take(&set.lock);
    turn_begin();
    set.pools++;
    bool grown = grow(threads - 1);
    uint32_t there = set.helpers + 1;
    turn_end();
    lock_give(&set.lock);
    if (grown) return VKB_OK;
    vkb_cpu_pool_destroy(*pool);
    *pool = NULL;
    return vkb_fail(error, VKB_ERROR_OUT_OF_HOST_MEMORY, "cpu: the system refused thread %u of %u; ask for fewer", there + 1, threads);
}
