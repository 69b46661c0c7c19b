#pragma once
#include <string>
#include <vector>

namespace moesort_host {

// The names of the kernels in a preprocessed source, in its order: what follows the attribute that __global__
// stands for. Kernels are functions at global scope; of others the compiler complains in the next step.
std::vector<std::string> scan_kernels(const std::string& preprocessed);

}  // namespace moesort_host
