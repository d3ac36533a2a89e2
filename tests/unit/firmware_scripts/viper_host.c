/* Runs viper functions of a real .mpy (ARM Thumb-2 code of mpy-cross) on 32-bit ARM, without MicroPython.
 *
 * Standard input, u32 little-endian: number of code blocks, then each: length, bytes. Number of calls, then each: code
 * block, number of arguments (at most 4), each argument: 0 and a value, or 1, a length and that many bytes.
 * Standard output: after each call its return value and the bytes of every buffer argument.
 * The runtime that the code sees converts nothing: objects are the machine words themselves. Of the table of
 * runtime functions two do something: loading a global gives code block 0 (the one function that another one calls)
 * and calling runs it.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef uintptr_t (*viper)(void *self, uint32_t n, uint32_t kw, void **args);
enum { LOAD_GLOBAL = 7, CALL = 27, TABLE = 96 };

static uint8_t *blocks[64];
static void *table[TABLE], *objects[1], *context[4], *function[4];
static uint16_t names[256];

static uintptr_t same(uintptr_t object) { return object; }

static uintptr_t run(uint32_t block, uint32_t n, void **args) {
    return ((viper)((uintptr_t)blocks[block] | 1))(function, n, 0, args);
}

static uintptr_t load_global(uintptr_t name) {
    (void)name;
    return 0;
}

static uintptr_t call(uintptr_t block, uintptr_t n, void **args) { return run((uint32_t)block, (uint32_t)n, args); }

static void take(void *to, size_t n) {
    if (fread(to, 1, n, stdin) != n) exit(3);
}

static uint32_t word(void) {
    uint32_t v;
    take(&v, 4);
    return v;
}

int main(void) {
    for (int i = 0; i < TABLE; i++) table[i] = (void *)same;
    table[LOAD_GLOBAL] = (void *)load_global;
    table[CALL] = (void *)call;
    objects[0] = table;
    context[2] = names;
    context[3] = objects;
    function[1] = context;
    uint8_t *code = mmap(0, 1 << 20, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint32_t count = word();
    for (uint32_t i = 0; i < count; i++) {
        uint32_t size = word();
        blocks[i] = code;
        take(code, size);
        code += (size + 15) & ~15u;
    }
    __builtin___clear_cache((char *)blocks[0], (char *)code);
    for (uint32_t calls = word(); calls; calls--) {
        uint32_t block = word(), n = word(), size[4] = {0};
        void *args[4] = {0};
        for (uint32_t i = 0; i < n; i++) {
            if (word()) {
                size[i] = word();
                args[i] = malloc(size[i]);
                take(args[i], size[i]);
            } else {
                args[i] = (void *)(uintptr_t)word();
            }
        }
        uint32_t result = (uint32_t)run(block, n, args);
        fwrite(&result, 4, 1, stdout);
        for (uint32_t i = 0; i < n; i++) fwrite(args[i], 1, size[i], stdout);
    }
    return 0;
}
