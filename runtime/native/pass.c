// A pass goes over maps a strip of positions at a time, in tasks that are the same for any number
// of threads, so that sums are, too.

#include "pass.h"

#include <string.h>

#include "convolution.h"
#include "sizes.h"

enum {
  kBytesOfStrip = 16384,
  kTilesOfStrip = 8,  // at most
  kMostTasks = 64,
  kTasksOfThread = 4,
};

typedef struct {
  const Plan* plan;
  const Pass* pass;
  const Context* context;
  char* own;
  const Machine* machine;
  size_t strip, strips_of_task, tasks;  // positions; strips; tasks, each for all chunks
  size_t chunk, chunks;                 // channels
  float* sums;                          // of each task
  Windows windows[kMostConvolutions];   // of the pass's convolutions, in their order
} Running;

static size_t strip_of(const Pass* pass, const Kernels* kernels) {
  const size_t tile = kernels->pixels * pass->widest * sizeof(float);
  const size_t tiles = minimum(kBytesOfStrip / tile, kTilesOfStrip);
  return kernels->pixels * (tiles > 0 ? tiles : 1);
}

static size_t strips_of_task(const Pass* pass, size_t strip) {
  return divided(divided(pass->positions, strip), kMostTasks);
}

static size_t tasks_of(const Pass* pass, size_t strip) {
  return divided(divided(pass->positions, strip), strips_of_task(pass, strip));
}

void plan_needs(const Plan* plan, const Machine* machine, size_t* scratch, size_t* shared) {
  for (size_t p = 0; p < plan->pass_count; ++p) {
    const Pass* pass = plan->passes + p;
    if (pass->lone) continue;
    const size_t strip = strip_of(pass, machine->kernels);
    size_t maps = 0, convolution_bytes = 0;
    for (size_t i = pass->begin; i < pass->end; ++i) {
      const Operator* operator = &plan->steps[i].operator;
      if (operator->kind != kConvolve) continue;
      convolution_bytes = maximum(
          convolution_bytes, convolution_scratch(&operator->convolution, machine->kernels));
      maps += aligned(convolution_map(&operator->convolution));
    }
    const size_t own = aligned(strip * pass->strip * sizeof(float)) + convolution_bytes;
    const size_t sums = aligned(tasks_of(pass, strip) * pass->sums * sizeof(float));
    *scratch = maximum(*scratch, own);
    *shared = maximum(*shared, sums + maps);
  }
}

static void* address(const Context* context, char* own, const Operand* operand) {
  switch (operand->place) {
    case kOfRuntime:
      return context->tensors[operand->tensor].data;
    case kOfPart:
      return own + operand->at;
    default:
      return NULL;
  }
}

// Some positions and channels, and where what is held of them lies.
typedef struct {
  const Running* running;
  Stretch stretch;
  size_t task;
  float* strip;
  void* scratch;  // of convolutions
} Here;

static Rows rows_of(const Here* here, const Operand* operand) {
  const Stretch* stretch = &here->stretch;
  const Running* running = here->running;
  if (operand->place == kOfStrip) {
    return (Rows){here->strip + operand->at * running->strip + operand->channel, operand->stride};
  }
  float* numbers = address(running->context, running->own, operand);
  return (Rows){numbers + stretch->first * operand->stride + stretch->channel + operand->channel,
                operand->stride};
}

static void concatenate(const Here* here, const Step* step) {
  const Rows to = rows_of(here, step->outputs);
  size_t channel = 0;
  for (int k = 0; k < kMostInputs; ++k) {
    if (step->inputs[k].place == kAbsent) continue;
    const Rows from = rows_of(here, step->inputs + k);
    const size_t channels = step->operator.in_channels[k];
    const bool lies_there = from.first == to.first + channel;
    for (size_t i = 0; !lies_there && i < here->stretch.count; ++i) {
      memcpy(to.first + i * to.stride + channel, from.first + i * from.stride,
             channels * sizeof(float));
    }
    channel += channels;
  }
}

static void combine(const Here* here, const Step* step) {
  const Loops* loops = here->running->machine->kernels->loops;
  const Combining* combining = &step->operator.combining;
  const size_t channels = minimum(here->stretch.channels, step->operator.channels);
  const Rows to = rows_of(here, step->outputs);
  loops->combine[combining->combination](rows_of(here, step->inputs), rows_of(here, step->inputs + 1),
                                         to, here->stretch.count, channels);
  if (combining->relu) loops->relu(to, here->stretch.count, channels);
}

static void sum(const Here* here, const Step* step) {
  const Running* running = here->running;
  const Loops* loops = running->machine->kernels->loops;
  float* sums = running->sums + here->task * running->pass->sums + step->sums + here->stretch.channel;
  const bool products = step->operator.summing.of_products;
  const Rows a = rows_of(here, step->inputs);
  const Rows b = products ? rows_of(here, step->inputs + 1) : a;
  const size_t channels = minimum(here->stretch.channels, step->operator.channels);
  (products ? loops->sum_products : loops->sum)(a, b, sums, here->stretch.count, channels);
}

static const float* vector_of(const Here* here, const Step* step, int input,
                              const float* absent) {
  const Running* running = here->running;
  const bool there = step->inputs[input].place != kAbsent;
  const float* numbers =
      there ? address(running->context, running->own, step->inputs + input) : absent;
  return numbers + here->stretch.channel;
}

static void finish(const Here* here, const Step* step) {
  const Running* running = here->running;
  const Operator* operator = &step->operator;
  const size_t channels = minimum(here->stretch.channels, operator->channels);
  Chain chain = {.a = rows_of(here, step->inputs + kA),
                 .sign = operator->finishing.sign,
                 .shift_sign = operator->finishing.shift_sign,
                 .of_distance = operator->finishing.of_distance,
                 .vector = vector_of(here, step, kVector, running->plan->zeros),
                 .slopes = vector_of(here, step, kSlopes, running->plan->ones),
                 .shift = vector_of(here, step, kShift, running->plan->zeros)};
  if (step->outputs[kChained].place != kAbsent) chain.to = rows_of(here, step->outputs);
  if (step->inputs[kB].place != kAbsent) chain.b = rows_of(here, step->inputs + kB);
  if (operator->finishing.has_statistics) {
    chain.squares = running->sums + here->task * running->pass->sums + step->sums +
                    here->stretch.channel;
    chain.products = chain.squares + operator->channels;
  }
  running->machine->kernels->loops->chain(&chain, here->stretch.count, channels);
}

static void pack(const Here* here, const Step* step) {
  const Running* running = here->running;
  const Stretch* stretch = &here->stretch;
  const float* thresholds = step->operator.conversion.thresholds;
  if (step->inputs[1].place != kAbsent && !step->operator.conversion.negated) {
    thresholds = address(running->context, running->own, step->inputs + 1);
  }
  uint32_t* bits = address(running->context, running->own, step->outputs);
  bits += stretch->first * step->outputs[0].stride + stretch->channel / kBitsOfWord;
  running->machine->kernels->pack(rows_of(here, step->inputs), thresholds + stretch->channel,
                                  stretch->count,
                                  minimum(stretch->channels, step->operator.channels), bits,
                                  step->outputs[0].stride);
}

static void convolve_here(const Here* here, const Step* step, const Windows* windows) {
  const Running* running = here->running;
  const Convolution* convolution = &step->operator.convolution;
  Stretch stretch = here->stretch;
  stretch.channels = minimum(stretch.channels, step->operator.channels);
  void* output = NULL;
  if (convolution->type == kFloat32) {
    output = rows_of(here, step->outputs).first;
  } else {
    const size_t size = convolution->type == kInt8 ? sizeof(int8_t) : sizeof(uint32_t);
    char* begin = address(running->context, running->own, step->outputs);
    output = begin + stretch.first * step->outputs[0].stride * size;
  }
  convolve(convolution, windows, running->machine->kernels, &stretch, output, step->outputs[0].stride,
           here->scratch);
}

static void run_strip(const Here* here) {
  const Running* running = here->running;
  const Windows* windows = running->windows;
  for (size_t i = running->pass->begin; i < running->pass->end; ++i) {
    const Step* step = running->plan->steps + i;
    switch (step->operator.kind) {
      case kConvolve:
        convolve_here(here, step, windows++);
        break;
      case kCombine:
        combine(here, step);
        break;
      case kConcatenate:
        concatenate(here, step);
        break;
      case kSum:
        sum(here, step);
        break;
      case kFinish:
        finish(here, step);
        break;
      default:
        pack(here, step);
    }
  }
}

static void run_task(void* argument, size_t number, size_t thread) {
  const Running* running = argument;
  const Pass* pass = running->pass;
  const size_t task = number / running->chunks, chunk = number % running->chunks;
  char* scratch = running->machine->scratch[thread];
  const size_t held = aligned(running->strip * pass->strip * sizeof(float));
  Here here = {.running = running, .task = task, .strip = (float*)(void*)scratch,
               .scratch = scratch + held};
  here.stretch.channel = chunk * running->chunk;
  here.stretch.channels = minimum(running->chunk, pass->widest - here.stretch.channel);
  const size_t begin = task * running->strips_of_task * running->strip;
  const size_t end = minimum(begin + running->strips_of_task * running->strip, pass->positions);
  for (size_t first = begin; first < end; first += running->strip) {
    here.stretch.first = first;
    here.stretch.count = minimum(running->strip, end - first);
    run_strip(&here);
  }
}

// What the tasks have summed, from `sums` on in each.
static void add_up(const Running* running, size_t sums, size_t channels, float scale,
                   const Operand* bias_operand, const Operand* output_operand) {
  if (output_operand->place == kAbsent) return;
  float* output = address(running->context, running->own, output_operand);
  const float* bias =
      bias_operand == NULL ? NULL : address(running->context, running->own, bias_operand);
  memset(output, 0, channels * sizeof *output);
  const Rows of_tasks = {running->sums + sums, running->pass->sums};
  running->machine->kernels->loops->sum(of_tasks, of_tasks, output, running->tasks, channels);
  for (size_t c = 0; c < channels; ++c) {
    output[c] = output[c] * scale + (bias == NULL ? 0 : bias[c]);
  }
}

static void end_step(const Running* running, const Step* step) {
  const Operator* operator = &step->operator;
  const size_t channels = operator->channels;
  if (operator->kind == kSum) {
    add_up(running, step->sums, channels, operator->summing.scale, step->inputs + 2,
           step->outputs);
  }
  if (operator->kind == kFinish && operator->finishing.has_statistics) {
    add_up(running, step->sums, channels, operator->finishing.squares_scale, NULL,
           step->outputs + kSquares);
    add_up(running, step->sums + channels, channels, 1, step->inputs + kProductBias,
           step->outputs + kProducts);
  }
}

// Where a vector is added before numbers are quantized: x + y is below 0 exactly where x is below -y.
static void negate_thresholds(const Running* running, const Step* step) {
  const Operator* operator = &step->operator;
  if (operator->kind != kQuantize || !operator->conversion.negated) return;
  const float* numbers = address(running->context, running->own, step->inputs + 1);
  for (size_t i = 0; i < operator->channels; ++i) operator->conversion.thresholds[i] = -numbers[i];
}

static void run_pass(Running* running) {
  const Pass* pass = running->pass;
  const Machine* machine = running->machine;
  running->strip = strip_of(pass, machine->kernels);
  running->strips_of_task = strips_of_task(pass, running->strip);
  running->tasks = tasks_of(pass, running->strip);
  size_t chunks = 1;
  if (pass->in_chunks) {
    // Maps of many channels are too wide to be near; small ones have too few positions for all
    // threads.
    const size_t threads = threads_count(machine->threads);
    chunks = divided(running->strip * pass->widest * sizeof(float), kBytesOfStrip);
    if (threads > 1 && running->tasks * chunks < kTasksOfThread * threads) {
      chunks = divided(kTasksOfThread * threads, running->tasks);
    }
  }
  running->chunk = divided(divided(pass->widest, chunks), kBitsOfWord) * kBitsOfWord;
  running->chunks = divided(pass->widest, running->chunk);
  for (size_t i = pass->begin; i < pass->end; ++i) {
    negate_thresholds(running, running->plan->steps + i);
  }
  running->sums = machine->shared;
  const size_t sums = running->tasks * pass->sums * sizeof(float);
  if (sums > 0) memset(running->sums, 0, sums);
  char* map = (char*)machine->shared + aligned(sums);
  size_t convolutions = 0;
  for (size_t i = pass->begin; i < pass->end; ++i) {
    const Step* step = running->plan->steps + i;
    if (step->operator.kind != kConvolve) continue;
    const Convolution* convolution = &step->operator.convolution;
    const uint32_t* input = address(running->context, running->own, step->inputs);
    running->windows[convolutions++] =
        convolution_windows(convolution, input, (uint32_t*)(void*)map);
    map += aligned(convolution_map(convolution));
  }
  threads_run(machine->threads, run_task, running, running->tasks * running->chunks);
  for (size_t i = pass->begin; i < pass->end; ++i) {
    end_step(running, running->plan->steps + i);
  }
}

// Vectors of one number a channel, as thresholds are computed from statistics.
static void combine_vectors(const Operator* operator, const float* a, const float* b,
                            float* output, const Loops* loops) {
  const Combining* combining = &operator->combining;
  void (*const combine)(Rows, Rows, Rows, size_t, size_t) =
      loops->combine[combining->combination];
  if (!combining->repeats[0] && !combining->repeats[1]) {
    combine((Rows){(float*)a, 0}, (Rows){(float*)b, 0}, (Rows){output, 0}, 1, operator->channels);
  } else {  // as many positions of one channel
    combine((Rows){(float*)a, !combining->repeats[0]}, (Rows){(float*)b, !combining->repeats[1]},
            (Rows){output, 1}, operator->channels, 1);
  }
  if (combining->relu) loops->relu((Rows){output, 0}, 1, operator->channels);
}

static void run_lone(const Step* step, const Context* context, char* own, const Loops* loops) {
  const Operator* operator = &step->operator;
  const void* input = address(context, own, step->inputs);
  void* output = address(context, own, step->outputs);
  switch (operator->kind) {
    case kQuantize:
      quantize_bytes(&operator->conversion, input, output);
      break;
    case kDequantize:
      dequantize(&operator->conversion, input, output);
      break;
    case kMaxPool:
      max_pool(&operator->pooling, input, output);
      break;
    default:
      combine_vectors(operator, input, address(context, own, step->inputs + 1), output, loops);
  }
}

static bool has_memory(const Step* step, const Context* context) {
  bool has = true;
  for (int k = 0; k < kMostOutputs; ++k) {
    const Operand* output = step->outputs + k;
    has &= output->place != kOfRuntime || context->tensors[output->tensor].data != NULL;
  }
  for (int k = 0; k < kMostInputs; ++k) {
    const Operand* input = step->inputs + k;
    has &= input->place != kOfRuntime || context->tensors[input->tensor].data != NULL;
  }
  return has;
}

const Step* run_plan(const Plan* plan, const Context* context, void* own, const Machine* machine) {
  for (size_t i = 0; i < plan->step_count; ++i) {
    if (!has_memory(plan->steps + i, context)) return plan->steps + i;
  }
  for (size_t p = 0; p < plan->pass_count; ++p) {
    const Pass* pass = plan->passes + p;
    if (pass->lone) {
      run_lone(plan->steps + pass->begin, context, own, machine->kernels->loops);
      continue;
    }
    Running running = {.plan = plan, .pass = pass, .context = context, .own = own,
                       .machine = machine};
    run_pass(&running);
  }
  return NULL;
}
