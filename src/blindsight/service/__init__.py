"""What both services need and neither owns: one TOML file each, JSON logs without secrets, metrics, a
graceful stop.
"""
