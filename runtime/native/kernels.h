// The innermost loops, once for each kind of processor, behind one table of functions.
//
// The portable ones are the reference that all others are tested against. Those for wider vectors
// are compiled into the same library by attributes of their functions, and chosen when it is
// loaded, by what the processor has or by the environment variable LARQ_INSTA_KERNELS.

#ifndef LARQ_INSTA_KERNELS_H_
#define LARQ_INSTA_KERNELS_H_

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

// From differing bits to numbers: twice their number, kept from `least` to `largest`, times a
// multiplier, plus a bias.
typedef struct {
  int32_t least, largest;
  const float *multiplier, *bias;  // kLanes each
} Transform;

typedef struct {
  const char* name;

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

  // Signs of `positions` times `channels` numbers: bit c of a position is number c < 0. Each
  // position begins a new word; what is left of its last one is 0.
  void (*pack_signs)(const float* numbers, size_t positions, size_t channels, uint32_t* bits);
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
