/* RV32 on QEMU's `virt` board: RISC-V semihosting. */
#include <stdint.h>

#include "platform.h"

extern uint32_t _sbss, _ebss;

static long semihost(long operation, const void *argument)
{
    register long a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = argument;
    __asm__ volatile(".balign 16\n.option push\n.option norvc\nslli x0, x0, 0x1f\nebreak\nsrai x0, x0, 7\n.option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return a0;
}

void platform_print(const char *text)
{
    semihost(0x04, text);
}

void platform_exit(int code)
{
    semihost(0x18, (const void *)(code ? 0x20023 : 0x20026));
    for (;;) {}
}

void start_c(void)
{
    for (uint32_t *p = &_sbss; p < &_ebss;) {
        *p++ = 0;
    }
    platform_exit(main());
}

__asm__(".section .start,\"ax\"\n.globl _start\n_start:\n.option push\n.option norelax\nla gp, __global_pointer$\n"
        ".option pop\nla sp, _stack\ncall start_c\n1: j 1b\n");
