# What `cmake --install` puts where: the program, its man pages and its completions. The program writes
# the latter two itself, so that nobody keeps a second list of commands, flags and options.
include(GNUInstallDirs)
string(COMPARE EQUAL "${CMAKE_BUILD_TYPE}" Release release)
option(OUTBOXD_PAGES "write man pages and completions (runs the program that was built)" ${release})
install(TARGETS outboxd RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

set(pages)
function(outboxd_page directory file)
  set(page ${CMAKE_BINARY_DIR}/pages/${directory}/${file})
  add_custom_command(
    OUTPUT ${page}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/pages/${directory}
    COMMAND outboxd help ${ARGN} > ${page}
    DEPENDS outboxd
    VERBATIM)
  set(pages ${pages} ${page} PARENT_SCOPE)
endfunction()

if(OUTBOXD_PAGES AND NOT CMAKE_CROSSCOMPILING)
  # Each command has a page; relay/app/commands.h lists them, but for help.
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/relay/app/commands.h)
  file(READ ${CMAKE_SOURCE_DIR}/relay/app/commands.h commands)
  string(REGEX MATCHALL "X\\([A-Z]+\\)" commands "${commands}")
  list(TRANSFORM commands REPLACE "X\\(([A-Z]+)\\)" "\\1")
  list(TRANSFORM commands TOLOWER)
  outboxd_page(man1 outboxd.1 --man outboxd)
  foreach(command ${commands} help)
    outboxd_page(man1 outboxd-${command}.1 --man outboxd-${command})
  endforeach()
  outboxd_page(man5 outboxd.conf.5 --man outboxd.conf)
  outboxd_page(bash outboxd --completion bash)
  outboxd_page(zsh _outboxd --completion zsh)
  outboxd_page(fish outboxd.fish --completion fish)
  add_custom_target(outboxd_pages ALL DEPENDS ${pages})

  install(DIRECTORY ${CMAKE_BINARY_DIR}/pages/man1 ${CMAKE_BINARY_DIR}/pages/man5 DESTINATION ${CMAKE_INSTALL_MANDIR})
  install(FILES ${CMAKE_BINARY_DIR}/pages/bash/outboxd DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${CMAKE_BINARY_DIR}/pages/zsh/_outboxd DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
  install(FILES ${CMAKE_BINARY_DIR}/pages/fish/outboxd.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()
