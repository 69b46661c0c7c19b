// Compiles kernels with the machine's C++ compiler.
#pragma once
#include <string>
#include <vector>

namespace moesort_host {

struct SourceFile {
  std::string name;  // as in #include, relative
  std::string text;
};

struct CompileResult {
  bool compiled = false;
  std::string image;  // for hipModuleLoadData
  std::string log;    // what the compiler, or this file, said
};

// `options` are the compiler's own, without --offload-arch.
CompileResult compile(const SourceFile& source, const std::vector<SourceFile>& headers,
                      const std::vector<std::string>& options);

}  // namespace moesort_host
