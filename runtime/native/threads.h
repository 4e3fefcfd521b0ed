// A few threads that share loops. Between loops they sleep, as the interpreter's own threads want
// the processors then.

#ifndef LARQ_INSTA_THREADS_H_
#define LARQ_INSTA_THREADS_H_

#include <stddef.h>

typedef struct Threads Threads;

// For each of the tasks; `thread` is below the number of threads.
typedef void (*Task)(void* argument, size_t task, size_t thread);

// The calling thread is one of `count`. NULL where there is no memory.
Threads* threads_new(size_t count);
void threads_free(Threads* threads);
size_t threads_count(const Threads* threads);

// Runs `tasks` tasks, and returns when all are done. Only one thread may call it at a time.
void threads_run(Threads* threads, Task task, void* argument, size_t tasks);

#endif  // LARQ_INSTA_THREADS_H_
