#pragma once
#include <string>
#include <vector>

namespace moesort_host {

// The program's path: `name` itself if it holds a slash, else looked for in $PATH. Empty if it cannot be run.
std::string find_program(const std::string& name);

// Runs a program in `folder` and waits. Its standard output and error are appended to `output`. Returns its exit
// status, or -1 when it could not be run or was killed.
int run_program(const std::vector<std::string>& arguments, const std::string& folder, std::string* output);

}  // namespace moesort_host
