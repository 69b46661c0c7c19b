// hiprtc: programs of C++ text that become modules.
#include <cstring>

#include "api.h"
#include "compiler.h"
#include "errors.h"
#include "handles.h"
#include "live.h"

namespace moesort_host {
namespace {

constexpr int kMajorVersion = 7;
constexpr int kMinorVersion = 0;
const std::string kTargetOption = "--offload-arch=";
const std::string kTarget = "host";

struct Program {
  SourceFile source;
  std::vector<SourceFile> headers;
  CompileResult result;
};

// Programs have a lock of their own, since compiling takes long.
std::mutex& program_mutex() {
  static std::mutex& instance = *new std::mutex;
  return instance;
}

std::shared_ptr<Program> find_rtc_program(const void* handle) {
  const std::lock_guard<std::mutex> lock(program_mutex());
  return handles<Program>().find(handle);
}

hiprtcResult create(void** handle, const char* source, const char* name, int count, const char* const* headers,
                    const char* const* names) {
  if (handle == nullptr || source == nullptr || count < 0) return HIPRTC_ERROR_INVALID_INPUT;
  if (count != 0 && (headers == nullptr || names == nullptr)) return HIPRTC_ERROR_INVALID_INPUT;
  auto program = std::make_shared<Program>();
  program->source = {name == nullptr || *name == '\0' ? "program.hip" : name, source};
  for (int i = 0; i < count; ++i) {
    if (headers[i] == nullptr || names[i] == nullptr) return HIPRTC_ERROR_INVALID_INPUT;
    program->headers.push_back({names[i], headers[i]});
  }
  const std::lock_guard<std::mutex> lock(program_mutex());
  *handle = handles<Program>().add(program);
  return HIPRTC_SUCCESS;
}

hiprtcResult compile_program(const void* handle, int count, const char* const* given) {
  const auto program = find_rtc_program(handle);
  if (program == nullptr) return HIPRTC_ERROR_INVALID_PROGRAM;
  if (count < 0 || (count != 0 && given == nullptr)) return HIPRTC_ERROR_INVALID_INPUT;
  std::vector<std::string> options;
  for (int i = 0; i < count; ++i) {
    const std::string option = given[i];
    if (option.compare(0, kTargetOption.size(), kTargetOption) != 0) {
      options.push_back(option);
    } else if (option != kTargetOption + kTarget) {
      program->result = {false, "",
                         "this runtime compiles for " + kTargetOption + kTarget + " only (got " + option + ")\n"};
      return HIPRTC_ERROR_INVALID_OPTION;
    }
  }
  program->result = compile(program->source, program->headers, options);
  return program->result.compiled ? HIPRTC_SUCCESS : HIPRTC_ERROR_COMPILATION;
}

// Sizes count the log's final zero, as hiprtc's do.
hiprtcResult give_log(const void* handle, char* text, std::size_t* bytes) {
  const auto program = find_rtc_program(handle);
  if (program == nullptr) return HIPRTC_ERROR_INVALID_PROGRAM;
  const std::string& log = program->result.log;
  if (bytes != nullptr) *bytes = log.size() + 1;
  if (text != nullptr) std::memcpy(text, log.c_str(), log.size() + 1);
  return HIPRTC_SUCCESS;
}

hiprtcResult give_code(const void* handle, char* code, std::size_t* bytes) {
  const auto program = find_rtc_program(handle);
  if (program == nullptr || !program->result.compiled) return HIPRTC_ERROR_INVALID_PROGRAM;
  const std::string& image = program->result.image;
  if (bytes != nullptr) *bytes = image.size();
  if (code != nullptr) std::memcpy(code, image.data(), image.size());
  return HIPRTC_SUCCESS;
}

hiprtcResult destroy(void** handle) {
  if (handle == nullptr) return HIPRTC_ERROR_INVALID_INPUT;
  const std::lock_guard<std::mutex> lock(program_mutex());
  if (!handles<Program>().remove(*handle)) return HIPRTC_ERROR_INVALID_PROGRAM;
  *handle = nullptr;
  return HIPRTC_SUCCESS;
}

}  // namespace

std::size_t live_programs() {
  const std::lock_guard<std::mutex> lock(program_mutex());
  return handles<Program>().size();
}

}  // namespace moesort_host

using namespace moesort_host;

HOST_API const char* hiprtcGetErrorString(hiprtcResult result) { return compiler_error_name(result); }

HOST_API hiprtcResult hiprtcVersion(int* major, int* minor) {
  return call_compiler("hiprtcVersion", [&] {
    if (major == nullptr || minor == nullptr) return HIPRTC_ERROR_INVALID_INPUT;
    *major = kMajorVersion;
    *minor = kMinorVersion;
    return HIPRTC_SUCCESS;
  });
}

HOST_API hiprtcResult hiprtcCreateProgram(void** program, const char* source, const char* name, int count,
                                          const char* const* headers, const char* const* names) {
  return call_compiler("hiprtcCreateProgram", [&] { return create(program, source, name, count, headers, names); });
}

HOST_API hiprtcResult hiprtcCompileProgram(void* program, int count, const char* const* options) {
  return call_compiler("hiprtcCompileProgram", [&] { return compile_program(program, count, options); });
}

HOST_API hiprtcResult hiprtcGetProgramLogSize(void* program, std::size_t* bytes) {
  return call_compiler("hiprtcGetProgramLogSize", [&] {
    return bytes == nullptr ? HIPRTC_ERROR_INVALID_INPUT : give_log(program, nullptr, bytes);
  });
}

HOST_API hiprtcResult hiprtcGetProgramLog(void* program, char* log) {
  return call_compiler("hiprtcGetProgramLog",
                       [&] { return log == nullptr ? HIPRTC_ERROR_INVALID_INPUT : give_log(program, log, nullptr); });
}

HOST_API hiprtcResult hiprtcGetCodeSize(void* program, std::size_t* bytes) {
  return call_compiler("hiprtcGetCodeSize", [&] {
    return bytes == nullptr ? HIPRTC_ERROR_INVALID_INPUT : give_code(program, nullptr, bytes);
  });
}

HOST_API hiprtcResult hiprtcGetCode(void* program, char* code) {
  return call_compiler("hiprtcGetCode", [&] {
    return code == nullptr ? HIPRTC_ERROR_INVALID_INPUT : give_code(program, code, nullptr);
  });
}

HOST_API hiprtcResult hiprtcDestroyProgram(void** program) {
  return call_compiler("hiprtcDestroyProgram", [&] { return destroy(program); });
}
