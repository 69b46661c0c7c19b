// Names and sentences of the error codes that this runtime can return or be told to return.
#include "errors.h"

namespace moesort_host {
namespace {

struct ErrorText {
  int code;
  const char* name;
  const char* sentence = nullptr;
};

constexpr ErrorText kErrors[] = {
    {0, "hipSuccess", "no error"},
    {1, "hipErrorInvalidValue", "an argument is not valid"},
    {2, "hipErrorOutOfMemory", "out of memory"},
    {3, "hipErrorNotInitialized", "the runtime is not initialized"},
    {4, "hipErrorDeinitialized", "the runtime has shut down"},
    {9, "hipErrorInvalidConfiguration", "the launch or the runtime is configured wrongly"},
    {12, "hipErrorInvalidPitchValue", "the pitch is not valid"},
    {13, "hipErrorInvalidSymbol", "no such device symbol"},
    {17, "hipErrorInvalidDevicePointer", "not a device pointer"},
    {21, "hipErrorInvalidMemcpyDirection", "the direction of the copy is not valid"},
    {35, "hipErrorInsufficientDriver", "the driver is too old for this runtime"},
    {52, "hipErrorMissingConfiguration", "the launch was not configured"},
    {53, "hipErrorPriorLaunchFailure", "an earlier launch failed"},
    {98, "hipErrorInvalidDeviceFunction", "not a kernel of this device"},
    {100, "hipErrorNoDevice", "no device was found"},
    {101, "hipErrorInvalidDevice", "no device has this number"},
    {200, "hipErrorInvalidImage", "the code is not valid or was built by another version of this runtime"},
    {201, "hipErrorInvalidContext", "the context is not valid"},
    {209, "hipErrorNoBinaryForGpu", "the code has nothing for this device"},
    {214, "hipErrorECCNotCorrectable", "an ECC error could not be corrected"},
    {215, "hipErrorUnsupportedLimit", "this limit is not supported"},
    {300, "hipErrorInvalidSource", "the source is not valid"},
    {301, "hipErrorFileNotFound", "the file was not found"},
    {302, "hipErrorSharedObjectSymbolNotFound", "a symbol of the code object was not found"},
    {303, "hipErrorSharedObjectInitFailed", "the code object could not be loaded"},
    {304, "hipErrorOperatingSystem", "a call of the operating system failed"},
    {400, "hipErrorInvalidHandle", "the handle is not valid"},
    {401, "hipErrorIllegalState", "the call is not legal in this state"},
    {500, "hipErrorNotFound", "the name was not found"},
    {600, "hipErrorNotReady", "the work has not finished"},
    {700, "hipErrorIllegalAddress", "a kernel accessed an illegal address"},
    {701, "hipErrorLaunchOutOfResources", "the launch needs more resources than there are"},
    {702, "hipErrorLaunchTimeOut", "the launch timed out"},
    {709, "hipErrorContextIsDestroyed", "the context was destroyed"},
    {710, "hipErrorAssert", "a kernel's assertion failed"},
    {712, "hipErrorHostMemoryAlreadyRegistered", "this host memory is registered already"},
    {713, "hipErrorHostMemoryNotRegistered", "this host memory is not registered"},
    {719, "hipErrorLaunchFailure", "a kernel failed; the runtime said on stderr where and why"},
    {720, "hipErrorCooperativeLaunchTooLarge", "a cooperative launch has too many workgroups"},
    {801, "hipErrorNotSupported", "the operation is not supported"},
    {900, "hipErrorStreamCaptureUnsupported", "the call is not allowed while a stream is capturing"},
    {901, "hipErrorStreamCaptureInvalidated", "the capture was invalidated by an earlier error"},
    {902, "hipErrorStreamCaptureMerge", "two captures would be merged"},
    {903, "hipErrorStreamCaptureUnmatched", "the capture was not begun on this stream"},
    {904, "hipErrorStreamCaptureUnjoined", "a forked stream was not joined to the capture"},
    {905, "hipErrorStreamCaptureIsolation", "the capture would depend on work outside it"},
    {906, "hipErrorStreamCaptureImplicit", "the call would make the capture depend on the default stream"},
    {907, "hipErrorCapturedEvent", "the event was last recorded in a capture and carries no time"},
    {908, "hipErrorStreamCaptureWrongThread", "the capture was begun by another thread"},
    {910, "hipErrorGraphExecUpdateFailure", "the graph could not be updated"},
    {999, "hipErrorUnknown", "unknown error"},
    {1052, "hipErrorRuntimeMemory", "the runtime's memory call failed"},
    {1053, "hipErrorRuntimeOther", "a runtime call failed"},
};

constexpr ErrorText kCompilerErrors[] = {
    {0, "HIPRTC_SUCCESS"},
    {1, "HIPRTC_ERROR_OUT_OF_MEMORY"},
    {2, "HIPRTC_ERROR_PROGRAM_CREATION_FAILURE"},
    {3, "HIPRTC_ERROR_INVALID_INPUT"},
    {4, "HIPRTC_ERROR_INVALID_PROGRAM"},
    {5, "HIPRTC_ERROR_INVALID_OPTION"},
    {6, "HIPRTC_ERROR_COMPILATION"},
    {7, "HIPRTC_ERROR_BUILTIN_OPERATION_FAILURE"},
    {8, "HIPRTC_ERROR_NO_NAME_EXPRESSIONS_AFTER_COMPILATION"},
    {9, "HIPRTC_ERROR_NO_LOWERED_NAMES_BEFORE_COMPILATION"},
    {10, "HIPRTC_ERROR_NAME_EXPRESSION_NOT_VALID"},
    {11, "HIPRTC_ERROR_INTERNAL_ERROR"},
    {100, "HIPRTC_ERROR_LINKING"},
};

template <std::size_t count>
const ErrorText* find(const ErrorText (&table)[count], int code) {
  for (const ErrorText& error : table)
    if (error.code == code) return &error;
  return nullptr;
}

}  // namespace

const char* error_name(hipError_t error) {
  const ErrorText* const text = find(kErrors, error);
  return text == nullptr ? "hipErrorUnknown" : text->name;
}

const char* error_sentence(hipError_t error) {
  const ErrorText* const text = find(kErrors, error);
  return text == nullptr ? "unknown error" : text->sentence;
}

const char* compiler_error_name(hiprtcResult error) {
  const ErrorText* const text = find(kCompilerErrors, error);
  return text == nullptr ? "Invalid HIPRTC error code" : text->name;
}

}  // namespace moesort_host
