/* In the place of libgit2, from which Criterion takes the differences between texts that its newer
 * assertions show (criterion/new, which no test here includes). The true one brings thirteen
 * libraries, and reads the certificates of the machine: half of what a test's process costs that
 * does nothing, and each test is a process of its own. */
#include <stdio.h>
#include <stdlib.h>

int git_libgit2_init(void);
int git_libgit2_shutdown(void);
int git_diff_buffers(void);

int git_libgit2_init(void)
{
    return 1;
}

int git_libgit2_shutdown(void)
{
    return 0;
}

int git_diff_buffers(void)
{
    fputs("tests/stub/git2.c shows no differences: use cr_assert_str_eq and the like, or link the "
          "true libgit2 in tests/unit/CMakeLists.txt.\n",
          stderr);
    abort();
}
