/* The C core as the code of one viper function, for stock MicroPython (see call.h for its four buffers).
 *
 * MicroPython calls the block as fun(self, n_args, n_kw, args). No header of MicroPython is needed; four words of its
 * native-code interface (.mpy version 6.3) are used: self[1] = context, context[3] = constant table, entry 0 of that =
 * runtime function table, whose entry 3 is native_from_obj(object, type) and entry 0 the constant None. The buffers'
 * lengths are the Python side's duty (bsnative.py). */
#include "call.h"

typedef uintptr_t word;
typedef word (*from_object)(word object, word type);

enum { ARGUMENTS = 4, POINTER = 4 }; /* 4: a buffer's address, as for ptr */

__attribute__((section(".text.entry"), used)) word entry(const word *self, size_t n_args, size_t n_kw,
                                                         const word *args);

__attribute__((section(".text.entry"), used)) word entry(const word *self, size_t n_args, size_t n_kw, const word *args)
{
    const word *table = (const word *)((const word *)((const word *)self[1])[3])[0];
    from_object convert = (from_object)table[3];
    void *p[ARGUMENTS];
    (void)n_kw;
    if (n_args == ARGUMENTS) {
        for (unsigned i = 0; i < ARGUMENTS; i++) {
            p[i] = (void *)convert(args[i], POINTER);
        }
        uint32_t *job = p[0];
        job[0] = (uint32_t)bs_call(job, p[1], p[2], p[3]);
    }
    return table[0];
}
