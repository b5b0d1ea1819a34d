# A compiler for EFFC_PROCESSOR (aarch64, x86_64): the distribution's cross compiler, or zig where EFFC_ZIG names it.
# zig brings its own C library, here as old as the one that the TVM wheels ask for.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR ${EFFC_PROCESSOR})
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES EFFC_PROCESSOR EFFC_ZIG)
set(triple ${EFFC_PROCESSOR}-linux-gnu)
if(EFFC_ZIG)
  set(CMAKE_C_COMPILER ${EFFC_ZIG} cc -target ${triple}.2.28)
  set(CMAKE_CXX_COMPILER ${EFFC_ZIG} c++ -target ${triple}.2.28)
else()
  set(CMAKE_C_COMPILER ${triple}-gcc)
  set(CMAKE_CXX_COMPILER ${triple}-g++)
endif()
