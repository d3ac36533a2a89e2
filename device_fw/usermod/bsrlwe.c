/* MicroPython user module `bsrlwe`: call(job, key, data, memory) over the C core (natmod/call.h), lengths checked.
 *
 *   make USER_C_MODULES=.../device_fw/usermod/micropython.cmake     (ESP32, RP2, Zephyr: CMake ports)
 *   make USER_C_MODULES=.../device_fw                               (STM32, unix: make ports)                        */
#include "py/obj.h"
#include "py/runtime.h"

#include "call.h"

static void *buffer(mp_obj_t object, size_t least, mp_uint_t flags)
{
    mp_buffer_info_t info;
    mp_get_buffer_raise(object, &info, flags);
    if (info.len < least || ((uintptr_t)info.buf & 3) != 0) {
        mp_raise_ValueError(MP_ERROR_TEXT("a buffer is too short or not word-aligned"));
    }
    return info.buf;
}

static mp_obj_t bsrlwe_call(size_t count, const mp_obj_t *args)
{
    (void)count;
    uint32_t *job = buffer(args[0], BS_CALL_JOB, MP_BUFFER_RW);
    uint32_t operation = job[0];
    uint8_t *key =
        buffer(args[1], bs_call_key_bytes(operation), operation == BS_OP_SK_EXPAND ? MP_BUFFER_RW : MP_BUFFER_READ);
    uint8_t *data = buffer(args[2], BS_CALL_DATA, MP_BUFFER_RW);
    void *memory = buffer(args[3], bs_call_memory_bytes(operation), MP_BUFFER_RW);
    job[0] = (uint32_t)bs_call(job, key, data, memory);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(bsrlwe_call_obj, 4, 4, bsrlwe_call);

static const mp_rom_map_elem_t bsrlwe_globals_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_bsrlwe)},
    {MP_ROM_QSTR(MP_QSTR_call), MP_ROM_PTR(&bsrlwe_call_obj)},
};
static MP_DEFINE_CONST_DICT(bsrlwe_globals, bsrlwe_globals_table);

const mp_obj_module_t bsrlwe_module = {
    .base = {&mp_type_module},
    .globals = (mp_obj_dict_t *)&bsrlwe_globals,
};

MP_REGISTER_MODULE(MP_QSTR_bsrlwe, bsrlwe_module);
