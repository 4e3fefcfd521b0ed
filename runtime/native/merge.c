// Makes of steps on maps that follow one another fewer ones that do the same.

#include "merge.h"

#include <stdlib.h>

enum { kNoStep = -1 };

typedef struct {
  Plan* plan;
  const IntArray* outputs;  // tensors that are read elsewhere
  bool* gone;               // of each step
} Merger;

static bool reads(const Operator* operator, int tensor) {
  for (int k = 0; k < kMostInputs; ++k) {
    if (operator->inputs[k] == tensor) return true;
  }
  return false;
}

static Operator* operator_at(const Merger* merger, int step) {
  return &merger->plan->steps[step].operator;
}

static int maker_of(const Merger* merger, int tensor) {
  for (size_t i = 0; i < merger->plan->step_count; ++i) {
    if (!merger->gone[i] && operator_at(merger, (int)i)->outputs[0] == tensor) return (int)i;
  }
  return kNoStep;
}

static bool is_read_elsewhere(const Merger* merger, int tensor) {
  for (int i = 0; i < merger->outputs->size; ++i) {
    if (merger->outputs->data[i] == tensor) return true;
  }
  return false;
}

// The only steps that read a tensor, at most `most`; their number, or `most` + 1 if there are more.
static int readers_of(const Merger* merger, int tensor, int* readers, int most) {
  if (is_read_elsewhere(merger, tensor)) return most + 1;
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

// A map minus a vector that is only quantized becomes a quantization with thresholds: x - y is
// below 0 exactly where x is below y.
static void merge_threshold(Merger* merger, int step) {
  Operator* quantize = operator_at(merger, step);
  const int maker = made_for_one(merger, quantize->inputs[0], kSubtract, true);
  if (maker == kNoStep) return;
  const Operator* subtract = operator_at(merger, maker);
  if (subtract->channels != quantize->channels) return;
  quantize->inputs[0] = subtract->inputs[0];
  quantize->inputs[1] = subtract->inputs[1];
  merger->gone[maker] = true;
}

// Of a map x: d = x - shift or x, squared; the mean of that and the sum of its products with x.
typedef struct {
  int square, mean, products;
} Statistics;

static bool find_statistics(const Merger* merger, int tensor, Statistics* found) {
  for (size_t i = 0; i < merger->plan->step_count; ++i) {
    const Operator* square = operator_at(merger, (int)i);
    const bool of_map = square->inputs[0] == tensor;
    if (merger->gone[i] || !of_map ||
        (!combines(square, kSquaredDifference, true) &&
         !(combines(square, kMultiply, false) && square->inputs[1] == tensor))) {
      continue;
    }
    int readers[2];
    const int count = readers_of(merger, square->outputs[0], readers, 2);
    *found = (Statistics){(int)i, kNoStep, kNoStep};
    for (int k = 0; k < count && count <= 2; ++k) {
      const Operator* sum = operator_at(merger, readers[k]);
      if (sum->kind != kSum) continue;
      if (!sum->summing.of_products) found->mean = readers[k];
      if (sum->summing.of_products && reads(sum, tensor)) found->products = readers[k];
    }
    const int known = (found->mean != kNoStep) + (found->products != kNoStep);
    if (found->products != kNoStep && known == count) return true;
  }
  return false;
}

static void merge_statistics(Merger* merger, int tensor, Operator* chain) {
  Statistics found;
  if (!find_statistics(merger, tensor, &found)) return;
  const Operator* square = operator_at(merger, found.square);
  chain->finishing.has_statistics = true;
  if (square->combining.with_vector) chain->inputs[kShift] = square->inputs[1];
  if (found.mean != kNoStep) {
    const Operator* mean = operator_at(merger, found.mean);
    chain->outputs[kSquares] = mean->outputs[0];
    chain->finishing.squares_scale = mean->summing.scale;
    merger->gone[found.mean] = true;
  }
  const Operator* products = operator_at(merger, found.products);
  chain->outputs[kProducts] = products->outputs[0];
  chain->inputs[kProductBias] = products->inputs[2];
  merger->gone[found.square] = merger->gone[found.products] = true;
}

// What ends with `step`: slopes of a sum of two maps and a vector, each of which may be missing.
static void merge_chain(Merger* merger, int step) {
  Operator* last = operator_at(merger, step);
  Operator chain = *last;
  chain.kind = kFinish;
  chain.finishing = (Finishing){.sign = 1};
  for (int k = 0; k < kMostInputs; ++k) chain.inputs[k] = -1;
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
  merge_statistics(merger, last->outputs[kChained], last);
}

// Statistics of a map that no chain makes: those of a chain that makes none.
static void merge_lone_statistics(Merger* merger, int step) {
  Operator* square = operator_at(merger, step);
  Operator chain = *square;
  chain.kind = kFinish;
  chain.finishing = (Finishing){.sign = 1};
  for (int k = 0; k < kMostInputs; ++k) chain.inputs[k] = -1;
  chain.inputs[kA] = square->inputs[0];
  merge_statistics(merger, square->inputs[0], &chain);
  if (!chain.finishing.has_statistics) return;
  chain.outputs[kChained] = -1;
  merger->gone[step] = false;
  *square = chain;
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
    const Operator* operator = operator_at(&merger, (int)i);
    if (!merger.gone[i] && (combines(operator, kSquaredDifference, true) ||
                            combines(operator, kMultiply, false))) {
      merge_lone_statistics(&merger, (int)i);
    }
  }
  close_gaps(&merger);
  free(merger.gone);
  return true;
}
