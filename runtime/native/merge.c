// Makes of steps on maps that follow one another fewer ones that do the same.

#include "merge.h"

#include <stdlib.h>

enum { kNoStep = -1 };

typedef struct {
  Plan* plan;
  const IntArray* outputs;  // tensors that are read elsewhere
  bool* gone;               // of each step
} Merger;

static Operator* operator_at(const Merger* merger, int step) {
  return &merger->plan->steps[step].operator;
}

static int maker_of(const Merger* merger, int tensor) {
  for (size_t i = 0; i < merger->plan->step_count; ++i) {
    if (!merger->gone[i] && operator_at(merger, (int)i)->outputs[0] == tensor) return (int)i;
  }
  return kNoStep;
}

// The only steps that read a tensor, at most `most`; their number, or `most` + 1 if there are more.
static int readers_of(const Merger* merger, int tensor, int* readers, int most) {
  if (contains(merger->outputs, tensor)) return most + 1;
  int count = 0;
  for (size_t i = 0; i < merger->plan->step_count; ++i) {
    if (merger->gone[i] || !reads(operator_at(merger, (int)i), tensor)) continue;
    if (count == most) return most + 1;
    readers[count++] = (int)i;
  }
  return count;
}

static bool combines(const Operator* operator, Combination combination, bool with_vector) {
  return operator->kind == kCombine && operator->combining.combination == combination &&
         operator->combining.with_vector == with_vector && !operator->combining.relu;
}

// The step that makes `tensor`, if only one reads it and it is of that kind.
static int made_for_one(const Merger* merger, int tensor, Combination combination,
                        bool with_vector) {
  int reader;
  const int maker = maker_of(merger, tensor);
  if (maker == kNoStep || !combines(operator_at(merger, maker), combination, with_vector) ||
      readers_of(merger, tensor, &reader, 1) != 1) {
    return kNoStep;
  }
  return maker;
}

// A map plus or minus a vector that is only quantized becomes a quantization with thresholds: x - y
// is below 0 exactly where x is below y.
static void merge_threshold(Merger* merger, int step) {
  Operator* quantize = operator_at(merger, step);
  int maker = made_for_one(merger, quantize->inputs[0], kSubtract, true);
  if (maker == kNoStep) maker = made_for_one(merger, quantize->inputs[0], kAdd, true);
  if (maker == kNoStep) return;
  const Operator* shift = operator_at(merger, maker);
  if (shift->channels != quantize->channels) return;
  quantize->inputs[0] = shift->inputs[0];
  quantize->inputs[1] = shift->inputs[1];
  quantize->conversion.negated = shift->combining.combination == kAdd;
  merger->gone[maker] = true;
}

// Of a map x: d, which is x, x minus a vector or x plus one; the mean of d * d, and the sum of its
// products with x or with d.
typedef struct {
  int shift;  // the step that adds the vector, or kNoStep
  int square, mean, products;
} Statistics;

// The mean and the sum of products of a square that only they read; false if others do, too.
static bool find_sums(const Merger* merger, int factor, Statistics* found) {
  int readers[2];
  const int count =
      readers_of(merger, operator_at(merger, found->square)->outputs[0], readers, 2);
  found->mean = found->products = kNoStep;
  for (int k = 0; k < count && count <= 2; ++k) {
    const Operator* sum = operator_at(merger, readers[k]);
    if (sum->kind != kSum) continue;
    if (!sum->summing.of_products) found->mean = readers[k];
    if (sum->summing.of_products && reads(sum, factor)) found->products = readers[k];
  }
  const int known = (found->mean != kNoStep) + (found->products != kNoStep);
  return found->products != kNoStep && known == count;
}

static bool squares_itself(const Operator* operator, int tensor) {
  return combines(operator, kMultiply, false) && operator->inputs[0] == tensor &&
         operator->inputs[1] == tensor;
}

// Those that begin with a step: a square of its input, or a shift of it that is only squared and
// multiplied with that.
static bool find_statistics(const Merger* merger, int step, Statistics* found) {
  const Operator* first = operator_at(merger, step);
  *found = (Statistics){kNoStep, step, kNoStep, kNoStep};
  if (combines(first, kSquaredDifference, true) || squares_itself(first, first->inputs[0])) {
    return find_sums(merger, first->inputs[0], found);
  }
  int readers[2];
  const int shifted = first->outputs[0];
  if (!combines(first, kAdd, true) || readers_of(merger, shifted, readers, 2) != 2) return false;
  found->shift = step;
  found->square =
      squares_itself(operator_at(merger, readers[0]), shifted) ? readers[0] : readers[1];
  return squares_itself(operator_at(merger, found->square), shifted) &&
         find_sums(merger, shifted, found) &&
         (found->products == readers[0] || found->products == readers[1]);
}

static void take_statistics(Merger* merger, const Statistics* found, Operator* chain) {
  const Operator* square = operator_at(merger, found->square);
  const Operator* products = operator_at(merger, found->products);
  Finishing* finishing = &chain->finishing;
  finishing->has_statistics = true;
  finishing->of_distance = found->shift != kNoStep;
  finishing->shift_sign = finishing->of_distance ? 1 : -1;
  if (finishing->of_distance) {
    chain->inputs[kShift] = operator_at(merger, found->shift)->inputs[1];
    merger->gone[found->shift] = true;
  } else if (square->combining.with_vector) {
    chain->inputs[kShift] = square->inputs[1];
  }
  if (found->mean != kNoStep) {
    const Operator* mean = operator_at(merger, found->mean);
    chain->outputs[kSquares] = mean->outputs[0];
    finishing->squares_scale = mean->summing.scale;
    merger->gone[found->mean] = true;
  }
  chain->outputs[kProducts] = products->outputs[0];
  chain->inputs[kProductBias] = products->inputs[2];
  merger->gone[found->square] = merger->gone[found->products] = true;
}

// Those of a map that a chain makes.
static void merge_statistics(Merger* merger, Operator* chain) {
  for (size_t i = 0; i < merger->plan->step_count; ++i) {
    Statistics found;
    if (merger->gone[i] || operator_at(merger, (int)i)->inputs[0] != chain->outputs[kChained] ||
        !find_statistics(merger, (int)i, &found)) {
      continue;
    }
    take_statistics(merger, &found, chain);
    return;
  }
}

// A chain of the map and the output of an operator, without inputs yet.
static Operator chain_like(const Operator* operator) {
  Operator chain = *operator;
  chain.kind = kFinish;
  chain.finishing = (Finishing){.sign = 1};
  for (int k = 0; k < kMostInputs; ++k) chain.inputs[k] = -1;
  return chain;
}

// What ends with `step`: slopes of a sum of two maps and a vector, each of which may be missing.
static void merge_chain(Merger* merger, int step) {
  Operator* last = operator_at(merger, step);
  Statistics statistics;
  if (find_statistics(merger, step, &statistics)) return;  // which belong to what they read
  Operator chain = chain_like(last);
  int steps[3], count = 0, at = step;
  if (combines(last, kSlope, true)) {
    chain.inputs[kSlopes] = last->inputs[1];
    chain.inputs[kA] = last->inputs[0];
    steps[count++] = at;
    at = made_for_one(merger, last->inputs[0], kSubtract, true);
    if (at == kNoStep) at = made_for_one(merger, last->inputs[0], kAdd, true);
    if (at == kNoStep) at = made_for_one(merger, last->inputs[0], kAdd, false);
  }
  const Operator* next = at == kNoStep ? NULL : operator_at(merger, at);
  if (next != NULL && (combines(next, kSubtract, true) || combines(next, kAdd, true))) {
    chain.inputs[kVector] = next->inputs[1];
    chain.inputs[kA] = next->inputs[0];
    chain.finishing.sign = next->combining.combination == kSubtract ? -1 : 1;
    steps[count++] = at;
    at = made_for_one(merger, next->inputs[0], kAdd, false);
    next = at == kNoStep ? NULL : operator_at(merger, at);
  }
  if (next != NULL && combines(next, kAdd, false)) {
    chain.inputs[kA] = next->inputs[0];
    chain.inputs[kB] = next->inputs[1];
    steps[count++] = at;
  }
  if (count == 0) return;
  for (int i = 1; i < count; ++i) merger->gone[steps[i]] = true;
  *last = chain;
  merge_statistics(merger, last);
}

// Statistics of a map that no chain makes: those of a chain that makes none.
static void merge_lone_statistics(Merger* merger, int step) {
  Statistics found;
  if (!find_statistics(merger, step, &found)) return;
  Operator* first = operator_at(merger, step);
  Operator chain = chain_like(first);
  chain.inputs[kA] = first->inputs[0];
  take_statistics(merger, &found, &chain);
  chain.outputs[kChained] = -1;
  merger->gone[step] = false;
  *first = chain;
}

static void close_gaps(Merger* merger) {
  Plan* plan = merger->plan;
  size_t count = 0;
  for (size_t i = 0; i < plan->step_count; ++i) {
    if (!merger->gone[i]) plan->steps[count++] = plan->steps[i];
  }
  plan->step_count = count;
}

bool merge_steps(Plan* plan, const IntArray* outputs) {
  Merger merger = {plan, outputs, calloc(plan->step_count + 1, sizeof(bool))};
  if (merger.gone == NULL) return false;
  for (size_t i = plan->step_count; i-- > 0;) {  // from the last, as chains are found by their ends
    const Operator* operator = operator_at(&merger, (int)i);
    if (merger.gone[i]) continue;
    if (operator->kind == kQuantize && operator->conversion.type == kFloat32) {
      merge_threshold(&merger, (int)i);
    } else if (operator->kind == kCombine) {
      merge_chain(&merger, (int)i);
    }
  }
  for (size_t i = 0; i < plan->step_count; ++i) {
    if (!merger.gone[i]) merge_lone_statistics(&merger, (int)i);
  }
  close_gaps(&merger);
  free(merger.gone);
  return true;
}
