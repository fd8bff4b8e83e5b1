"""The errors that users meet: what, which structure, got, expected, what to do."""


class KupsRelaxError(Exception):
    """Base of every error that kups_relax raises on purpose."""


class StructureError(KupsRelaxError, ValueError):
    """A structure cannot be used; the message names it and the way out."""


class PotentialError(KupsRelaxError):
    """A potential cannot describe a structure, or was given parameters that make no sense."""


class CalculatorError(KupsRelaxError, RuntimeError):
    """An ASE calculator is missing, or does not give what is needed of it."""


class CapacityError(KupsRelaxError):
    """A structure does not fit the arrays that were laid out for it."""


class StoreError(KupsRelaxError):
    """A result file cannot be read or written."""


class KeyMismatchError(KupsRelaxError, ValueError):
    """Keys of an Index or a Table are duplicate, missing, or foreign to each other."""


class OptionError(KupsRelaxError, ValueError):
    """An option has a value, or a name, that does not exist."""


class UnknownStructureError(KupsRelaxError, KeyError, IndexError):
    """There is no structure of this id, or at this position."""

    # KeyError would show the message as a quoted string.
    __str__ = Exception.__str__
