/* The header that Arduino sketches include; the interface is include/bs_rlwe.h. */
#ifndef BLINDSIGHT_RLWE_H
#define BLINDSIGHT_RLWE_H
#include "../include/bs_rlwe.h"
#endif
