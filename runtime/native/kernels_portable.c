// Plain C, in loops over lanes that compilers turn into whatever vectors there are.
//
// Words are added bit by bit before their bits are counted: a full adder makes of three words one
// that counts once and one that counts twice, so that of fifteen words only four must be counted.

#include <string.h>

#include "kernels.h"

enum { kGroup = 15, kPixels = 4 };

// Adds two words to `sum` and gives the carry, which counts twice.
static inline uint32_t add(uint32_t* sum, uint32_t a, uint32_t b) {
  const uint32_t either = *sum ^ a;
  const uint32_t carry = (*sum & a) | (either & b);
  *sum = either ^ b;
  return carry;
}

// In each byte, how many of its bits are set.
static inline uint32_t bits_of_bytes(uint32_t x) {
  x -= (x >> 1) & 0x55555555u;
  x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
  return (x + (x >> 4)) & 0x0f0f0f0fu;
}

static inline int32_t sum_of_bytes(uint32_t x) {
  x = (x & 0x00ff00ffu) + ((x >> 8) & 0x00ff00ffu);
  return (int32_t)((x & 0xffff) + (x >> 16));
}

static void count_group(const uint32_t* row, const uint32_t* filters, int32_t* counts) {
  for (int i = 0; i < kLanes; ++i) {
    uint32_t x[kGroup];
    for (int k = 0; k < kGroup; ++k) x[k] = row[k] ^ filters[k * kLanes + i];
    uint32_t ones = x[0];
    uint32_t twos = add(&ones, x[1], x[2]);
    uint32_t a = add(&ones, x[3], x[4]);
    uint32_t b = add(&ones, x[5], x[6]);
    uint32_t fours = add(&twos, a, b);
    a = add(&ones, x[7], x[8]);
    b = add(&ones, x[9], x[10]);
    const uint32_t c = add(&twos, a, b);
    a = add(&ones, x[11], x[12]);
    b = add(&ones, x[13], x[14]);
    const uint32_t d = add(&twos, a, b);
    const uint32_t eights = add(&fours, c, d);
    counts[i] += sum_of_bytes(bits_of_bytes(ones) + 2 * bits_of_bytes(twos) +
                              4 * bits_of_bytes(fours) + 8 * bits_of_bytes(eights));
  }
}

static void count_three(const uint32_t* row, const uint32_t* filters, int32_t* counts) {
  for (int i = 0; i < kLanes; ++i) {
    uint32_t ones = row[0] ^ filters[i];
    const uint32_t twos = add(&ones, row[1] ^ filters[kLanes + i], row[2] ^ filters[2 * kLanes + i]);
    counts[i] += sum_of_bytes(bits_of_bytes(ones) + 2 * bits_of_bytes(twos));
  }
}

static void count_one(const uint32_t* row, const uint32_t* filters, int32_t* counts) {
  for (int i = 0; i < kLanes; ++i) {
    counts[i] += sum_of_bytes(bits_of_bytes(row[0] ^ filters[i]));
  }
}

static void count_line(const uint32_t* row, const uint32_t* filters, size_t words,
                       int32_t* counts) {
  size_t k = 0;
  for (; k + kGroup <= words; k += kGroup) count_group(row + k, filters + k * kLanes, counts);
  for (; k + 3 <= words; k += 3) count_three(row + k, filters + k * kLanes, counts);
  for (; k < words; ++k) count_one(row + k, filters + k * kLanes, counts);
}

static void count_differences(const Lines* lines, const uint32_t* filters,
                              int32_t counts[][kLanes]) {
  memset(counts, 0, kPixels * sizeof counts[0]);
  for (size_t pixel = 0; pixel < kPixels; ++pixel) {
    const uint32_t* filter = filters;
    for (size_t i = 0; i < lines->count; ++i, filter += lines->words * kLanes) {
      count_line(lines->lines[i] + pixel * lines->stride, filter, lines->words, counts[pixel]);
    }
  }
}

static void multiply(const Lines* lines, const uint32_t* filters, const Transform* transform,
                     float* output, size_t stride, size_t count, size_t lanes) {
  int32_t counts[kPixels][kLanes];
  count_differences(lines, filters, counts);
  for (size_t pixel = 0; pixel < count; ++pixel, output += stride) {
    for (size_t i = 0; i < lanes; ++i) {
      int32_t sum = 2 * counts[pixel][i];
      sum = sum < transform->least ? transform->least : sum;
      sum = sum > transform->largest ? transform->largest : sum;
      output[i] = (float)sum * transform->multiplier[i] + transform->bias[i];
    }
  }
}

static void pack_signs(const float* numbers, size_t positions, size_t channels, uint32_t* bits) {
  for (size_t i = 0; i < positions; ++i) {
    for (size_t first = 0; first < channels; first += kBitsOfWord) {
      const size_t left = channels - first;
      const size_t count = left < kBitsOfWord ? left : kBitsOfWord;
      uint32_t word = 0;
      for (size_t c = 0; c < count; ++c) word |= (uint32_t)(numbers[c] < 0) << c;
      *bits++ = word;
      numbers += count;
    }
  }
}

const Kernels kPortableKernels = {"portable", kPixels, count_differences, multiply, pack_signs};
