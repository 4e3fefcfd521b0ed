// Loops over maps of numbers, compiled once for each kind of processor: who includes this says by
// FOR_PROCESSOR for which, by BYTES_OF_VECTOR how many bytes it takes at once, and by
// VECTORS_OF_COLUMN of how many channels it holds sums and the like in registers.

#include <stdint.h>
#include <string.h>

#include "kernels.h"

enum { kOfNumber = 1, kOfDistance = 2 };  // products that are summed

enum { kNumbers = BYTES_OF_VECTOR / sizeof(float), kVectorsOfColumn = VECTORS_OF_COLUMN };

typedef float Numbers __attribute__((vector_size(BYTES_OF_VECTOR)));
typedef int32_t Mask __attribute__((vector_size(BYTES_OF_VECTOR)));

FOR_PROCESSOR static inline Numbers load(const float* from) {
  Numbers numbers;
  memcpy(&numbers, from, sizeof numbers);
  return numbers;
}

FOR_PROCESSOR static inline void store(float* to, Numbers numbers) {
  memcpy(to, &numbers, sizeof numbers);
}

FOR_PROCESSOR static inline Numbers choose(Mask mask, Numbers yes, Numbers no) {
  return (Numbers)((mask & (Mask)yes) | (~mask & (Mask)no));
}

// The same expression for vectors, and for the numbers that are left.
#define PAIRWISE(NAME, VECTORS, SINGLE)                                                        \
  FOR_PROCESSOR static void NAME(Rows a, Rows b, Rows to, size_t positions, size_t channels) { \
    for (size_t i = 0; i < positions; ++i) {                                                   \
      const float *left = a.first + i * a.stride, *right = b.first + i * b.stride;             \
      float* out = to.first + i * to.stride;                                                   \
      size_t c = 0;                                                                            \
      for (; c + kNumbers <= channels; c += kNumbers) {                                        \
        const Numbers x = load(left + c), y = load(right + c);                                 \
        store(out + c, VECTORS);                                                               \
      }                                                                                        \
      for (; c < channels; ++c) {                                                              \
        const float x = left[c], y = right[c];                                                 \
        out[c] = SINGLE;                                                                       \
      }                                                                                        \
    }                                                                                          \
  }

PAIRWISE(add_rows, x + y, x + y)
PAIRWISE(subtract_rows, x - y, x - y)
PAIRWISE(multiply_rows, x * y, x * y)
PAIRWISE(square_rows, (x - y) * (x - y), (x - y) * (x - y))
PAIRWISE(slope_rows, choose(x < 0, x * y, x), x < 0 ? x * y : x)
PAIRWISE(smaller_rows, choose(y < x, y, x), y < x ? y : x)
PAIRWISE(larger_rows, choose(x < y, y, x), x < y ? y : x)
#undef PAIRWISE

// Adds what all positions have, or the products of two, for each channel, to `sums`.
#define SUMMED(NAME, VECTORS, SINGLE)                                                      \
  FOR_PROCESSOR static void NAME(Rows a, Rows b, float* sums, size_t positions,            \
                                 size_t channels) {                                        \
    size_t c = 0;                                                                          \
    for (; c + kVectorsOfColumn * kNumbers <= channels; c += kVectorsOfColumn * kNumbers) { \
      Numbers sum[kVectorsOfColumn] = {{0}};                                               \
      for (size_t i = 0; i < positions; ++i) {                                             \
        for (int v = 0; v < kVectorsOfColumn; ++v) {                                       \
          const size_t at = c + (size_t)v * kNumbers;                                      \
          const float *left = a.first + i * a.stride + at;                                 \
          const float *right = b.first + i * b.stride + at;                                \
          (void)right;                                                                     \
          sum[v] += VECTORS;                                                               \
        }                                                                                  \
      }                                                                                    \
      for (int v = 0; v < kVectorsOfColumn; ++v) {                                         \
        float* to = sums + c + v * kNumbers;                                               \
        store(to, load(to) + sum[v]);                                                      \
      }                                                                                    \
    }                                                                                      \
    for (; c < channels; ++c) {                                                            \
      float sum = 0;                                                                       \
      for (size_t i = 0; i < positions; ++i) {                                             \
        const float *left = a.first + i * a.stride + c;                                    \
        const float *right = b.first + i * b.stride + c;                                   \
        (void)right;                                                                       \
        sum += SINGLE;                                                                     \
      }                                                                                    \
      sums[c] += sum;                                                                      \
    }                                                                                      \
  }

SUMMED(sum_rows, load(left), *left)
SUMMED(sum_products, load(left) * load(right), *left * *right)
#undef SUMMED

FOR_PROCESSOR static void cut_off_rows(Rows rows, size_t positions, size_t channels) {
  for (size_t i = 0; i < positions; ++i) {
    float* row = rows.first + i * rows.stride;
    size_t c = 0;
    for (; c + kNumbers <= channels; c += kNumbers) {
      const Numbers x = load(row + c);
      store(row + c, choose(x < 0, (Numbers){0}, x));
    }
    for (; c < channels; ++c) row[c] = row[c] < 0 ? 0 : row[c];
  }
}

// `vectors` vectors of channels, from `c` on, at all positions. What is asked of the chain is known
// where this is called, so that there is no question left within. What is not stored is not
// chained.
FOR_PROCESSOR static inline __attribute__((always_inline)) void chain_column(
    const Chain* chain, size_t positions, size_t c, const int vectors, const int adds,
    const int sums, const int stores) {
  Numbers offset[kVectorsOfColumn], slopes[kVectorsOfColumn], shift[kVectorsOfColumn];
  Numbers squares[kVectorsOfColumn], products[kVectorsOfColumn];
  // Copies, as compilers must think that what is stored may be the chain.
  const float *a = chain->a.first + c, *b = adds ? chain->b.first + c : a;
  float* to = stores ? chain->to.first + c : NULL;
  float *of_squares = chain->squares, *of_products = chain->products;
  const size_t a_stride = chain->a.stride, b_stride = chain->b.stride, to_stride = chain->to.stride;
  for (int v = 0; v < vectors; ++v) {
    const size_t at = c + (size_t)v * kNumbers;
    offset[v] = load(chain->vector + at) * chain->sign;
    slopes[v] = load(chain->slopes + at);
    if (!sums) continue;
    shift[v] = load(chain->shift + at) * chain->shift_sign;
    squares[v] = load(of_squares + at);
    products[v] = load(of_products + at);
  }
  for (size_t i = 0; i < positions; ++i) {
    Numbers x[kVectorsOfColumn];  // read before any is stored, so that loads and stores go in pairs
    for (int v = 0; v < vectors; ++v) {
      x[v] = load(a + i * a_stride + v * kNumbers);
      if (adds) x[v] += load(b + i * b_stride + v * kNumbers);
      if (!stores) continue;
      x[v] += offset[v];
      x[v] = choose(x[v] < 0, x[v] * slopes[v], x[v]);
    }
    for (int v = 0; stores && v < vectors; ++v) store(to + i * to_stride + v * kNumbers, x[v]);
    for (int v = 0; sums && v < vectors; ++v) {
      const Numbers distance = x[v] + shift[v], square = distance * distance;
      squares[v] += square;
      products[v] += (sums == kOfDistance ? distance : x[v]) * square;
    }
  }
  for (int v = 0; sums && v < vectors; ++v) {
    const size_t at = c + (size_t)v * kNumbers;
    store(of_squares + at, squares[v]);
    store(of_products + at, products[v]);
  }
}

FOR_PROCESSOR static void chain_channel(const Chain* chain, size_t positions, size_t c) {
  for (size_t i = 0; i < positions; ++i) {
    float x = chain->a.first[i * chain->a.stride + c];
    if (chain->to.first != NULL) {
      if (chain->b.first != NULL) x += chain->b.first[i * chain->b.stride + c];
      x += chain->vector[c] * chain->sign;
      x = x < 0 ? x * chain->slopes[c] : x;
      chain->to.first[i * chain->to.stride + c] = x;
    }
    if (chain->products == NULL) continue;
    const float distance = x + chain->shift[c] * chain->shift_sign, square = distance * distance;
    chain->squares[c] += square;
    chain->products[c] += (chain->of_distance ? distance : x) * square;
  }
}

FOR_PROCESSOR static inline __attribute__((always_inline)) void chain_columns(
    const Chain* chain, size_t positions, size_t channels, const int adds, const int sums,
    const int stores) {
  size_t c = 0;
  for (; c + kVectorsOfColumn * kNumbers <= channels; c += kVectorsOfColumn * kNumbers) {
    chain_column(chain, positions, c, kVectorsOfColumn, adds, sums, stores);
  }
  for (; c + kNumbers <= channels; c += kNumbers) {
    chain_column(chain, positions, c, 1, adds, sums, stores);
  }
  for (; c < channels; ++c) chain_channel(chain, positions, c);
}

FOR_PROCESSOR static inline __attribute__((always_inline)) void chain_with_sums(
    const Chain* chain, size_t positions, size_t channels, const int adds, const int sums) {
  if (chain->to.first == NULL) {
    chain_columns(chain, positions, channels, 0, sums, 0);
  } else if (adds) {
    chain_columns(chain, positions, channels, 1, sums, 1);
  } else {
    chain_columns(chain, positions, channels, 0, sums, 1);
  }
}

FOR_PROCESSOR static void chain_rows(const Chain* chain, size_t positions, size_t channels) {
  const int adds = chain->b.first != NULL;
  if (chain->products == NULL) {
    if (adds) {
      chain_columns(chain, positions, channels, 1, 0, 1);
    } else {
      chain_columns(chain, positions, channels, 0, 0, 1);
    }
  } else if (chain->of_distance) {
    chain_with_sums(chain, positions, channels, adds, kOfDistance);
  } else {
    chain_with_sums(chain, positions, channels, adds, kOfNumber);
  }
}

static const Loops kLoops = {
    .chain = chain_rows,
    .combine = {[kAdd] = add_rows,
                [kSubtract] = subtract_rows,
                [kMultiply] = multiply_rows,
                [kSquaredDifference] = square_rows,
                [kSlope] = slope_rows,
                [kMinimum] = smaller_rows,
                [kMaximum] = larger_rows},
    .relu = cut_off_rows,
    .sum = sum_rows,
    .sum_products = sum_products,
};
