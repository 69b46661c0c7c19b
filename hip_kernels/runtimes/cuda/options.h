// Compiler options as hiprtc takes them, for NVRTC.
#pragma once
#include <stdbool.h>

#pragma GCC visibility push(hidden)

struct Options {
  char** texts;
  int count;
  bool names_architecture;
};

// Translates the options, with room for one more. False where memory ran out.
bool translate_options(int count, const char* const* options, struct Options* translated);

// Puts `prefix` and `rest`, joined, behind the options. False where memory ran out.
bool add_option(struct Options* options, const char* prefix, const char* rest);

void free_options(struct Options* options);

#pragma GCC visibility pop
