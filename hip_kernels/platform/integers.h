// Fixed-width integers for compilers without <stdint.h>. Repeating a typedef of the same type is legal C++,
// so these may stand beside a compiler's own; 64-bit ones differ between compilers and are spelt `unsigned
// long long` instead.
#pragma once
typedef signed int int32_t;
typedef unsigned int uint32_t;
typedef unsigned short uint16_t;
typedef unsigned char uint8_t;
