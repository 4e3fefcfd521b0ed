#include "kernels.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

// Asked of the processor itself, as what compilers bring for this may be without effect in a
// shared library: Zig's always answers no.
static int has_bits(unsigned value, unsigned bits) {
  return (value & bits) == bits;
}

// Registers that the system saves when processes take turns.
static unsigned saved_registers(void) {
  enum { kOsxsave = 1 << 27 };
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !has_bits(c, kOsxsave)) return 0;
  __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
  return a;
}

static int has_avx2(void) {
  enum { kSaved = 0x6, kAvx2 = 1 << 5 };
  unsigned a, b, c, d;
  return has_bits(saved_registers(), kSaved) && __get_cpuid_count(7, 0, &a, &b, &c, &d) &&
         has_bits(b, kAvx2);
}

static int has_avx512(void) {
  const unsigned saved = 0xe6, f_bw_vl = 1u << 16 | 1u << 30 | 1u << 31, vpopcntdq = 1 << 14;
  unsigned a, b, c, d;
  return has_bits(saved_registers(), saved) && __get_cpuid_count(7, 0, &a, &b, &c, &d) &&
         has_bits(b, f_bw_vl) && has_bits(c, vpopcntdq);
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
