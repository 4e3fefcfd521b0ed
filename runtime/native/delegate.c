// The library's two entries, and the part of a graph that it runs.
//
// A runtime loads the library as an external delegate, shows it the graph before anything is
// prepared, and gives it runs of neighbouring nodes, each as one node of its own: a part. What passes
// from one of them to the next is held here, as the runtime has no memory for it.

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "parse.h"
#include "pass.h"
#include "sizes.h"

#if defined(_WIN32)
#define EXPORTED __declspec(dllexport)
#else
#define EXPORTED __attribute__((visibility("default")))
#endif

enum { kMostThreads = 256 };

typedef struct {
  Delegate delegate;
  size_t threads_wanted;  // 0: as many as the interpreter's
  size_t scratch_bytes, shared_bytes;
  long long saved;     // bytes, by all parts
  bool leaves_others;  // of TensorFlow Lite's own operators, all
  Machine machine;
  pthread_mutex_t mutex;  // interpreters that share a delegate take turns
} Library;

typedef struct {
  Node node;
  int builtin_code;
  const char* name;
  int number;
} Source;

typedef struct {
  Library* library;
  size_t count;
  Source* sources;
  IntArray* outputs;
  Plan plan;
  void* memory;
} Part;

// Memory that begins where vectors of any processor may.
static void* aligned_new(size_t bytes) {
  char* memory = malloc(bytes + kAlignment + sizeof(void*));
  if (memory == NULL) return NULL;
  const uintptr_t behind = (uintptr_t)(memory + sizeof(void*) + kAlignment - 1);
  void** begin = (void**)(behind - behind % kAlignment);
  begin[-1] = memory;
  return begin;
}

static void aligned_free(void* memory) {
  if (memory != NULL) free(((void**)memory)[-1]);
}

static void free_scratch(Machine* machine) {
  for (size_t i = 0; machine->scratch != NULL && i < threads_count(machine->threads); ++i) {
    aligned_free(machine->scratch[i]);
  }
  free(machine->scratch);
  aligned_free(machine->shared);
  machine->scratch = NULL;
  machine->shared = NULL;
}

static bool make_scratch(Library* library, size_t bytes, size_t shared) {
  Machine* machine = &library->machine;
  if (machine->scratch != NULL && bytes <= library->scratch_bytes &&
      shared <= library->shared_bytes) {
    return true;
  }
  free_scratch(machine);
  library->scratch_bytes = bytes = maximum(bytes, library->scratch_bytes);
  library->shared_bytes = shared = maximum(shared, library->shared_bytes);
  machine->shared = aligned_new(shared);
  machine->scratch = calloc(threads_count(machine->threads), sizeof *machine->scratch);
  if (machine->shared == NULL || machine->scratch == NULL) return false;
  for (size_t i = 0; i < threads_count(machine->threads); ++i) {
    machine->scratch[i] = aligned_new(bytes);
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

static void clear(Part* part) {
  plan_free(&part->plan);
  aligned_free(part->memory);
  part->memory = NULL;
}

static void part_free(Context* context, void* user_data) {
  (void)context;
  Part* part = user_data;
  if (part == NULL) return;
  clear(part);
  free(part->outputs);
  free(part->sources);
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
  part->sources = calloc(part->count, sizeof *part->sources);
  part->outputs = copy_of(parameters->outputs);
  bool done = part->sources != NULL && part->outputs != NULL;
  for (size_t i = 0; done && i < part->count; ++i) {
    Node* node;
    Registration* registration;
    const int number = parameters->nodes->data[i];
    done = context->GetNodeAndRegistration(context, number, &node, &registration) == kOk;
    // Nodes move in memory when others are added; what they point to stays.
    if (done) {
      part->sources[i] = (Source){*node, registration->builtin_code,
                                  is_ours(registration) ? registration->custom_name : NULL, number};
    }
  }
  if (done) return part;
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

static const char* parse_source(const Context* context, const Source* source, Step* step) {
  step->name = source->name == NULL ? "one of TensorFlow Lite" : source->name;
  step->number = source->number;
  if (source->name != NULL) return parse(context, &source->node, source->name, &step->operator);
  const bool known =
      parse_builtin(context, &source->node, source->builtin_code, &step->operator);
  return known ? NULL : "its sizes have changed";
}

static Status part_prepare(Context* context, Node* node) {
  Part* part = node->user_data;
  if (part == NULL) return refuse(context, "one", 0, "there is no memory for it");
  Library* library = part->library;
  library->saved -= part->plan.saved;
  clear(part);
  Plan* plan = &part->plan;
  plan->steps = calloc(part->count + 1, sizeof *plan->steps);
  if (plan->steps == NULL) return refuse(context, "one", 0, "there is no memory for it");
  for (size_t i = 0; i < part->count; ++i) {
    Step* step = plan->steps + plan->step_count++;
    const char* problem = parse_source(context, part->sources + i, step);
    if (problem != NULL) return refuse(context, step->name, step->number, problem);
  }
  const char* problem = make_plan(context, part->outputs, plan);
  const Source* first = part->sources;
  library->saved += plan->saved;
  if (problem != NULL) return refuse(context, "one", first->number, problem);
  size_t scratch = 0, shared = 0;
  plan_needs(plan, &library->machine, &scratch, &shared);
  part->memory = aligned_new(plan->bytes);
  pthread_mutex_lock(&library->mutex);
  const bool ready = part->memory != NULL &&
                     make_threads(library, context->recommended_num_threads) &&
                     make_scratch(library, scratch, shared);
  pthread_mutex_unlock(&library->mutex);
  return ready ? kOk : refuse(context, "one", first->number, "there is no memory for it");
}

static Status part_invoke(Context* context, Node* node) {
  const Part* part = node->user_data;
  pthread_mutex_lock(&part->library->mutex);
  const Step* failed = run_plan(&part->plan, context, part->memory, &part->library->machine);
  pthread_mutex_unlock(&part->library->mutex);
  if (failed == NULL) return kOk;
  return refuse(context, failed->name, failed->number, "a tensor of it has no memory");
}

// What of a graph's nodes can be run here.
typedef enum { kLeft, kCanBe, kTaken } Choice;

// Larq Compute Engine's operators; and others that can be run here, which have to wait.
static Status look_at_nodes(Context* context, const Library* library, const IntArray* plan,
                            Choice* choices) {
  for (int i = 0; i < plan->size; ++i) {
    Node* node;
    Registration* registration;
    if (context->GetNodeAndRegistration(context, plan->data[i], &node, &registration) != kOk) {
      return kError;
    }
    Operator operator;
    if (!is_ours(registration)) {
      const bool known = !library->leaves_others &&
                         parse_builtin(context, node, registration->builtin_code, &operator);
      choices[i] = known ? kCanBe : kLeft;
      continue;
    }
    const char* problem = parse(context, node, registration->custom_name, &operator);
    operator_free(&operator);
    if (problem != NULL) {
      return refuse(context, registration->custom_name, plan->data[i], problem);
    }
    choices[i] = kTaken;
  }
  return kOk;
}

// Takes what a taken node reads or is read by; whether there was any.
static bool take_neighbours(Context* context, const IntArray* plan, Choice* choices,
                            bool* touched) {
  bool found = false;
  for (int i = 0; i < plan->size; ++i) {
    Node* node;
    Registration* registration;
    if (choices[i] == kLeft ||
        context->GetNodeAndRegistration(context, plan->data[i], &node, &registration) != kOk) {
      continue;
    }
    const IntArray* ends[] = {node->inputs, node->outputs};
    for (int end = 0; end < 2; ++end) {
      for (int k = 0; k < ends[end]->size; ++k) {
        const Tensor* tensor = tensor_of(context, ends[end], k);
        if (tensor == NULL || tensor->allocation_type == kConstant) continue;
        bool* here = touched + ends[end]->data[k];
        if (choices[i] == kCanBe && *here) {
          choices[i] = kTaken;
          found = true;
        }
        *here |= choices[i] == kTaken;
      }
    }
  }
  return found;
}

static Status choose_nodes(Context* context, const Library* library, const IntArray* plan,
                           IntArray* ours) {
  Choice* choices = calloc((size_t)plan->size + 1, sizeof *choices);
  bool* touched = calloc(context->tensors_size, sizeof *touched);
  Status status = choices == NULL || touched == NULL
                      ? kError
                      : look_at_nodes(context, library, plan, choices);
  if (status == kOk) {
    while (take_neighbours(context, plan, choices, touched)) {
    }
    ours->size = 0;
    for (int i = 0; i < plan->size; ++i) {
      if (choices[i] == kTaken) ours->data[ours->size++] = plan->data[i];
    }
  }
  free(choices);
  free(touched);
  return status;
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
  if (status == kOk) status = choose_nodes(context, delegate->data, plan, ours);
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
  if (strcmp(key, "fuse") == 0) {
    library->leaves_others = strcmp(value, "0") == 0;
    return library->leaves_others || strcmp(value, "1") == 0;
  }
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
           "Options of larq_insta's delegate are num_threads (0 to 256; 0 for the interpreter's), "
           "fuse (0 or 1: whether TensorFlow Lite's operators around Larq's run in it, too) "
           "and kernels (portable, avx2, avx512 or neon, which the processor must have; also "
           "LARQ_INSTA_KERNELS): leave them out for the best.");
  tflite_plugin_destroy_delegate(&library->delegate);
  return NULL;
}

// How many bytes less operators that are no convolutions read and write in its passes, than if each
// ran alone; for reports.
EXPORTED long long larq_insta_saved_bytes(const Delegate* delegate) {
  return ((const Library*)delegate->data)->saved;
}

// Names of the kernels that can run here, the fastest first, ended by NULL; for tests and reports.
EXPORTED const char* const* larq_insta_kernels(void) {
  return known_kernels();
}
