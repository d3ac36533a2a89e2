/* What a board under QEMU gives the measurement: text out and an end. Each platform file calls main() once. */
#ifndef PLATFORM_H
#define PLATFORM_H
void platform_print(const char *text);
void platform_exit(int code) __attribute__((noreturn));
int main(void);
#endif
