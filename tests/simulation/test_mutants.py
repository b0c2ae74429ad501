"""Seeded faults stay applicable: a list that has rotted proves nothing."""

import pytest

from .mutants import ALL


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_each_seeded_fault_still_has_its_place_in_the_source(mutant: object) -> None:
    for edit in mutant.edits:  # type: ignore[attr-defined]
        assert edit.is_applicable(), f"{edit.file} does not hold once: {edit.old!r}"


def test_there_are_thirty_seeded_faults_or_more_and_each_has_a_name() -> None:
    assert len({mutant.name for mutant in ALL}) == len(ALL) >= 30
