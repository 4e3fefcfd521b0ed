// LceBconv2d: sums of products of +1 and -1, by counting bits that differ.
//
// With `depth` products, of which those of different bits are -1, a sum is depth - 2 differing,
// which multiplier and bias make up for.
// Zeros around the map, a third value, are told apart afterwards: where a window meets them, the
// filter's bits there were counted, and its products must not be.
// Positions are taken in tiles, filters in blocks. A block is compared with a few tiles while it is
// near.

#include "convolution.h"

#include <stdlib.h>
#include <string.h>

#include "sizes.h"

enum { kTilesOfStretch = 8 };

static size_t places_of(const Window* window) {
  return window->height * window->width;
}

// Twice the bits that differ at one position, for the filters of a block. A product with a zero
// outside counts as half of one that differs.
static void twice_differing(const Convolution* convolution, const int32_t* differing, size_t block,
                            const size_t* outside, size_t count, int32_t* twice) {
  for (int i = 0; i < kLanes; ++i) twice[i] = 2 * differing[i];
  if (!convolution->pads_with_zero) return;
  const Window* window = &convolution->window;
  const int32_t channels = convolution->depth / (int32_t)places_of(window);
  for (size_t k = 0; k < count; ++k) {
    const int32_t* bits = convolution->places + (block * places_of(window) + outside[k]) * kLanes;
    for (int i = 0; i < kLanes; ++i) twice[i] += channels - 2 * bits[i];
  }
}

static inline int32_t cut_off(int32_t number, int32_t least, int32_t largest) {
  return number < least ? least : number > largest ? largest : number;
}

// Rounds halves away from 0, and cuts off what an int8 cannot hold; NaN becomes 0.
static int8_t rounded(float number) {
  if (!(number > INT8_MIN)) return number != number ? 0 : INT8_MIN;
  if (number >= INT8_MAX) return INT8_MAX;
  const int32_t whole = (int32_t)(number < 0 ? number - 0.5f : number + 0.5f);
  return (int8_t)cut_off(whole, INT8_MIN, INT8_MAX);
}

static void write_numbers(const Convolution* convolution, const int32_t* twice, size_t block,
                          size_t count, void* output, size_t at) {
  const float* multiplier = convolution->multiplier + block * kLanes;
  const float* bias = convolution->bias + block * kLanes;
  for (size_t i = 0; i < count; ++i) {
    const int32_t kept = cut_off(twice[i], convolution->least, convolution->largest);
    const float number = (float)kept * multiplier[i] + bias[i];
    if (convolution->type == kFloat32) {
      ((float*)output)[at + i] = number;
    } else {
      ((int8_t*)output)[at + i] = rounded(number);
    }
  }
}

static void write_bits(const Convolution* convolution, const int32_t* differing, size_t block,
                       size_t count, uint32_t* words, size_t channel) {
  const int32_t* thresholds = convolution->thresholds + block * kLanes;
  for (size_t i = 0; i < count; ++i, ++channel) {
    const uint32_t bit = differing[i] > thresholds[i];
    words[channel / kBitsOfWord] |= bit << (channel % kBitsOfWord);
  }
}

typedef struct {
  const Convolution* convolution;
  const Windows* windows;
  const Kernels* kernels;
  size_t channel;  // the first of the output's
  char* output;
  size_t stride;
} Job;

// Some positions, one behind the other.
typedef struct {
  size_t first, count;
  size_t begin;  // the first's place in the output
  Lines lines;
  bool meets_zeros;
  size_t outside[kMostPixels];  // places of each window that are outside of the map
  size_t* places;               // which; as many for each position as a window has
} Tile;

// Filters that are compared together, and where their numbers go.
typedef struct {
  const uint32_t* filters;
  Transform transform;
  size_t number, channel, lanes;
} Block;

static Block block_of(const Job* job, size_t group, size_t block_of_group) {
  const Convolution* convolution = job->convolution;
  const size_t words = places_of(&convolution->window) * convolution->words;
  const size_t number = group * blocks_of(convolution) + block_of_group;
  const Transform transform = {convolution->cuts_off, convolution->least, convolution->largest,
                               convolution->multiplier + number * kLanes,
                               convolution->bias + number * kLanes};
  return (Block){
      .filters = convolution->packed + number * words * kLanes,
      .transform = transform,
      .number = number,
      .channel = group * convolution->filters + block_of_group * kLanes - job->channel,
      .lanes = minimum(kLanes, convolution->filters - block_of_group * kLanes),
  };
}

static void write_tile(const Job* job, const Tile* tile, const Block* block,
                       int32_t differing[][kLanes]) {
  const Convolution* convolution = job->convolution;
  for (size_t i = 0; i < tile->count; ++i) {
    const size_t at = (tile->begin + i) * job->stride;
    if (convolution->type == kInt32) {
      write_bits(convolution, differing[i], block->number, block->lanes,
                 (uint32_t*)job->output + at, block->channel);
      continue;
    }
    int32_t twice[kLanes];
    const size_t* places = tile->places + i * places_of(&convolution->window);
    twice_differing(convolution, differing[i], block->number, places, tile->outside[i], twice);
    write_numbers(convolution, twice, block->number, block->lanes, job->output,
                  at + block->channel);
  }
}

static void compare(const Job* job, const Tile* tile, const Block* block) {
  if (job->convolution->type == kFloat32 && !tile->meets_zeros) {
    float* output = (float*)(void*)job->output + tile->begin * job->stride + block->channel;
    job->kernels->multiply(&tile->lines, block->filters, &block->transform, output, job->stride,
                           tile->count, block->lanes);
    return;
  }
  int32_t differing[kMostPixels][kLanes];
  job->kernels->count_differences(&tile->lines, block->filters, differing);
  write_tile(job, tile, block, differing);
}

static void find_zeros(const Convolution* convolution, Tile* tile) {
  if (!convolution->pads_with_zero) return;
  for (size_t i = 0; i < tile->count; ++i) {
    size_t* places = tile->places + i * places_of(&convolution->window);
    tile->outside[i] = places_outside(&convolution->window, tile->first + i, places);
    tile->meets_zeros |= tile->outside[i] > 0;
  }
}

// As many tiles as there is scratch for.
static void convolve_tiles(const Job* job, const Stretch* stretch, size_t done, void* scratch) {
  const Convolution* convolution = job->convolution;
  const size_t pixels = job->kernels->pixels;
  const size_t places = pixels * places_of(&convolution->window);
  const size_t begin = stretch->channel / kLanes;
  const size_t end = convolution->groups > 1
                         ? blocks_of(convolution)
                         : (stretch->channel + stretch->channels + kLanes - 1) / kLanes;
  size_t* outside = scratch;
  uint32_t* rows = (uint32_t*)(outside + kTilesOfStretch * places);
  for (size_t group = 0; group < convolution->groups; ++group) {
    Tile tiles[kTilesOfStretch];
    size_t count = 0;
    for (size_t at = done; count < kTilesOfStretch && at < stretch->count; at += pixels, ++count) {
      Tile* tile = tiles + count;
      *tile = (Tile){.first = stretch->first + at, .begin = at,
                     .count = minimum(pixels, stretch->count - at),
                     .places = outside + count * places};
      tile->lines = lines_of(job->windows, tile->first, tile->count, pixels, group,
                             rows + count * places * convolution->words);
      find_zeros(convolution, tile);
    }
    for (size_t i = begin; i < end; ++i) {
      const Block block = block_of(job, group, i);
      for (size_t tile = 0; tile < count; ++tile) compare(job, tiles + tile, &block);
    }
  }
}

void convolve(const Convolution* convolution, const Windows* windows, const Kernels* kernels,
              const Stretch* stretch, void* output, size_t stride, void* scratch) {
  const Job job = {convolution, windows, kernels, stretch->channel, output, stride};
  if (convolution->type == kInt32) memset(output, 0, stretch->count * stride * sizeof(uint32_t));
  for (size_t done = 0; done < stretch->count; done += kTilesOfStretch * kernels->pixels) {
    convolve_tiles(&job, stretch, done, scratch);
  }
}

size_t convolution_scratch(const Convolution* convolution, const Kernels* kernels) {
  const size_t places = kernels->pixels * places_of(&convolution->window);
  return kTilesOfStretch * places * (sizeof(size_t) + convolution->words * sizeof(uint32_t));
}

Windows convolution_windows(const Convolution* convolution, const uint32_t* input, uint32_t* map) {
  Windows windows = {surrounded(&convolution->window), input, convolution->in_words,
                     convolution->words};
  if (!is_surrounded(&convolution->window)) {
    surround(&convolution->window, input, convolution->in_words, map);
    windows.map = map;
  }
  return windows;
}

size_t convolution_map(const Convolution* convolution) {
  if (is_surrounded(&convolution->window)) return 0;
  const Window around = surrounded(&convolution->window);
  return around.batch * around.in_height * around.in_width * convolution->in_words *
         sizeof(uint32_t);
}

static int32_t bits_of(const uint32_t* words, size_t count) {
  int32_t bits = 0;
  for (size_t i = 0; i < count; ++i) bits += __builtin_popcount(words[i]);
  return bits;
}

bool convolution_pack(Convolution* convolution, const uint32_t* filters) {
  const size_t places = places_of(&convolution->window), words = convolution->words;
  const size_t blocks = convolution->groups * blocks_of(convolution);
  convolution->packed = calloc(blocks * places * words * kLanes, sizeof *convolution->packed);
  convolution->places = calloc(blocks * places * kLanes, sizeof *convolution->places);
  if (convolution->packed == NULL || convolution->places == NULL) return false;
  for (size_t filter = 0; filter < convolution->groups * convolution->filters; ++filter) {
    const size_t group = filter / convolution->filters, of_group = filter % convolution->filters;
    const size_t block = group * blocks_of(convolution) + of_group / kLanes;
    const size_t lane = of_group % kLanes;
    for (size_t place = 0; place < places; ++place) {
      const uint32_t* from = filters + (filter * places + place) * words;
      const size_t at = block * places + place;
      convolution->places[at * kLanes + lane] = bits_of(from, words);
      for (size_t i = 0; i < words; ++i) {
        convolution->packed[(at * words + i) * kLanes + lane] = from[i];
      }
    }
  }
  return true;
}

void convolution_free(Convolution* convolution) {
  free(convolution->packed);
  free(convolution->places);
  free(convolution->multiplier);
  free(convolution->bias);
  free(convolution->thresholds);
}
