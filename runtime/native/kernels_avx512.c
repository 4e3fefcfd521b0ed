// 512 bits at once, on processors with an instruction that counts bits of lanes (VPOPCNTDQ).

#include "kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vpopcntdq")))
#define FOR_PROCESSOR AVX512
#define BYTES_OF_VECTOR 64
#define VECTORS_OF_COLUMN 4
#include "loops.h"

enum { kPixels = 8 };

AVX512 static inline void differ(const Lines* lines, const uint32_t* filters,
                                 __m512i sums[kPixels]) {
  for (size_t i = 0; i < kPixels; ++i) sums[i] = _mm512_setzero_si512();
  for (size_t line = 0; line < lines->count; ++line) {
    const uint32_t* row = lines->lines[line];
    for (size_t k = 0; k < lines->words; ++k, filters += kLanes) {
      const __m512i filter = _mm512_loadu_si512(filters);
      for (size_t i = 0; i < kPixels; ++i) {
        const __m512i word = _mm512_set1_epi32((int)row[i * lines->stride + k]);
        const __m512i differing = _mm512_popcnt_epi32(_mm512_xor_si512(word, filter));
        sums[i] = _mm512_add_epi32(sums[i], differing);
      }
    }
  }
}

AVX512 static void count_differences(const Lines* lines, const uint32_t* filters,
                                     int32_t counts[][kLanes]) {
  __m512i sums[kPixels];
  differ(lines, filters, sums);
  for (size_t i = 0; i < kPixels; ++i) _mm512_storeu_si512(counts[i], sums[i]);
}

AVX512 static void multiply(const Lines* lines, const uint32_t* filters,
                            const Transform* transform, float* output, size_t stride, size_t count,
                            size_t lanes) {
  __m512i sums[kPixels];
  differ(lines, filters, sums);
  const __m512 multiplier = _mm512_loadu_ps(transform->multiplier);
  const __m512 bias = _mm512_loadu_ps(transform->bias);
  const __mmask16 there = (__mmask16)((1u << lanes) - 1);
  if (!transform->cuts_off) {
    const __m512 twice = _mm512_add_ps(multiplier, multiplier);  // exact
    for (size_t i = 0; i < kPixels; ++i) {
      if (i >= count) return;
      const __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[i]), twice);
      _mm512_mask_storeu_ps(output + i * stride, there, _mm512_add_ps(product, bias));
    }
    return;
  }
  const __m512i least = _mm512_set1_epi32(transform->least);
  const __m512i largest = _mm512_set1_epi32(transform->largest);
  for (size_t i = 0; i < kPixels; ++i) {
    if (i >= count) return;
    __m512i sum = _mm512_slli_epi32(sums[i], 1);
    sum = _mm512_min_epi32(_mm512_max_epi32(sum, least), largest);
    const __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), multiplier);
    _mm512_mask_storeu_ps(output + i * stride, there, _mm512_add_ps(product, bias));
  }
}

AVX512 static void pack(Rows numbers, const float* thresholds, size_t positions, size_t channels,
                        uint32_t* bits, size_t words) {
  for (size_t i = 0; i < positions; ++i) {
    const float* from = numbers.first + i * numbers.stride;
    for (size_t c = 0; c < channels; c += kBitsOfWord) {
      const size_t left = channels - c;
      const uint32_t there = left < kBitsOfWord ? (1u << left) - 1 : UINT32_MAX;
      const __mmask16 first = (__mmask16)there, second = (__mmask16)(there >> kLanes);
      const __m512 a = _mm512_maskz_loadu_ps(first, from + c);
      const __m512 b = _mm512_maskz_loadu_ps(second, from + c + kLanes);
      const __m512 of_a = _mm512_maskz_loadu_ps(first, thresholds + c);
      const __m512 of_b = _mm512_maskz_loadu_ps(second, thresholds + c + kLanes);
      const uint32_t low = _mm512_cmp_ps_mask(a, of_a, _CMP_LT_OQ);
      const uint32_t high = _mm512_cmp_ps_mask(b, of_b, _CMP_LT_OQ);
      bits[i * words + c / kBitsOfWord] = low | high << kLanes;
    }
  }
}

const Kernels kAvx512Kernels = {"avx512", &kLoops, kPixels, count_differences, multiply, pack};

#endif  // __x86_64__
