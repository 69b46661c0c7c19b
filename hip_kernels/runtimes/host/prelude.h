#pragma once

namespace moesort_host {

// What every module's source begins with: abi.h and the device built-ins.
extern const char kModulePrelude[];

}  // namespace moesort_host
