// A plugin of QEMU that counts executed instructions, for instructions.py.
//
// The program under QEMU says what to count by a system call that no system has. Counts of blocks
// of instructions, each with the address where it begins, are written to the file `out`.

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Of qemu-plugin.h, which Debian 12 has in no package.
typedef uint64_t Id;
typedef struct Translated Translated;
typedef void (*OnTranslation)(Id, Translated*);
typedef void (*OnExecution)(unsigned, void*);
typedef void (*OnCall)(Id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                       uint64_t, uint64_t, uint64_t);
void qemu_plugin_register_vcpu_tb_trans_cb(Id, OnTranslation);
void qemu_plugin_register_vcpu_tb_exec_cb(Translated*, OnExecution, int flags, void*);
void qemu_plugin_register_vcpu_syscall_cb(Id, OnCall);
size_t qemu_plugin_tb_n_insns(const Translated*);
uint64_t qemu_plugin_tb_vaddr(const Translated*);

#define PUBLIC __attribute__((visibility("default")))
PUBLIC int qemu_plugin_version = 1;

enum { kMark = 0x1a59, kBegin = 0 };

typedef struct Block {
  uint64_t address, instructions, times;
  struct Block* next;
} Block;

static Block* blocks;
static FILE* out;

static void count(unsigned processor, void* block) {
  (void)processor;
  ++((Block*)block)->times;
}

static void translated(Id id, Translated* translation) {
  (void)id;
  Block* block = calloc(1, sizeof *block);
  if (block == NULL) abort();
  block->address = qemu_plugin_tb_vaddr(translation);
  block->instructions = qemu_plugin_tb_n_insns(translation);
  block->next = blocks;
  blocks = block;
  qemu_plugin_register_vcpu_tb_exec_cb(translation, count, 0, block);
}

static void forget(void) {
  for (Block* block = blocks; block != NULL; block = block->next) block->times = 0;
}

static void tell(void) {
  for (const Block* block = blocks; block != NULL; block = block->next) {
    if (block->times == 0) continue;
    fprintf(out, "%" PRIx64 " %" PRIu64 "\n", block->address, block->times * block->instructions);
  }
  fprintf(out, "\n");
  fflush(out);
}

static void called(Id id, unsigned processor, int64_t number, uint64_t what, uint64_t b, uint64_t c,
                   uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
  (void)id, (void)processor, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
  if (number != kMark) return;
  if (what == kBegin) {
    forget();
  } else {
    tell();
  }
}

PUBLIC int qemu_plugin_install(Id id, const void* system, int count_of_options, char** options) {
  (void)system;
  const char kOut[] = "out=";
  const size_t length = strlen(kOut);
  if (count_of_options != 1 || strncmp(options[0], kOut, length) != 0) return 1;
  out = fopen(options[0] + length, "w");
  if (out == NULL) return 1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  return 0;
}
