#include "image.h"

#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "prelude.h"
#include "settings.h"

namespace moesort_host {
namespace {

struct Trailer {
  char magic[8];
  BuildKey key;
  std::uint64_t object_bytes;
  std::uint64_t checksum;
};

constexpr char kMagic[8] = {'m', 'o', 'e', 's', 'o', 'r', 't', 'H'};
constexpr std::uint64_t kMaxObjectBytes = 1 << 30;

// Fowler, Noll and Vo's hash.
std::uint64_t hash(const char* bytes, std::size_t count) {
  std::uint64_t result = 0xcbf29ce484222325u;
  for (std::size_t i = 0; i < count; ++i) result = (result ^ static_cast<unsigned char>(bytes[i])) * 0x100000001b3u;
  return result;
}

// Where the linker stopped writing: after the table of sections, which it puts last. 0 if this is no object.
std::uint64_t object_bytes(const Elf64_Ehdr& header) {
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64) return 0;
  if (header.e_shoff > kMaxObjectBytes) return 0;
  return header.e_shoff + std::uint64_t{header.e_shnum} * header.e_shentsize;
}

// write() refuses memory that is not there, where reading it would crash.
bool write_all(int file, const char* bytes, std::uint64_t count) {
  while (count != 0) {
    const ssize_t written = write(file, bytes, count);
    if (written <= 0) return false;
    bytes += written;
    count -= static_cast<std::uint64_t>(written);
  }
  return true;
}

template <typename Part>
bool read_part(int file, std::uint64_t offset, Part* part) {
  return pread(file, part, sizeof *part, static_cast<off_t>(offset)) == static_cast<ssize_t>(sizeof *part);
}

bool trailer_fits(const Trailer& trailer, std::uint64_t bytes) {
  const BuildKey key = build_key();
  return std::memcmp(trailer.magic, kMagic, sizeof kMagic) == 0 && trailer.object_bytes == bytes &&
         trailer.key.abi == key.abi && trailer.key.wave_size == key.wave_size && trailer.key.checked == key.checked;
}

bool checksum_fits(int file, const Trailer& trailer) {
  void* const bytes = mmap(nullptr, trailer.object_bytes, PROT_READ, MAP_PRIVATE, file, 0);
  if (bytes == MAP_FAILED) return false;
  const bool fits = hash(static_cast<const char*>(bytes), trailer.object_bytes) == trailer.checksum;
  munmap(bytes, trailer.object_bytes);
  return fits;
}

bool copy_image(int file, const char* image) {
  Elf64_Ehdr header;
  if (!write_all(file, image, sizeof header) || !read_part(file, 0, &header)) return false;
  const std::uint64_t bytes = object_bytes(header);
  if (bytes <= sizeof header) return false;
  if (!write_all(file, image + sizeof header, bytes + sizeof(Trailer) - sizeof header)) return false;
  Trailer trailer;
  return read_part(file, bytes, &trailer) && trailer_fits(trailer, bytes) && checksum_fits(file, trailer);
}

}  // namespace

BuildKey build_key() {
  static const std::uint64_t abi = hash(kModulePrelude, std::strlen(kModulePrelude));
  return {abi, settings().wave_size, settings().checked ? 1u : 0u};
}

void seal_image(std::string* shared_object) {
  Elf64_Ehdr header;
  std::memcpy(&header, shared_object->data(), sizeof header);
  shared_object->resize(object_bytes(header));
  Trailer trailer = {};
  std::memcpy(trailer.magic, kMagic, sizeof kMagic);
  trailer.key = build_key();
  trailer.object_bytes = shared_object->size();
  trailer.checksum = hash(shared_object->data(), shared_object->size());
  shared_object->append(reinterpret_cast<const char*>(&trailer), sizeof trailer);
}

int open_image(const void* address) {
  const int file = memfd_create("moesort-tune kernels", MFD_CLOEXEC);
  if (file < 0) return -1;
  if (copy_image(file, static_cast<const char*>(address))) return file;
  close(file);
  return -1;
}

}  // namespace moesort_host
