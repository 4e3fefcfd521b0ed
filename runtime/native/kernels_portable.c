// Plain C with the vectors of compilers, which make of them what the processor has.
//
// Words are added bit by bit before their bits are counted: a full adder makes of three words one
// that counts once and one that counts twice, so that of fifteen words only four must be counted.
// Bits are counted together as far as their numbers fit: those of four words in half bytes, and
// those of kWordsOfByteSums words in bytes.

#include <string.h>

#include "kernels.h"

#define FOR_PROCESSOR
#define BYTES_OF_VECTOR 16
#define VECTORS_OF_COLUMN 2
#include "loops.h"

enum {
  kPixels = 4,
  kVectors = kLanes / 4,
  kWordsOfByteSums = 30,  // each adds at most 8 to a byte; two groups of fifteen
};

typedef uint32_t Vector __attribute__((vector_size(16)));

// `count` words of one position, each in all lanes, and four filters' words beside them.
typedef struct {
  const Vector* row;
  const uint32_t* filters;
} Words;

static inline Vector differing(Words words, size_t k) {
  Vector filter;
  memcpy(&filter, words.filters + k * kLanes, sizeof filter);
  return words.row[k] ^ filter;
}

static inline Words behind(Words words, size_t count) {
  return (Words){words.row + count, words.filters + count * kLanes};
}

// Adds two words to `sum` and gives the carry, which counts twice.
static inline Vector add(Vector* sum, Vector a, Vector b) {
  const Vector either = a ^ b;  // does not wait for the sum
  const Vector carry = (a & b) | (either & *sum);
  *sum ^= either;
  return carry;
}

// The next two words are added to `sum`.
static inline Vector add_two(Vector* sum, Words words, size_t k) {
  return add(sum, differing(words, k), differing(words, k + 1));
}

// In each half byte, how many of its bits are set: at most 4.
static inline Vector bits_of_halves(Vector x) {
  x -= (x >> 1) & 0x55555555u;
  return (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
}

static inline Vector sum_of_halves(Vector x) {
  return (x & 0x0f0f0f0fu) + ((x >> 4) & 0x0f0f0f0fu);
}

static inline Vector sum_of_bytes(Vector x) {
  x = (x & 0x00ff00ffu) + ((x >> 8) & 0x00ff00ffu);
  return (x & 0xffffu) + (x >> 16);
}

// In each byte, how many of the bits of so many words differ.
static inline Vector count_fifteen(Words words) {
  Vector ones = differing(words, 0);
  Vector twos = add_two(&ones, words, 1);
  Vector a = add_two(&ones, words, 3);
  Vector b = add_two(&ones, words, 5);
  Vector fours = add(&twos, a, b);
  a = add_two(&ones, words, 7);
  b = add_two(&ones, words, 9);
  const Vector c = add(&twos, a, b);
  a = add_two(&ones, words, 11);
  b = add_two(&ones, words, 13);
  const Vector d = add(&twos, a, b);
  const Vector eights = add(&fours, c, d);
  const Vector low = bits_of_halves(ones) + 2 * bits_of_halves(twos);
  const Vector high = bits_of_halves(fours) + 2 * bits_of_halves(eights);
  return sum_of_halves(low) + 4 * sum_of_halves(high);
}

static inline Vector count_three(Words words) {
  Vector ones = differing(words, 0);
  const Vector twos = add_two(&ones, words, 1);
  return sum_of_halves(bits_of_halves(ones) + 2 * bits_of_halves(twos));
}

static inline Vector count_one(Words words) {
  return sum_of_halves(bits_of_halves(differing(words, 0)));
}

// Of at most kWordsOfByteSums words.
static inline Vector count(Words words, size_t left) {
  Vector bytes = {0};
  for (; left >= 15; left -= 15, words = behind(words, 15)) bytes += count_fifteen(words);
  for (; left >= 3; left -= 3, words = behind(words, 3)) bytes += count_three(words);
  for (; left > 0; left -= 1, words = behind(words, 1)) bytes += count_one(words);
  return sum_of_bytes(bytes);
}

typedef struct {
  const Lines* lines;
  size_t line, word;
} Reader;

// Spreads the next words of a position over all lanes, at most kWordsOfByteSums; their number.
static size_t spread(Reader* reader, size_t pixel, Vector* row) {
  const Lines* lines = reader->lines;
  size_t count = 0;
  while (reader->line < lines->count && count < kWordsOfByteSums) {
    const uint32_t word = lines->lines[reader->line][pixel * lines->stride + reader->word];
    row[count++] = (Vector){word, word, word, word};
    if (++reader->word < lines->words) continue;
    reader->word = 0;
    ++reader->line;
  }
  return count;
}

static void count_differences(const Lines* lines, const uint32_t* filters,
                              int32_t counts[][kLanes]) {
  Vector row[kWordsOfByteSums];
  for (size_t pixel = 0; pixel < kPixels; ++pixel) {
    Vector sums[kVectors] = {{0}};
    Reader reader = {lines, 0, 0};
    const uint32_t* filter = filters;
    for (size_t now; (now = spread(&reader, pixel, row)) > 0; filter += now * kLanes) {
      for (size_t v = 0; v < kVectors; ++v) {
        sums[v] += count((Words){row, filter + 4 * v}, now);
      }
    }
    memcpy(counts[pixel], sums, sizeof sums);
  }
}

static void multiply(const Lines* lines, const uint32_t* filters, const Transform* transform,
                     float* output, size_t stride, size_t count, size_t lanes) {
  int32_t counts[kPixels][kLanes];
  count_differences(lines, filters, counts);
  for (size_t pixel = 0; pixel < count; ++pixel, output += stride) {
    for (size_t i = 0; i < lanes; ++i) {
      int32_t sum = 2 * counts[pixel][i];
      if (transform->cuts_off) {
        sum = sum < transform->least ? transform->least : sum;
        sum = sum > transform->largest ? transform->largest : sum;
      }
      output[i] = (float)sum * transform->multiplier[i] + transform->bias[i];
    }
  }
}

static void pack(Rows numbers, const float* thresholds, size_t positions, size_t channels,
                 uint32_t* bits, size_t words) {
  for (size_t i = 0; i < positions; ++i, bits += words) {
    const float* from = numbers.first + i * numbers.stride;
    for (size_t first = 0; first < channels; first += kBitsOfWord) {
      const size_t left = channels - first;
      const size_t count = left < kBitsOfWord ? left : kBitsOfWord;
      uint32_t word = 0;
      for (size_t c = 0; c < count; ++c) {
        word |= (uint32_t)(from[first + c] < thresholds[first + c]) << c;
      }
      bits[first / kBitsOfWord] = word;
    }
  }
}

const Kernels kPortableKernels = {"portable", &kLoops, kPixels, count_differences, multiply, pack};
