// From a node of the runtime's graph to an operator that can be run, with everything checked first.

#ifndef LARQ_INSTA_PARSE_H_
#define LARQ_INSTA_PARSE_H_

#include "operators.h"

// Whether the runtime's structures can be laid out as interface.h says.
bool interface_is_known(const Context* context, const IntArray* plan);

// Whether a node is one of Larq Compute Engine's operators.
bool is_ours(const Registration* registration);

// Fills `operator` in. If the node cannot be run, answers why; what was filled in has to be freed
// by `operator_free` all the same.
const char* parse(const Context* context, const Node* node, const char* name, Operator* operator);
void operator_free(Operator* operator);

// The same for TensorFlow Lite's own, of which `code` is the number; false if it is left to the
// runtime. There is nothing to free.
bool parse_builtin(const Context* context, const Node* node, int code, Operator* operator);

// A tensor of a node; NULL where it is left out or none.
const Tensor* tensor_of(const Context* context, const IntArray* numbers, int at);

size_t size_of(Type type);
bool elements_of(const IntArray* dims, size_t* count);
bool has_fixed_size(const Tensor* tensor);
size_t side(const Tensor* tensor, int axis);

#endif  // LARQ_INSTA_PARSE_H_
