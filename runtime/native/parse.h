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

size_t size_of(Type type);
bool elements_of(const IntArray* dims, size_t* count);

#endif  // LARQ_INSTA_PARSE_H_
