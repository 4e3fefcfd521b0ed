// What TensorFlow Lite's C interface (core/c/common.h) is in memory, as far as it is used here.
//
// Neither TensorFlow's nor LiteRT's wheels bring the header. Its structures only ever grow at their
// ends, as delegates that were compiled long ago are loaded by newer runtimes, so those below hold
// for TensorFlow Lite from 2.14 on and for LiteRT. `interface_is_known` in parse.c looks whether
// they really do before anything is relied on.

#ifndef LARQ_INSTA_INTERFACE_H_
#define LARQ_INSTA_INTERFACE_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { kOk = 0, kError = 1 } Status;

typedef enum {
  kNoType = 0,
  kFloat32 = 1,
  kInt32 = 2,
  kUInt8 = 3,
  kInt64 = 4,
  kBool = 6,
  kInt16 = 7,
  kInt8 = 9,
} Type;

enum { kCustomOperator = 32, kConstant = 1 /* of `allocation_type`: in the file */ };

typedef struct {
  int size;
  int data[];
} IntArray;

static inline bool contains(const IntArray* numbers, int number) {
  for (int i = 0; i < numbers->size; ++i) {
    if (numbers->data[i] == number) return true;
  }
  return false;
}

typedef struct {
  Type type;
  void* data;
  IntArray* dims;
  struct {
    float scale;
    int32_t zero_point;
  } quantization;
  int allocation_type;
  size_t bytes;
  const void* allocation;
  const char* name;
  void* delegate;
  int buffer_handle;
  bool data_is_stale;
  bool is_variable;
  struct {
    int type;
    void* parameters;
  } affine;
  void* sparsity;
  const IntArray* dims_signature;
} Tensor;

typedef struct {
  IntArray* inputs;
  IntArray* outputs;
  IntArray* intermediates;
  IntArray* temporaries;
  void* user_data;
  void* builtin_data;
  const void* custom_options;
  int custom_options_size;
  void* delegate;
  bool might_have_side_effect;
} Node;

typedef struct Context Context;

typedef struct {
  void* (*init)(Context*, const char* parameters, size_t length);
  void (*free)(Context*, void* user_data);
  Status (*prepare)(Context*, Node*);
  Status (*invoke)(Context*, Node*);
  const char* (*profiling_string)(const Context*, const Node*);
  int32_t builtin_code;
  const char* custom_name;
  int version;
  void* external;
  void* async_kernel;
  uint64_t inplace_operator;
} Registration;

typedef struct Delegate Delegate;

typedef struct {
  Delegate* delegate;
  IntArray* nodes;
  IntArray* inputs;
  IntArray* outputs;
} DelegateParameters;

struct Context {
  size_t tensors_size;
  Status (*GetExecutionPlan)(Context*, IntArray**);
  Tensor* tensors;
  void* implementation;
  Status (*ResizeTensor)(Context*, Tensor*, IntArray*);
  void (*ReportError)(Context*, const char* format, ...);
  Status (*AddTensors)(Context*, int, int*);
  Status (*GetNodeAndRegistration)(Context*, int, Node**, Registration**);
  Status (*ReplaceNodeSubsetsWithDelegateKernels)(Context*, Registration, const IntArray*,
                                                  Delegate*);
  int recommended_num_threads;
};

struct Delegate {
  void* data;
  Status (*Prepare)(Context*, Delegate*);
  Status (*CopyFromBufferHandle)(Context*, Delegate*, int, Tensor*);
  Status (*CopyToBufferHandle)(Context*, Delegate*, int, Tensor*);
  void (*FreeBufferHandle)(Context*, Delegate*, int*);
  int64_t flags;
  void* opaque_builder;
};

// Of `flags`. Without it the runtime prepares all nodes first, and stops at the unknown ones.
enum { kAllowDynamicTensors = 1 };

#endif  // LARQ_INSTA_INTERFACE_H_
