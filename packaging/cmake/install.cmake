# What `cmake --install` puts where: the program, its man pages, its completions, and the systemd units. The
# program writes pages and completions itself, so that nobody keeps a second list of commands, flags and
# options. The two units are one template.
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

set(OUTBOXD_ZSH_DIR zsh/site-functions CACHE STRING "where zsh finds completions, below the data directory")
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
  install(FILES ${CMAKE_BINARY_DIR}/pages/zsh/_outboxd DESTINATION ${CMAKE_INSTALL_DATADIR}/${OUTBOXD_ZSH_DIR})
  install(FILES ${CMAKE_BINARY_DIR}/pages/fish/outboxd.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()

set(OUTBOXD_UNIT_DIR lib/systemd/system CACHE STRING "where the systemd units go; empty: nowhere")
set(OUTBOXD_SYSUSERS_DIR lib/sysusers.d CACHE STRING "where the description of the unit's user goes; empty: nowhere")
function(outboxd_unit name)
  cmake_parse_arguments(OUTBOXD_UNIT "" "TITLE;CONF;STATE;OF" "" ${ARGN})
  set(OUTBOXD_UNIT ${name})
  configure_file(${CMAKE_SOURCE_DIR}/packaging/systemd/outboxd.service.in ${CMAKE_BINARY_DIR}/systemd/${name}.service @ONLY)
  if(OUTBOXD_UNIT_DIR)
    install(FILES ${CMAKE_BINARY_DIR}/systemd/${name}.service DESTINATION ${OUTBOXD_UNIT_DIR})
  endif()
endfunction()
outboxd_unit(outboxd CONF outboxd STATE "" OF "" TITLE "One relay: systemctl enable --now outboxd")
outboxd_unit(outboxd@ CONF %i STATE /%i OF " (%i)"
             TITLE "One of several relays, of the configuration /etc/outboxd/NAME.conf: systemctl enable --now outboxd@NAME")
if(OUTBOXD_SYSUSERS_DIR)
  install(FILES ${CMAKE_SOURCE_DIR}/packaging/systemd/outboxd.sysusers DESTINATION ${OUTBOXD_SYSUSERS_DIR} RENAME outboxd.conf)
endif()
