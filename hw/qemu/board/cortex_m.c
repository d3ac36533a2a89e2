/* Cortex-M under QEMU's MPS2 boards: vector table and ARM semihosting. */
#include <stdint.h>

#include "platform.h"

extern uint32_t _sbss, _ebss, _sdata, _edata, _ldata, _stack;

static long semihost(long operation, const void *argument)
{
    register long r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
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

void reset(void)
{
    for (uint32_t *p = &_sbss; p < &_ebss;) {
        *p++ = 0;
    }
    for (uint32_t *to = &_sdata, *from = &_ldata; to < &_edata;) {
        *to++ = *from++;
    }
    platform_exit(main());
}

static void fault(void)
{
    platform_print("fault\n");
    platform_exit(1);
}

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {&_stack,
                                                                             (void *)reset,
                                                                             (void *)fault,
                                                                             (void *)fault,
                                                                             (void *)fault,
                                                                             (void *)fault,
                                                                             (void *)fault,
                                                                             0,
                                                                             0,
                                                                             0,
                                                                             0,
                                                                             (void *)fault,
                                                                             (void *)fault,
                                                                             0,
                                                                             (void *)fault,
                                                                             (void *)fault};
