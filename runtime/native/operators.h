// Operators, as they are run here: Larq Compute Engine's four, and those of TensorFlow Lite that
// stand between them.
//
// Bits: 0 stands for +1 and 1 for -1. They lie in words along the channels, channel 0 in the
// lowest bit, the last word filled up with 0.

#ifndef LARQ_INSTA_OPERATORS_H_
#define LARQ_INSTA_OPERATORS_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "interface.h"
#include "kernels.h"

enum { kMostInputs = 6, kMostOutputs = 3 };

// Where a window of the input lies for each position of the output. What lies outside of the
// input is in front by `top` and `left`.
typedef struct {
  size_t batch, in_height, in_width, out_height, out_width;
  size_t height, width;  // of the window
  size_t stride_height, stride_width, dilation_height, dilation_width;
  size_t top, left;
} Window;

typedef struct {
  Window window;
  size_t groups, words, filters;  // words of one place of one group; filters of one group
  size_t in_words, out_channels;  // of a place in all groups
  int32_t depth;                  // products that are summed for one number
  bool pads_with_zero;            // else with +1
  Type type;                      // of the output: float32, int8, or int32 for bits
  bool cuts_off;                  // by the activation
  int32_t least, largest;         // then, of twice the differing bits
  uint32_t* packed;               // filters as kernels take them, group by group
  int32_t* places;                // bits of each filter at each place of the window, likewise
  float* multiplier;              // of twice the differing bits, an entry for each filter, filled up
  float* bias;
  int32_t* thresholds;            // or one, where the output is bits
} Convolution;

typedef struct {
  size_t positions, channels;
  Type type;  // of what is not bits
  int32_t zero_point, one;  // of int8: what stands for 0, and the distance to +1
  float* thresholds;  // of float32, one a channel: 0, or what is given, negated
  bool negated;
} Conversion;

typedef struct {
  Window window;
  size_t words;
} Pooling;

// Two maps, or a map and a vector of one number a channel, or two vectors.
typedef struct {
  Combination combination;
  bool with_vector;
  bool relu;  // negative numbers become 0 then
  bool repeats[2];  // of vectors: one number stands for all
} Combining;

// For each channel, of all positions of a map, or of the products of two, `scale` times the sum
// plus a bias where there is one.
typedef struct {
  bool of_products;
  float scale;
} Summing;

// A chain of them: `a` plus `b`, plus or minus a vector, with a slope; and with its statistics, of
// the number plus or minus a shift, d: the mean of d * d, and a sum of products with that. What is
// absent is -1.
enum { kA, kB, kVector, kSlopes, kShift, kProductBias };  // inputs
enum { kChained, kSquares, kProducts };                  // outputs

typedef struct {
  float sign, shift_sign;  // of the vectors
  bool has_statistics;
  bool of_distance;  // whether d times d * d is summed, not the number times d * d
  float squares_scale;
} Finishing;

typedef enum {
  kQuantize,
  kDequantize,
  kMaxPool,
  kConvolve,
  kCombine,
  kCombineVectors,
  kSum,
  kConcatenate,
  kFinish,
} Kind;

typedef struct {
  Kind kind;
  int inputs[kMostInputs], outputs[kMostOutputs];  // numbers of tensors; -1 for none
  size_t in_channels[kMostInputs];                 // of maps of numbers
  size_t images, positions, channels;              // of the output; of a sum, of its input
  union {
    Conversion conversion;
    Pooling pooling;
    Convolution convolution;
    Combining combining;
    Summing summing;
    Finishing finishing;
  };
} Operator;

void quantize_bytes(const Conversion* conversion, const void* input, uint32_t* output);
void dequantize(const Conversion* conversion, const uint32_t* input, void* output);
void max_pool(const Pooling* pooling, const uint32_t* input, uint32_t* output);

// Whether a tensor is one of its inputs.
static inline bool reads(const Operator* operator, int tensor) {
  for (int k = 0; k < kMostInputs; ++k) {
    if (operator->inputs[k] == tensor) return true;
  }
  return false;
}

// The place in the input that `at` of the window meets for position `out`; false if outside.
static inline bool window_meets(size_t out, size_t stride, size_t at, size_t dilation,
                                size_t in_front, size_t size, size_t* in) {
  const size_t shifted = out * stride + at * dilation;
  *in = shifted - in_front;
  return shifted >= in_front && *in < size;
}

#endif  // LARQ_INSTA_OPERATORS_H_
