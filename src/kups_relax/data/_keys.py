"""The labels that an Index or a Table refers to: unique, sorted, on the host.

Labels live in a `Keys` object, which is part of the tree definition. JAX gives what a jitted
function returns the tree definition that it saw when it was traced. Were keys equal by their
number alone, a second call with other labels would return the labels of the first. So:

* Keys are equal when they have the same labels, told by a digest that is computed once for each
  `Keys` object, when it is first needed, and never at flattening. Labels survive `jit`, `vmap`,
  `scan` and `eval_shape`, and labels that differ cost a new trace.
* Where only the number of keys matters, `anonymous()` replaces labels by their positions
  0 .. n-1. Such keys hold nothing but n: one trace serves all labels. `with_keys(keys)` puts the
  labels back on what comes out.
* Nothing in `data` hands labels to a compiled function: used eagerly, `Index.sum_over` and its
  like compile once for each shape, whatever the labels.
"""

import functools
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from kups_relax.errors import KeyMismatchError, OptionError

Key = TypeVar("Key")
Missing = Literal["raise", "sentinel"]


class Keys(Generic[Key]):
    """Hold unique, sorted labels; equal to other keys that have the same labels.

    Labels are integers (64 bit), strings, or tuples of these, all of one type. Integers that
    run from 0 to n-1 are held as n alone.

    Example:
        >>> keys = Keys.new(["b", "a"])
        >>> list(keys), len(keys), "b" in keys
        (['a', 'b'], 2, True)
    """

    def __init__(self, n: int, labels: np.ndarray | None = None) -> None:
        """Take sorted, unique labels as they are; use `new` or `arange` instead."""
        self._n = n
        self._labels = labels

    @classmethod
    def new(cls, labels: Any) -> "Keys":
        """Make keys of labels in any order, or take those of a `Keys`, `Index` or `Table`.

        Raises:
            KeyMismatchError: A label occurs twice, or is of a type that cannot be a key.
        """
        return cls.sort(labels)[0]

    @classmethod
    def arange(cls, n: int) -> "Keys[int]":
        """Make the keys 0 .. n-1."""
        return Keys(n)

    @classmethod
    def sort(cls, labels: Any) -> tuple["Keys", np.ndarray | None]:
        """Make keys of labels, and say where each came from (None: they were in order).

        Raises:
            KeyMismatchError: A label occurs twice, or is of a type that cannot be a key.
        """
        held = labels if isinstance(labels, Keys) else getattr(labels, "keys", None)
        if isinstance(held, Keys):
            return held, None
        array, masked, _ = as_labels(labels)
        if masked is not None:
            first = int(np.argmax(masked))
            raise KeyMismatchError(f"label {first} is masked; every key needs a label.")
        order = np.argsort(array, kind="stable")
        array = array[order]
        twice = np.flatnonzero(array[1:] == array[:-1])
        if len(twice):
            first, second = order[twice[0]], order[twice[0] + 1]
            raise KeyMismatchError(
                f"key {_plain(array, twice[0])!r} occurs twice, at {first} and {second}; keys must "
                "be unique. For rows that share keys use Index.new."
            )
        return cls.of_sorted(array), order

    @classmethod
    def of_sorted(cls, labels: np.ndarray) -> "Keys":
        """Make keys of labels that are sorted and unique already; nothing is checked."""
        n = len(labels)
        if n == 0 or (labels.dtype.kind == "i" and labels[0] == 0 and labels[-1] == n - 1):
            return cls(n)
        labels = _trim(labels)
        labels.setflags(write=False)
        return cls(n, labels)

    @classmethod
    def union(cls, all_keys: Sequence["Keys"]) -> "Keys":
        """Make the keys that occur in any of several.

        Raises:
            KeyMismatchError: Their labels are of different types.
        """
        if all(keys == all_keys[0] for keys in all_keys[1:]):
            return all_keys[0] if all_keys else cls(0)
        filled = [keys for keys in all_keys if len(keys)]
        for keys in filled[1:]:
            filled[0].check_type(keys.labels)
        return cls.of_sorted(np.unique(np.concatenate([keys.labels for keys in filled])))

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """(n_keys,) the labels, sorted, read-only; tuples are rows of a structured array."""
        labels = np.arange(self._n) if self._labels is None else self._labels
        labels.setflags(write=False)
        return labels

    def find(self, labels: Any, missing: Missing = "raise") -> np.ndarray:
        """Return the position of each label.

        Args:
            labels: Any number of labels; masked ones get the sentinel n_keys.
            missing: "raise", or "sentinel": labels that are not among the keys get n_keys.

        Returns:
            Positions, int32, in the shape of the labels.

        Raises:
            KeyMismatchError: A label is not among the keys, or of another type than they are.
        """
        check_missing(missing)
        wanted, masked, shape = as_labels(labels)
        n = self._n
        if n == 0 or len(wanted) == 0:
            found = np.zeros(len(wanted), bool)
            positions = np.full(len(wanted), n)
        else:
            self.check_type(wanted)
            positions = np.searchsorted(self.labels, wanted)
            found = self.labels[np.minimum(positions, n - 1)] == wanted
        unknown = ~found if masked is None else ~found & ~masked
        if missing == "raise" and unknown.any():
            raise KeyMismatchError(
                f"key {_plain(wanted, int(np.argmax(unknown)))!r} is not among {self._describe()}. "
                "Add it, or look it up with missing='sentinel'."
            )
        known = found if masked is None else found & ~masked
        return np.where(known, positions, n).astype(np.int32).reshape(shape)

    def check_same(self, other: "Keys") -> None:
        """Raise unless both have the same labels.

        Raises:
            KeyMismatchError: They differ; the message shows the first label that only one has.
        """
        if self == other:
            return
        if len(self) and len(other):
            self.check_type(other.labels)
        only = np.setxor1d(self.labels, other.labels) if len(self) and len(other) else None
        label = _plain((self if len(self) else other).labels if only is None else only, 0)
        raise KeyMismatchError(
            f"key {label!r} belongs to one side only: {self._describe()} against "
            f"{other._describe()}. Take the rows that both have with subset(keys), or join "
            "with table[index]."
        )

    def replacement(self, keys: Any) -> "Keys":
        """Make keys that can stand in the place of these, first for first.

        Raises:
            KeyMismatchError: They are not as many, or not sorted.
        """
        new, order = Keys.sort(keys)
        if len(new) != len(self):
            raise KeyMismatchError(
                f"there are {len(new)} keys in {new!r}; expected {len(self)}, to replace {self!r}."
            )
        if order is not None and (moved := np.flatnonzero(order != np.arange(len(order)))).size:
            raise KeyMismatchError(
                f"key {_plain(new.labels, moved[0])!r} is at {order[moved[0]]}; expected "
                f"it at {moved[0]}: labels that take the place of others must be sorted."
            )
        return new

    def check_type(self, labels: np.ndarray) -> None:
        """Raise unless an array of labels has the type of these.

        Raises:
            KeyMismatchError: It has another type.
        """
        mine, theirs = _kind(self.labels.dtype), _kind(labels.dtype)
        if mine != theirs:
            raise KeyMismatchError(
                f"key {_plain(labels, 0)!r} is of type {theirs}; expected {mine}, as in "
                f"{self._describe()}."
            )

    def _describe(self) -> str:
        return f"the {self._n} keys {self._preview()}" if self._n else "the keys, there are none"

    def _preview(self) -> str:
        if self._labels is None and self._n > 3:
            return f"0 .. {self._n - 1}"
        shown = [repr(_plain(self.labels, i)) for i in range(min(3, self._n))]
        return ", ".join(shown) + (f" .. {_plain(self.labels, -1)!r}" if self._n > 3 else "")

    @functools.cached_property
    def _digest(self) -> bytes:
        return _digest(self._labels) if self._labels is not None else b""

    def __hash__(self) -> int:
        return hash((self._n, self._digest))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Keys):
            return NotImplemented
        return self._n == other._n and self._digest == other._digest

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, position: int) -> Key:
        return _plain(self.labels, position)

    def __iter__(self) -> Iterator[Key]:
        return iter(self.labels.tolist())

    def __contains__(self, label: object) -> bool:
        try:
            return bool(self.find([label], missing="sentinel")[0] < self._n)
        except KeyMismatchError:
            return False

    def __repr__(self) -> str:
        return f"Keys({self._n}: {self._preview()})" if self._n else "Keys(0)"


def check_missing(missing: str) -> None:
    """Raise for a value of `missing` that does not exist.

    Raises:
        OptionError: It is neither "raise" nor "sentinel".
    """
    if missing not in ("raise", "sentinel"):
        raise OptionError(f"missing is {missing!r}; expected 'raise' or 'sentinel'.")


def _digest(labels: np.ndarray) -> bytes:
    head = repr((labels.dtype.descr, labels.shape)).encode()
    return hashlib.blake2b(head + labels.tobytes(), digest_size=32).digest()


def _plain(labels: np.ndarray, position: int) -> Any:
    return labels[position].item()


def _kind(dtype: np.dtype) -> str:
    if dtype.fields:
        return f"({', '.join(_kind(field[0]) for field in dtype.fields.values())})"
    return "int" if dtype.kind == "i" else "str"


def as_labels(labels: Any) -> tuple[np.ndarray, np.ndarray | None, tuple[int, ...]]:
    """Return labels as a flat array, which of them are masked (None: none), and their shape.

    Raises:
        KeyMismatchError: A label is of a type that cannot be a key.
    """
    if isinstance(labels, str):
        raise KeyMismatchError(f"labels are the one string {labels!r}; expected a sequence.")
    if isinstance(labels, Keys):
        labels = labels.labels
    if not hasattr(labels, "__array__"):
        array = _from_python(labels if isinstance(labels, list | tuple) else list(labels))
        return array, None, array.shape
    masked: Any = None
    if isinstance(labels, np.ma.MaskedArray):
        masked = np.ma.getmaskarray(labels)
        if masked.dtype.names:
            masked = np.logical_or.reduce([masked[name] for name in masked.dtype.names])
        masked = masked.reshape(-1) if masked.any() else None
        labels = labels.data
    labels = np.asarray(labels)
    shape = labels.shape
    flat = labels.reshape(-1)
    array = _from_python(flat.tolist()) if flat.dtype == object else _canonical(flat)
    return array, masked, shape


def _from_python(labels: Sequence[Any]) -> np.ndarray:
    if len(labels) == 0:
        return np.zeros(0, np.int64)
    types = set(map(type, labels))
    if all(issubclass(t, tuple) for t in types) and len(set(map(len, labels))) == 1:
        if len(labels[0]):
            return _columns([_from_python(column) for column in zip(*labels, strict=True)])
    elif all(issubclass(t, str) for t in types):
        array = np.asarray(labels, np.str_)
        if np.strings.str_len(array).sum() != sum(map(len, labels)):
            bad = next(label for label in labels if label.endswith("\0"))
            raise KeyMismatchError(f"label {bad!r} ends in a null character; leave it out.")
        return array
    elif all(issubclass(t, int | np.integer) and not issubclass(t, bool) for t in types):
        return _canonical(np.asarray(labels))
    shown = {t.__name__: next(label for label in labels if type(label) is t) for t in types}
    raise KeyMismatchError(
        f"labels are of type {', '.join(f'{name} ({label!r})' for name, label in shown.items())}; "
        "expected all integers, all strings, or all tuples of these of one length."
    )


def _canonical(labels: np.ndarray) -> np.ndarray:
    """Bring an array of labels to int64, str or a structure of these."""
    if labels.dtype.names:
        return _columns([_canonical(labels[name]) for name in labels.dtype.names])
    if labels.dtype.kind == "U":
        return labels
    if labels.dtype.kind in "iu" and (labels.dtype != np.uint64 or (labels < 2**63).all()):
        return labels.astype(np.int64)
    if labels.size == 0:
        return labels.astype(np.int64)
    raise KeyMismatchError(
        f"labels such as {labels[0]!r} have dtype {labels.dtype}; expected integers of at most 64 "
        "bit, strings, or tuples of these."
    )


def _columns(columns: Iterable[np.ndarray]) -> np.ndarray:
    columns = list(columns)
    dtype = [(f"f{i}", column.dtype) for i, column in enumerate(columns)]
    array = np.empty(len(columns[0]), dtype)
    for i, column in enumerate(columns):
        array[f"f{i}"] = column
    return array


def _trim(labels: np.ndarray) -> np.ndarray:
    """Copy labels, with strings no wider than the longest: equal labels have equal bytes."""
    if labels.dtype.names:
        return _columns([_trim(labels[name]) for name in labels.dtype.names])
    if labels.dtype.kind == "U":
        width = int(np.strings.str_len(labels).max(initial=1))
        return labels.astype(f"U{max(width, 1)}")
    return labels.copy()
