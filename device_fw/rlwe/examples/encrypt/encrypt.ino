// Encrypts one 32 x 31 grey picture under a device's public key and prints how long it took.
// pk.bin of `blindsight hw provision` goes into pk.h as `const uint8_t pk[BS_PK_BYTES] = {...};`.
#include <BlindsightRlwe.h>

#include "pk.h"

static bs_work work;
static uint8_t pixels[992], out[BS_RLWE_MAX_BYTES];

#if defined(ESP32)
#include <esp_random.h>
static int fill(void *, uint8_t *to, size_t size) {
    esp_fill_random(to, size);  // Wi-Fi or Bluetooth must be on: without them it is not a true random source
    return 0;
}
#else
#error "give bs_new_seed your board's hardware random generator"
#endif

void setup() {
    Serial.begin(115200);
    uint8_t seed[BS_SEED_BYTES];
    if (bs_new_seed(fill, nullptr, seed) != BS_OK) {
        Serial.println("no randomness");
        return;
    }
    unsigned long start = micros();
    bs_status status = bs_rlwe_encrypt(pk, seed, 0, pixels, sizeof pixels, 1, out, sizeof out, &work);
    Serial.printf("status %d, %u bytes, %lu us\n", status, unsigned(bs_poly_bytes(BS_MODE_RLWE, 1024)), micros() - start);
}

void loop() {}
