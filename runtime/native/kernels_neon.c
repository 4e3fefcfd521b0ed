// 128 bits at once on 64-bit ARM, which counts bits of bytes in one instruction, and adds pairs of
// them to sums of 16 bits in another; these suffice for all but huge filters.

#include "kernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>
#include <string.h>

#define FOR_PROCESSOR
#define BYTES_OF_VECTOR 16
#define VECTORS_OF_COLUMN 4
#include "loops.h"

enum {
  kPixels = 4,
  kVectors = kLanes / 4,
  kWordsOfSums = UINT16_MAX / 16,  // each adds at most 16 to a sum
};

typedef struct {
  uint32x4_t lanes[kPixels][kVectors];
} Sums;

// Of at most `kWordsOfSums` words of each position.
static inline Sums differ_in_few(const Lines* lines, const uint32_t* filters) {
  uint16x8_t halves[kPixels][kVectors];
  for (size_t i = 0; i < kPixels; ++i) {
    for (size_t v = 0; v < kVectors; ++v) halves[i][v] = vdupq_n_u16(0);
  }
  for (size_t line = 0; line < lines->count; ++line) {
    const uint32_t* rows[kPixels];
    for (size_t i = 0; i < kPixels; ++i) rows[i] = lines->lines[line] + i * lines->stride;
    for (size_t k = lines->words; k > 0; --k, filters += kLanes) {
      // Else compilers compute all from one, which takes longer than to let loads add.
      for (size_t i = 0; i < kPixels; ++i) __asm__("" : "+r"(rows[i]));
      uint32x4_t filter[kVectors];
      for (size_t v = 0; v < kVectors; ++v) filter[v] = vld1q_u32(filters + 4 * v);
      for (size_t i = 0; i < kPixels; ++i) {
        const uint32x4_t word = vld1q_dup_u32(rows[i]++);
        for (size_t v = 0; v < kVectors; ++v) {
          const uint8x16_t differing = vreinterpretq_u8_u32(veorq_u32(word, filter[v]));
          halves[i][v] = vpadalq_u8(halves[i][v], vcntq_u8(differing));
        }
      }
    }
  }
  Sums sums;
  for (size_t i = 0; i < kPixels; ++i) {
    for (size_t v = 0; v < kVectors; ++v) sums.lanes[i][v] = vpaddlq_u16(halves[i][v]);
  }
  return sums;
}

static __attribute__((noinline)) Sums differ_in_many(const Lines* lines, const uint32_t* filters) {
  Sums sums = {{{{0}}}};
  for (size_t line = 0; line < lines->count; ++line) {
    for (size_t k = 0; k < lines->words; k += kWordsOfSums) {
      const size_t left = lines->words - k, now = left < kWordsOfSums ? left : kWordsOfSums;
      const Lines some = {{lines->lines[line] + k}, 1, now, lines->stride};
      const Sums found = differ_in_few(&some, filters);
      for (size_t i = 0; i < kPixels; ++i) {
        for (size_t v = 0; v < kVectors; ++v) {
          sums.lanes[i][v] = vaddq_u32(sums.lanes[i][v], found.lanes[i][v]);
        }
      }
      filters += now * kLanes;
    }
  }
  return sums;
}

static inline bool has_few(const Lines* lines) {
  return lines->count * lines->words <= kWordsOfSums;
}

static void count_differences(const Lines* lines, const uint32_t* filters,
                              int32_t counts[][kLanes]) {
  const Sums sums =
      has_few(lines) ? differ_in_few(lines, filters) : differ_in_many(lines, filters);
  for (size_t i = 0; i < kPixels; ++i) {
    for (size_t v = 0; v < kVectors; ++v) {
      vst1q_s32(counts[i] + 4 * v, vreinterpretq_s32_u32(sums.lanes[i][v]));
    }
  }
}

static inline __attribute__((always_inline)) void transform_all(
    Sums sums, const Transform* transform, const bool cuts_off, float* output, size_t stride) {
  const int32x4_t least = vdupq_n_s32(transform->least);
  const int32x4_t largest = vdupq_n_s32(transform->largest);
  for (size_t v = 0; v < kVectors; ++v) {
    const float32x4_t multiplier = vld1q_f32(transform->multiplier + 4 * v);
    const float32x4_t bias = vld1q_f32(transform->bias + 4 * v);
    for (size_t i = 0; i < kPixels; ++i) {
      int32x4_t sum = vshlq_n_s32(vreinterpretq_s32_u32(sums.lanes[i][v]), 1);
      if (cuts_off) sum = vminq_s32(vmaxq_s32(sum, least), largest);
      const float32x4_t product = vmulq_f32(vcvtq_f32_s32(sum), multiplier);
      vst1q_f32(output + i * stride + 4 * v, vaddq_f32(product, bias));
    }
  }
}

// The sums stay in registers, as what is asked is known where this is called.
static inline __attribute__((always_inline)) void transform_sums(
    Sums sums, const Transform* transform, float* output, size_t stride, size_t count,
    size_t lanes) {
  float numbers[kPixels][kLanes];
  const bool directly = count == kPixels && lanes == kLanes;
  float* to = directly ? output : numbers[0];
  const size_t to_stride = directly ? stride : kLanes;
  if (transform->cuts_off) {
    transform_all(sums, transform, true, to, to_stride);
  } else {
    transform_all(sums, transform, false, to, to_stride);
  }
  if (directly) return;
  for (size_t i = 0; i < count; ++i) {
    memcpy(output + i * stride, numbers[i], lanes * sizeof *output);
  }
}

static void multiply(const Lines* lines, const uint32_t* filters, const Transform* transform,
                     float* output, size_t stride, size_t count, size_t lanes) {
  if (has_few(lines)) {
    transform_sums(differ_in_few(lines, filters), transform, output, stride, count, lanes);
  } else {
    transform_sums(differ_in_many(lines, filters), transform, output, stride, count, lanes);
  }
}

static void pack(Rows numbers, const float* thresholds, size_t positions, size_t channels,
                 uint32_t* bits, size_t words) {
  static const uint32_t kPlaces[4] = {0x11111111, 0x22222222, 0x44444444, 0x88888888};
  const uint32x4_t places = vld1q_u32(kPlaces);
  const size_t whole = channels / kBitsOfWord * kBitsOfWord;
  for (size_t i = 0; i < positions; ++i) {
    const float* from = numbers.first + i * numbers.stride;
    for (size_t c = 0; c < whole; c += kBitsOfWord) {
      uint32x4_t word = vdupq_n_u32(0);  // in each lane four bits for each bit of it
      for (size_t part = kBitsOfWord; part > 0; part -= 4) {
        const size_t at = c + part - 4;
        const uint32x4_t below = vcltq_f32(vld1q_f32(from + at), vld1q_f32(thresholds + at));
        word = vsliq_n_u32(below, word, 4);
      }
      bits[i * words + c / kBitsOfWord] = vaddvq_u32(vandq_u32(word, places));
    }
  }
  if (whole == channels) return;
  const Rows left = {numbers.first + whole, numbers.stride};
  kPortableKernels.pack(left, thresholds + whole, positions, channels - whole,
                        bits + whole / kBitsOfWord, words);
}

const Kernels kNeonKernels = {"neon", &kLoops, kPixels, count_differences, multiply, pack};

#endif  // __aarch64__
