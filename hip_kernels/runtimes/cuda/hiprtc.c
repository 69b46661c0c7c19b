// hiprtc's calls. A program is NVRTC's own, and the code that comes out is a cubin, which
// hipModuleLoadData takes as it takes AMD's code objects.
#include "context.h"
#include "nvrtc.h"
#include "options.h"

#define FORWARD_TO_NVRTC(call, ...) (nvrtc_is_ready() ? told_by_nvrtc(#call, nvrtc.call(__VA_ARGS__)) : kNoCompiler)

enum { kNoCompiler = HIPRTC_ERROR_INTERNAL_ERROR };

// hiprtc took NVRTC's numbers up to 11; NVRTC's later ones (files, precompiled headers) are internal errors.
static hiprtcResult told_by_nvrtc(const char* call, nvrtcResult result) {
  if (result != HIPRTC_SUCCESS) explain("%s returned %s (%d)", call, nvrtc.nvrtcGetErrorString(result), result);
  return result > HIPRTC_ERROR_INTERNAL_ERROR ? HIPRTC_ERROR_INTERNAL_ERROR : (hiprtcResult)result;
}

EXPORT hiprtcResult hiprtcVersion(int* major, int* minor) { return FORWARD_TO_NVRTC(nvrtcVersion, major, minor); }

EXPORT hiprtcResult hiprtcCreateProgram(nvrtcProgram* program, const char* source, const char* name, int count,
                                        const char* const* headers, const char* const* header_names) {
  return FORWARD_TO_NVRTC(nvrtcCreateProgram, program, source, name, count, headers, header_names);
}

EXPORT hiprtcResult hiprtcDestroyProgram(nvrtcProgram* program) {
  return FORWARD_TO_NVRTC(nvrtcDestroyProgram, program);
}

// Like hiprtc, compile for the current device where no option names an architecture.
static bool add_current_architecture(struct Options* options) {
  char architecture[16];
  if (options->names_architecture) return true;
  if (name_current_architecture(architecture, sizeof architecture) != hipSuccess) return false;
  return add_option(options, "--gpu-architecture=", architecture);
}

EXPORT hiprtcResult hiprtcCompileProgram(nvrtcProgram program, int count, const char* const* options) {
  struct Options translated;
  hiprtcResult result = HIPRTC_ERROR_OUT_OF_MEMORY;
  if (translate_options(count, options, &translated))
    result = add_current_architecture(&translated) ? FORWARD_TO_NVRTC(nvrtcCompileProgram, program, translated.count,
                                                                      (const char* const*)translated.texts)
                                                   : HIPRTC_ERROR_INVALID_OPTION;
  free_options(&translated);
  return result;
}

EXPORT hiprtcResult hiprtcGetCodeSize(nvrtcProgram program, size_t* bytes) {
  return FORWARD_TO_NVRTC(nvrtcGetCUBINSize, program, bytes);
}

EXPORT hiprtcResult hiprtcGetCode(nvrtcProgram program, char* code) {
  return FORWARD_TO_NVRTC(nvrtcGetCUBIN, program, code);
}

EXPORT hiprtcResult hiprtcGetProgramLogSize(nvrtcProgram program, size_t* bytes) {
  return FORWARD_TO_NVRTC(nvrtcGetProgramLogSize, program, bytes);
}

EXPORT hiprtcResult hiprtcGetProgramLog(nvrtcProgram program, char* log) {
  return FORWARD_TO_NVRTC(nvrtcGetProgramLog, program, log);
}

EXPORT hiprtcResult hiprtcAddNameExpression(nvrtcProgram program, const char* expression) {
  return FORWARD_TO_NVRTC(nvrtcAddNameExpression, program, expression);
}

EXPORT hiprtcResult hiprtcGetLoweredName(nvrtcProgram program, const char* expression, const char** name) {
  return FORWARD_TO_NVRTC(nvrtcGetLoweredName, program, expression, name);
}

EXPORT const char* hiprtcGetErrorString(hiprtcResult result) {
  static const char* const kNames[] = {
      "HIPRTC_SUCCESS",
      "HIPRTC_ERROR_OUT_OF_MEMORY",
      "HIPRTC_ERROR_PROGRAM_CREATION_FAILURE",
      "HIPRTC_ERROR_INVALID_INPUT",
      "HIPRTC_ERROR_INVALID_PROGRAM",
      "HIPRTC_ERROR_INVALID_OPTION",
      "HIPRTC_ERROR_COMPILATION",
      "HIPRTC_ERROR_BUILTIN_OPERATION_FAILURE",
      "HIPRTC_ERROR_NO_NAME_EXPRESSIONS_AFTER_COMPILATION",
      "HIPRTC_ERROR_NO_LOWERED_NAMES_BEFORE_COMPILATION",
      "HIPRTC_ERROR_NAME_EXPRESSION_NOT_VALID",
      "HIPRTC_ERROR_INTERNAL_ERROR",
  };
  const bool known = (unsigned)result < sizeof kNames / sizeof kNames[0];
  return known ? kNames[result] : "Invalid HIPRTC error code";
}
