// Where windows of a map find their words.
//
// The map is first surrounded by what lies outside of it, so that all windows lie inside. Positions
// are taken some at a time. Where they are neighbours in a row and each meets a few stretches of
// words, these are read where they are; else they are written one behind the other.

#include "tiles.h"

#include <string.h>

typedef struct {
  size_t image, y, x;
} Position;

static Position position_at(const Window* window, size_t index) {
  const size_t row = index / window->out_width;
  return (Position){row / window->out_height, row % window->out_height, index % window->out_width};
}

static size_t surrounded_side(size_t in_front, size_t in, size_t out, size_t stride, size_t places,
                              size_t dilation) {
  const size_t needed = (out - 1) * stride + (places - 1) * dilation + 1;
  return needed > in_front + in ? needed : in_front + in;
}

Window surrounded(const Window* window) {
  Window around = *window;
  around.in_height =
      surrounded_side(window->top, window->in_height, window->out_height, window->stride_height,
                      window->height, window->dilation_height);
  around.in_width =
      surrounded_side(window->left, window->in_width, window->out_width, window->stride_width,
                      window->width, window->dilation_width);
  around.top = around.left = 0;
  return around;
}

bool is_surrounded(const Window* window) {
  const Window around = surrounded(window);
  return around.in_height == window->in_height && around.in_width == window->in_width;
}

void surround(const Window* window, const uint32_t* input, size_t words, uint32_t* output) {
  const Window around = surrounded(window);
  const size_t width = window->in_width * words, around_width = around.in_width * words;
  const size_t left = window->left * words;
  memset(output, 0, window->batch * around.in_height * around_width * sizeof *output);
  for (size_t image = 0; image < window->batch; ++image) {
    uint32_t* row = output + (image * around.in_height + window->top) * around_width + left;
    for (size_t y = 0; y < window->in_height; ++y, row += around_width, input += width) {
      memcpy(row, input, width * sizeof *row);
    }
  }
}

static const uint32_t* words_at(const Windows* windows, Position at, size_t group) {
  const Window* window = &windows->window;
  const size_t line = at.image * window->in_height + at.y * window->stride_height;
  const size_t place = line * window->in_width + at.x * window->stride_width;
  return windows->map + place * windows->in_words + group * windows->words;
}

// Whether what a window meets in one row lies in one piece.
static bool in_stretches(const Windows* windows) {
  return windows->window.width == 1 ||
         (windows->window.dilation_width == 1 && windows->words == windows->in_words);
}

static void copy(uint32_t* to, const uint32_t* from, size_t words) {
  for (size_t i = 0; i < words; ++i) to[i] = from[i];
}

static void gather(const Windows* windows, const uint32_t* from, uint32_t* row) {
  const Window* window = &windows->window;
  const bool whole = in_stretches(windows);
  const size_t pieces = whole ? 1 : window->width;
  const size_t words = whole ? window->width * windows->words : windows->words;
  for (size_t ky = 0; ky < window->height; ++ky) {
    const uint32_t* line =
        from + ky * window->dilation_height * window->in_width * windows->in_words;
    for (size_t piece = 0; piece < pieces; ++piece, row += words) {
      copy(row, line + piece * window->dilation_width * windows->in_words, words);
    }
  }
}

Lines lines_of(const Windows* windows, size_t first, size_t count, size_t pixels, size_t group,
               uint32_t* rows) {
  const Window* window = &windows->window;
  const Position at = position_at(window, first);
  if (count == pixels && at.x + count <= window->out_width && window->height <= kMostLines &&
      in_stretches(windows)) {
    Lines lines = {.count = window->height,
                   .words = window->width * windows->words,
                   .stride = window->stride_width * windows->in_words};
    const uint32_t* line = words_at(windows, at, group);
    const size_t row = window->dilation_height * window->in_width * windows->in_words;
    for (size_t ky = 0; ky < window->height; ++ky) lines.lines[ky] = line + ky * row;
    return lines;
  }
  const size_t words = window->height * window->width * windows->words;
  for (size_t i = 0; i < count; ++i) {
    gather(windows, words_at(windows, position_at(window, first + i), group), rows + i * words);
  }
  return (Lines){{rows}, 1, words, words};
}

size_t places_outside(const Window* window, size_t index, size_t* places) {
  const Position at = position_at(window, index);
  size_t count = 0, ignored;
  for (size_t place = 0; place < window->height * window->width; ++place) {
    if (!window_meets(at.y, window->stride_height, place / window->width, window->dilation_height,
                      window->top, window->in_height, &ignored) ||
        !window_meets(at.x, window->stride_width, place % window->width, window->dilation_width,
                      window->left, window->in_width, &ignored)) {
      places[count++] = place;
    }
  }
  return count;
}
