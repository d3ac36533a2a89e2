/* For builds without a libc (bare boards, .mpy modules): word-wise where both ends are aligned, as a libc does it.
 * Compile with -fno-tree-loop-distribute-patterns, or the loops become calls of themselves. */
#include <stdint.h>
#include <string.h>

typedef uint32_t __attribute__((may_alias)) word;

static int aligned(const void *p)
{
    return ((uintptr_t)p & 3) == 0;
}

void *memcpy(void *to, const void *from, size_t size)
{
    return memmove(to, from, size);
}

void *memmove(void *to, const void *from, size_t size)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    if ((uintptr_t)t - (uintptr_t)f < size) {
        while (size--) {
            t[size] = f[size];
        }
        return to;
    }
    if (aligned(t) && aligned(f)) {
        word *to_words = (word *)(void *)t;
        const word *from_words = (const word *)(const void *)f;
        for (; size >= 16; size -= 16, to_words += 4, from_words += 4) {
            word a = from_words[0], b = from_words[1], c = from_words[2], d = from_words[3];
            to_words[0] = a, to_words[1] = b, to_words[2] = c, to_words[3] = d;
        }
        for (; size >= 4; size -= 4) {
            *to_words++ = *from_words++;
        }
        t = (uint8_t *)to_words;
        f = (const uint8_t *)from_words;
    }
    while (size--) {
        *t++ = *f++;
    }
    return to;
}

void *memset(void *to, int value, size_t size)
{
    uint8_t *t = to;
    if (aligned(t)) {
        word w = (uint8_t)value * 0x01010101u;
        word *words = (word *)(void *)t;
        for (; size >= 16; size -= 16, words += 4) {
            words[0] = w, words[1] = w, words[2] = w, words[3] = w;
        }
        for (; size >= 4; size -= 4) {
            *words++ = w;
        }
        t = (uint8_t *)words;
    }
    while (size--) {
        *t++ = (uint8_t)value;
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
    const uint8_t *x = a, *y = b;
    for (; size; size--, x++, y++) {
        if (*x != *y) {
            return *x - *y;
        }
    }
    return 0;
}
