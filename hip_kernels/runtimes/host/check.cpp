#include "check.h"

#include <cstring>

#include "memory.h"
#include "runner.h"

namespace moesort_host {
namespace {

std::string describe_bytes(unsigned long bytes) { return bytes == 1 ? "1 byte" : std::to_string(bytes) + " bytes"; }

std::string verb(Access access, unsigned long bytes) {
  return (access == Access::kRead ? "reads " : "writes ") + describe_bytes(bytes);
}

// Marks what is written; says whether what is read was.
bool track(unsigned char* written, unsigned long bytes, Access access) {
  if (access == Access::kRead) return std::memchr(written, 0, bytes) == nullptr;
  std::memset(written, 1, bytes);
  return true;
}

void check_lds(Runner& runner, std::size_t offset, unsigned long bytes, Access access, const void* code) {
  const std::size_t size = runner.launch()->lds_bytes;
  const std::string place = " at offset " + std::to_string(offset);
  if (offset + bytes > size)
    runner.fail(verb(access, bytes) + place + " of LDS, but the launch has " + describe_bytes(size), code);
  if (!track(runner.written_lds() + offset, bytes, access))
    runner.fail(verb(access, bytes) + place + " of LDS that no thread of the workgroup has written", code);
}

void check_allocation(Runner& runner, const Allocation& allocation, const char* address, unsigned long bytes,
                      Access access, const void* code) {
  const std::size_t offset = static_cast<std::size_t>(address - allocation.base);
  if (bytes > allocation.bytes - offset)
    runner.fail(verb(access, bytes) + " at offset " + std::to_string(offset) + " of an allocation of " +
                    describe_bytes(allocation.bytes),
                code);
  if (allocation.written != nullptr && !track(allocation.written + offset, bytes, access))
    runner.fail(verb(access, bytes) + " at offset " + std::to_string(offset) + " of an allocation of " +
                    describe_bytes(allocation.bytes) + " that nobody has written",
                code);
}

}  // namespace

void check_access(const void* address, unsigned long bytes, Access access, const void* return_address) {
  Runner& runner = *this_threads_runner;
  const char* const byte = static_cast<const char*>(address);
  const void* const code = static_cast<const char*>(return_address) - 1;
  if (runner.is_internal(byte)) return;
  std::size_t lds_offset = 0;
  if (runner.in_lds(byte, &lds_offset)) return check_lds(runner, lds_offset, bytes, access, code);
  if (const Allocation* const allocation = runner.find_allocation(byte))
    return check_allocation(runner, *allocation, byte, bytes, access, code);
  runner.fail(verb(access, bytes) + " at " + memory().describe(address), code);
}

}  // namespace moesort_host
