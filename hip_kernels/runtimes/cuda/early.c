#include "early.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Of all modules that are loaded; a function beyond them is launched as usual.
enum { kMostFunctions = 64, kNameBytes = 256, kFirstDriver = 12030 };

static struct {
  CUfunction function;
  CUmodule module;
} noted[kMostFunctions];
static size_t noted_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool is_possible(void) {
  const char* const wanted = getenv("MOESORT_CUDA_EARLY_START");
  if (wanted != NULL && strcmp(wanted, "0") == 0) return false;
  int version = 0;
  return cuda_launch_kernel_ex != NULL && cuda.cuDriverGetVersion(&version) == CUDA_SUCCESS && version >= kFirstDriver;
}

static bool declares(CUmodule module, const char* name) {
  char declaration[kNameBytes];
  CUfunction declared = NULL;
  const int length = snprintf(declaration, sizeof declaration, "%s_starts_early", name);
  if (length < 0 || length >= (int)sizeof declaration || !is_possible()) return false;
  return cuda.cuModuleGetFunction(&declared, module, declaration) == CUDA_SUCCESS;
}

void note_early_start(CUfunction function, CUmodule module, const char* name) {
  const bool declared = declares(module, name);
  pthread_mutex_lock(&lock);
  // What was noted of a function that had this handle before, in a context that was destroyed or by an earlier call.
  for (size_t i = noted_count; i-- > 0;) {
    if (noted[i].function == function) noted[i] = noted[--noted_count];
  }
  if (declared && noted_count < kMostFunctions) {
    noted[noted_count].function = function;
    noted[noted_count].module = module;
    ++noted_count;
  }
  pthread_mutex_unlock(&lock);
}

void forget_early_starts(CUmodule module) {
  pthread_mutex_lock(&lock);
  for (size_t i = noted_count; i-- > 0;) {
    if (noted[i].module == module) noted[i] = noted[--noted_count];
  }
  pthread_mutex_unlock(&lock);
}

bool starts_early(CUfunction function) {
  bool found = false;
  pthread_mutex_lock(&lock);
  for (size_t i = 0; i < noted_count && !found; ++i) found = noted[i].function == function;
  pthread_mutex_unlock(&lock);
  return found;
}
