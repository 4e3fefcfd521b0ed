// Whole numbers of a map in FlatBuffers' schemaless format, in which options of operators are.

#ifndef LARQ_INSTA_FLEXBUFFER_H_
#define LARQ_INSTA_FLEXBUFFER_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Reads the number called `key` of the map that `bytes` are; false if there is none. Any bytes
// may be given: nothing outside of them is read.
bool flexbuffer_int(const uint8_t* bytes, size_t size, const char* key, int64_t* value);

#endif  // LARQ_INSTA_FLEXBUFFER_H_
