// A map is a vector of values that knows the vector of its keys. A vector has its length in front
// and, where it is not typed, a byte for the type of each value behind. All numbers have the width
// of their vector, and offsets count backwards from where they stand. The root stands at the end,
// followed by its type and its width.

#include "flexbuffer.h"

#include <string.h>

enum { kInt = 1, kUInt = 2, kIndirectInt = 6, kIndirectUInt = 7, kMap = 9, kBoolean = 26 };

typedef struct {
  const uint8_t* bytes;
  size_t size;
} Buffer;

static bool is_width(size_t width) {
  return width == 1 || width == 2 || width == 4 || width == 8;
}

static bool read_unsigned(Buffer buffer, size_t at, size_t width, uint64_t* value) {
  if (!is_width(width) || at > buffer.size || width > buffer.size - at) return false;
  *value = 0;
  for (size_t i = 0; i < width; ++i) *value |= (uint64_t)buffer.bytes[at + i] << (8 * i);
  return true;
}

static bool read_signed(Buffer buffer, size_t at, size_t width, int64_t* value) {
  uint64_t bits;
  if (!read_unsigned(buffer, at, width, &bits)) return false;
  const uint64_t sign = UINT64_C(1) << (8 * width - 1);
  *value = (int64_t)((bits ^ sign) - sign);
  return true;
}

static bool follow(Buffer buffer, size_t at, size_t width, size_t* target) {
  uint64_t offset;
  if (!read_unsigned(buffer, at, width, &offset) || offset > at) return false;
  *target = at - (size_t)offset;
  return true;
}

static bool is_string(Buffer buffer, size_t at, const char* text) {
  const size_t length = strlen(text) + 1;
  return at <= buffer.size && length <= buffer.size - at &&
         memcmp(buffer.bytes + at, text, length) == 0;
}

static bool read_value(Buffer buffer, size_t at, size_t width, uint8_t packed, int64_t* value) {
  const int type = packed >> 2;
  uint64_t bits;
  size_t target;
  switch (type) {
    case kInt:
      return read_signed(buffer, at, width, value);
    case kUInt:
    case kBoolean:
      if (!read_unsigned(buffer, at, width, &bits) || bits > INT64_MAX) return false;
      *value = (int64_t)bits;
      return true;
    case kIndirectInt:
    case kIndirectUInt:
      return follow(buffer, at, width, &target) &&
             read_signed(buffer, target, (size_t)1 << (packed & 3), value);
    default:
      return false;
  }
}

bool flexbuffer_int(const uint8_t* bytes, size_t size, const char* key, int64_t* value) {
  const Buffer buffer = {bytes, size};
  if (bytes == NULL || size < 3) return false;
  const size_t root_width = bytes[size - 1];
  const uint8_t root = bytes[size - 2];
  size_t map, keys;
  if (root >> 2 != kMap || !is_width(root_width) || size - 2 < root_width) return false;
  if (!follow(buffer, size - 2 - root_width, root_width, &map)) return false;
  const size_t width = (size_t)1 << (root & 3);
  uint64_t length, key_width;
  if (map < 3 * width || !read_unsigned(buffer, map - width, width, &length)) return false;
  if (!read_unsigned(buffer, map - 2 * width, width, &key_width) || !is_width(key_width)) {
    return false;
  }
  if (!follow(buffer, map - 3 * width, width, &keys)) return false;
  if (length > size / width || length * width + length > size - map) return false;
  for (size_t i = 0; i < length; ++i) {
    size_t name;
    if (!follow(buffer, keys + i * key_width, key_width, &name)) return false;
    if (is_string(buffer, name, key)) {
      return read_value(buffer, map + i * width, width, bytes[map + length * width + i], value);
    }
  }
  return false;
}
