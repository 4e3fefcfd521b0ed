// The library's two entries, and the part of a graph that it runs.
//
// A runtime loads the library as an external delegate, shows it the graph before anything is
// prepared, and gives it runs of neighbouring nodes, each as one node of its own. What passes from
// one of them to the next is held here, as the runtime has no memory for it.

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "operators.h"
#include "parse.h"

#if defined(_WIN32)
#define EXPORTED __declspec(dllexport)
#else
#define EXPORTED __attribute__((visibility("default")))
#endif

enum { kMostThreads = 256 };

typedef struct {
  Delegate delegate;
  size_t threads_wanted;  // 0: as many as the interpreter's
  size_t scratch_bytes, map_bytes;
  Machine machine;
  pthread_mutex_t mutex;  // interpreters that share a delegate take turns
} Library;

typedef struct {
  Node node;
  const char* name;
  int number;
  Operator operator;
  void* own_output;  // where no one else reads it
  const void* own_input;
} Step;

typedef struct {
  Library* library;
  size_t count;
  Step* steps;
  IntArray* outputs;
} Part;

static size_t larger(size_t a, size_t b) {
  return a > b ? a : b;
}

static void free_scratch(Machine* machine) {
  for (size_t i = 0; machine->scratch != NULL && i < threads_count(machine->threads); ++i) {
    free(machine->scratch[i]);
  }
  free(machine->scratch);
  free(machine->map);
  machine->scratch = NULL;
  machine->map = NULL;
}

static bool make_scratch(Library* library, size_t bytes, size_t map_bytes) {
  Machine* machine = &library->machine;
  if (machine->scratch != NULL && bytes <= library->scratch_bytes &&
      map_bytes <= library->map_bytes) {
    return true;
  }
  free_scratch(machine);
  library->scratch_bytes = bytes = larger(bytes, library->scratch_bytes);
  library->map_bytes = map_bytes = larger(map_bytes, library->map_bytes);
  machine->map = malloc(map_bytes + 1);
  machine->scratch = calloc(threads_count(machine->threads), sizeof *machine->scratch);
  if (machine->map == NULL || machine->scratch == NULL) return false;
  for (size_t i = 0; i < threads_count(machine->threads); ++i) {
    machine->scratch[i] = malloc(bytes + 1);
    if (machine->scratch[i] == NULL) return false;
  }
  return true;
}

static bool make_threads(Library* library, int recommended) {
  size_t wanted = library->threads_wanted;
  if (wanted == 0) wanted = recommended < 1 ? 1 : (size_t)recommended;
  if (wanted > kMostThreads) wanted = kMostThreads;
  Machine* machine = &library->machine;
  if (machine->threads != NULL && threads_count(machine->threads) == wanted) return true;
  if (machine->threads != NULL) {
    free_scratch(machine);
    threads_free(machine->threads);
  }
  machine->threads = threads_new(wanted);
  return machine->threads != NULL;
}

static bool contains(const IntArray* numbers, int number) {
  for (int i = 0; i < numbers->size; ++i) {
    if (numbers->data[i] == number) return true;
  }
  return false;
}

static void clear(Part* part) {
  for (size_t i = 0; i < part->count; ++i) {
    operator_free(&part->steps[i].operator);
    free(part->steps[i].own_output);
    part->steps[i].own_output = NULL;
    part->steps[i].own_input = NULL;
    memset(&part->steps[i].operator, 0, sizeof part->steps[i].operator);
  }
}

static void part_free(Context* context, void* user_data) {
  (void)context;
  Part* part = user_data;
  if (part == NULL) return;
  clear(part);
  free(part->outputs);
  free(part->steps);
  free(part);
}

static IntArray* copy_of(const IntArray* numbers) {
  const size_t bytes = sizeof *numbers + (size_t)numbers->size * sizeof numbers->data[0];
  IntArray* copy = malloc(bytes);
  if (copy != NULL) memcpy(copy, numbers, bytes);
  return copy;
}

static void* part_init(Context* context, const char* buffer, size_t length) {
  (void)length;
  const DelegateParameters* parameters = (const DelegateParameters*)(const void*)buffer;
  Part* part = calloc(1, sizeof *part);
  if (part == NULL) return NULL;
  part->library = parameters->delegate->data;
  part->count = (size_t)parameters->nodes->size;
  part->steps = calloc(part->count, sizeof *part->steps);
  part->outputs = copy_of(parameters->outputs);
  bool done = part->steps != NULL && part->outputs != NULL;
  for (size_t i = 0; done && i < part->count; ++i) {
    Node* node;
    Registration* registration;
    const int number = parameters->nodes->data[i];
    done = context->GetNodeAndRegistration(context, number, &node, &registration) == kOk;
    // Nodes move in memory when others are added; what they point to stays.
    if (done) part->steps[i] = (Step){.node = *node, .number = number,
                                      .name = registration->custom_name};
  }
  if (done) return part;
  if (part->steps == NULL) part->count = 0;
  part_free(context, part);
  return NULL;
}

static Status refuse(Context* context, const char* name, int number, const char* problem) {
  context->ReportError(context,
                       "An operator of Larq Compute Engine must be one that larq_insta's runtime "
                       "knows; %s (node %d) is not, as %s: convert the model again, with fixed "
                       "sizes and the versions that this runtime names.",
                       name, number, problem);
  return kError;
}

// Memory for what only later steps read, and where they find it.
static bool connect(const Context* context, Part* part, size_t at) {
  Step* step = part->steps + at;
  for (size_t i = 0; i < at; ++i) {
    if (part->steps[i].operator.output == step->operator.input) {
      step->own_input = part->steps[i].own_output;
    }
  }
  if (contains(part->outputs, step->operator.output)) return true;
  step->own_output = calloc(context->tensors[step->operator.output].bytes, 1);
  return step->own_output != NULL;
}

static Status part_prepare(Context* context, Node* node) {
  Part* part = node->user_data;
  if (part == NULL) return refuse(context, "one", 0, "there is no memory for it");
  Library* library = part->library;
  clear(part);
  size_t scratch = 0, map = 0;
  for (size_t i = 0; i < part->count; ++i) {
    Step* step = part->steps + i;
    const char* problem = parse(context, &step->node, step->name, &step->operator);
    if (problem == NULL && !connect(context, part, i)) problem = "there is no memory for it";
    if (problem != NULL) return refuse(context, step->name, step->number, problem);
    if (step->operator.kind == kConvolve) {
      const Convolution* convolution = &step->operator.convolution;
      scratch = larger(scratch, convolve_scratch(convolution, library->machine.kernels));
      map = larger(map, convolve_map(convolution));
    }
  }
  pthread_mutex_lock(&library->mutex);
  const bool ready =
      make_threads(library, context->recommended_num_threads) && make_scratch(library, scratch, map);
  pthread_mutex_unlock(&library->mutex);
  return ready ? kOk : refuse(context, "one", 0, "there is no memory for it");
}

static void run(const Operator* operator, const void* input, void* output,
                const Machine* machine) {
  switch (operator->kind) {
    case kQuantize:
      quantize(&operator->conversion, input, output, machine);
      break;
    case kDequantize:
      dequantize(&operator->conversion, input, output);
      break;
    case kMaxPool:
      max_pool(&operator->pooling, input, output);
      break;
    case kConvolve:
      convolve(&operator->convolution, input, output, machine);
      break;
  }
}

static Status part_invoke(Context* context, Node* node) {
  const Part* part = node->user_data;
  pthread_mutex_lock(&part->library->mutex);
  Status status = kOk;
  for (size_t i = 0; status == kOk && i < part->count; ++i) {
    const Step* step = part->steps + i;
    const void* input = step->own_input != NULL ? step->own_input
                                                : context->tensors[step->operator.input].data;
    void* output = step->own_output != NULL ? step->own_output
                                            : context->tensors[step->operator.output].data;
    if (input == NULL || output == NULL) {
      status = refuse(context, step->name, step->number, "a tensor of it has no memory");
    } else {
      run(&step->operator, input, output, &part->library->machine);
    }
  }
  pthread_mutex_unlock(&part->library->mutex);
  return status;
}

static Status check_nodes(Context* context, const IntArray* plan, IntArray* ours) {
  for (int i = 0; i < plan->size; ++i) {
    Node* node;
    Registration* registration;
    if (context->GetNodeAndRegistration(context, plan->data[i], &node, &registration) != kOk) {
      return kError;
    }
    if (!is_ours(registration)) continue;
    Operator operator;
    const char* problem = parse(context, node, registration->custom_name, &operator);
    operator_free(&operator);
    if (problem != NULL) {
      return refuse(context, registration->custom_name, plan->data[i], problem);
    }
    ours->data[ours->size++] = plan->data[i];
  }
  return kOk;
}

static Status take_nodes(Context* context, Delegate* delegate) {
  IntArray* given;
  if (context->GetExecutionPlan == NULL || context->GetExecutionPlan(context, &given) != kOk ||
      !interface_is_known(context, given)) {
    return kError;
  }
  // The runtime's own is another after the next call for it.
  IntArray* plan = copy_of(given);
  IntArray* ours = plan == NULL ? NULL : copy_of(plan);
  Status status = ours == NULL ? kError : kOk;
  if (status == kOk) {
    ours->size = 0;
    status = check_nodes(context, plan, ours);
  }
  if (status == kOk && ours->size > 0) {
    const Registration registration = {.init = part_init,
                                       .free = part_free,
                                       .prepare = part_prepare,
                                       .invoke = part_invoke,
                                       .custom_name = "LarqInsta",
                                       .version = 1};
    status = context->ReplaceNodeSubsetsWithDelegateKernels(context, registration, ours, delegate);
  }
  free(ours);
  free(plan);
  return status;
}

static bool set_threads(Library* library, const char* value) {
  char* end;
  const long count = strtol(value, &end, 10);
  if (*value == '\0' || *end != '\0' || count < 0 || count > kMostThreads) return false;
  library->threads_wanted = (size_t)count;
  return true;
}

static bool set_option(Library* library, const char* key, const char* value) {
  if (strcmp(key, "num_threads") == 0) return set_threads(library, value);
  if (strcmp(key, "kernels") != 0) return false;
  library->machine.kernels = choose_kernels(value);
  return library->machine.kernels != NULL;
}

static void complain(void (*report)(const char*), const char* message) {
  if (report != NULL) report(message);
}

// The names that runtimes look for.
EXPORTED void tflite_plugin_destroy_delegate(Delegate* delegate) {
  if (delegate == NULL) return;
  Library* library = delegate->data;
  if (library->machine.threads != NULL) {
    free_scratch(&library->machine);
    threads_free(library->machine.threads);
  }
  pthread_mutex_destroy(&library->mutex);
  free(library);
}

EXPORTED Delegate* tflite_plugin_create_delegate(char** keys, char** values, size_t count,
                                                 void (*report)(const char*)) {
  Library* library = calloc(1, sizeof *library);
  if (library == NULL) return NULL;
  pthread_mutex_init(&library->mutex, NULL);
  library->delegate.data = library;
  library->delegate.Prepare = take_nodes;
  library->delegate.flags = kAllowDynamicTensors;
  const char* wanted = getenv("LARQ_INSTA_KERNELS");
  library->machine.kernels = choose_kernels(wanted != NULL && *wanted != '\0' ? wanted : NULL);
  bool known = library->machine.kernels != NULL;
  for (size_t i = 0; known && i < count; ++i) known = set_option(library, keys[i], values[i]);
  if (known) return &library->delegate;
  complain(report,
           "Options of larq_insta's delegate are num_threads (0 to 256; 0 for the interpreter's) "
           "and kernels (portable, avx2, avx512 or neon, which the processor must have; also "
           "LARQ_INSTA_KERNELS): leave them out for the best.");
  tflite_plugin_destroy_delegate(&library->delegate);
  return NULL;
}

// Names of the kernels that can run here, the fastest first, ended by NULL; for tests and reports.
EXPORTED const char* const* larq_insta_kernels(void) {
  return known_kernels();
}
