/* QEMU TCG plugin (plugin API version 1): exact instruction counts per function, split at calls of mark_* functions.
 *
 * Arguments: map=FILE (lines "hexaddress hexsize name"), out=FILE. Each mark_NAME entered closes the running section
 * and opens NAME; `off` is not written. A section's output: "section NAME", then a line "function count" for each.
 * QEMU's header is not packaged everywhere, so the few documented functions used are declared here. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct block;
struct instruction;
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct block *));
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct block *);
struct instruction *qemu_plugin_tb_get_insn(const struct block *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct instruction *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct instruction *, void (*)(unsigned, void *), int flags, void *);
void qemu_plugin_register_vcpu_insn_exec_inline(struct instruction *, int operation, void *, uint64_t);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

typedef struct {
    uint64_t start, size, count, before;
    char name[80];
} function;

static struct {
    function *functions; /* the last one collects what no symbol covers */
    size_t size;
    char section[80];
    FILE *out;
} state;

static void close_section(void)
{
    const bool on = strcmp(state.section, "off") != 0;
    if (on) {
        fprintf(state.out, "section %s\n", state.section);
    }
    for (size_t i = 0; i < state.size; i++) {
        function *f = &state.functions[i];
        if (on && f->count != f->before) {
            fprintf(state.out, "%s %llu\n", f->name, (unsigned long long)(f->count - f->before));
        }
        f->before = f->count;
    }
}

static void entered(unsigned cpu, void *user)
{
    const function *f = user;
    (void)cpu;
    close_section();
    snprintf(state.section, sizeof state.section, "%s", f->name + strlen("mark_"));
}

static void translated(plugin_id id, struct block *block)
{
    (void)id;
    for (size_t i = 0, n = qemu_plugin_tb_n_insns(block); i < n; i++) {
        struct instruction *in = qemu_plugin_tb_get_insn(block, i);
        uint64_t at = qemu_plugin_insn_vaddr(in);
        function *f = state.functions;
        while (f < state.functions + state.size - 1 && at - f->start >= f->size) {
            f++;
        }
        if (at == f->start && strncmp(f->name, "mark_", 5) == 0) {
            qemu_plugin_register_vcpu_insn_exec_cb(in, entered, 0, f);
        }
        qemu_plugin_register_vcpu_insn_exec_inline(in, 0, &f->count, 1);
    }
}

static void finished(plugin_id id, void *user)
{
    (void)id;
    (void)user;
    close_section();
    fclose(state.out);
}

static bool read_map(const char *path)
{
    FILE *map = fopen(path, "r");
    if (!map) {
        return false;
    }
    for (bool more = true; more;) {
        function f = {0};
        unsigned long long start = 0, size = 0;
        more = fscanf(map, "%llx %llx %79s", &start, &size, f.name) == 3;
        f.start = start, f.size = size;
        if (!more) {
            strcpy(f.name, "other");
        }
        function *grown = realloc(state.functions, (state.size + 1) * sizeof f);
        if (!grown) {
            break;
        }
        state.functions = grown;
        state.functions[state.size++] = f;
    }
    fclose(map);
    return state.size > 1;
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    strcpy(state.section, "off");
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "map=", 4) == 0 && !read_map(argv[i] + 4)) {
            return 1;
        }
        if (strncmp(argv[i], "out=", 4) == 0) {
            state.out = fopen(argv[i] + 4, "w");
        }
    }
    if (!state.out || !state.functions) {
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
