// LceBMaxPool2d. The largest of numbers of which some are +1 is +1: the bitwise AND, as bits of +1
// are 0. What lies outside of the map takes no part.

#include <string.h>

#include "operators.h"

static void pool(const Pooling* pooling, const uint32_t* image, size_t y, size_t x,
                 uint32_t* output) {
  const Window* window = &pooling->window;
  memset(output, 0xff, pooling->words * sizeof *output);
  for (size_t ky = 0; ky < window->height; ++ky) {
    for (size_t kx = 0; kx < window->width; ++kx) {
      size_t in_y, in_x;
      const bool inside = window_meets(y, window->stride_height, ky, 1, window->top,
                                       window->in_height, &in_y) &&
                          window_meets(x, window->stride_width, kx, 1, window->left,
                                       window->in_width, &in_x);
      if (!inside) continue;
      const uint32_t* input = image + (in_y * window->in_width + in_x) * pooling->words;
      for (size_t i = 0; i < pooling->words; ++i) output[i] &= input[i];
    }
  }
}

void max_pool(const Pooling* pooling, const uint32_t* input, uint32_t* output) {
  const Window* window = &pooling->window;
  const size_t image = window->in_height * window->in_width * pooling->words;
  for (size_t n = 0; n < window->batch; ++n) {
    for (size_t y = 0; y < window->out_height; ++y) {
      for (size_t x = 0; x < window->out_width; ++x) {
        pool(pooling, input + n * image, y, x, output);
        output += pooling->words;
      }
    }
  }
}
