/* Preloaded into a program under test: while the file that $HANGING_DISK names is there, what
 * brings a file to the disk does not return (fdatasync), nor does cutting one (ftruncate), nor
 * closing one that is appended to, as on NFS. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void hang(void)
{
    const char *path = getenv("HANGING_DISK");
    while (path != NULL && access(path, F_OK) == 0) {
        usleep(10000);
    }
}

int fdatasync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    hang();
    return real(fd);
}

int ftruncate(int fd, off_t length)
{
    int (*real)(int, off_t) = (int (*)(int, off_t))dlsym(RTLD_NEXT, "ftruncate");
    hang();
    return real(fd, length);
}

int close(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "close");
    struct stat is;
    if (fstat(fd, &is) == 0 && S_ISREG(is.st_mode) && (fcntl(fd, F_GETFL) & O_APPEND) != 0) {
        hang();
    }
    return real(fd);
}
