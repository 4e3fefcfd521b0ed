#include "plan.h"

#include <stdlib.h>
#include <string.h>

#include "merge.h"
#include "parse.h"
#include "sizes.h"

enum { kNoStep = -1, kMostStepsOfPass = 64 };

// Where the next tensors come from and who reads them, while steps are put in order.
typedef struct {
  Plan* plan;
  const IntArray* outputs;
  size_t tensors;
  int* makers;      // of each tensor: its step, or kNoStep
  Step* ordered;    // those done, in their order
  int* pass_of;     // of each step as it was: the pass in which it was done, or kNoStep
} Planner;

static bool is_streamed(const Operator* operator) {
  switch (operator->kind) {
    case kQuantize:
      return operator->conversion.type == kFloat32;
    case kConvolve:
    case kCombine:
    case kSum:
    case kConcatenate:
    case kFinish:
      return true;
    default:
      return false;
  }
}

// Whether the input is read as a map, position by position as it is made.
static bool reads_map(const Operator* operator, int input) {
  switch (operator->kind) {
    case kQuantize:
      return input == 0;
    case kCombine:
      return input == 0 || !operator->combining.with_vector;
    case kSum:
      return input < (operator->summing.of_products ? 2 : 1);
    case kConcatenate:
      return true;
    case kFinish:
      return input == kA || input == kB;
    default:
      return false;
  }
}

// Whether an output is a map of numbers, and not bits or a vector.
static bool makes_map(const Operator* operator, int output) {
  return output == 0 &&
         (operator->kind == kCombine || operator->kind == kConcatenate ||
          operator->kind == kFinish ||
          (operator->kind == kConvolve && operator->convolution.type == kFloat32));
}

static int maker_of(const Planner* planner, int tensor) {
  return tensor < 0 || (size_t)tensor >= planner->tensors ? kNoStep : planner->makers[tensor];
}

// Whether all that a step reads is there, when `pass` runs.
static bool is_ready(const Planner* planner, const Step* step, int pass, bool joins) {
  for (int k = 0; k < kMostInputs; ++k) {
    const int maker = maker_of(planner, step->operator.inputs[k]);
    if (maker == kNoStep) continue;
    const int made = planner->pass_of[maker];
    if (made == kNoStep) return false;
    if (made < pass) continue;
    if (!joins || !reads_map(&step->operator, k) ||
        !makes_map(&planner->plan->steps[maker].operator,
                   planner->plan->steps[maker].operator.outputs[0] != step->operator.inputs[k])) {
      return false;
    }
  }
  return true;
}

static bool can_join(const Planner* planner, const Step* step, const Pass* pass, int number) {
  const Operator* operator = &step->operator;
  return is_streamed(operator) && operator->positions == pass->positions &&
         pass->end - pass->begin < kMostStepsOfPass &&
         (operator->kind != kConvolve || pass->convolutions < kMostConvolutions) &&
         is_ready(planner, step, number, true);
}

static void take(Planner* planner, size_t step, Pass* pass, int number) {
  Plan* plan = planner->plan;
  const Operator* operator = &plan->steps[step].operator;
  planner->ordered[pass->end++] = plan->steps[step];
  planner->pass_of[step] = number;
  pass->widest = maximum(pass->widest, operator->channels);
  pass->convolutions += operator->kind == kConvolve;
}

// The first step that is not done and can be, in `pass` where that is begun; the number of steps if
// none.
static size_t next_step(const Planner* planner, const Pass* pass, int number) {
  const Plan* plan = planner->plan;
  size_t i = 0;
  for (; i < plan->step_count; ++i) {
    if (planner->pass_of[i] != kNoStep) continue;
    const Step* step = plan->steps + i;
    if (pass == NULL ? is_ready(planner, step, number, false)
                     : can_join(planner, step, pass, number)) {
      break;
    }
  }
  return i;
}

static const char* order_steps(Planner* planner) {
  Plan* plan = planner->plan;
  size_t done = 0;
  while (done < plan->step_count) {
    const int number = (int)plan->pass_count;
    const size_t first = next_step(planner, NULL, number);
    if (first == plan->step_count) return "its inputs are made of its output";
    Pass* pass = plan->passes + plan->pass_count++;
    const Operator* operator = &plan->steps[first].operator;
    *pass = (Pass){.begin = done, .end = done, .lone = !is_streamed(operator),
                   .positions = operator->positions};
    take(planner, first, pass, number);
    while (!pass->lone) {
      const size_t next = next_step(planner, pass, number);
      if (next == plan->step_count) break;
      take(planner, next, pass, number);
    }
    done = pass->end;
  }
  memcpy(plan->steps, planner->ordered, done * sizeof *plan->steps);
  return NULL;
}

// The last pass that reads a tensor of `pass`.
static size_t last_reader(const Plan* plan, int tensor, size_t pass) {
  size_t last = pass;
  for (size_t p = pass; p < plan->pass_count; ++p) {
    for (size_t i = plan->passes[p].begin; i < plan->passes[p].end; ++i) {
      if (reads(&plan->steps[i].operator, tensor)) last = p;
    }
  }
  return last;
}

static size_t stride_of(const Operator* operator) {
  const size_t words = words_of(operator->channels);
  switch (operator->kind) {
    case kQuantize:
      return words;
    case kConvolve:
      return operator->convolution.type == kInt32 ? words : operator->channels;
    case kCombine:
    case kConcatenate:
    case kFinish:
      return operator->channels;
    default:
      return 0;
  }
}

static void set_inputs(const Context* context, const Plan* plan, Step* step) {
  for (int k = 0; k < kMostInputs; ++k) {
    const int tensor = step->operator.inputs[k];
    Operand* input = step->inputs + k;
    if (tensor < 0) continue;
    *input = (Operand){.place = kOfRuntime, .tensor = tensor};
    for (const Step* maker = plan->steps; maker < step; ++maker) {
      for (int output = 0; output < kMostOutputs; ++output) {
        if (maker->operator.outputs[output] == tensor) *input = maker->outputs[output];
      }
    }
    const IntArray* dims = context->tensors[tensor].dims;
    const bool is_map = reads_map(&step->operator, k);
    if (!is_map) input->stride = 0;
    if (is_map && input->stride == 0) input->stride = (size_t)dims->data[dims->size - 1];
  }
}

// Numbers that a strip holds for each position: room that is free again serves the next.
typedef struct {
  size_t channels;  // 0: none
  int tensor;       // -1: free
} Room;

static size_t room_for(Room* rooms, size_t* count, size_t channels, int tensor) {
  size_t at = 0, i = 0;
  for (; i < *count; at += rooms[i++].channels) {
    if (rooms[i].tensor < 0 && rooms[i].channels == channels) break;
  }
  if (i == *count) rooms[(*count)++].channels = channels;
  rooms[i].tensor = tensor;
  return at;
}

static bool is_read_later(const Plan* plan, const Pass* pass, size_t step, int tensor) {
  for (size_t i = step + 1; i < pass->end; ++i) {
    if (reads(&plan->steps[i].operator, tensor)) return true;
  }
  return false;
}

static void free_rooms(const Plan* plan, const Pass* pass, size_t step, Room* rooms,
                       size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (rooms[i].tensor >= 0 && !is_read_later(plan, pass, step, rooms[i].tensor)) {
      rooms[i].tensor = -1;
    }
  }
}

typedef struct {
  size_t first_pass, last_pass, at, bytes;
  int tensor;
} Block;

// One that lies where `block` would, at the same time; but not `ignored`.
static const Block* find_block(const Block* blocks, size_t count, const Block* block,
                               const Block* ignored) {
  for (size_t i = 0; i < count; ++i) {
    const Block* other = blocks + i;
    if (other != ignored && other->first_pass <= block->last_pass &&
        block->first_pass <= other->last_pass && other->at < block->at + block->bytes &&
        block->at < other->at + other->bytes) {
      return other;
    }
  }
  return NULL;
}

// Where things are, while places are given out.
typedef struct {
  const Context* context;
  const IntArray* outputs;
  Plan* plan;
  Room* rooms;
  size_t room_count;
  Block* blocks;
  size_t block_count;
} Places;

// The block that a step may write over position by position: a map that is read here for the last
// time.
static const Block* replaced_block(const Places* places, size_t number, const Step* step,
                                   size_t bytes) {
  const Plan* plan = places->plan;
  const Pass* pass = plan->passes + number;
  for (int k = 0; k < kMostInputs; ++k) {
    const Operand* input = step->inputs + k;
    const bool fits = input->place == kOfPart && reads_map(&step->operator, k) &&
                      input->stride == step->operator.channels &&
                      last_reader(plan, input->tensor, number) == number &&
                      !is_read_later(plan, pass, (size_t)(step - plan->steps), input->tensor);
    for (size_t i = 0; fits && i < places->block_count; ++i) {
      const Block* block = places->blocks + i;
      if (block->tensor == input->tensor && block->bytes == bytes) return block;
    }
  }
  return NULL;
}

static size_t place_of_block(Places* places, size_t number, const Step* step, int tensor,
                             bool is_map) {
  const size_t bytes = aligned(places->context->tensors[tensor].bytes);
  Block block = {number, last_reader(places->plan, tensor, number), 0, bytes, tensor};
  const Block* replaced = is_map ? replaced_block(places, number, step, bytes) : NULL;
  if (replaced != NULL) {
    block.at = replaced->at;
    if (find_block(places->blocks, places->block_count, &block, replaced) != NULL) replaced = NULL;
  }
  if (replaced == NULL) {
    block.at = 0;
    for (const Block* other;
         (other = find_block(places->blocks, places->block_count, &block, NULL)) != NULL;) {
      block.at = other->at + other->bytes;
    }
  }
  places->blocks[places->block_count++] = block;
  places->plan->bytes = maximum(places->plan->bytes, block.at + bytes);
  return block.at;
}

static void place_output(Places* places, size_t number, Step* step, int output);

// What only a concatenation of this pass reads is made where it belongs.
static bool place_within(Places* places, size_t number, Step* step, int tensor) {
  const Plan* plan = places->plan;
  const Pass* pass = plan->passes + number;
  Step* reader = NULL;
  size_t channel = 0;
  for (Step* other = plan->steps; other < plan->steps + plan->step_count; ++other) {
    size_t passed = 0;
    for (int k = 0; k < kMostInputs; passed += other->operator.in_channels[k++]) {
      if (other->operator.inputs[k] != tensor) continue;
      if (reader != NULL) return false;
      reader = other;
      channel = passed;
    }
  }
  if (reader == NULL || reader->operator.kind != kConcatenate ||
      reader >= plan->steps + pass->end) {
    return false;
  }
  if (reader->outputs[0].place == kAbsent) place_output(places, number, reader, 0);
  step->outputs[0] = reader->outputs[0];
  step->outputs[0].channel += channel;
  return true;
}

static void place_output(Places* places, size_t number, Step* step, int output) {
  const int tensor = step->operator.outputs[output];
  Operand* operand = step->outputs + output;
  if (tensor < 0 || operand->place != kAbsent) return;
  *operand = (Operand){.place = kOfRuntime, .tensor = tensor,
                       .stride = output == 0 ? stride_of(&step->operator) : 0};
  if (contains(places->outputs, tensor)) return;
  const bool is_map = makes_map(&step->operator, output);
  if (is_map && place_within(places, number, step, tensor)) return;
  if (is_map && last_reader(places->plan, tensor, number) == number) {
    operand->place = kOfStrip;
    operand->at =
        room_for(places->rooms, &places->room_count, step->operator.channels, tensor);
    return;
  }
  operand->place = kOfPart;
  operand->at = place_of_block(places, number, step, tensor, is_map);
}

static void place_step(Places* places, size_t number, Step* step) {
  Pass* pass = places->plan->passes + number;
  const Operator* operator = &step->operator;
  const size_t at = (size_t)(step - places->plan->steps);
  set_inputs(places->context, places->plan, step);
  // An operator on numbers may write over what it reads for the last time.
  const bool in_place = operator->kind == kCombine || operator->kind == kFinish;
  if (in_place) free_rooms(places->plan, pass, at, places->rooms, places->room_count);
  for (int output = 0; output < kMostOutputs; ++output) {
    place_output(places, number, step, output);
  }
  if (!in_place) free_rooms(places->plan, pass, at, places->rooms, places->room_count);
  step->sums = pass->sums;
  if (operator->kind == kSum) pass->sums += operator->channels;
  if (operator->kind == kFinish && operator->finishing.has_statistics) {
    pass->sums += 2 * operator->channels;
  }
  pass->in_chunks &= operator->channels == pass->widest && operator->kind != kConcatenate &&
                     (operator->kind != kConvolve || (operator->convolution.groups == 1 &&
                                                      operator->convolution.type == kFloat32));
}

static void place_pass(Places* places, size_t number) {
  Pass* pass = places->plan->passes + number;
  places->room_count = 0;
  pass->in_chunks = true;
  for (size_t i = pass->begin; i < pass->end; ++i) {
    place_step(places, number, places->plan->steps + i);
  }
  for (size_t i = 0; i < places->room_count; ++i) pass->strip += places->rooms[i].channels;
}

// What stands for vectors that are left out of chains.
static bool make_constants(Plan* plan) {
  size_t channels = 0;
  for (size_t i = 0; i < plan->step_count; ++i) {
    if (plan->steps[i].operator.kind != kFinish) continue;
    channels = maximum(channels, plan->steps[i].operator.channels);
  }
  plan->zeros = calloc(channels + 1, sizeof *plan->zeros);
  plan->ones = calloc(channels + 1, sizeof *plan->ones);
  if (plan->zeros == NULL || plan->ones == NULL) return false;
  for (size_t i = 0; i < channels; ++i) plan->ones[i] = 1;
  return true;
}

static long long bytes_of(const Context* context, int tensor) {
  return tensor < 0 ? 0 : (long long)context->tensors[tensor].bytes;
}

// What a step reads and writes, were it alone.
static long long moved_alone(const Context* context, const Operator* operator) {
  long long bytes = 0;
  if (operator->kind == kConvolve) return 0;
  for (int k = 0; k < kMostInputs; ++k) {
    bool again = false;
    for (int other = 0; other < k; ++other) again |= operator->inputs[other] == operator->inputs[k];
    if (!again) bytes += bytes_of(context, operator->inputs[k]);
  }
  return bytes + bytes_of(context, operator->outputs[0]);
}

// What a pass, but for its convolutions, reads and writes: each tensor once that is not held in
// strips.
static long long moved_by(const Context* context, const Plan* plan, const Pass* pass,
                          int* passes_of, int number) {
  long long bytes = 0;
  for (size_t i = pass->begin; i < pass->end; ++i) {
    const Step* step = plan->steps + i;
    for (int k = 0; k < kMostInputs + kMostOutputs; ++k) {
      const Operand* operand = k < kMostInputs ? step->inputs + k : step->outputs + k - kMostInputs;
      if (step->operator.kind == kConvolve || operand->place == kAbsent ||
          operand->place == kOfStrip || passes_of[operand->tensor] == number) {
        continue;
      }
      passes_of[operand->tensor] = number;
      bytes += bytes_of(context, operand->tensor);
    }
  }
  return bytes;
}

static const char* find_makers(Planner* planner) {
  const Plan* plan = planner->plan;
  for (size_t i = 0; i < planner->tensors; ++i) planner->makers[i] = kNoStep;
  for (size_t i = 0; i < plan->step_count; ++i) {
    planner->pass_of[i] = kNoStep;
    for (int k = 0; k < kMostOutputs; ++k) {
      const int output = plan->steps[i].operator.outputs[k];
      if (output < 0) continue;
      if (planner->makers[output] != kNoStep) return "another one makes its output, too";
      planner->makers[output] = (int)i;
    }
  }
  return NULL;
}

static const char* plan_with(Planner* planner, Places* places) {
  const size_t count = planner->plan->step_count;
  planner->makers = calloc(planner->tensors + 1, sizeof *planner->makers);
  planner->ordered = calloc(count + 1, sizeof *planner->ordered);
  planner->pass_of = calloc(count + 1, sizeof *planner->pass_of);
  planner->plan->passes = calloc(count + 1, sizeof *planner->plan->passes);
  places->rooms = calloc(count + 1, sizeof *places->rooms);
  places->blocks = calloc(kMostOutputs * count + 1, sizeof *places->blocks);
  if (planner->makers == NULL || planner->ordered == NULL || planner->pass_of == NULL ||
      planner->plan->passes == NULL || places->rooms == NULL || places->blocks == NULL) {
    return "there is no memory for it";
  }
  for (size_t i = 0; i < count; ++i) {
    planner->plan->saved += moved_alone(places->context, &planner->plan->steps[i].operator);
  }
  // Before steps are merged, which relies on it.
  const char* problem = find_makers(planner);
  if (problem != NULL) return problem;
  if (!merge_steps(planner->plan, planner->outputs) || !make_constants(planner->plan)) {
    return "there is no memory for it";
  }
  problem = find_makers(planner);
  if (problem == NULL) problem = order_steps(planner);
  if (problem != NULL) return problem;
  Plan* plan = planner->plan;
  for (size_t i = 0; i < plan->pass_count; ++i) place_pass(places, i);
  int* passes_of = planner->makers;  // which are no longer needed
  for (size_t i = 0; i < planner->tensors; ++i) passes_of[i] = kNoStep;
  for (size_t i = 0; i < plan->pass_count; ++i) {
    plan->saved -= moved_by(places->context, plan, plan->passes + i, passes_of, (int)i);
  }
  return NULL;
}

const char* make_plan(const Context* context, const IntArray* outputs, Plan* plan) {
  Planner planner = {.plan = plan, .outputs = outputs, .tensors = context->tensors_size};
  Places places = {.context = context, .outputs = outputs, .plan = plan};
  const char* problem = plan_with(&planner, &places);
  free(planner.makers);
  free(planner.ordered);
  free(planner.pass_of);
  free(places.rooms);
  free(places.blocks);
  return problem;
}

void plan_free(Plan* plan) {
  for (size_t i = 0; i < plan->step_count; ++i) operator_free(&plan->steps[i].operator);
  free(plan->steps);
  free(plan->passes);
  free(plan->zeros);
  free(plan->ones);
  memset(plan, 0, sizeof *plan);
}
