// Larq Compute Engine's four operators, as they are run here.
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
#include "threads.h"

typedef struct {
  const Kernels* kernels;
  Threads* threads;
  void** scratch;  // for each thread as many bytes as the neediest operator wants
  uint32_t* map;   // likewise, for all together
} Machine;

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
  int32_t least, largest;         // of twice the differing bits, by the activation
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
} Conversion;

typedef struct {
  Window window;
  size_t words;
} Pooling;

typedef enum { kQuantize, kDequantize, kMaxPool, kConvolve } Kind;

typedef struct {
  Kind kind;
  int input, output;  // numbers of tensors
  union {
    Conversion conversion;
    Pooling pooling;
    Convolution convolution;
  };
} Operator;

void quantize(const Conversion* conversion, const void* input, uint32_t* output,
              const Machine* machine);
void dequantize(const Conversion* conversion, const uint32_t* input, void* output);
void max_pool(const Pooling* pooling, const uint32_t* input, uint32_t* output);
void convolve(const Convolution* convolution, const uint32_t* input, void* output,
              const Machine* machine);

// Bytes that each thread needs for it, and all together.
size_t convolve_scratch(const Convolution* convolution, const Kernels* kernels);
size_t convolve_map(const Convolution* convolution);

// Makes `packed` and `places` of filters `(filters, height, width, words)`; false without memory.
bool convolution_pack(Convolution* convolution, const uint32_t* filters);
void convolution_free(Convolution* convolution);

// Filters are counted `kLanes` at a time; those of a group are filled up.
static inline size_t blocks_of(const Convolution* convolution) {
  return (convolution->filters + kLanes - 1) / kLanes;
}

// The place in the input that `at` of the window meets for position `out`; false if outside.
static inline bool window_meets(size_t out, size_t stride, size_t at, size_t dilation,
                                size_t in_front, size_t size, size_t* in) {
  const size_t shifted = out * stride + at * dilation;
  *in = shifted - in_front;
  return shifted >= in_front && *in < size;
}

#endif  // LARQ_INSTA_OPERATORS_H_
