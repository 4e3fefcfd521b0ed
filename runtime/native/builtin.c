// TensorFlow Lite's own operators on float32, as far as they can be run in passes over maps. What
// is not recognized is left to the runtime.

#include <string.h>

#include "parse.h"

// Their numbers in the file's format.
enum {
  kAddCode = 0,
  kConcatenationCode = 2,
  kDepthwiseCode = 4,
  kMulCode = 18,
  kMeanCode = 40,
  kSubCode = 41,
  kPreluCode = 54,
  kMaximumCode = 55,
  kMinimumCode = 57,
  kSquaredDifferenceCode = 99,
};

enum { kMostChannels = 1 << 16, kMostConcatenated = 4, kNoActivation = 0, kRelu = 1, kValidPadding = 2 };

// Their options, as the runtime holds them.
typedef struct {
  int activation;
} ArithmeticOptions;

typedef struct {
  int axis, activation;
} ConcatenationOptions;

typedef struct {
  int padding, stride_width, stride_height, depth_multiplier, activation;
  int dilation_width, dilation_height;
} DepthwiseOptions;

static bool is_number(const Tensor* tensor) {
  return tensor != NULL && tensor->type == kFloat32 && has_fixed_size(tensor) &&
         tensor->dims->size > 0 && !tensor->is_variable &&
         side(tensor, tensor->dims->size - 1) <= kMostChannels;
}

static size_t channels_of(const Tensor* tensor) {
  return side(tensor, tensor->dims->size - 1);
}

static size_t positions_of(const Tensor* tensor) {
  return tensor->bytes / sizeof(float) / channels_of(tensor);
}

static bool have_same_shape(const Tensor* a, const Tensor* b, int axes) {
  if (a->dims->size != b->dims->size) return false;
  for (int i = 0; i < axes; ++i) {
    if (a->dims->data[i] != b->dims->data[i]) return false;
  }
  return true;
}

static bool is_channel_vector(const Tensor* tensor, size_t channels) {
  return is_number(tensor) && channels_of(tensor) == channels && positions_of(tensor) == 1;
}

static void set_shape(Operator* operator, const Tensor* map) {
  operator->positions = positions_of(map);
  operator->channels = channels_of(map);
  operator->images = map->dims->size > 1 ? side(map, 0) : 1;
}

static bool parse_vectors(const Tensor* inputs[2], const Tensor* output, Operator* operator) {
  operator->kind = kCombineVectors;
  for (int i = 0; i < 2; ++i) {
    const bool one = positions_of(inputs[i]) * channels_of(inputs[i]) == 1;
    if (!one && !is_channel_vector(inputs[i], channels_of(output))) return false;
    operator->combining.repeats[i] = one;
  }
  return true;
}

static bool parse_pair(const Context* context, const Node* node, Combination combination,
                       bool symmetric, Operator* operator) {
  const Tensor* inputs[2] = {tensor_of(context, node->inputs, 0),
                             tensor_of(context, node->inputs, 1)};
  const Tensor* output = tensor_of(context, node->outputs, 0);
  if (!is_number(inputs[0]) || !is_number(inputs[1]) || !is_number(output)) return false;
  operator->combining.combination = combination;
  set_shape(operator, output);
  if (operator->positions == 1) return parse_vectors(inputs, output, operator);
  operator->kind = kCombine;
  const int axes = output->dims->size;
  if (symmetric && !have_same_shape(inputs[0], output, axes)) {
    const Tensor* first = inputs[0];
    inputs[0] = inputs[1];
    inputs[1] = first;
    operator->inputs[0] = node->inputs->data[1];
    operator->inputs[1] = node->inputs->data[0];
  }
  operator->combining.with_vector = is_channel_vector(inputs[1], operator->channels);
  return have_same_shape(inputs[0], output, axes) &&
         (operator->combining.with_vector || have_same_shape(inputs[1], output, axes));
}

static bool parse_arithmetic(const Context* context, const Node* node, Combination combination,
                             Operator* operator) {
  const ArithmeticOptions* options = node->builtin_data;
  if (options == NULL ||
      (options->activation != kNoActivation && options->activation != kRelu)) {
    return false;
  }
  operator->combining.relu = options->activation == kRelu;
  return parse_pair(context, node, combination, combination != kSubtract, operator);
}

static bool parse_mean(const Context* context, const Node* node, Operator* operator) {
  const Tensor* input = tensor_of(context, node->inputs, 0);
  const Tensor* axes = tensor_of(context, node->inputs, 1);
  const Tensor* output = tensor_of(context, node->outputs, 0);
  if (!is_number(input) || input->dims->size != 4 || side(input, 0) != 1 || axes == NULL ||
      axes->type != kInt32 || axes->allocation_type != kConstant || axes->data == NULL ||
      axes->bytes != 2 * sizeof(int32_t) || !is_channel_vector(output, side(input, 3))) {
    return false;
  }
  int32_t numbers[2];
  memcpy(numbers, axes->data, sizeof numbers);
  const int32_t a = numbers[0] < 0 ? numbers[0] + 4 : numbers[0];
  const int32_t b = numbers[1] < 0 ? numbers[1] + 4 : numbers[1];
  if ((a != 1 || b != 2) && (a != 2 || b != 1)) return false;
  operator->kind = kSum;
  operator->inputs[1] = operator->inputs[2] = -1;
  set_shape(operator, input);
  operator->summing.scale = 1.0f / (float)operator->positions;
  return true;
}

// A depthwise convolution as large as the map: the sum of products at all positions.
static bool parse_sum_of_products(const Context* context, const Node* node, Operator* operator) {
  const DepthwiseOptions* options = node->builtin_data;
  const Tensor* input = tensor_of(context, node->inputs, 0);
  const Tensor* filter = tensor_of(context, node->inputs, 1);
  const Tensor* bias = tensor_of(context, node->inputs, 2);
  const Tensor* output = tensor_of(context, node->outputs, 0);
  if (options == NULL || options->padding != kValidPadding || options->depth_multiplier != 1 ||
      options->activation != kNoActivation || options->dilation_width != 1 ||
      options->dilation_height != 1 || !is_number(input) || input->dims->size != 4 ||
      side(input, 0) != 1 || !is_number(filter) || !have_same_shape(input, filter, 4) ||
      !is_channel_vector(output, side(input, 3)) ||
      (bias != NULL && !is_channel_vector(bias, side(input, 3)))) {
    return false;
  }
  operator->kind = kSum;
  if (bias == NULL) operator->inputs[2] = -1;
  set_shape(operator, input);
  operator->summing = (Summing){.of_products = true, .scale = 1};
  return true;
}

static bool parse_concatenation(const Context* context, const Node* node, Operator* operator) {
  const ConcatenationOptions* options = node->builtin_data;
  const Tensor* output = tensor_of(context, node->outputs, 0);
  if (options == NULL || options->activation != kNoActivation || !is_number(output) ||
      node->inputs->size > kMostConcatenated) {
    return false;
  }
  const int last = output->dims->size - 1;
  size_t channels = 0;
  for (int i = 0; i < node->inputs->size; ++i) {
    const Tensor* input = tensor_of(context, node->inputs, i);
    if (!is_number(input) || !have_same_shape(input, output, last)) return false;
    operator->in_channels[i] = channels_of(input);
    channels += channels_of(input);
  }
  operator->kind = kConcatenate;
  set_shape(operator, output);
  return (options->axis == last || options->axis == -1) && channels == operator->channels &&
         operator->positions > 1;
}

static bool parse_known(const Context* context, const Node* node, int code, Operator* operator) {
  switch (code) {
    case kAddCode:
      return parse_arithmetic(context, node, kAdd, operator);
    case kSubCode:
      return parse_arithmetic(context, node, kSubtract, operator);
    case kMulCode:
      return parse_arithmetic(context, node, kMultiply, operator);
    case kSquaredDifferenceCode:
      return parse_pair(context, node, kSquaredDifference, true, operator);
    case kPreluCode:
      return parse_pair(context, node, kSlope, false, operator) &&
             (operator->kind == kCombineVectors || operator->combining.with_vector);
    case kMaximumCode:
      return parse_pair(context, node, kMaximum, true, operator);
    case kMinimumCode:
      return parse_pair(context, node, kMinimum, true, operator);
    case kMeanCode:
      return parse_mean(context, node, operator);
    case kDepthwiseCode:
      return parse_sum_of_products(context, node, operator);
    case kConcatenationCode:
      return parse_concatenation(context, node, operator);
    default:
      return false;
  }
}

bool parse_builtin(const Context* context, const Node* node, int code, Operator* operator) {
  memset(operator, 0, sizeof *operator);
  if (node->inputs == NULL || node->outputs == NULL || node->outputs->size != 1 ||
      node->inputs->size < 1) {
    return false;
  }
  for (int i = 0; i < kMostInputs; ++i) {
    operator->inputs[i] = i < node->inputs->size ? node->inputs->data[i] : -1;
  }
  for (int i = 1; i < kMostOutputs; ++i) operator->outputs[i] = -1;
  operator->outputs[0] = node->outputs->data[0];
  return parse_known(context, node, code, operator);
}
