// The order in which the operators of a part run, and where what they make lies.
//
// Operators on maps of the same positions run in one pass, some positions at a time, so that what
// one of them makes is read by the next while it is near, and never written to memory where none
// but they read it.

#ifndef LARQ_INSTA_PLAN_H_
#define LARQ_INSTA_PLAN_H_

#include "operators.h"

enum { kMostConvolutions = 8 };  // of a pass

typedef enum {
  kAbsent,
  kOfRuntime,  // a tensor that the runtime holds
  kOfPart,     // held here, `at` bytes from the beginning
  kOfStrip,    // held while a few positions are computed, `at` numbers for each position further
} Place;

typedef struct {
  Place place;
  int tensor;
  size_t at;
  size_t stride;   // numbers, or words of bits, from one position to the next; 0 for a vector
  size_t channel;  // the first, where it is a part of a concatenation
} Operand;

typedef struct {
  Operator operator;
  const char* name;  // of the node
  int number;
  Operand inputs[kMostInputs], outputs[kMostOutputs];
  size_t sums;  // where those of a task begin
} Step;

// Steps one behind the other. A lone one is none on maps of numbers.
typedef struct {
  size_t begin, end;
  bool lone;
  size_t positions;
  size_t widest;       // channels of a step, at most
  bool in_chunks;      // whether channels may be told apart
  size_t strip;        // numbers of each position that are held for a few
  size_t sums;         // numbers that a task sums
  size_t convolutions;
} Pass;

typedef struct {
  Step* steps;
  size_t step_count;
  Pass* passes;
  size_t pass_count;
  size_t bytes;         // of what is held here
  long long saved;      // bytes that steps but convolutions read and write less than alone
  float *zeros, *ones;  // as many as the widest chain has channels
} Plan;

// Orders the steps, of which `operator`, `name` and `number` are set; `outputs` are tensors that are
// read elsewhere. Answers why not, where it cannot be done.
const char* make_plan(const Context* context, const IntArray* outputs, Plan* plan);
void plan_free(Plan* plan);

#endif  // LARQ_INSTA_PLAN_H_
