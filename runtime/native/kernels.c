#include "kernels.h"

#include <string.h>

#if defined(__x86_64__)
static int has_avx2(void) {
  return __builtin_cpu_supports("avx2");
}

static int has_avx512(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vpopcntdq");
}
#endif

static int always(void) {
  return 1;
}

static const struct {
  const Kernels* kernels;
  int (*is_there)(void);
} kAll[] = {
#if defined(__x86_64__)
    {&kAvx512Kernels, has_avx512},
    {&kAvx2Kernels, has_avx2},
#elif defined(__aarch64__)
    {&kNeonKernels, always},
#endif
    {&kPortableKernels, always},
};

enum { kCount = sizeof kAll / sizeof kAll[0] };

const Kernels* choose_kernels(const char* name) {
  for (int i = 0; i < kCount; ++i) {
    const int wanted = name == NULL || strcmp(name, kAll[i].kernels->name) == 0;
    if (wanted && kAll[i].is_there()) return kAll[i].kernels;
  }
  return NULL;
}

const char* const* known_kernels(void) {
  static const char* names[kCount + 1];
  int found = 0;
  for (int i = 0; i < kCount; ++i) {
    if (kAll[i].is_there()) names[found++] = kAll[i].kernels->name;
  }
  return names;
}
