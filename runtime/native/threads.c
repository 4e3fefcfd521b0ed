// Tasks are taken one by one from a common counter, so that a thread that is late, or whose
// processor does other work, holds nobody up. A loop is over when all its tasks are done and every
// thread that had begun to look for one has stopped looking; who comes later finds it closed.
//
// To sleep and to be woken takes longer than a small operator. So threads look out for the next
// loop for a moment first, and sleep only when none comes.

#include "threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

enum { kLooksOfGlance = 32, kGlance = 50000 };  // nanoseconds

struct Threads {
  size_t count;
  size_t started;
  pthread_t* handles;
  pthread_mutex_t mutex;
  pthread_cond_t begun, ended;
  // Written under the mutex:
  atomic_ulong loop;
  atomic_size_t inside;  // threads that look for tasks, besides the caller's
  size_t next_thread;
  bool open, stop;
  Task task;
  void* argument;
  size_t tasks;
  atomic_size_t next;
};

static int64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline void let_others(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");
#endif
}

static bool none_is_inside(Threads* threads) {
  return atomic_load_explicit(&threads->inside, memory_order_acquire) == 0;
}

// Looks for a moment whether there is a loop that was not `seen`.
static void look_for_loop(Threads* threads, unsigned long seen) {
  for (const int64_t end = nanoseconds() + kGlance; nanoseconds() < end;) {
    for (int i = 0; i < kLooksOfGlance; ++i) {
      if (atomic_load_explicit(&threads->loop, memory_order_acquire) != seen) return;
      let_others();
    }
  }
}

// Likewise, whether all others have left.
static void look_for_end(Threads* threads) {
  for (const int64_t end = nanoseconds() + kGlance; nanoseconds() < end;) {
    for (int i = 0; i < kLooksOfGlance; ++i) {
      if (none_is_inside(threads)) return;
      let_others();
    }
  }
}

static void work(Threads* threads, size_t thread) {
  for (;;) {
    const size_t task = atomic_fetch_add_explicit(&threads->next, 1, memory_order_relaxed);
    if (task >= threads->tasks) return;
    threads->task(threads->argument, task, thread);
  }
}

static void leave(Threads* threads) {
  if (atomic_fetch_sub_explicit(&threads->inside, 1, memory_order_acq_rel) != 1) return;
  pthread_mutex_lock(&threads->mutex);
  pthread_cond_signal(&threads->ended);
  pthread_mutex_unlock(&threads->mutex);
}

static void* serve(void* argument) {
  Threads* threads = argument;
  pthread_mutex_lock(&threads->mutex);
  const size_t thread = ++threads->next_thread;
  pthread_mutex_unlock(&threads->mutex);
  for (unsigned long seen = 0;;) {
    look_for_loop(threads, seen);
    pthread_mutex_lock(&threads->mutex);
    while (!threads->stop && threads->loop == seen) {
      pthread_cond_wait(&threads->begun, &threads->mutex);
    }
    const bool stops = threads->stop, enters = threads->open;
    seen = threads->loop;
    if (enters && !stops) ++threads->inside;
    pthread_mutex_unlock(&threads->mutex);
    if (stops) return NULL;
    if (!enters) continue;
    work(threads, thread);
    leave(threads);
  }
}

Threads* threads_new(size_t count) {
  Threads* threads = calloc(1, sizeof *threads);
  if (threads == NULL) return NULL;
  threads->handles = calloc(count, sizeof *threads->handles);
  if (threads->handles == NULL) {
    free(threads);
    return NULL;
  }
  pthread_mutex_init(&threads->mutex, NULL);
  pthread_cond_init(&threads->begun, NULL);
  pthread_cond_init(&threads->ended, NULL);
  atomic_init(&threads->next, 0);
  atomic_init(&threads->loop, 0);
  atomic_init(&threads->inside, 0);
  // With fewer threads than were asked for, where there are no more, it is slower, not wrong.
  while (threads->started + 1 < count &&
         pthread_create(&threads->handles[threads->started], NULL, serve, threads) == 0) {
    ++threads->started;
  }
  threads->count = threads->started + 1;
  return threads;
}

void threads_free(Threads* threads) {
  if (threads == NULL) return;
  pthread_mutex_lock(&threads->mutex);
  threads->stop = true;
  pthread_cond_broadcast(&threads->begun);
  pthread_mutex_unlock(&threads->mutex);
  for (size_t i = 0; i < threads->started; ++i) pthread_join(threads->handles[i], NULL);
  pthread_cond_destroy(&threads->ended);
  pthread_cond_destroy(&threads->begun);
  pthread_mutex_destroy(&threads->mutex);
  free(threads->handles);
  free(threads);
}

size_t threads_count(const Threads* threads) {
  return threads->count;
}

void threads_run(Threads* threads, Task task, void* argument, size_t tasks) {
  if (threads->count == 1 || tasks < 2) {
    for (size_t i = 0; i < tasks; ++i) task(argument, i, 0);
    return;
  }
  pthread_mutex_lock(&threads->mutex);
  threads->task = task;
  threads->argument = argument;
  threads->tasks = tasks;
  atomic_store_explicit(&threads->next, 0, memory_order_relaxed);
  threads->open = true;
  ++threads->loop;
  pthread_cond_broadcast(&threads->begun);
  pthread_mutex_unlock(&threads->mutex);
  work(threads, 0);
  pthread_mutex_lock(&threads->mutex);
  threads->open = false;
  pthread_mutex_unlock(&threads->mutex);
  look_for_end(threads);
  pthread_mutex_lock(&threads->mutex);
  while (!none_is_inside(threads)) pthread_cond_wait(&threads->ended, &threads->mutex);
  pthread_mutex_unlock(&threads->mutex);
}
