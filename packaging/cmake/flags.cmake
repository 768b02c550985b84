# Compiler and linker flags of every target of ours: the OpenSSF hardening guide as far as the
# compiler knows it, and the warnings that gcc 12 and clang 14 both keep clean.
include(CheckCCompilerFlag)
add_library(outboxd_flags INTERFACE)

function(outboxd_try_flags)
  foreach(flag ${ARGN})
    string(MAKE_C_IDENTIFIER "HAVE_FLAG${flag}" known)
    check_c_compiler_flag(${flag} ${known})
    if(${known})
      target_compile_options(outboxd_flags INTERFACE ${flag})
    endif()
  endforeach()
endfunction()

# Not asked for one by one: without -Wformat the compiler only warns that it ignores the second, and so the
# question whether it knows the third was answered with no. tests/support/shell/format_flags.sh shows
# that they hold.
target_compile_options(outboxd_flags INTERFACE -Wformat -Wformat-security -Werror=format-security)
outboxd_try_flags(
  -Wall -Wextra -Wformat=2 -Wconversion -Wno-sign-conversion -Wimplicit-fallthrough -Wshadow -Wstrict-prototypes
  -Wmissing-prototypes -Wwrite-strings -Wpointer-arith -Wvla -Wundef -Wtrampolines -Wbidi-chars=any
  -Werror=implicit -Werror=incompatible-pointer-types -Werror=int-conversion
  -fno-delete-null-pointer-checks -fno-strict-overflow -fno-strict-aliasing
  -fstack-clash-protection -fstack-protector-strong -fcf-protection=full)
if(OUTBOXD_WERROR)
  target_compile_options(outboxd_flags INTERFACE -Werror)
endif()
if(OUTBOXD_FAILPOINTS)
  target_compile_definitions(outboxd_flags INTERFACE OUTBOXD_FAILPOINTS=1)
endif()
if(OUTBOXD_SANITIZE STREQUAL "address")
  # -O1, as its makers advise: a third less of the tests' time, the same findings.
  target_compile_options(outboxd_flags INTERFACE -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
                                                 -fno-omit-frame-pointer)
  target_link_options(outboxd_flags INTERFACE -fsanitize=address,undefined)
  if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    # A process starts in two thirds of the time: most of it was spent on relocating, and a run of the tests has some 8,000 of them.
    target_link_options(outboxd_flags INTERFACE -static-libasan -static-libubsan -no-pie)
  endif()
elseif(OUTBOXD_SANITIZE STREQUAL "thread")
  target_compile_options(outboxd_flags INTERFACE -fsanitize=thread -fno-omit-frame-pointer)
  target_link_options(outboxd_flags INTERFACE -fsanitize=thread)
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
  # The same program wherever it is built: of two that fit, the later one counts.
  target_compile_options(outboxd_flags INTERFACE -ffile-prefix-map=${CMAKE_SOURCE_DIR}=. -ffile-prefix-map=${CMAKE_BINARY_DIR}=build)
  target_compile_options(outboxd_flags INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
  outboxd_try_flags(-ftrivial-auto-var-init=zero)
endif()
if(OUTBOXD_FUZZ)
  target_compile_options(outboxd_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(OUTBOXD_COVERAGE)
  target_compile_options(outboxd_flags INTERFACE --coverage)
  target_link_options(outboxd_flags INTERFACE --coverage)
endif()
target_compile_definitions(outboxd_flags INTERFACE _GNU_SOURCE=1)
target_link_options(outboxd_flags INTERFACE -Wl,-z,noexecstack,-z,relro,-z,now -Wl,--as-needed)
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")
