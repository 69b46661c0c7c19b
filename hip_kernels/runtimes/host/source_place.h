#pragma once
#include <string>

namespace moesort_host {

// "layout.h:80" for an address in a module's code; its offset where addr2line is not installed. For the address
// that a call returns to, pass the byte before it.
std::string source_place(const void* code);

}  // namespace moesort_host
