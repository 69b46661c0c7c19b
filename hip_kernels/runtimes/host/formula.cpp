#include "formula.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

namespace moesort_host {
namespace {

constexpr int kMaxDepth = 32;  // of parentheses, and of operands that wait

}  // namespace

class FormulaParser {
 public:
  explicit FormulaParser(const std::string& text) : text_(text) {}

  Formula parse(std::string* error) {
    sum();
    if (error_.empty() && peek() != '\0') fail("expected an operator");
    if (!error_.empty()) *error = error_;
    return std::move(formula_);
  }

 private:
  using Step = Formula::Step;

  char peek() {
    while (position_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[position_])) != 0) ++position_;
    return position_ < text_.size() ? text_[position_] : '\0';
  }

  bool accept(char wanted) {
    if (peek() != wanted) return false;
    ++position_;
    return true;
  }

  void expect(char wanted) {
    if (!accept(wanted)) fail(std::string("expected '") + wanted + "'");
  }

  void fail(const std::string& what) {
    if (error_.empty()) error_ = what + " at character " + std::to_string(position_ + 1);
    position_ = text_.size();
  }

  void emit(Step step, double number = 0) { formula_.program_.push_back({step, number}); }

  void sum() {
    if (++depth_ > kMaxDepth) return fail("too many parentheses");
    product();
    for (;;) {
      if (accept('+')) {
        product();
        emit(Step::kAdd);
      } else if (accept('-')) {
        product();
        emit(Step::kSubtract);
      } else {
        break;
      }
    }
    --depth_;
  }

  void product() {
    factor();
    for (;;) {
      if (accept('*')) {
        factor();
        emit(Step::kMultiply);
      } else if (accept('/')) {
        factor();
        emit(Step::kDivide);
      } else {
        break;
      }
    }
  }

  void factor() {
    bool negative = false;
    while (accept('-')) negative = !negative;
    const char next = peek();
    if (accept('(')) {
      sum();
      expect(')');
    } else if (std::isdigit(static_cast<unsigned char>(next)) != 0 || next == '.') {
      number();
    } else if (std::isalpha(static_cast<unsigned char>(next)) != 0) {
      name();
    } else {
      fail("expected a number, a name or '('");
    }
    if (negative) emit(Step::kNegate);
  }

  void number() {
    const char* const begin = text_.c_str() + position_;
    char* end = nullptr;
    emit(Step::kNumber, std::strtod(begin, &end));
    if (end == begin) return fail("expected a number");
    position_ += static_cast<std::size_t>(end - begin);
  }

  void name() {
    const std::size_t begin = position_;
    while (std::isalpha(static_cast<unsigned char>(peek_raw())) != 0) ++position_;
    const std::string word = text_.substr(begin, position_ - begin);
    if (word == "tokens") return emit(Step::kTokens);
    if (word == "experts") return emit(Step::kExperts);
    if (word == "topk") return emit(Step::kTopk);
    if (word == "launches") return emit(Step::kLaunches);
    if (word == "units") return emit(Step::kUnits);
    if (word == "min") return function(Step::kMin);
    if (word == "max") return function(Step::kMax);
    position_ = begin;
    fail("unknown name '" + word + "' (known are tokens, experts, topk, launches, units, min, max)");
  }

  char peek_raw() const { return position_ < text_.size() ? text_[position_] : '\0'; }

  void function(Step step) {
    expect('(');
    sum();
    expect(',');
    sum();
    expect(')');
    emit(step);
  }

  const std::string& text_;
  std::size_t position_ = 0;
  int depth_ = 0;
  std::string error_;
  Formula formula_;
};

Formula Formula::parse(const std::string& text, std::string* error) { return FormulaParser(text).parse(error); }

double Formula::evaluate(const FormulaInputs& inputs) const {
  double stack[4 * kMaxDepth];
  double* top = stack - 1;
  for (const Instruction& instruction : program_) {
    switch (instruction.step) {
      case Step::kNumber:
        *++top = instruction.number;
        continue;
      case Step::kTokens:
        *++top = inputs.tokens;
        continue;
      case Step::kExperts:
        *++top = inputs.experts;
        continue;
      case Step::kTopk:
        *++top = inputs.topk;
        continue;
      case Step::kLaunches:
        *++top = inputs.launches;
        continue;
      case Step::kUnits:
        *++top = inputs.units;
        continue;
      case Step::kNegate:
        *top = -*top;
        continue;
      default:
        break;
    }
    const double right = *top--;
    switch (instruction.step) {
      case Step::kAdd:
        *top += right;
        break;
      case Step::kSubtract:
        *top -= right;
        break;
      case Step::kMultiply:
        *top *= right;
        break;
      case Step::kDivide:
        *top /= right;
        break;
      case Step::kMin:
        *top = std::min(*top, right);
        break;
      default:
        *top = std::max(*top, right);
        break;
    }
  }
  return *top;
}

}  // namespace moesort_host
