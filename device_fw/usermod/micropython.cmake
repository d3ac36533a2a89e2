# User module `bsrlwe` for MicroPython's CMake ports.
set(BSRLWE_CORE ${CMAKE_CURRENT_LIST_DIR}/../rlwe)
add_library(usermod_bsrlwe INTERFACE)
target_sources(usermod_bsrlwe INTERFACE
  ${CMAKE_CURRENT_LIST_DIR}/bsrlwe.c
  ${BSRLWE_CORE}/src/aes.c
  ${BSRLWE_CORE}/src/ntt.c
  ${BSRLWE_CORE}/src/ntt_neon.c
  ${BSRLWE_CORE}/src/pack.c
  ${BSRLWE_CORE}/src/rlwe.c
  ${BSRLWE_CORE}/src/roots.c
  ${BSRLWE_CORE}/src/sampling.c
  ${BSRLWE_CORE}/src/stream.c)
target_include_directories(usermod_bsrlwe INTERFACE ${BSRLWE_CORE}/include ${CMAKE_CURRENT_LIST_DIR}/../natmod)
target_link_libraries(usermod INTERFACE usermod_bsrlwe)
