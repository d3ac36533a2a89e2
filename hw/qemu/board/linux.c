/* User-mode targets: the C library does it all. */
#include <stdio.h>
#include <stdlib.h>

#include "platform.h"

void platform_print(const char *text)
{
    fputs(text, stdout);
}

void platform_exit(int code)
{
    exit(code);
}
