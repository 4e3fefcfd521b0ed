// Makes of steps on maps that follow one another fewer ones that do the same.

#ifndef LARQ_INSTA_MERGE_H_
#define LARQ_INSTA_MERGE_H_

#include "plan.h"

// `outputs` are tensors that are read elsewhere. False without memory.
bool merge_steps(Plan* plan, const IntArray* outputs);

#endif  // LARQ_INSTA_MERGE_H_
