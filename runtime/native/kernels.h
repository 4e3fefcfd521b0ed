// The innermost loops, once for each kind of processor, behind one table of functions.
//
// The portable ones are the reference that all others are tested against. Those for wider vectors
// are compiled into the same library by attributes of their functions, and chosen when it is
// loaded, by what the processor has or by the environment variable LARQ_INSTA_KERNELS.

#ifndef LARQ_INSTA_KERNELS_H_
#define LARQ_INSTA_KERNELS_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  kLanes = 16,       // filters that are counted side by side
  kMostPixels = 8,   // positions likewise, at most
  kMostLines = 8,    // stretches of words
  kBitsOfWord = 32,
};

// The words of some positions: `count` stretches of `words` each, which begin `stride` words
// further for each next position.
typedef struct {
  const uint32_t* lines[kMostLines];
  size_t count, words, stride;
} Lines;

// From differing bits to numbers: twice their number, kept from `least` to `largest` if it is cut
// off, times a multiplier, plus a bias.
typedef struct {
  bool cuts_off;
  int32_t least, largest;
  const float *multiplier, *bias;  // kLanes each
} Transform;

// Numbers of some positions, each `stride` numbers behind the one before; 0 for the same at all.
typedef struct {
  float* first;
  size_t stride;
} Rows;

// What two numbers become. A slope is that of negative numbers.
typedef enum {
  kAdd,
  kSubtract,
  kMultiply,
  kSquaredDifference,
  kSlope,
  kMinimum,
  kMaximum,
  kCombinations
} Combination;

// A chain of combinations: a plus b, plus `sign` times a vector, with slopes. `b` is absent where it
// begins with NULL. Unless `products` is NULL, two sums are added to, of d * d for the number plus
// `shift_sign` times a shift, d, and of d * d times the number, or times d. Where `to` begins with
// NULL, they are all that is asked for, and those of a.
typedef struct {
  Rows a, b, to;
  float sign, shift_sign;
  bool of_distance;
  const float *vector, *slopes, *shift;
  float *squares, *products;
} Chain;

typedef struct {
  void (*chain)(const Chain* chain, size_t positions, size_t channels);
  void (*combine[kCombinations])(Rows a, Rows b, Rows to, size_t positions, size_t channels);

  // Makes negative numbers 0.
  void (*relu)(Rows rows, size_t positions, size_t channels);

  // Adds to `sums`, for each channel, the numbers of all positions, or their products.
  void (*sum)(Rows a, Rows unused, float* sums, size_t positions, size_t channels);
  void (*sum_products)(Rows a, Rows b, float* sums, size_t positions, size_t channels);
} Loops;

typedef struct {
  const char* name;
  const Loops* loops;

  // How many positions `count_differences` and `multiply` take.
  size_t pixels;

  // For each of `pixels` positions and `kLanes` filters, of which `filters` has the first words,
  // then the second words, and so on: counts[position][lane] becomes the number of bits in which
  // they differ.
  void (*count_differences)(const Lines* lines, const uint32_t* filters,
                            int32_t counts[][kLanes]);

  // The same, transformed: `lanes` numbers for each of `count` positions, of which the output has
  // each `stride` numbers behind the one before.
  void (*multiply)(const Lines* lines, const uint32_t* filters, const Transform* transform,
                   float* output, size_t stride, size_t count, size_t lanes);

  // Bit c of a position is whether its number c is below threshold c. Each position begins a new
  // word, `words` behind the one before; what is left of its last one is 0.
  void (*pack)(Rows numbers, const float* thresholds, size_t positions, size_t channels,
               uint32_t* bits, size_t words);
} Kernels;

extern const Kernels kPortableKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kNeonKernels;

// Those called `name`, or the fastest if it is NULL. NULL if there are none of that name, or the
// processor cannot run them.
const Kernels* choose_kernels(const char* name);

// Names of those that this processor can run, the fastest first, ended by NULL.
const char* const* known_kernels(void);

static inline size_t words_of(size_t channels) {
  return (channels + kBitsOfWord - 1) / kBitsOfWord;
}

#endif  // LARQ_INSTA_KERNELS_H_
