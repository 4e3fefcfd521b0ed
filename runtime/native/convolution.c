// LceBconv2d: sums of products of +1 and -1, by counting bits that differ.
//
// With `depth` products, of which those of different bits are -1, a sum is depth - 2 differing,
// which multiplier and bias make up for.
// Positions are taken some at a time, and kernels compare what their windows meet with all filters.
// Inside of the map that is read where it is; at its borders it is written one behind the other
// first. Zeros around the map, a third value, are told apart afterwards: where a
// window meets them, the filter's bits there were counted, and its products must not be.

#include <stdlib.h>
#include <string.h>

#include "operators.h"

enum { kTilesOfTask = 4 };

typedef struct {
  const Convolution* convolution;
  const uint32_t* input;
  void* output;
  const Machine* machine;
  size_t positions;
} Job;

typedef struct {
  size_t image, y, x;
} Position;

static Position position_at(const Window* window, size_t index) {
  const size_t row = index / window->out_width;
  return (Position){row / window->out_height, row % window->out_height, index % window->out_width};
}

static size_t places_of(const Window* window) {
  return window->height * window->width;
}

static bool lies_inside(size_t out, size_t stride, size_t places, size_t dilation,
                        size_t in_front, size_t size) {
  const size_t first = out * stride;
  return first >= in_front && first - in_front + (places - 1) * dilation < size;
}

static bool is_inside(const Window* window, Position at) {
  return lies_inside(at.y, window->stride_height, window->height, window->dilation_height,
                     window->top, window->in_height) &&
         lies_inside(at.x, window->stride_width, window->width, window->dilation_width,
                     window->left, window->in_width);
}

static void copy(uint32_t* to, const uint32_t* from, size_t words) {
  for (size_t i = 0; i < words; ++i) to[i] = from[i];
}

// The words that a window meets in a group, where all of it lies inside of the map.
static void gather_inside(const Convolution* convolution, const uint32_t* map, Position at,
                          uint32_t* row) {
  const Window* window = &convolution->window;
  const size_t in_words = convolution->in_words, words = convolution->words;
  const size_t y = at.y * window->stride_height - window->top;
  const size_t x = at.x * window->stride_width - window->left;
  const bool in_one = window->dilation_width == 1 && convolution->groups == 1;
  for (size_t ky = 0; ky < window->height; ++ky) {
    const size_t line = (y + ky * window->dilation_height) * window->in_width + x;
    const uint32_t* from = map + line * in_words;
    if (in_one) {
      copy(row, from, window->width * words);
      row += window->width * words;
      continue;
    }
    for (size_t kx = 0; kx < window->width; ++kx) {
      copy(row, from + kx * window->dilation_width * in_words, words);
      row += words;
    }
  }
}

// The same where some of it may lie outside, of which `outside` gets the places; their number.
static size_t gather_partly(const Convolution* convolution, const uint32_t* map, Position at,
                            uint32_t* row, size_t* outside) {
  const Window* window = &convolution->window;
  const size_t words = convolution->words;
  size_t count = 0;
  for (size_t place = 0; place < places_of(window); ++place, row += words) {
    size_t y, x;
    if (window_meets(at.y, window->stride_height, place / window->width,
                     window->dilation_height, window->top, window->in_height, &y) &&
        window_meets(at.x, window->stride_width, place % window->width, window->dilation_width,
                     window->left, window->in_width, &x)) {
      copy(row, map + (y * window->in_width + x) * convolution->in_words, words);
    } else {
      memset(row, 0, words * sizeof *row);
      outside[count++] = place;
    }
  }
  return count;
}

static size_t gather(const Convolution* convolution, const uint32_t* input, size_t index,
                     size_t group, uint32_t* row, size_t* outside) {
  const Window* window = &convolution->window;
  const Position at = position_at(window, index);
  const size_t image = window->in_height * window->in_width * convolution->in_words;
  const uint32_t* map = input + at.image * image + group * convolution->words;
  if (is_inside(window, at)) {
    gather_inside(convolution, map, at, row);
    return 0;
  }
  return gather_partly(convolution, map, at, row, outside);
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

// Some positions, one behind the other.
typedef struct {
  size_t first, count;
  Lines lines;
  bool meets_zeros;
  size_t outside[kMostPixels];  // places of each window that are outside of the map
  size_t* places;               // which; as many for each position as a window has
} Tile;

static void write_tile(const Job* job, const Tile* tile, size_t block, size_t channel,
                       size_t lanes, int32_t differing[][kLanes]) {
  const Convolution* convolution = job->convolution;
  for (size_t i = 0; i < tile->count; ++i) {
    const size_t position = tile->first + i;
    if (convolution->type == kInt32) {
      uint32_t* output = (uint32_t*)job->output + position * words_of(convolution->out_channels);
      write_bits(convolution, differing[i], block, lanes, output, channel);
      continue;
    }
    int32_t twice[kLanes];
    const size_t* places = tile->places + i * places_of(&convolution->window);
    twice_differing(convolution, differing[i], block, places, tile->outside[i], twice);
    write_numbers(convolution, twice, block, lanes, job->output,
                  position * convolution->out_channels + channel);
  }
}

static void compare(const Job* job, const Tile* tile, size_t group, size_t block_of_group) {
  const Convolution* convolution = job->convolution;
  const Kernels* kernels = job->machine->kernels;
  const size_t words = places_of(&convolution->window) * convolution->words;
  const size_t block = group * blocks_of(convolution) + block_of_group;
  const size_t left = convolution->filters - block_of_group * kLanes;
  const size_t lanes = left < kLanes ? left : kLanes;
  const size_t channel = group * convolution->filters + block_of_group * kLanes;
  const uint32_t* filters = convolution->packed + block * words * kLanes;
  if (convolution->type == kFloat32 && !tile->meets_zeros) {
    const Transform transform = {convolution->least, convolution->largest,
                                 convolution->multiplier + block * kLanes,
                                 convolution->bias + block * kLanes};
    float* output = (float*)job->output + tile->first * convolution->out_channels + channel;
    kernels->multiply(&tile->lines, filters, &transform, output, convolution->out_channels,
                      tile->count, lanes);
    return;
  }
  int32_t differing[kMostPixels][kLanes];
  kernels->count_differences(&tile->lines, filters, differing);
  write_tile(job, tile, block, channel, lanes, differing);
}

// Points at the words in the map itself where all windows lie inside of it, in one row, with no
// gaps: each then meets some stretches of words, and its neighbour the same a bit further.
static bool point_at(const Job* job, Tile* tile, size_t group) {
  const Convolution* convolution = job->convolution;
  const Window* window = &convolution->window;
  const Position at = position_at(window, tile->first);
  const size_t in_words = convolution->in_words;
  const bool in_stretches =
      window->width == 1 || (window->dilation_width == 1 && convolution->groups == 1);
  if (tile->count < job->machine->kernels->pixels || window->height > kMostLines ||
      !in_stretches || at.x + tile->count > window->out_width ||
      !is_inside(window, at) ||
      !is_inside(window, (Position){at.image, at.y, at.x + tile->count - 1})) {
    return false;
  }
  const size_t y = at.y * window->stride_height - window->top + at.image * window->in_height;
  const size_t x = at.x * window->stride_width - window->left;
  tile->lines.count = window->height;
  tile->lines.words = window->width * convolution->words;
  tile->lines.stride = window->stride_width * in_words;
  for (size_t ky = 0; ky < window->height; ++ky) {
    const size_t line = (y + ky * window->dilation_height) * window->in_width + x;
    tile->lines.lines[ky] = job->input + line * in_words + group * convolution->words;
  }
  return true;
}

static void copy_words(const Job* job, Tile* tile, size_t group, uint32_t* rows) {
  const Convolution* convolution = job->convolution;
  const size_t places = places_of(&convolution->window), words = places * convolution->words;
  for (size_t i = 0; i < tile->count; ++i) {
    tile->outside[i] = gather(convolution, job->input, tile->first + i, group, rows + i * words,
                              tile->places + i * places);
    tile->meets_zeros |= convolution->pads_with_zero && tile->outside[i] > 0;
  }
  tile->lines = (Lines){{rows}, 1, words, words};
}

static void convolve_tile(const Job* job, size_t first, size_t count, void* scratch) {
  const Convolution* convolution = job->convolution;
  Tile tile = {.first = first, .count = count, .places = scratch};
  const size_t places = job->machine->kernels->pixels * places_of(&convolution->window);
  uint32_t* rows = (uint32_t*)(tile.places + places);
  if (convolution->type == kInt32) {
    const size_t out_words = words_of(convolution->out_channels);
    memset((uint32_t*)job->output + first * out_words, 0, count * out_words * sizeof(uint32_t));
  }
  for (size_t group = 0; group < convolution->groups; ++group) {
    if (!point_at(job, &tile, group)) copy_words(job, &tile, group, rows);
    for (size_t block = 0; block < blocks_of(convolution); ++block) {
      compare(job, &tile, group, block);
    }
  }
}

static void convolve_tiles(void* argument, size_t task, size_t thread) {
  const Job* job = argument;
  const size_t pixels = job->machine->kernels->pixels;
  for (size_t tile = task * kTilesOfTask; tile < (task + 1) * kTilesOfTask; ++tile) {
    const size_t first = tile * pixels;
    if (first >= job->positions) return;
    const size_t left = job->positions - first;
    convolve_tile(job, first, left < pixels ? left : pixels, job->machine->scratch[thread]);
  }
}

void convolve(const Convolution* convolution, const uint32_t* input, void* output,
              const Machine* machine) {
  const Window* window = &convolution->window;
  const size_t positions = window->batch * window->out_height * window->out_width;
  Job job = {convolution, input, output, machine, positions};
  const size_t pixels_of_task = machine->kernels->pixels * kTilesOfTask;
  threads_run(machine->threads, convolve_tiles, &job,
              (positions + pixels_of_task - 1) / pixels_of_task);
}

size_t convolve_scratch(const Convolution* convolution, const Kernels* kernels) {
  const size_t places = places_of(&convolution->window);
  return kernels->pixels * places * (sizeof(size_t) + convolution->words * sizeof(uint32_t));
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
