// LceBconv2d: sums of products of +1 and -1, by counting bits that differ.
//
// With `depth` products, of which those of different bits are -1, a sum is depth - 2 differing,
// which multiplier and bias make up for.
// Zeros around the map, a third value, are told apart afterwards: where a window meets them, the
// filter's bits there were counted, and its products must not be.
// A task is a few tiles, each of some positions, and some blocks, each of some filters. A block is
// compared with all tiles while it is near.

#include <stdlib.h>
#include <string.h>

#include "operators.h"
#include "tiles.h"

enum { kTilesOfTask = 4, kTasksOfThread = 4 };

typedef struct {
  const Convolution* convolution;
  Windows windows;
  void* output;
  const Machine* machine;
  size_t positions;
  size_t chunks, blocks_of_chunk;  // of the blocks of a group
} Job;

static size_t places_of(const Window* window) {
  return window->height * window->width;
}

static size_t minimum(size_t a, size_t b) {
  return a < b ? a : b;
}

static size_t divided(size_t number, size_t by) {
  return (number + by - 1) / by;
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
  const size_t lanes = minimum(kLanes, convolution->filters - block_of_group * kLanes);
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

static void make_tile(const Job* job, Tile* tile, size_t group, uint32_t* rows) {
  const Convolution* convolution = job->convolution;
  tile->lines = lines_of(&job->windows, tile->first, tile->count, job->machine->kernels->pixels,
                         group, rows);
  if (!convolution->pads_with_zero) return;
  for (size_t i = 0; i < tile->count; ++i) {
    size_t* places = tile->places + i * places_of(&convolution->window);
    tile->outside[i] = places_outside(&convolution->window, tile->first + i, places);
    tile->meets_zeros |= tile->outside[i] > 0;
  }
}

static void convolve_tiles(void* argument, size_t task, size_t thread) {
  const Job* job = argument;
  const Convolution* convolution = job->convolution;
  const size_t chunk = task % job->chunks, group = task / job->chunks % convolution->groups;
  const size_t pixels = job->machine->kernels->pixels;
  const size_t places = pixels * places_of(&convolution->window);
  size_t first = task / job->chunks / convolution->groups * kTilesOfTask * pixels;
  Tile tiles[kTilesOfTask];
  size_t count = 0;
  size_t* outside = job->machine->scratch[thread];
  uint32_t* rows = (uint32_t*)(outside + kTilesOfTask * places);
  for (; count < kTilesOfTask && first < job->positions; ++count, first += pixels) {
    tiles[count] = (Tile){.first = first,
                          .count = minimum(pixels, job->positions - first),
                          .places = outside + count * places};
    make_tile(job, tiles + count, group, rows + count * places * convolution->words);
  }
  const size_t begin = chunk * job->blocks_of_chunk;
  const size_t end = minimum(begin + job->blocks_of_chunk, blocks_of(convolution));
  for (size_t block = begin; block < end; ++block) {
    for (size_t i = 0; i < count; ++i) compare(job, tiles + i, group, block);
  }
}

void convolve(const Convolution* convolution, const uint32_t* input, void* output,
              const Machine* machine) {
  const Window* window = &convolution->window;
  const size_t positions = window->batch * window->out_height * window->out_width;
  const size_t out_words = words_of(convolution->out_channels);
  const uint32_t* map = input;
  if (!is_surrounded(window)) {
    surround(window, input, convolution->in_words, machine->map);
    map = machine->map;
  }
  if (convolution->type == kInt32) memset(output, 0, positions * out_words * sizeof(uint32_t));
  const size_t stretches = divided(positions, machine->kernels->pixels * kTilesOfTask);
  const size_t tasks = stretches * convolution->groups, blocks = blocks_of(convolution);
  // Small maps have too few tiles for all threads. Two blocks would meet in one word of bits.
  const size_t wanted = threads_count(machine->threads) == 1 || convolution->type == kInt32
                            ? 1
                            : divided(kTasksOfThread * threads_count(machine->threads), tasks);
  const size_t blocks_of_chunk = divided(blocks, minimum(wanted, blocks));
  Job job = {.convolution = convolution,
             .windows = {surrounded(window), map, convolution->in_words, convolution->words},
             .output = output,
             .machine = machine,
             .positions = positions,
             .chunks = divided(blocks, blocks_of_chunk),
             .blocks_of_chunk = blocks_of_chunk};
  threads_run(machine->threads, convolve_tiles, &job, tasks * job.chunks);
}

size_t convolve_scratch(const Convolution* convolution, const Kernels* kernels) {
  const size_t places = kernels->pixels * places_of(&convolution->window);
  return kTilesOfTask * places * (sizeof(size_t) + convolution->words * sizeof(uint32_t));
}

size_t convolve_map(const Convolution* convolution) {
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
