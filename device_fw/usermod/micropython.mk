# User module `bsrlwe` for MicroPython's make ports.
BSRLWE_DIR := $(USERMOD_DIR)
SRC_USERMOD_C += $(BSRLWE_DIR)/bsrlwe.c
SRC_USERMOD_LIB_C += $(addprefix $(BSRLWE_DIR)/../rlwe/src/, aes.c ntt.c ntt_neon.c pack.c rlwe.c roots.c sampling.c stream.c)
CFLAGS_USERMOD += -I$(BSRLWE_DIR)/../rlwe/include -I$(BSRLWE_DIR)/../natmod
