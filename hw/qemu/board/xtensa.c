/* Xtensa lx106 on QEMU's `sim` board: simcalls. */
#include <stdint.h>

#include "platform.h"

extern uint32_t _sbss, _ebss;

static long simcall(long operation, long a, long b, long c)
{
    register long a2 __asm__("a2") = operation;
    register long a3 __asm__("a3") = a;
    register long a4 __asm__("a4") = b;
    register long a5 __asm__("a5") = c;
    __asm__ volatile("simcall" : "+r"(a2), "+r"(a3) : "r"(a4), "r"(a5) : "memory");
    return a2;
}

void platform_print(const char *text)
{
    long size = 0;
    while (text[size]) {
        size++;
    }
    simcall(4, 1, (long)text, size);
}

void platform_exit(int code)
{
    simcall(1, code, 0, 0);
    for (;;) {}
}

void start_c(void)
{
    for (uint32_t *p = &_sbss; p < &_ebss;) {
        *p++ = 0;
    }
    platform_exit(main());
}

__asm__(".section .reset,\"ax\"\n.globl _start\n_start: j 1f\n.literal_position\n.align 4\n1: movi a1, _stack\n"
        "movi a2, start_c\nmovi a0, 0\ncallx0 a2\n2: j 2b\n");
