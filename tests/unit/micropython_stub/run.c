/* Plays MicroPython for the user module: known answers through call(), and a short buffer that must raise. */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "../../../device_fw/usermod/bsrlwe.c"
#include "vectors.h"

const int mp_type_module = 1;
static jmp_buf raised;

void mp_get_buffer_raise(mp_obj_t object, mp_buffer_info_t *info, mp_uint_t flags) {
    *info = *(mp_buffer_info_t *)object;
    if ((flags & MP_BUFFER_WRITE) && info->typecode == 'r') {
        longjmp(raised, 2);
    }
}

void mp_raise_ValueError(const char *text) {
    (void)text;
    longjmp(raised, 1);
}

int main(void) {
    static uint32_t job[4], data[(BS_CALL_DATA + 3) / 4], key[BS_PK_BYTES / 4], memory[sizeof(bs_work) / 4];
    mp_buffer_info_t j = {job, sizeof job, 'I'}, k = {key, sizeof key, 'r'}, d = {data, BS_CALL_DATA, 'B'};
    mp_buffer_info_t m = {memory, sizeof memory, 'B'};
    mp_obj_t args[4] = {&j, &k, &d, &m};
    const mp_rom_map_elem_t *table = *(const mp_rom_map_elem_t *const *)registered->globals;
    const mp_obj_fun_t *call = table[1].value;
    const kat_case *c = &kat_rlwe[1];
    memcpy(key, kat_pk, sizeof kat_pk);
    memcpy(data, kat_seed, sizeof kat_seed);
    memcpy((uint8_t *)data + 32, c->values, c->count);
    job[0] = BS_OP_RLWE, job[1] = c->index, job[2] = (uint32_t)c->count, job[3] = 0;
    call->fun(4, args);
    if (job[0] != 0 || memcmp((uint8_t *)data + BS_CALL_OUT, c->out, c->size) != 0) {
        return 1;
    }
    m.len--;
    job[0] = BS_OP_RLWE;
    if (setjmp(raised) == 0) {
        call->fun(4, args);
        return 2;
    }
    job[0] = BS_OP_SK_EXPAND; /* writes the key: a read-only buffer must be refused */
    if (setjmp(raised) == 0) {
        call->fun(4, args);
        return 3;
    }
    puts("good");
    return 0;
}
