/* QEMU TCG plugin (plugin API version 1): how often each instruction address ran, and how often control left it for
 * elsewhere, between calls of mark_* functions.
 *
 * Arguments: marks=FILE (lines "hexaddress name"), out=FILE. Output: "section NAME", then "hexaddress runs taken" for
 * every address that ran in it. hw/qemu/plugin/count.c counts by function; the cost model also needs the kind of each
 * instruction, which is read from the disassembly at these addresses. QEMU's header is not packaged everywhere, so the
 * few documented functions used are declared here. */
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
size_t qemu_plugin_insn_size(const struct instruction *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct instruction *, void (*)(unsigned, void *), int flags, void *);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

enum { SLOTS = 1 << 18, MARKS = 64 };

typedef struct {
    uint64_t at, next, runs, taken;
    const char *mark; /* the section that begins here */
} place;

static struct {
    place *places; /* open addressing by address */
    place *last;
    const char *section;
    uint64_t mark_at[MARKS];
    char mark_name[MARKS][80];
    int marks;
    FILE *out;
} state;

static place *find(uint64_t at) {
    size_t i = (size_t)(at * 0x9e3779b97f4a7c15u >> 46);
    while (state.places[i].next && state.places[i].at != at) {
        i = (i + 1) % SLOTS;
    }
    return &state.places[i];
}

static void close_section(void) {
    const bool on = strcmp(state.section, "off") != 0;
    if (on) {
        fprintf(state.out, "section %s\n", state.section);
    }
    for (size_t i = 0; i < SLOTS; i++) {
        place *p = &state.places[i];
        if (on && p->runs) {
            fprintf(state.out, "%llx %llu %llu\n", (unsigned long long)p->at, (unsigned long long)p->runs,
                    (unsigned long long)p->taken);
        }
        p->runs = p->taken = 0;
    }
}

static void executed(unsigned cpu, void *user) {
    place *p = user;
    (void)cpu;
    if (state.last && state.last->next != p->at) {
        state.last->taken++;
    }
    if (p->mark) {
        close_section();
        state.section = p->mark;
    }
    p->runs++;
    state.last = p;
}

static void translated(plugin_id id, struct block *block) {
    (void)id;
    for (size_t i = 0, n = qemu_plugin_tb_n_insns(block); i < n; i++) {
        struct instruction *in = qemu_plugin_tb_get_insn(block, i);
        const uint64_t at = qemu_plugin_insn_vaddr(in);
        place *p = find(at);
        p->at = at;
        p->next = at + qemu_plugin_insn_size(in);
        for (int m = 0; m < state.marks; m++) {
            if (state.mark_at[m] == at) {
                p->mark = state.mark_name[m];
            }
        }
        qemu_plugin_register_vcpu_insn_exec_cb(in, executed, 0, p);
    }
}

static void finished(plugin_id id, void *user) {
    (void)id;
    (void)user;
    close_section();
    fclose(state.out);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info;
    state.section = "off";
    state.places = calloc(SLOTS, sizeof *state.places);
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "marks=", 6) == 0) {
            FILE *marks = fopen(argv[i] + 6, "r");
            unsigned long long at = 0;
            while (marks && state.marks < MARKS && fscanf(marks, "%llx %79s", &at, state.mark_name[state.marks]) == 2) {
                state.mark_at[state.marks++] = at;
            }
            if (marks) {
                fclose(marks);
            }
        }
        if (strncmp(argv[i], "out=", 4) == 0) {
            state.out = fopen(argv[i] + 4, "w");
        }
    }
    if (!state.out || !state.places || !state.marks) {
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
