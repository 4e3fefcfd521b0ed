// Runs a plan.

#ifndef LARQ_INSTA_PASS_H_
#define LARQ_INSTA_PASS_H_

#include "plan.h"
#include "threads.h"

// What a plan is run with. Memory is for the neediest of all plans.
typedef struct {
  const Kernels* kernels;
  Threads* threads;
  void** scratch;  // of each thread
  void* shared;    // of all
} Machine;

// Bytes that it needs of `scratch` and of `shared`.
void plan_needs(const Plan* plan, const Machine* machine, size_t* scratch, size_t* shared);

// Runs all passes; `own` is the memory that the plan holds. Where a tensor has no memory, answers
// the step that needs it, else NULL.
const Step* run_plan(const Plan* plan, const Context* context, void* own, const Machine* machine);

#endif  // LARQ_INSTA_PASS_H_
