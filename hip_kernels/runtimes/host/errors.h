#pragma once
#include "hip_types.h"

namespace moesort_host {

const char* error_name(hipError_t error);
const char* error_sentence(hipError_t error);
const char* compiler_error_name(hiprtcResult error);

}  // namespace moesort_host
