"""Evaluation of the security claims: attacks on what each server sees, and controls that show the attacks work.

A room like `app`: it may import every other, needs PyTorch (the `train` extra), and nothing imports it but `app` and
tests. Everything here plays an attacker or a broken server; the services import none of it.
"""
