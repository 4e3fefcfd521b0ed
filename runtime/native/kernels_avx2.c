// 256 bits at once. There is no instruction that counts bits of lanes: a table of sixteen entries
// in a register counts those of half bytes, and bytes are summed up while they cannot overflow.

#include "kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2")))
#define FOR_PROCESSOR AVX2
#define BYTES_OF_VECTOR 32
#define VECTORS_OF_COLUMN 2
#include "loops.h"

enum {
  kPixels = 4,
  kWordsOfByteSums = 31,  // each adds at most 8 to a byte
};

AVX2 static inline __m256i count_bits(__m256i x) {
  const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2,
                                         1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i low = _mm256_set1_epi8(0x0f);
  const __m256i upper = _mm256_and_si256(_mm256_srli_epi32(x, 4), low);
  return _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(x, low)),
                         _mm256_shuffle_epi8(table, upper));
}

AVX2 static inline __m256i sum_bytes(__m256i bytes) {
  const __m256i pairs = _mm256_maddubs_epi16(bytes, _mm256_set1_epi8(1));
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

typedef struct {
  __m256i lanes[kPixels][2];
} Sums;

AVX2 static inline void clear(Sums* sums) {
  for (size_t i = 0; i < kPixels; ++i) sums->lanes[i][0] = sums->lanes[i][1] = _mm256_setzero_si256();
}

// At most `kWordsOfByteSums` words of each position.
AVX2 static inline void add_words(const uint32_t* row, size_t stride, const uint32_t* filters,
                                  size_t words, Sums* bytes) {
  for (size_t k = 0; k < words; ++k) {
    const __m256i* filter = (const __m256i*)(filters + k * kLanes);
    const __m256i a = _mm256_loadu_si256(filter), b = _mm256_loadu_si256(filter + 1);
    for (size_t i = 0; i < kPixels; ++i) {
      const __m256i word = _mm256_set1_epi32((int)row[i * stride + k]);
      __m256i* sum = bytes->lanes[i];
      sum[0] = _mm256_add_epi8(sum[0], count_bits(_mm256_xor_si256(word, a)));
      sum[1] = _mm256_add_epi8(sum[1], count_bits(_mm256_xor_si256(word, b)));
    }
  }
}

AVX2 static inline void add_bytes(Sums* sums, Sums* bytes) {
  for (size_t i = 0; i < kPixels; ++i) {
    for (int half = 0; half < 2; ++half) {
      const __m256i four = sum_bytes(bytes->lanes[i][half]);
      sums->lanes[i][half] = _mm256_add_epi32(sums->lanes[i][half], four);
    }
  }
  clear(bytes);
}

AVX2 static inline void differ(const Lines* lines, const uint32_t* filters, Sums* sums) {
  Sums bytes;
  clear(sums);
  clear(&bytes);
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

AVX2 static void count_differences(const Lines* lines, const uint32_t* filters,
                                   int32_t counts[][kLanes]) {
  Sums sums;
  differ(lines, filters, &sums);
  for (size_t i = 0; i < kPixels; ++i) {
    _mm256_storeu_si256((__m256i*)counts[i], sums.lanes[i][0]);
    _mm256_storeu_si256((__m256i*)counts[i] + 1, sums.lanes[i][1]);
  }
}

AVX2 static inline __m256 transformed(__m256i differing, const Transform* transform, int half) {
  __m256i sum = _mm256_slli_epi32(differing, 1);
  if (transform->cuts_off) {
    sum = _mm256_max_epi32(sum, _mm256_set1_epi32(transform->least));
    sum = _mm256_min_epi32(sum, _mm256_set1_epi32(transform->largest));
  }
  const __m256 multiplier = _mm256_loadu_ps(transform->multiplier + 8 * half);
  const __m256 bias = _mm256_loadu_ps(transform->bias + 8 * half);
  return _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), multiplier), bias);
}

AVX2 static void multiply(const Lines* lines, const uint32_t* filters, const Transform* transform,
                          float* output, size_t stride, size_t count, size_t lanes) {
  Sums sums;
  differ(lines, filters, &sums);
  for (size_t i = 0; i < count; ++i, output += stride) {
    const __m256 a = transformed(sums.lanes[i][0], transform, 0);
    const __m256 b = transformed(sums.lanes[i][1], transform, 1);
    float numbers[kLanes];
    float* to = lanes == kLanes ? output : numbers;
    _mm256_storeu_ps(to, a);
    _mm256_storeu_ps(to + 8, b);
    if (to != output) memcpy(output, numbers, lanes * sizeof *output);
  }
}

AVX2 static void pack(Rows numbers, const float* thresholds, size_t positions, size_t channels,
                      uint32_t* bits, size_t words) {
  const size_t whole = channels / kBitsOfWord * kBitsOfWord;
  for (size_t i = 0; i < positions; ++i) {
    const float* from = numbers.first + i * numbers.stride;
    for (size_t c = 0; c < whole; c += kBitsOfWord) {
      uint32_t word = 0;
      for (size_t part = 0; part < kBitsOfWord; part += 8) {
        const __m256 x = _mm256_loadu_ps(from + c + part);
        const __m256 threshold = _mm256_loadu_ps(thresholds + c + part);
        const int below = _mm256_movemask_ps(_mm256_cmp_ps(x, threshold, _CMP_LT_OQ));
        word |= (uint32_t)below << part;
      }
      bits[i * words + c / kBitsOfWord] = word;
    }
  }
  if (whole == channels) return;
  const Rows left = {numbers.first + whole, numbers.stride};
  kPortableKernels.pack(left, thresholds + whole, positions, channels - whole,
                        bits + whole / kBitsOfWord, words);
}

const Kernels kAvx2Kernels = {"avx2", &kLoops, kPixels, count_differences, multiply, pack};

#endif  // __x86_64__
