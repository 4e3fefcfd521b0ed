// LceQuantize and LceDequantize: between numbers and bits.

#include "operators.h"

static bool is_negative(const Conversion* conversion, const void* input, size_t i) {
  if (conversion->type == kInt8) return ((const int8_t*)input)[i] < conversion->zero_point;
  return !((const bool*)input)[i];
}

void quantize_bytes(const Conversion* conversion, const void* input, uint32_t* output) {
  const size_t words = words_of(conversion->channels);
  for (size_t i = 0; i < conversion->positions * words; ++i) output[i] = 0;
  for (size_t i = 0; i < conversion->positions; ++i) {
    for (size_t c = 0; c < conversion->channels; ++c) {
      const uint32_t bit = is_negative(conversion, input, i * conversion->channels + c);
      output[i * words + c / kBitsOfWord] |= bit << (c % kBitsOfWord);
    }
  }
}

static int8_t cut_off(int32_t number) {
  return (int8_t)(number < INT8_MIN ? INT8_MIN : number > INT8_MAX ? INT8_MAX : number);
}

void dequantize(const Conversion* conversion, const uint32_t* input, void* output) {
  const size_t channels = conversion->channels, words = words_of(channels);
  const int8_t plus = cut_off(conversion->zero_point + conversion->one);
  const int8_t minus = cut_off(conversion->zero_point - conversion->one);
  for (size_t i = 0; i < conversion->positions; ++i) {
    for (size_t c = 0; c < channels; ++c) {
      const bool negative = input[i * words + c / kBitsOfWord] >> (c % kBitsOfWord) & 1;
      const size_t at = i * channels + c;
      if (conversion->type == kFloat32) {
        ((float*)output)[at] = negative ? -1.0f : 1.0f;
      } else if (conversion->type == kInt8) {
        ((int8_t*)output)[at] = negative ? minus : plus;
      } else {
        ((bool*)output)[at] = !negative;
      }
    }
  }
}
