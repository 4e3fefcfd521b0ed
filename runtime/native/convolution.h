// LceBconv2d: sums of products of +1 and -1, by counting bits that differ.

#ifndef LARQ_INSTA_CONVOLUTION_H_
#define LARQ_INSTA_CONVOLUTION_H_

#include "operators.h"
#include "tiles.h"

// Some positions, one behind the other, and some channels, of which the first begins a block.
typedef struct {
  size_t first, count;
  size_t channel, channels;
} Stretch;

// Makes `packed` and `places` of filters `(filters, height, width, words)`; false without memory.
bool convolution_pack(Convolution* convolution, const uint32_t* filters);
void convolution_free(Convolution* convolution);

// The windows of an input. Where they reach over its border, `map` is where it is surrounded, of
// `convolution_map` bytes.
Windows convolution_windows(const Convolution* convolution, const uint32_t* input, uint32_t* map);
size_t convolution_map(const Convolution* convolution);

// The numbers of a stretch: `output` is that of its first position and channel, and each next
// position's is `stride` behind. All channels at once, where the output is bits or in groups.
void convolve(const Convolution* convolution, const Windows* windows, const Kernels* kernels,
              const Stretch* stretch, void* output, size_t stride, void* scratch);
size_t convolution_scratch(const Convolution* convolution, const Kernels* kernels);

// Filters are counted `kLanes` at a time; those of a group are filled up.
static inline size_t blocks_of(const Convolution* convolution) {
  return (convolution->filters + kLanes - 1) / kLanes;
}

#endif  // LARQ_INSTA_CONVOLUTION_H_
