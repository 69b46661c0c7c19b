#include "prelude.h"

namespace moesort_host {

#define MOESORT_HOST_TEXT
const char kModulePrelude[] = "#pragma GCC system_header\n"
#include "abi.h"
#include "builtins_text.h"
#include "checks_text.h"
    ;
#undef MOESORT_HOST_TEXT

}  // namespace moesort_host
