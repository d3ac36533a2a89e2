/* The C core for the Pi client: module `bsrlwe` with the same call() as the MicroPython user module (natmod/call.h), so
 * that bsnative.py serves both, and the two primitives that the firmware otherwise has in viper. Limited C API,
 * Python 3.11 and later. */
#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "call.h"
#include "internal.h"

static int hold(PyObject *object, Py_buffer *view, int flags, size_t least)
{
    if (PyObject_GetBuffer(object, view, flags) < 0) {
        return -1;
    }
    if ((size_t)view->len < least || ((uintptr_t)view->buf & 3) != 0) {
        PyBuffer_Release(view);
        PyErr_SetString(PyExc_ValueError, "a buffer is too short or not word-aligned");
        return -1;
    }
    return 0;
}

static PyObject *call(PyObject *self, PyObject *args)
{
    PyObject *objects[4], *result = NULL;
    Py_buffer v[4];
    unsigned held = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "OOOO", &objects[0], &objects[1], &objects[2], &objects[3])) {
        return NULL;
    }
    if (hold(objects[0], &v[0], PyBUF_WRITABLE, BS_CALL_JOB) < 0) {
        return NULL;
    }
    held = 1;
    uint32_t *job = v[0].buf;
    const uint32_t operation = job[0];
    const size_t least[4] = {0, bs_call_key_bytes(operation), BS_CALL_DATA, bs_call_memory_bytes(operation)};
    for (; held < 4; held++) {
        int flags = held == 1 && operation != BS_OP_SK_EXPAND ? PyBUF_SIMPLE : PyBUF_WRITABLE;
        if (hold(objects[held], &v[held], flags, least[held]) < 0) {
            break;
        }
    }
    if (held == 4) {
        job[0] = (uint32_t)bs_call(job, v[1].buf, v[2].buf, v[3].buf);
        result = Py_NewRef(Py_None);
    }
    while (held) {
        PyBuffer_Release(&v[--held]);
    }
    return result;
}

static PyObject *chacha(PyObject *self, PyObject *args)
{
    PyObject *out_object, *state_object;
    Py_buffer out, state;
    Py_ssize_t blocks;
    (void)self;
    if (!PyArg_ParseTuple(args, "OOn", &out_object, &state_object, &blocks)) {
        return NULL;
    }
    if (blocks < 0 || blocks > 1 << 20) {
        PyErr_SetString(PyExc_ValueError, "blocks is out of range");
        return NULL;
    }
    if (hold(out_object, &out, PyBUF_WRITABLE, 64 * (size_t)blocks) < 0) {
        return NULL;
    }
    if (hold(state_object, &state, PyBUF_WRITABLE, sizeof(bs_chacha)) < 0) {
        PyBuffer_Release(&out);
        return NULL;
    }
    bs_chacha_words(state.buf, out.buf, (size_t)blocks);
    PyBuffer_Release(&state);
    PyBuffer_Release(&out);
    return Py_NewRef(Py_None);
}

/* AES of one block is the key stream of a counter block. */
static PyObject *aes_block(PyObject *self, PyObject *args)
{
    const char *key, *block;
    Py_ssize_t key_size, block_size;
    uint8_t out[16] = {0};
    (void)self;
    if (!PyArg_ParseTuple(args, "y#y#", &key, &key_size, &block, &block_size)) {
        return NULL;
    }
    if (key_size != 16 || block_size != 16) {
        PyErr_SetString(PyExc_ValueError, "key and block are 16 bytes");
        return NULL;
    }
    const uint8_t *b = (const uint8_t *)block;
    uint32_t counter = (uint32_t)b[12] << 24 | (uint32_t)b[13] << 16 | (uint32_t)b[14] << 8 | b[15];
    bs_aes_ctr((const uint8_t *)key, b, counter, out, out, sizeof out);
    return PyBytes_FromStringAndSize((const char *)out, sizeof out);
}

static PyMethodDef methods[] = {
    {"call", call, METH_VARARGS, "call(job, key, data, memory): see natmod/call.h."},
    {"chacha", chacha, METH_VARARGS, "chacha(out, state, blocks): key stream; the counter in word 12 advances."},
    {"aes_block", aes_block, METH_VARARGS, "aes_block(key, block): AES-128 of one block."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "bsrlwe", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_bsrlwe(void)
{
    return PyModule_Create(&definition);
}
