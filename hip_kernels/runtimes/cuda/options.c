#include "options.h"

#include <stdlib.h>
#include <string.h>

enum Treatment {
  kPass,             // NVRTC has it too
  kRename,           // NVRTC has it by another name; what follows the prefix stays
  kReplace,          // NVRTC has it by another name, whole
  kDrop,             // only clang has it, and the code means the same without it
  kDropWithOperand,  // the same, and the next option belongs to it
};

// The first rule whose prefix fits decides. What none fits is passed on, for NVRTC to take, or to refuse by
// name. README.md gives the reasons.
static const struct Rule {
  const char* prefix;
  enum Treatment treatment;
  const char* nvrtc;
} kRules[] = {
    {"--offload-arch=", kRename, "--gpu-architecture="},
    {"-std=gnu++", kRename, "--std=c++"},
    {"-ffast-math", kReplace, "--use_fast_math"},
    {"-ffp-contract=off", kReplace, "--fmad=false"},
    {"-g", kReplace, "--generate-line-info"},
    {"-fgpu-rdc", kPass, NULL},
    {"-mllvm", kDropWithOperand, NULL},
    {"-Xclang", kDropWithOperand, NULL},
    {"-f", kDrop, NULL},
    {"-m", kDrop, NULL},
    {"-O", kDrop, NULL},
    {"-W", kDrop, NULL},
};

static bool starts_with(const char* text, const char* prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

static const struct Rule* find_rule(const char* option) {
  static const struct Rule kOther = {"", kPass, NULL};
  for (size_t i = 0; i < sizeof kRules / sizeof kRules[0]; ++i)
    if (starts_with(option, kRules[i].prefix)) return &kRules[i];
  return &kOther;
}

bool add_option(struct Options* options, const char* prefix, const char* rest) {
  char* const text = malloc(strlen(prefix) + strlen(rest) + 1);
  if (text == NULL) return false;
  strcat(strcpy(text, prefix), rest);
  options->texts[options->count++] = text;
  options->names_architecture |= starts_with(text, "--gpu-architecture") || starts_with(text, "-arch");
  return true;
}

static bool translate_option(const char* option, const struct Rule* rule, struct Options* translated) {
  switch (rule->treatment) {
    case kPass:
      return add_option(translated, option, "");
    case kRename:
      return add_option(translated, rule->nvrtc, option + strlen(rule->prefix));
    case kReplace:
      return add_option(translated, rule->nvrtc, "");
    default:
      return true;
  }
}

bool translate_options(int count, const char* const* options, struct Options* translated) {
  *translated = (struct Options){.texts = malloc(sizeof(char*) * (count + 1))};
  bool enough_memory = translated->texts != NULL;
  for (int i = 0; i < count && enough_memory; ++i) {
    const struct Rule* const rule = find_rule(options[i]);
    enough_memory = translate_option(options[i], rule, translated);
    if (rule->treatment == kDropWithOperand) ++i;
  }
  return enough_memory;
}

void free_options(struct Options* options) {
  for (int i = 0; i < options->count; ++i) free(options->texts[i]);
  free(options->texts);
}
