// Arithmetic of sizes.

#ifndef LARQ_INSTA_SIZES_H_
#define LARQ_INSTA_SIZES_H_

#include <stddef.h>

enum { kAlignment = 64 };  // of what vectors read, on any processor

static inline size_t minimum(size_t a, size_t b) {
  return a < b ? a : b;
}

static inline size_t maximum(size_t a, size_t b) {
  return a > b ? a : b;
}

// Rounded up.
static inline size_t divided(size_t number, size_t by) {
  return (number + by - 1) / by;
}

// As many bytes as lie between places that are aligned.
static inline size_t aligned(size_t bytes) {
  return divided(bytes, kAlignment) * kAlignment;
}

#endif  // LARQ_INSTA_SIZES_H_
