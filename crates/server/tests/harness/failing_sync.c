/* Loaded before libc: fsync of a directory fails while the file named by FAIL_SYNC exists, as on a
   disk that reports a write error. Nothing else can make a healthy disk do that. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int fsync(int fd) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  const char *flag = getenv("FAIL_SYNC");
  struct stat meta;
  if (flag && access(flag, F_OK) == 0 && fstat(fd, &meta) == 0 && S_ISDIR(meta.st_mode)) {
    errno = EIO;
    return -1;
  }
  return real(fd);
}
