"""Faults that are seeded into a copy of the package, one at a time, to see what finds them."""

from . import core, faces, redis

ALL = [*core.MUTANTS, *redis.MUTANTS, *faces.MUTANTS]
