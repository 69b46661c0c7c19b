#include "context_switch.h"

#include <cstdint>

namespace moesort_host {

#ifdef MOESORT_HOST_UCONTEXT

void prepare(Context& context, char* bottom, std::size_t bytes, void (*entry)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = bottom;
  context.uc_stack.ss_size = bytes;
  context.uc_link = nullptr;
  makecontext(&context, entry, 0);
}

#else

// Saves what the System V calling convention lets a callee keep, on the stack. The floating point control words are
// left out: kernels do not change them. The way into the other fiber is a jump: a return would be predicted to go where
// this fiber was called from.
__asm__(
    ".pushsection .text\n"
    ".p2align 4\n"
    ".globl moesort_host_switch_stacks\n"
    ".hidden moesort_host_switch_stacks\n"
    ".type moesort_host_switch_stacks, @function\n"
    "moesort_host_switch_stacks:\n"
    "  pushq %rbp\n"
    "  pushq %rbx\n"
    "  pushq %r12\n"
    "  pushq %r13\n"
    "  pushq %r14\n"
    "  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n"
    "  popq %r14\n"
    "  popq %r13\n"
    "  popq %r12\n"
    "  popq %rbx\n"
    "  popq %rbp\n"
    "  popq %rcx\n"
    "  jmpq *%rcx\n"
    ".size moesort_host_switch_stacks, . - moesort_host_switch_stacks\n"
    ".popsection\n");

void prepare(Context& context, char* bottom, std::size_t bytes, void (*entry)()) {
  constexpr int kSavedRegisters = 6;
  void** top = reinterpret_cast<void**>(reinterpret_cast<std::uintptr_t>(bottom + bytes) & ~std::uintptr_t{15});
  *--top = nullptr;  // the return address that entry would use; it also ends a debugger's backtrace
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < kSavedRegisters; ++i) *--top = nullptr;
  context.stack_pointer = top;
}

#endif

}  // namespace moesort_host
