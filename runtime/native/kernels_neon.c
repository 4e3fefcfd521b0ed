// 128 bits at once on 64-bit ARM, which counts bits of bytes in one instruction; bytes are summed
// up while they cannot overflow.

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
  kWordsOfByteSums = 31,  // each adds at most 8 to a byte
};

typedef struct {
  uint32x4_t lanes[kPixels][kVectors];
} Sums;

typedef struct {
  uint8x16_t lanes[kPixels][kVectors];
} Bytes;

static inline void clear(Bytes* bytes) {
  for (size_t i = 0; i < kPixels; ++i) {
    for (size_t v = 0; v < kVectors; ++v) bytes->lanes[i][v] = vdupq_n_u8(0);
  }
}

// At most `kWordsOfByteSums` words of each position.
static inline void add_words(const uint32_t* row, size_t stride, const uint32_t* filters,
                             size_t words, Bytes* bytes) {
  for (size_t k = 0; k < words; ++k, filters += kLanes) {
    uint32x4_t filter[kVectors];
    for (size_t v = 0; v < kVectors; ++v) filter[v] = vld1q_u32(filters + 4 * v);
    for (size_t i = 0; i < kPixels; ++i) {
      const uint32x4_t word = vdupq_n_u32(row[i * stride + k]);
      for (size_t v = 0; v < kVectors; ++v) {
        const uint8x16_t differing = vreinterpretq_u8_u32(veorq_u32(word, filter[v]));
        bytes->lanes[i][v] = vaddq_u8(bytes->lanes[i][v], vcntq_u8(differing));
      }
    }
  }
}

static inline void add_bytes(Sums* sums, Bytes* bytes) {
  for (size_t i = 0; i < kPixels; ++i) {
    for (size_t v = 0; v < kVectors; ++v) {
      sums->lanes[i][v] = vpadalq_u16(sums->lanes[i][v], vpaddlq_u8(bytes->lanes[i][v]));
    }
  }
  clear(bytes);
}

static inline void differ(const Lines* lines, const uint32_t* filters, Sums* sums) {
  Bytes bytes;
  clear(&bytes);
  for (size_t i = 0; i < kPixels; ++i) {
    for (size_t v = 0; v < kVectors; ++v) sums->lanes[i][v] = vdupq_n_u32(0);
  }
  size_t room = kWordsOfByteSums;
  for (size_t line = 0; line < lines->count; ++line) {
    for (size_t k = 0; k < lines->words;) {
      if (room == 0) {
        add_bytes(sums, &bytes);
        room = kWordsOfByteSums;
      }
      const size_t left = lines->words - k, now = left < room ? left : room;
      add_words(lines->lines[line] + k, lines->stride, filters, now, &bytes);
      filters += now * kLanes;
      room -= now;
      k += now;
    }
  }
  add_bytes(sums, &bytes);
}

static void count_differences(const Lines* lines, const uint32_t* filters,
                              int32_t counts[][kLanes]) {
  Sums sums;
  differ(lines, filters, &sums);
  for (size_t i = 0; i < kPixels; ++i) {
    for (size_t v = 0; v < kVectors; ++v) {
      vst1q_s32(counts[i] + 4 * v, vreinterpretq_s32_u32(sums.lanes[i][v]));
    }
  }
}

static void multiply(const Lines* lines, const uint32_t* filters, const Transform* transform,
                     float* output, size_t stride, size_t count, size_t lanes) {
  Sums sums;
  differ(lines, filters, &sums);
  const int32x4_t least = vdupq_n_s32(transform->least);
  const int32x4_t largest = vdupq_n_s32(transform->largest);
  for (size_t i = 0; i < count; ++i, output += stride) {
    float numbers[kLanes];
    float* to = lanes == kLanes ? output : numbers;
    for (size_t v = 0; v < kVectors; ++v) {
      int32x4_t sum = vshlq_n_s32(vreinterpretq_s32_u32(sums.lanes[i][v]), 1);
      if (transform->cuts_off) sum = vminq_s32(vmaxq_s32(sum, least), largest);
      const float32x4_t product =
          vmulq_f32(vcvtq_f32_s32(sum), vld1q_f32(transform->multiplier + 4 * v));
      vst1q_f32(to + 4 * v, vaddq_f32(product, vld1q_f32(transform->bias + 4 * v)));
    }
    if (to != output) memcpy(output, numbers, lanes * sizeof *output);
  }
}

static void pack(Rows numbers, const float* thresholds, size_t positions, size_t channels,
                 uint32_t* bits, size_t words) {
  static const uint32_t kPlaces[4] = {1, 2, 4, 8};
  const uint32x4_t places = vld1q_u32(kPlaces);
  const size_t whole = channels / kBitsOfWord * kBitsOfWord;
  for (size_t i = 0; i < positions; ++i) {
    const float* from = numbers.first + i * numbers.stride;
    for (size_t c = 0; c < whole; c += kBitsOfWord) {
      uint32x4_t word = vdupq_n_u32(0);
      for (size_t part = kBitsOfWord; part > 0; part -= 4) {
        const size_t at = c + part - 4;
        const uint32x4_t below = vcltq_f32(vld1q_f32(from + at), vld1q_f32(thresholds + at));
        word = vorrq_u32(vshlq_n_u32(word, 4), vandq_u32(below, places));
      }
      bits[i * words + c / kBitsOfWord] = vaddvq_u32(word);
    }
  }
  if (whole == channels) return;
  const Rows left = {numbers.first + whole, numbers.stride};
  kPortableKernels.pack(left, thresholds + whole, positions, channels - whole,
                        bits + whole / kBitsOfWord, words);
}

const Kernels kNeonKernels = {"neon", &kLoops, kPixels, count_differences, multiply, pack};

#endif  // __aarch64__
