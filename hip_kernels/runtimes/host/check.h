// MOESORT_HOST_CHECK=1: every access of a kernel is looked up before it happens.
#pragma once
#include "abi.h"

namespace moesort_host {

// Called by modules, on a fiber. Does not return if the access is wrong.
void check_access(const void* address, unsigned long bytes, Access access, const void* return_address);

}  // namespace moesort_host
