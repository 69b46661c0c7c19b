#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stand_in.h"

static char log_text[1 << 16];
static size_t log_length;

const char* stand_in_calls(void) { return log_text; }
void stand_in_forget(void) { log_text[log_length = 0] = '\0'; }

// The code that a call is configured to return, or 0.
static CUresult find_failure(const char* symbol) {
  const char* const failing = getenv("CUDA_STAND_IN_FAIL");
  const size_t length = strlen(symbol);
  if (failing == NULL || strncmp(failing, symbol, length) != 0 || failing[length] != '=') return CUDA_SUCCESS;
  return atoi(failing + length + 1);
}

CUresult note(const char* symbol, const char* format, ...) {
  va_list values;
  va_start(values, format);
  log_length += snprintf(log_text + log_length, sizeof log_text - log_length, "%s(", symbol);
  log_length += vsnprintf(log_text + log_length, sizeof log_text - log_length, format, values);
  log_length += snprintf(log_text + log_length, sizeof log_text - log_length, ")\n");
  va_end(values);
  return find_failure(symbol);
}
