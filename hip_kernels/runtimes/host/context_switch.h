// Switching between fibers. On x86-64 a switch is a dozen instructions; elsewhere, or with MOESORT_HOST_UCONTEXT
// defined, it is swapcontext, whose system call makes it some thirty times slower.
#pragma once
#include <cstddef>

#if !defined(__x86_64__) && !defined(MOESORT_HOST_UCONTEXT)
#define MOESORT_HOST_UCONTEXT
#endif

#ifdef MOESORT_HOST_UCONTEXT
#include <ucontext.h>
#endif

namespace moesort_host {

#ifdef MOESORT_HOST_UCONTEXT
using Context = ucontext_t;
#else
struct Context {
  void* stack_pointer;
};
#endif

// Hidden, so that the compiler may inline: this is the innermost loop of all.
#define MOESORT_HOST_INTERNAL __attribute__((visibility("hidden")))

// Makes `context` start with entry() on the stack [bottom, bottom + bytes). entry must not return.
MOESORT_HOST_INTERNAL void prepare(Context& context, char* bottom, std::size_t bytes, void (*entry)());

#ifndef MOESORT_HOST_UCONTEXT
extern "C" MOESORT_HOST_INTERNAL void moesort_host_switch_stacks(void** from, void* to);
#endif

// Saves the running fiber in `from` and goes on with `to`.
inline void switch_context(Context& from, Context& to) {
#ifdef MOESORT_HOST_UCONTEXT
  swapcontext(&from, &to);
#else
  moesort_host_switch_stacks(&from.stack_pointer, to.stack_pointer);
#endif
}

// Fetches what a switch to `context` will read first.
inline void prefetch(const Context& context) {
#ifdef MOESORT_HOST_UCONTEXT
  __builtin_prefetch(&context);
#else
  __builtin_prefetch(context.stack_pointer);
  __builtin_prefetch(static_cast<const char*>(context.stack_pointer) + 64);
#endif
}

}  // namespace moesort_host
