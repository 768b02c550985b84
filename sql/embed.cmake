# cmake -DDIR=<folder of the .sql files> -DOUT=<file.c> -P embed.cmake
# Writes the migrations as C strings, with the SHA-256 of each up file: the array of migrations.h.
file(GLOB ups ${DIR}/*.up.sql)
list(SORT ups)

function(c_string text ret)
  string(REPLACE "\\" "\\\\" text "${text}")
  string(REPLACE "\"" "\\\"" text "${text}")
  string(REPLACE "\n" "\\n\"\n        \"" text "${text}")
  set(${ret} "\"${text}\"" PARENT_SCOPE)
endfunction()

set(rows "")
set(expected 0)
foreach(up IN LISTS ups)
  get_filename_component(file ${up} NAME)
  if(NOT file MATCHES "^([0-9][0-9][0-9][0-9])_([a-z][a-z0-9_]*)\\.up\\.sql$")
    message(FATAL_ERROR "${file}: a migration is called NNNN_name.up.sql")
  endif()
  set(name ${CMAKE_MATCH_2})
  math(EXPR version "1${CMAKE_MATCH_1} - 10000")
  math(EXPR expected "${expected} + 1")
  if(NOT version EQUAL expected)
    message(FATAL_ERROR "${file}: the next migration must have number ${expected}")
  endif()
  string(REPLACE ".up.sql" ".down.sql" down ${up})
  if(NOT EXISTS ${down})
    message(FATAL_ERROR "${file}: has no .down.sql")
  endif()
  set(roles false)
  if(name MATCHES "(^|_)roles$")
    set(roles true)
  endif()
  file(SHA256 ${up} checksum)
  file(READ ${up} up_text)
  file(READ ${down} down_text)
  c_string("${up_text}" up_text)
  c_string("${down_text}" down_text)
  string(APPEND rows "    {${version}, \"${name}\", ${roles}, \"${checksum}\",\n        ${up_text},\n        ${down_text}},\n")
endforeach()

file(READ ${DIR}/publication.sql publication)
c_string("${publication}" publication)
file(READ ${DIR}/guard_messages.sql guard)
c_string("${guard}" guard)

file(WRITE ${OUT} "/* Written by sql/embed.cmake from the .sql files; do not edit. */\n#include \"sql/migrations.h\"\n\n"
                  "const Migration MIGRATIONS[] = {\n${rows}};\n"
                  "const size_t MIGRATION_COUNT = sizeof(MIGRATIONS) / sizeof(MIGRATIONS[0]);\n"
                  "\nconst char *const MIGRATION_PUBLICATION =\n        ${publication};\n"
                  "\nconst char *const MIGRATION_GUARD =\n        ${guard};\n")
