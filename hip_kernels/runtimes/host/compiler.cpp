#include "compiler.h"

#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "image.h"
#include "kernel_scan.h"
#include "prelude.h"
#include "process.h"
#include "settings.h"

namespace moesort_host {
namespace {

namespace fs = std::filesystem;

constexpr char kSourceFile[] = "moesort_host_module.cpp";
constexpr char kPreprocessedFile[] = "moesort_host_module.ii";
constexpr char kObjectFile[] = "moesort_host_module.so";
constexpr char kElfMagic[] = "\177ELF";
constexpr char kClangMark[] = "moesort_host_compiled_by_clang";  // in builtins_text.h

// A folder of this compilation alone.
class WorkFolder {
 public:
  WorkFolder() {
    const char* const root = std::getenv("TMPDIR");
    std::string name = std::string(root == nullptr || *root == '\0' ? "/tmp" : root) + "/moesort-host-XXXXXX";
    if (mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~WorkFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

  const std::string& path() const { return path_; }

  bool write(const std::string& name, const std::string& text, std::ios::openmode mode = std::ios::trunc) const {
    const fs::path file = fs::path(path_) / name;
    std::error_code error;
    fs::create_directories(file.parent_path(), error);
    std::ofstream stream(file, std::ios::binary | mode);
    stream << text;
    return static_cast<bool>(stream.flush());
  }

  std::string read(const std::string& name) const {
    std::ifstream stream(fs::path(path_) / name, std::ios::binary);
    std::ostringstream text;
    text << stream.rdbuf();
    return text.str();
  }

 private:
  std::string path_;
};

// Words as a shell has them, quotes and backslashes included.
std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> words;
  std::string word;
  bool inside = false;
  char quote = '\0';
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escapes = text[i] == '\\' && i + 1 < text.size() &&
                         (quote == '\0' || (quote == '"' && (text[i + 1] == '"' || text[i + 1] == '\\')));
    const bool quotes = text[i] == quote || (quote == '\0' && (text[i] == '"' || text[i] == '\''));
    if (quote == '\0' && !escapes && std::isspace(static_cast<unsigned char>(text[i]))) {
      if (inside) words.push_back(word);
      word.clear();
      inside = false;
      continue;
    }
    inside = true;
    if (escapes)
      word += text[++i];
    else if (quotes)
      quote = quote == '\0' ? text[i] : '\0';
    else
      word += text[i];
  }
  if (inside) words.push_back(word);
  return words;
}

// The compiler's command: $CXX, which may bring options and counts as unset if blank, or the first of the usual names.
// Empty with a log if there is none: a $CXX that cannot be run is never quietly replaced by another compiler.
std::vector<std::string> find_compiler(std::string* log) {
  const char* const chosen = std::getenv("CXX");
  std::vector<std::string> command = split(chosen == nullptr ? "" : chosen);
  if (!command.empty()) {
    const std::string path = find_program(command[0]);
    if (!path.empty()) {
      command[0] = path;
      return command;
    }
    *log = std::string("the compiler CXX='") + chosen + "' was not found; unset CXX or set it to a C++ compiler\n";
    return {};
  }
  for (const char* name : {"c++", "g++", "clang++"}) {
    const std::string path = find_program(name);
    if (!path.empty()) return {path};
  }
  *log = "no C++ compiler was found (tried c++, g++, clang++); install g++ or set CXX\n";
  return {};
}

void append(std::vector<std::string>* list, const std::vector<std::string>& items) {
  list->insert(list->end(), items.begin(), items.end());
}

// Only names below the folder are written.
bool is_inside(const std::string& name) {
  const fs::path path(name);
  if (name.empty() || path.is_absolute()) return false;
  const fs::path normal = path.lexically_normal();
  return normal.begin() != normal.end() && *normal.begin() != "..";
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c == '\n' ? ' ' : c;
  }
  return result + "\"";
}

bool write_sources(const WorkFolder& folder, const SourceFile& source, const std::vector<SourceFile>& headers,
                   std::string* log) {
  for (const SourceFile& header : headers) {
    if (!is_inside(header.name)) {
      *log = "the header name '" + header.name + "' leads out of the program; use a relative name without '..'\n";
      return false;
    }
    if (!folder.write(header.name, header.text)) break;
  }
  const std::string text =
      std::string("#include \"") + kPreludeFile + "\"\n#line 1 " + quoted(source.name) + "\n" + source.text + "\n";
  if (folder.write(kPreludeFile, kModulePrelude) && folder.write(kSourceFile, text)) return true;
  *log = "cannot write into " + folder.path() + "; set TMPDIR to a folder with free space\n";
  return false;
}

// What the runtime finds the kernels by; stands behind the preprocessed source.
std::string module_entry(const SourceFile& source, const std::vector<std::string>& kernels) {
  std::string text = "\n# 1 " + quoted("kernels of " + source.name) + "\n";
  text += "namespace moesort_host { const Runtime* runtime = nullptr; }\n";
  text += "static const moesort_host::KernelEntry moesort_host_kernels[] = {\n";
  for (const std::string& name : kernels) text += "  moesort_host::Thunk<&" + name + ">::entry(\"" + name + "\"),\n";
  text += "  {}};\nextern \"C\" { __attribute__((visibility(\"default\"))) ";
  text += "moesort_host::ModuleEntry moesort_host_module = {moesort_host_kernels, ";
  return text + std::to_string(kernels.size()) + ", &moesort_host::runtime}; }\n";
}

std::vector<std::string> preprocess_command(const std::vector<std::string>& compiler,
                                            const std::vector<std::string>& options) {
  std::vector<std::string> command = compiler;
  append(&command, {"-E", "-x", "c++", "-std=c++17"});
  append(&command, options);
  command.push_back("-DMOESORT_HOST_WAVE_SIZE=" + std::to_string(settings().wave_size));
  command.push_back(std::string("-DMOESORT_HOST_CHECKED=") + (settings().checked ? "1" : "0"));
  append(&command, {"-I.", kSourceFile, "-o", kPreprocessedFile});
  return command;
}

// Every access becomes a call (checks_text.h), so that higher levels of optimization only cost time. A call in tail
// position would leave no place to return to.
std::vector<std::string> check_options(bool clang) {
  std::vector<std::string> options = {"-O1", "-fsanitize=kernel-address", "-fno-optimize-sibling-calls"};
  for (const char* setting : {"asan-instrumentation-with-call-threshold=0", "asan-stack=0", "asan-globals=0"}) {
    options.push_back(clang ? "-mllvm" : "--param");
    options.push_back(clang ? std::string("-") + setting : setting);
  }
  return options;
}

// With line numbers, so that a kernel's fault is told with its place; the folder's name is kept out of them.
std::vector<std::string> compile_command(const std::vector<std::string>& compiler,
                                         const std::vector<std::string>& options, const std::string& folder,
                                         bool clang) {
  std::vector<std::string> command = compiler;
  append(&command, {"-x", "c++-cpp-output", "-std=c++17", "-O3"});
#if defined(__x86_64__)
  if (__builtin_cpu_supports("popcnt")) command.push_back("-mpopcnt");
#endif
  append(&command, options);
  append(&command, {"-shared", "-fPIC", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti", "-fno-strict-aliasing",
                    "-Wno-attributes", "-g1", "-fdebug-prefix-map=" + folder + "=."});
  if (settings().checked) append(&command, check_options(clang));
  append(&command, {kPreprocessedFile, "-o", kObjectFile, "-Wl,-Bsymbolic", "-Wl,-z,defs"});
  return command;
}

bool run_step(const std::vector<std::string>& command, const WorkFolder& folder, std::string* log) {
  const int status = run_program(command, folder.path(), log);
  if (status == 0) return true;
  if (status < 0) *log += "the compiler " + command[0] + " could not be run or was killed\n";
  return false;
}

}  // namespace

CompileResult compile(const SourceFile& source, const std::vector<SourceFile>& headers,
                      const std::vector<std::string>& options) {
  CompileResult result;
  const std::vector<std::string> compiler = find_compiler(&result.log);
  if (compiler.empty()) return result;
  const WorkFolder folder;
  if (folder.path().empty()) {
    result.log = "cannot make a temporary folder; set TMPDIR to a folder that can be written\n";
    return result;
  }
  if (!write_sources(folder, source, headers, &result.log)) return result;
  if (!run_step(preprocess_command(compiler, options), folder, &result.log)) return result;
  const std::string preprocessed = folder.read(kPreprocessedFile);
  const std::string entry = module_entry(source, scan_kernels(preprocessed));
  if (!folder.write(kPreprocessedFile, entry, std::ios::app)) return result;
  const bool clang = preprocessed.find(kClangMark) != std::string::npos;
  if (!run_step(compile_command(compiler, options, folder.path(), clang), folder, &result.log)) return result;
  result.image = folder.read(kObjectFile);
  if (result.image.compare(0, sizeof kElfMagic - 1, kElfMagic) != 0) {
    result.log += "the compiler " + compiler[0] + " wrote no shared library; set CXX to one that does\n";
    return result;
  }
  seal_image(&result.image);
  result.compiled = true;
  return result;
}

}  // namespace moesort_host
