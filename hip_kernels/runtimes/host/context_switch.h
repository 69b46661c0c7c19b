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

// Makes `context` start with entry() on the stack [bottom, bottom + bytes). entry must not return.
void prepare(Context& context, char* bottom, std::size_t bytes, void (*entry)());

// Saves the running fiber in `from` and goes on with `to`.
void switch_context(Context& from, Context& to);

}  // namespace moesort_host
