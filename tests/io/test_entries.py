"""Atoms, Structures and lists that are malformed: a reason in words, and the others go on."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from kups_relax.data import Structure
from kups_relax.errors import StructureError
from kups_relax.io import Unreadable, structures_from, to_atoms


def _without(name: str) -> Callable[[Any], None]:
    return lambda atoms: atoms.arrays.pop(name)


def _with(name: str, value: Any) -> Callable[[Any], None]:
    return lambda atoms: atoms.arrays.update({name: value})


def _of_cell(value: Any) -> Callable[[Any], None]:
    return lambda atoms: setattr(atoms.cell, "array", value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without("positions"), "no positions"),
        (_with("numbers", np.full((2, 2), 8)), "numbers have shape"),
        (_with("numbers", np.array(8)), "numbers have shape"),
        (_with("numbers", np.full(3, 8j)), "dtype complex128"),
        (_with("positions", np.zeros((3, 2))), "positions have shape"),
        (_with("positions", np.zeros((3, 3), object)), "dtype object"),
        (_with("occupancy", [1, 1, 1]), "is a list; expected a NumPy array"),
    ],
)
def test_malformed_atoms_are_one_bad_entry_without_atoms(
    change: Callable[[Any], None], words: str
) -> None:
    atoms = molecule("H2O")
    change(atoms)
    good, bad, last = structures_from([Atoms("Ar"), atoms, Atoms("Kr")])
    assert isinstance(good, Structure)
    assert isinstance(last, Structure)
    assert isinstance(bad, Unreadable)
    assert words in bad.reason
    # What a run hands back is made of them.
    assert bad.atoms is None


@pytest.mark.parametrize("info", [None, []])
def test_info_that_is_no_dict_names_nothing(info: Any) -> None:
    atoms = Atoms("Ar")
    atoms.info = info
    [entry] = structures_from(atoms)
    assert entry.id == "Ar"


@pytest.mark.parametrize("atoms", ["Ar", 3, np.zeros(3)])
def test_a_structure_of_something_else_than_atoms_is_refused(atoms: Any) -> None:
    given = Structure(
        id="s", numbers=np.array([18], np.int32), positions=np.zeros((1, 3)), atoms=atoms
    )
    [entry] = structures_from(given)
    assert isinstance(entry, Unreadable)
    assert "expected ase.Atoms" in entry.reason


@pytest.mark.parametrize(("label", "expected"), [(3, "3"), ("", "structure"), (None, "structure")])
def test_an_unreadable_has_text_for_an_id(label: Any, expected: str) -> None:
    assert Unreadable(id=label, reason="bad").id == expected


def test_a_list_that_holds_itself_is_refused() -> None:
    loop: list[Any] = [Atoms("Ar")]
    loop.append(loop)
    with pytest.raises(StructureError, match="holds itself"):
        structures_from(loop)


def test_a_deep_nest_of_iterators_is_refused() -> None:
    def deep(levels: int) -> Any:
        yield deep(levels - 1) if levels else Atoms("Ar")

    assert len(structures_from(deep(40))) == 1
    with pytest.raises(StructureError, match="Flatten it"):
        structures_from(deep(2000))


class _NoPath:
    def __fspath__(self) -> Any:
        return 3


class _Odd:
    def __repr__(self) -> str:
        raise RuntimeError("not to be shown")


@pytest.mark.parametrize(
    ("item", "words"), [(_NoPath(), "Pass the path as text"), (_Odd(), "_Odd whose repr raised")]
)
def test_objects_that_cannot_be_shown_or_named_are_refused_in_words(item: Any, words: str) -> None:
    with pytest.raises(StructureError, match=words):
        structures_from([Atoms("Ar"), item])


@pytest.mark.parametrize(
    ("atoms", "words"),
    [
        (Atoms("Kr2", [[0, 0, 0], [0, 0, 4]]), r"numbers of this Structure are \[18, 18\]"),
        (Atoms("Ar3"), r"its `atoms` \[18, 18, 18\]"),
        (Atoms("Ar2", pbc=True, cell=[9, 9, 9]), "pbc of this Structure are"),
    ],
)
def test_a_structure_of_other_atoms_is_refused(atoms: Atoms, words: str) -> None:
    given = Structure(
        id="s",
        numbers=np.array([18, 18], np.int32),
        positions=np.array([[0.0, 0, 0], [0, 0, 4]]),
        atoms=atoms,
    )
    [entry] = structures_from(given)
    assert isinstance(entry, Unreadable)
    assert re.search(words, entry.reason)


@pytest.mark.parametrize("atoms", ["Ar", Atoms("Ar")])
def test_an_unreadable_keeps_atoms_that_are_whole(atoms: Any) -> None:
    assert (Unreadable(id="x", reason="bad", atoms=atoms).atoms is None) == (atoms == "Ar")


class _Uncopied(Atoms):
    def copy(self) -> Any:
        raise RuntimeError("not to be copied")


def test_a_structure_whose_atoms_cannot_be_copied_is_refused_before_it_runs() -> None:
    atoms = _Uncopied("Ar")
    given = Structure(
        id="s", numbers=np.array([18], np.int32), positions=np.zeros((1, 3)), atoms=atoms
    )
    [entry] = structures_from(given)
    assert isinstance(entry, Unreadable)
    assert "cannot be copied (RuntimeError: not to be copied)" in entry.reason


@pytest.mark.parametrize("name", ["atomtypes", "dlp4_labels", "type", "occupancy"])
@pytest.mark.parametrize("value", [np.array(1.0), np.zeros((3, 3)), np.zeros(5)])
def test_arrays_that_only_have_the_names_of_a_readers_are_left_alone(
    name: str, value: np.ndarray
) -> None:
    atoms = molecule("H2O")
    atoms.arrays[name] = value
    [entry] = structures_from(atoms)
    expected = Unreadable if name == "atomtypes" and value.ndim == 1 else Structure
    assert isinstance(entry, expected), entry


@pytest.mark.parametrize("dtype", ["u1", "f4", "i8", ">f8"])
def test_results_are_not_rounded_to_the_dtype_of_positions_that_somebody_put_there(
    dtype: str,
) -> None:
    """Relaxed positions went back into an array of bytes, and results were others' than said."""
    atoms = Atoms("Ar2", [[0, 0, 0], [0, 0, 4]])
    atoms.arrays["positions"] = atoms.positions.astype(dtype)
    [entry] = structures_from(atoms)
    assert isinstance(entry, Structure)
    moved = [[0.1, 0.0, 0.0], [0.0, 0.0, 3.7]]
    assert to_atoms(entry, moved).positions.tolist() == moved
    assert atoms.positions.dtype == np.dtype(dtype)
