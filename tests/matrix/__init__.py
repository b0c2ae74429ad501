"""Runs the tests on other Pythons, packages and servers: ``./dev matrix``."""
