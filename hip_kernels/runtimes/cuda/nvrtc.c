#define _GNU_SOURCE  // dl_iterate_phdr

#include "nvrtc.h"

#include <dlfcn.h>
#include <glob.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"
#include "driver.h"
#include "errors.h"

struct Nvrtc nvrtc;

#define NVRTC_ROW(returns, name, parameters) {#name, offsetof(struct Nvrtc, name)},
static const struct Call kCalls[] = {NVRTC_CALLS(NVRTC_ROW)};

// Newest first; the last is the toolkit's link to whatever it has.
static const char* const kNames[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"};
enum { kNameCount = sizeof kNames / sizeof kNames[0] };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static void* library;
static char problem[PATH_MAX + 256];

// A driver loads cubins of its own CUDA release and of older ones, not those of a newer compiler.
static bool suits_driver(const char* path) {
  int major = 0;
  int minor = 0;
  nvrtc.nvrtcVersion(&major, &minor);
  const int driver = driver_major_version();
  if (driver == 0 || major <= driver) return true;
  snprintf(problem, sizeof problem, "%s is of CUDA %d.%d, newer than the driver's CUDA %d", path, major, minor, driver);
  return false;
}

static bool try_to_open(const char* path) {
  void* const opened = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (opened == NULL) {
    snprintf(problem, sizeof problem, "%s", dlerror());
    return false;
  }
  const char* const missing = find_calls(opened, kCalls, sizeof kCalls / sizeof kCalls[0], &nvrtc);
  if (missing != NULL) snprintf(problem, sizeof problem, "%s has no %s", path, missing);
  if (missing == NULL && suits_driver(path)) {
    library = opened;
    return true;
  }
  dlclose(opened);
  return false;
}

// Opens the first library that fits of those in the folders that a pattern matches.
static bool try_folders(const char* pattern) {
  for (size_t i = 0; i < kNameCount && library == NULL; ++i) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", pattern, kNames[i]);
    glob_t found;
    if (glob(path, 0, NULL, &found) != 0) continue;
    for (size_t j = 0; j < found.gl_pathc && library == NULL; ++j) try_to_open(found.gl_pathv[j]);
    globfree(&found);
  }
  return library != NULL;
}

// Found by the loader: mapped already (by PyTorch), LD_LIBRARY_PATH, ldconfig.
static bool try_names(void) {
  for (size_t i = 0; i < kNameCount; ++i)
    if (try_to_open(kNames[i])) return true;
  return false;
}

// The folders that pip installs into, as far as this process has libraries mapped from them.
struct PackageFolders {
  char paths[8][PATH_MAX];
  int count;
};

static void add_folder(struct PackageFolders* folders, const char* path, size_t length) {
  const int capacity = sizeof folders->paths / sizeof folders->paths[0];
  if (length >= PATH_MAX || folders->count == capacity) return;
  for (int i = 0; i < folders->count; ++i)
    if (strlen(folders->paths[i]) == length && strncmp(folders->paths[i], path, length) == 0) return;
  memcpy(folders->paths[folders->count], path, length);
  folders->paths[folders->count++][length] = '\0';
}

static int find_package_folder(struct dl_phdr_info* mapped, size_t size, void* folders) {
  (void)size;
  static const char* const kFolders[] = {"/site-packages/", "/dist-packages/"};
  for (size_t i = 0; i < sizeof kFolders / sizeof kFolders[0]; ++i) {
    const char* const found = strstr(mapped->dlpi_name, kFolders[i]);
    if (found != NULL) add_folder(folders, mapped->dlpi_name, found - mapped->dlpi_name + strlen(kFolders[i]));
  }
  return 0;
}

// NVIDIA's wheels: nvidia/cu13/lib, nvidia/cuda_nvrtc/lib. The caller is Python, so extension modules
// (hip-python's own, numpy's) are mapped from the folders where such wheels lie as well.
static bool try_wheels(void) {
  struct PackageFolders folders = {.count = 0};
  dl_iterate_phdr(find_package_folder, &folders);
  for (int i = 0; i < folders.count; ++i) {
    char pattern[PATH_MAX + 16];
    snprintf(pattern, sizeof pattern, "%s/nvidia/*/lib", folders.paths[i]);
    if (try_folders(pattern)) return true;
  }
  return false;
}

static bool try_toolkits(void) {
  const char* const toolkits[] = {getenv("CUDA_HOME"), getenv("CUDA_PATH"), "/usr/local/cuda"};
  for (size_t i = 0; i < sizeof toolkits / sizeof toolkits[0]; ++i) {
    char pattern[PATH_MAX];
    if (toolkits[i] == NULL) continue;
    snprintf(pattern, sizeof pattern, "%s/lib64", toolkits[i]);
    if (try_folders(pattern)) return true;
  }
  return false;
}

static void open_nvrtc(void) {
  const char* const forced = getenv("MOESORT_CUDA_NVRTC");
  if (forced != NULL && forced[0] != '\0')
    try_to_open(forced);
  else if (!try_names() && !try_wheels())
    try_toolkits();
}

bool nvrtc_is_ready(void) {
  pthread_once(&once, open_nvrtc);
  if (library != NULL) return true;
  explain(
      "NVIDIA's run-time compiler cannot be opened (%s): pip install nvidia-cuda-nvrtc, or set "
      "MOESORT_CUDA_NVRTC to the path of libnvrtc.so",
      problem);
  return false;
}
