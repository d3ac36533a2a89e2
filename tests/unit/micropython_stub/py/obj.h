/* The few names of MicroPython's C interface that usermod/bsrlwe.c uses, so that it compiles and runs without the port.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
typedef void *mp_obj_t;
typedef uintptr_t mp_uint_t;
typedef struct {
    void *buf;
    size_t len;
    int typecode;
} mp_buffer_info_t;
typedef struct {
    int base;
} mp_obj_base_t;
typedef struct {
    const void *type;
} mp_obj_module_base_t;
typedef struct _mp_obj_dict_t mp_obj_dict_t;
typedef struct {
    struct {
        const void *type;
    } base;
    mp_obj_dict_t *globals;
} mp_obj_module_t;
typedef struct {
    const void *key, *value;
} mp_rom_map_elem_t;
typedef struct {
    mp_obj_t (*fun)(size_t, const mp_obj_t *);
    size_t least, most;
} mp_obj_fun_t;
extern const int mp_type_module;
#define MP_BUFFER_READ 1
#define MP_BUFFER_WRITE 2
#define MP_BUFFER_RW 3
#define mp_const_none ((mp_obj_t)0)
#define MP_QSTR_bsrlwe "bsrlwe"
#define MP_QSTR_call "call"
#define MP_QSTR___name__ "__name__"
#define MP_ROM_QSTR(q) (q)
#define MP_ROM_PTR(p) (p)
#define MP_ERROR_TEXT(t) (t)
#define MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(name, a, b, f) const mp_obj_fun_t name = {f, a, b}
#define MP_DEFINE_CONST_DICT(name, table) const mp_rom_map_elem_t *const name = table
#define MP_REGISTER_MODULE(name, module) const mp_obj_module_t *const registered = &module
void mp_get_buffer_raise(mp_obj_t object, mp_buffer_info_t *info, mp_uint_t flags);
_Noreturn void mp_raise_ValueError(const char *text);
