#pragma once

namespace moesort_host {

// What every module's source begins with: abi.h and the device built-ins.
extern const char kModulePrelude[];

// Its name in compilations.
constexpr char kPreludeFile[] = "moesort_host_prelude.h";

}  // namespace moesort_host
