/* commands: one function per sub-command; each reads its own arguments and returns an exit code. */
#pragma once

typedef struct Command {
    const char *name;
    const char *usage;                 /* arguments, one line */
    const char *summary;               /* one line for `outboxd --help` */
    int (*run)(int argc, char **argv); /* argv[0] is the sub-command; NULL: not built yet */
} Command;

int command_run(int argc, char **argv);
int command_migrate(int argc, char **argv);
int command_check(int argc, char **argv);
int command_status(int argc, char **argv);
int command_pause(int argc, char **argv);
int command_resume(int argc, char **argv);
int command_config(int argc, char **argv);
int command_dead(int argc, char **argv);
int command_explain(int argc, char **argv);
int command_version(int argc, char **argv);
