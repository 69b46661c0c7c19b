// Arithmetic over a launch's shape: numbers, tokens, experts, topk, launches, units, + - * /, parentheses,
// min(a, b), max(a, b).
#pragma once
#include <string>
#include <vector>

namespace moesort_host {

struct FormulaInputs {
  double tokens;
  double experts;
  double topk;
  double launches;
  double units;
};

class Formula {
 public:
  // On a mistake `error` says what and where; otherwise it is left as it was.
  static Formula parse(const std::string& text, std::string* error);

  double evaluate(const FormulaInputs& inputs) const;

 private:
  friend class FormulaParser;
  enum class Step : char {
    kNumber,
    kTokens,
    kExperts,
    kTopk,
    kLaunches,
    kUnits,
    kAdd,
    kSubtract,
    kMultiply,
    kDivide,
    kMin,
    kMax,
    kNegate
  };
  struct Instruction {
    Step step;
    double number;
  };
  std::vector<Instruction> program_;  // in reverse Polish order
};

}  // namespace moesort_host
