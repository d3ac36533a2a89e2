/* Known-answer checks; returns the number of the first that fails, 0 if all hold. Needs no libc: runs on bare boards.
 */
#ifndef KAT_H
#define KAT_H
int kat_run(void);
#endif
