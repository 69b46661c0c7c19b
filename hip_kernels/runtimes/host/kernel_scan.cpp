#include "kernel_scan.h"

#include <algorithm>
#include <cctype>

namespace moesort_host {
namespace {

const std::string kMark = "__attribute__((section(\".text.hip_kernels\")))";  // __global__ in builtins_text.h

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// The position behind the parenthesis that closes the one at `open`.
std::size_t skip_parentheses(const std::string& text, std::size_t open) {
  int depth = 0;
  for (std::size_t i = open; i < text.size(); ++i) {
    if (text[i] == '(') ++depth;
    if (text[i] == ')' && --depth == 0) return i + 1;
  }
  return text.size();
}

// The first word behind `position` that a parameter list follows. Attributes are skipped.
std::string function_name(const std::string& text, std::size_t position) {
  std::string word;
  for (std::size_t i = position; i < text.size();) {
    if (is_word(text[i])) {
      std::size_t end = i;
      while (end < text.size() && is_word(text[end])) ++end;
      word = text.substr(i, end - i);
      i = end;
    } else if (text[i] == '(') {
      if (word != "__attribute__" && word != "alignas") return word;
      i = skip_parentheses(text, i);
    } else if (text[i] == ';' || text[i] == '{') {
      return "";
    } else {
      ++i;
    }
  }
  return "";
}

}  // namespace

std::vector<std::string> scan_kernels(const std::string& preprocessed) {
  std::vector<std::string> names;
  for (std::size_t at = preprocessed.find(kMark); at != std::string::npos; at = preprocessed.find(kMark, at + 1)) {
    const std::string name = function_name(preprocessed, at + kMark.size());
    const bool known = std::find(names.begin(), names.end(), name) != names.end();
    if (!name.empty() && !known) names.push_back(name);
  }
  return names;
}

}  // namespace moesort_host
