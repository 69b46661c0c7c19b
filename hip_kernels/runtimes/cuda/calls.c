#include "calls.h"

#include <dlfcn.h>
#include <string.h>

const char* find_calls(void* library, const struct Call* calls, size_t count, void* table) {
  for (size_t i = 0; i < count; ++i) {
    void* const function = dlsym(library, calls[i].symbol);
    if (function == NULL) return calls[i].symbol;
    memcpy((char*)table + calls[i].offset, &function, sizeof function);
  }
  return NULL;
}
