// Tasks are taken one by one from a common counter, so that a thread that is late, or whose
// processor does other work, holds nobody up. A loop is over when all its tasks are done and every
// thread that had begun to look for one has stopped looking.

#include "threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

struct Threads {
  size_t count;
  size_t started;
  pthread_t* handles;
  pthread_mutex_t mutex;
  pthread_cond_t begun, ended;
  // Under the mutex:
  unsigned long loop;
  size_t busy, next_thread;
  bool stop;
  Task task;
  void* argument;
  size_t tasks;
  atomic_size_t next;
};

static void work(Threads* threads, size_t thread) {
  for (;;) {
    const size_t task = atomic_fetch_add_explicit(&threads->next, 1, memory_order_relaxed);
    if (task >= threads->tasks) return;
    threads->task(threads->argument, task, thread);
  }
}

static void* serve(void* argument) {
  Threads* threads = argument;
  pthread_mutex_lock(&threads->mutex);
  const size_t thread = ++threads->next_thread;
  unsigned long seen = 0;
  for (;;) {
    while (!threads->stop && threads->loop == seen) {
      pthread_cond_wait(&threads->begun, &threads->mutex);
    }
    if (threads->stop) break;
    seen = threads->loop;
    pthread_mutex_unlock(&threads->mutex);
    work(threads, thread);
    pthread_mutex_lock(&threads->mutex);
    if (--threads->busy == 0) pthread_cond_signal(&threads->ended);
  }
  pthread_mutex_unlock(&threads->mutex);
  return NULL;
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
  threads->busy = threads->started;
  ++threads->loop;
  pthread_cond_broadcast(&threads->begun);
  pthread_mutex_unlock(&threads->mutex);
  work(threads, 0);
  pthread_mutex_lock(&threads->mutex);
  while (threads->busy > 0) pthread_cond_wait(&threads->ended, &threads->mutex);
  pthread_mutex_unlock(&threads->mutex);
}
