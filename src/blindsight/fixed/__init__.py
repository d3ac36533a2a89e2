"""Fixed-point numbers over Z_{2^32} and sources of randomness."""
