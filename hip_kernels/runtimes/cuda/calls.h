// A table of function pointers filled from a library that was opened at run time.
#pragma once
#include <stddef.h>

#pragma GCC visibility push(hidden)

struct Call {
  const char* symbol;
  size_t offset;  // of the pointer, in the table
};

// Looks every call up. Null, or the symbol that the library has not.
const char* find_calls(void* library, const struct Call* calls, size_t count, void* table);

#pragma GCC visibility pop
