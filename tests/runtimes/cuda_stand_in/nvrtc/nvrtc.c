// A stand-in for libnvrtc: a program's log is its arguments (headers, then options), its code a text that the
// stand-in driver loads. NVRTC_MAJOR, given when it is built, is its version.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kSuccess = 0, kInvalidOption = 5, kCompilation = 6, kNameNotValid = 10, kFileError = 12 };

struct nvrtcProgram_st {
  char source[256];
  char log[2048];
  char code[64];
  int names;
};
typedef struct nvrtcProgram_st* nvrtcProgram;

const char* nvrtcGetErrorString(int result) {
  return result == kCompilation ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR";
}

int nvrtcVersion(int* major, int* minor) {
  *major = NVRTC_MAJOR;
  *minor = 2;
  return kSuccess;
}

int nvrtcCreateProgram(nvrtcProgram* program, const char* source, const char* name, int count,
                       const char* const* headers, const char* const* header_names) {
  *program = calloc(1, sizeof **program);
  snprintf((*program)->source, sizeof(*program)->source, "%s", source);
  char* const log = (*program)->log;
  snprintf(log, sizeof(*program)->log, "program %s\n", name);
  for (int i = 0; i < count; ++i)
    snprintf(log + strlen(log), sizeof(*program)->log - strlen(log), "header %s: %s\n", header_names[i], headers[i]);
  return kSuccess;
}

int nvrtcDestroyProgram(nvrtcProgram* program) {
  free(*program);
  *program = NULL;
  return kSuccess;
}

int nvrtcCompileProgram(nvrtcProgram program, int count, const char* const* options) {
  static const char kArchitecture[] = "--gpu-architecture=";
  for (int i = 0; i < count; ++i) {
    char* const log = program->log;
    snprintf(log + strlen(log), sizeof program->log - strlen(log), "option %s\n", options[i]);
    if (strncmp(options[i], kArchitecture, sizeof kArchitecture - 1) == 0)
      snprintf(program->code, sizeof program->code, "cubin of %s", options[i] + sizeof kArchitecture - 1);
  }
  if (strstr(program->source, "#error disk") != NULL) return kFileError;
  if (strstr(program->source, "#error") != NULL) return kCompilation;
  return program->code[0] == '\0' ? kInvalidOption : kSuccess;
}

int nvrtcGetCUBINSize(nvrtcProgram program, size_t* bytes) {
  *bytes = strlen(program->code) + 1;
  return kSuccess;
}

int nvrtcGetCUBIN(nvrtcProgram program, char* code) {
  strcpy(code, program->code);
  return kSuccess;
}

int nvrtcGetProgramLogSize(nvrtcProgram program, size_t* bytes) {
  *bytes = strlen(program->log) + 1;
  return kSuccess;
}

int nvrtcGetProgramLog(nvrtcProgram program, char* log) {
  strcpy(log, program->log);
  return kSuccess;
}

int nvrtcAddNameExpression(nvrtcProgram program, const char* expression) {
  program->names += expression[0] != '\0';
  return kSuccess;
}

int nvrtcGetLoweredName(nvrtcProgram program, const char* expression, const char** name) {
  if (program->names == 0) return kNameNotValid;
  *name = strcmp(expression, "kernel<int>") == 0 ? "_Z6kernelIiEvv" : expression;
  return kSuccess;
}
