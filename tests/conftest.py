"""Hypothesis for all tests: how long an input takes to make or to check says what else the machine does, not what is wrong."""

from hypothesis import HealthCheck, settings

settings.register_profile("blindsight", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("blindsight")
