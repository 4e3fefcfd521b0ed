// Where windows of a map find their words.

#ifndef LARQ_INSTA_TILES_H_
#define LARQ_INSTA_TILES_H_

#include "operators.h"

// All windows of a map of bits, of which none reaches over its border.
typedef struct {
  Window window;
  const uint32_t* map;
  size_t in_words, words;  // of a place: in all groups, in one
} Windows;

// The window in a map that is surrounded by as much as it reaches over the border.
Window surrounded(const Window* window);

// Whether a map is so already.
bool is_surrounded(const Window* window);

// Writes maps of `words` words a place, surrounded by 0, which stands for +1.
void surround(const Window* window, const uint32_t* input, size_t words, uint32_t* output);

// The words that `count` positions meet, from `first` on. Where they must be gathered this is done
// in `rows`, where as many as `pixels` find room.
Lines lines_of(const Windows* windows, size_t first, size_t count, size_t pixels, size_t group,
               uint32_t* rows);

// The places of a window, in the map as it was, that lie outside of it; their number.
size_t places_outside(const Window* window, size_t index, size_t* places);

#endif  // LARQ_INSTA_TILES_H_
