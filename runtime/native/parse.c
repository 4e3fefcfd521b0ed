// Files come from strangers: an option, a shape or the number of a tensor may be anything. What
// passes here is within bounds, and all memory that it says is there.

#include "parse.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "convolution.h"
#include "flexbuffer.h"

enum {
  kRank = 4,
  kLargestSide = 1 << 16,
  kMostElements = 1 << 30,
  kMostSurrounded = 1 << 26,
  kMostNodes = 1 << 24,
};

static const char kQuantizeName[] = "LceQuantize", kDequantizeName[] = "LceDequantize",
                  kMaxPoolName[] = "LceBMaxPool2d", kConvolutionName[] = "LceBconv2d";

size_t size_of(Type type) {
  switch (type) {
    case kFloat32:
    case kInt32:
      return 4;
    case kInt64:
      return 8;
    case kInt16:
      return 2;
    case kUInt8:
    case kInt8:
    case kBool:
      return 1;
    default:
      return 0;
  }
}

bool elements_of(const IntArray* dims, size_t* count) {
  *count = 1;
  if (dims == NULL || dims->size < 0) return false;
  for (int i = 0; i < dims->size; ++i) {
    if (dims->data[i] < 1 || (size_t)dims->data[i] > kMostElements / *count) return false;
    *count *= (size_t)dims->data[i];
  }
  return true;
}

bool interface_is_known(const Context* context, const IntArray* plan) {
  return context->tensors != NULL && context->GetNodeAndRegistration != NULL &&
         context->ReplaceNodeSubsetsWithDelegateKernels != NULL && plan != NULL &&
         plan->size >= 0 && plan->size <= kMostNodes && context->tensors_size > 0 &&
         context->tensors_size <= kMostNodes;
}

bool is_ours(const Registration* registration) {
  const char* name = registration->custom_name;
  return registration->builtin_code == kCustomOperator && name != NULL &&
         (strcmp(name, kQuantizeName) == 0 || strcmp(name, kDequantizeName) == 0 ||
          strcmp(name, kMaxPoolName) == 0 || strcmp(name, kConvolutionName) == 0);
}

// A tensor of a node; NULL where it is left out or none.
const Tensor* tensor_of(const Context* context, const IntArray* numbers, int at) {
  if (numbers == NULL || at >= numbers->size) return NULL;
  const int number = numbers->data[at];
  if (number < 0 || (size_t)number >= context->tensors_size) return NULL;
  return context->tensors + number;
}

bool has_fixed_size(const Tensor* tensor) {
  size_t count;
  if (!elements_of(tensor->dims, &count) || size_of(tensor->type) == 0) return false;
  const IntArray* signature = tensor->dims_signature;
  for (int i = 0; signature != NULL && i < signature->size; ++i) {
    if (signature->data[i] < 0) return false;
  }
  return tensor->bytes == count * size_of(tensor->type);
}

size_t side(const Tensor* tensor, int axis) {
  return (size_t)tensor->dims->data[axis];
}

static bool is_map(const Tensor* tensor) {
  if (tensor->dims->size != kRank) return false;
  for (int i = 0; i < kRank; ++i) {
    if (tensor->dims->data[i] > kLargestSide) return false;
  }
  return true;
}

static bool option(const Node* node, const char* key, int64_t least, int64_t largest,
                   int64_t* value) {
  if (node->custom_options_size < 0) return false;
  const size_t size = (size_t)node->custom_options_size;
  return flexbuffer_int(node->custom_options, size, key, value) && *value >= least &&
         *value <= largest;
}

static bool size_option(const Node* node, const char* key, size_t* value) {
  int64_t number;
  if (!option(node, key, 1, kLargestSide, &number)) return false;
  *value = (size_t)number;
  return true;
}

static bool is_same(const Node* node) {
  int64_t padding;
  return option(node, "padding", 0, 0, &padding);
}

// Sets `out` and `in_front` of one axis; false if the window does not fit into the map.
static bool place_window(bool same, size_t in, size_t places, size_t stride, size_t dilation,
                         size_t* out, size_t* in_front) {
  const size_t extent = (places - 1) * dilation + 1;
  if (extent > kMostElements) return false;
  if (!same) {
    *in_front = 0;
    *out = in >= extent ? (in - extent) / stride + 1 : 0;
    return *out > 0;
  }
  *out = (in + stride - 1) / stride;
  const size_t needed = (*out - 1) * stride + extent;
  *in_front = needed > in ? (needed - in) / 2 : 0;
  return true;
}

static const char* parse_window(const Node* node, const Tensor* input, const Tensor* output,
                                Window* window) {
  int64_t padding;
  if (!size_option(node, "stride_height", &window->stride_height) ||
      !size_option(node, "stride_width", &window->stride_width) ||
      !option(node, "padding", 0, 1, &padding)) {
    return "its strides or its padding are none";
  }
  window->batch = side(input, 0);
  window->in_height = side(input, 1);
  window->in_width = side(input, 2);
  const bool same = is_same(node);
  if (!place_window(same, window->in_height, window->height, window->stride_height,
                    window->dilation_height, &window->out_height, &window->top) ||
      !place_window(same, window->in_width, window->width, window->stride_width,
                    window->dilation_width, &window->out_width, &window->left)) {
    return "its window is larger than the map";
  }
  if (side(output, 0) != window->batch || side(output, 1) != window->out_height ||
      side(output, 2) != window->out_width) {
    return "its output is of another shape than its window gives";
  }
  return NULL;
}

static const char* parse_conversion(const Tensor* numbers, const Tensor* bits,
                                    Conversion* conversion) {
  if (bits->type != kInt32) return "its bits are not in words of 32";
  if (numbers->dims->size < 1 || numbers->dims->size != bits->dims->size) {
    return "its input and output have not as many axes";
  }
  const int last = numbers->dims->size - 1;
  conversion->positions = 1;
  for (int i = 0; i < last; ++i) {
    if (side(numbers, i) != side(bits, i)) return "its input and output differ in size";
    conversion->positions *= side(numbers, i);
  }
  conversion->channels = side(numbers, last);
  if (side(bits, last) != words_of(conversion->channels)) {
    return "its channels do not fit into its words";
  }
  conversion->type = numbers->type;
  conversion->thresholds = calloc(conversion->channels, sizeof(float));
  if (conversion->thresholds == NULL) return "there is no memory for it";
  if (numbers->type != kFloat32 && numbers->type != kInt8 && numbers->type != kBool) {
    return "its numbers are neither float32 nor int8 nor bool";
  }
  if (numbers->type == kInt8) {
    const float one = 1 / numbers->quantization.scale;
    if (!(one > 0 && one < kMostElements)) return "its scale is not a positive number";
    conversion->zero_point = numbers->quantization.zero_point;
    if (conversion->zero_point < INT8_MIN || conversion->zero_point > INT8_MAX) {
      return "its zero point is no int8";
    }
    conversion->one = (int32_t)roundf(one);
  }
  return NULL;
}

static const char* parse_pooling(const Node* node, const Tensor* input, const Tensor* output,
                                 Pooling* pooling) {
  Window* window = &pooling->window;
  if (input->type != kInt32 || output->type != kInt32) return "its bits are not in words of 32";
  if (!is_map(input) || !is_map(output)) return "its input or output is no map";
  window->dilation_height = window->dilation_width = 1;
  if (!size_option(node, "filter_height", &window->height) ||
      !size_option(node, "filter_width", &window->width)) {
    return "its window's sides are none";
  }
  pooling->words = side(input, 3);
  if (side(output, 3) != pooling->words) return "its output has other channels than its input";
  return parse_window(node, input, output, window);
}

static bool is_vector(const Tensor* tensor, Type type, size_t length) {
  return tensor != NULL && tensor->type == type && has_fixed_size(tensor) &&
         tensor->dims->size == 1 && side(tensor, 0) == length && tensor->data != NULL &&
         tensor->allocation_type == kConstant && tensor->bytes == length * size_of(type);
}

// A copy with an entry for each lane of each block; those that no filter has are 0.
static void* spread(const Convolution* convolution, const void* vector) {
  const size_t blocks = convolution->groups * blocks_of(convolution);
  uint32_t* copy = calloc(blocks * kLanes, sizeof *copy);
  for (size_t i = 0; copy != NULL && i < convolution->out_channels; ++i) {
    const size_t group = i / convolution->filters, filter = i % convolution->filters;
    memcpy(copy + group * blocks_of(convolution) * kLanes + filter,
           (const uint32_t*)vector + i, sizeof *copy);
  }
  return copy;
}

// An activation keeps the sum, depth - 2 differing, between two bounds.
static void set_activation(Convolution* convolution, int64_t activation) {
  static const int32_t kLeast[] = {-kMostElements, 0, -1, 0};
  static const int32_t kLargest[] = {kMostElements, kMostElements, 1, 6};
  convolution->cuts_off = activation != 0;
  convolution->least = convolution->depth - kLargest[activation];
  convolution->largest = convolution->depth - kLeast[activation];
}

// From multiplier and bias of the sum to those of twice the differing bits. The order of rounding
// is that of Larq Compute Engine.
static void turn_transform(Convolution* convolution, float scale, float zero_point) {
  const size_t entries = convolution->groups * blocks_of(convolution) * kLanes;
  for (size_t i = 0; i < entries; ++i) {
    const double multiplier = (double)convolution->multiplier[i], bias = (double)convolution->bias[i];
    convolution->bias[i] = (float)((bias + convolution->depth * multiplier) / (double)scale + (double)zero_point);
    convolution->multiplier[i] = (float)(-multiplier / (double)scale);
  }
}

static const char* parse_transform(const Context* context, const Node* node,
                                   const Tensor* output, Convolution* convolution) {
  const size_t channels = convolution->out_channels;
  if (output->type == kInt32) {
    const Tensor* thresholds = tensor_of(context, node->inputs, 4);
    if (!is_vector(thresholds, kInt32, channels)) return "its thresholds are not one a channel";
    convolution->thresholds = spread(convolution, thresholds->data);
    return convolution->thresholds == NULL ? "there is no memory for it" : NULL;
  }
  const Tensor* multiplier = tensor_of(context, node->inputs, 2);
  const Tensor* bias = tensor_of(context, node->inputs, 3);
  if (!is_vector(multiplier, kFloat32, channels) || !is_vector(bias, kFloat32, channels)) {
    return "its multiplier or bias is not one number a channel";
  }
  convolution->multiplier = spread(convolution, multiplier->data);
  convolution->bias = spread(convolution, bias->data);
  if (convolution->multiplier == NULL || convolution->bias == NULL) {
    return "there is no memory for it";
  }
  if (output->type == kFloat32) {
    turn_transform(convolution, 1, 0);
    return NULL;
  }
  const float scale = output->quantization.scale;
  if (!(scale > 0 && scale < INFINITY)) return "its output's scale is not a positive number";
  turn_transform(convolution, scale, (float)output->quantization.zero_point);
  return NULL;
}

static const char* parse_groups(const Node* node, const Tensor* input, const Tensor* filter,
                                const Tensor* output, Convolution* convolution) {
  int64_t channels;
  if (!option(node, "channels_in", 1, (int64_t)kLargestSide * kBitsOfWord, &channels)) {
    return "its number of channels is none";
  }
  convolution->words = side(filter, 3);
  convolution->in_words = side(input, 3);
  convolution->out_channels = side(filter, 0);
  if (convolution->in_words != words_of((size_t)channels)) {
    return "its input has not its number of channels";
  }
  convolution->groups = convolution->in_words / convolution->words;
  if (convolution->groups < 1 || convolution->in_words % convolution->words != 0 ||
      convolution->out_channels % convolution->groups != 0) {
    return "its groups do not divide its channels";
  }
  const int64_t group_channels = channels / (int64_t)convolution->groups;
  if (convolution->groups > 1 && (channels % (int64_t)convolution->groups != 0 ||
                                  group_channels % kBitsOfWord != 0)) {
    return "its groups are not of multiples of 32 channels";
  }
  convolution->filters = convolution->out_channels / convolution->groups;
  const int64_t depth = (int64_t)(side(filter, 1) * side(filter, 2)) * group_channels;
  if (depth > kMostElements) return "it sums too many products";
  convolution->depth = (int32_t)depth;
  const size_t wanted = output->type == kInt32 ? words_of(convolution->out_channels)
                                               : convolution->out_channels;
  return side(output, 3) == wanted ? NULL : "its output has not a channel for each filter";
}

// Whether the map, with what surrounds it, is no larger than any tensor may be.
static bool has_room(const Convolution* convolution) {
  const Window around = surrounded(&convolution->window);
  return around.in_height <= kMostElements / around.in_width &&
         around.in_height * around.in_width <=
             kMostSurrounded / convolution->in_words / around.batch;
}

static const char* parse_convolution(const Context* context, const Node* node,
                                     const Tensor* input, const Tensor* output,
                                     Convolution* convolution) {
  const Tensor* filter = tensor_of(context, node->inputs, 1);
  int64_t pad_values, activation;
  if (input->type != kInt32) return "its input is not in words of 32 bits";
  if (filter == NULL || filter->type != kInt32 || !has_fixed_size(filter) || !is_map(filter) ||
      filter->data == NULL || filter->allocation_type != kConstant) {
    return "its filters are not in the file as words of 32 bits";
  }
  if (!is_map(input) || !is_map(output)) return "its input or output is no map";
  if (output->type != kFloat32 && output->type != kInt8 && output->type != kInt32) {
    return "its output is neither float32 nor int8 nor bits";
  }
  Window* window = &convolution->window;
  window->height = side(filter, 1);
  window->width = side(filter, 2);
  if (!size_option(node, "dilation_height_factor", &window->dilation_height) ||
      !size_option(node, "dilation_width_factor", &window->dilation_width) ||
      !option(node, "pad_values", 0, 1, &pad_values) ||
      !option(node, "fused_activation_function", 0, 3, &activation)) {
    return "its dilations, pad_values or activation are unknown";
  }
  const char* problem = parse_window(node, input, output, window);
  if (problem == NULL) problem = parse_groups(node, input, filter, output, convolution);
  if (problem != NULL) return problem;
  if (!is_surrounded(window) && !has_room(convolution)) return "it pads too much";
  convolution->type = output->type;
  convolution->pads_with_zero = pad_values == 0;
  const bool pads = window->height > 1 || window->width > 1;
  if (convolution->pads_with_zero && pads && is_same(node) &&
      (output->type != kFloat32 || activation != 0)) {
    return "it pads with 0, which has no meaning for its output or its activation";
  }
  set_activation(convolution, activation);
  if (!convolution_pack(convolution, filter->data)) return "there is no memory for it";
  return parse_transform(context, node, output, convolution);
}

const char* parse(const Context* context, const Node* node, const char* name, Operator* operator) {
  memset(operator, 0, sizeof *operator);
  const Tensor* input = tensor_of(context, node->inputs, 0);
  const Tensor* output = tensor_of(context, node->outputs, 0);
  if (input == NULL || output == NULL) return "it has no input or no output";
  if (!has_fixed_size(input) || !has_fixed_size(output)) {
    return "its sizes are not fixed, or this runtime is laid out in another way";
  }
  operator->inputs[0] = node->inputs->data[0];
  for (int i = 1; i < kMostInputs; ++i) operator->inputs[i] = -1;
  for (int i = 1; i < kMostOutputs; ++i) operator->outputs[i] = -1;
  operator->outputs[0] = node->outputs->data[0];
  operator->images = output->dims->size > 0 ? side(output, 0) : 1;
  if (strcmp(name, kQuantizeName) == 0 || strcmp(name, kDequantizeName) == 0) {
    const bool packs = strcmp(name, kQuantizeName) == 0;
    operator->kind = packs ? kQuantize : kDequantize;
    const char* problem = packs ? parse_conversion(input, output, &operator->conversion)
                                : parse_conversion(output, input, &operator->conversion);
    operator->positions = operator->conversion.positions;
    operator->channels = operator->conversion.channels;
    return problem;
  }
  if (strcmp(name, kMaxPoolName) == 0) {
    operator->kind = kMaxPool;
    return parse_pooling(node, input, output, &operator->pooling);
  }
  operator->kind = kConvolve;
  const char* problem = parse_convolution(context, node, input, output, &operator->convolution);
  const Window* window = &operator->convolution.window;
  operator->positions = window->batch * window->out_height * window->out_width;
  operator->channels = operator->convolution.out_channels;
  return problem;
}

void operator_free(Operator* operator) {
  if (operator->kind == kConvolve) convolution_free(&operator->convolution);
  if (operator->kind == kQuantize || operator->kind == kDequantize) {
    free(operator->conversion.thresholds);
  }
}
