"""Say which structure and which calculator is at fault when forces cannot be had."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np

from kups_relax.errors import CalculatorError


class Checked:
    """Stand before an optimizable, and let no gradient and no energy pass that is none.

    Everything else is the optimizable's own. Errors that a calculator raises by itself keep
    their type and get a note that names the structure and the calculator.

    Args:
        optimizable: What `__ase_optimizable__` returned.
        target: What was given to the optimizer: Atoms, a filter, a band.
    """

    def __init__(self, optimizable: Any, target: Any) -> None:
        self.inner = optimizable
        self._target = target

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # not there yet: this object is being copied
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __ase_optimizable__(self) -> "Checked":
        return self

    @property
    def calculator(self) -> Any:
        """The calculator of the target, or of its atoms; None where there is none, or several."""
        for holder in (self._target, getattr(self.inner, "atoms", None)):
            if (calculator := getattr(holder, "calc", None)) is not None:
                return calculator
        return None

    def get_gradient(self) -> np.ndarray:
        """(n,) float64 gradient, finite.

        Raises:
            CalculatorError: There is none.
        """
        with self._naming():
            gradient = self.inner.get_gradient()
        gradient = np.asarray(gradient, np.float64)
        self._check_shapes(gradient)
        if not np.isfinite(gradient).all():
            self._refuse_gradient(gradient)
        return gradient

    def get_value(self) -> float:
        """Energy, eV.

        Raises:
            CalculatorError: There is none.
        """
        with self._naming():
            value = self.inner.get_value()
        if not np.isfinite(value) and self.calculator is not None:
            raise CalculatorError(
                f"{self._name()}: the energy is {value}. Check that the calculator fits the "
                "structure, and that no atoms are too close to each other."
            )
        return value

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except CalculatorError:
            raise
        except NotImplementedError as error:
            raise CalculatorError(self._missing(error)) from error
        except Exception as error:
            bare = [i for i, image in enumerate(self._images()) if image.calc is None]
            if isinstance(error, RuntimeError) and bare:
                image = f", image {bare[0]}" if len(self._images()) > 1 else ""
                raise CalculatorError(
                    f"{self._name()}{image}: there is no calculator. Set atoms.calc before run()."
                ) from error
            error.add_note(f"This was raised while {self._name()} was being evaluated.")
            raise

    def _check_shapes(self, gradient: np.ndarray) -> None:
        n = self.inner.ndofs()
        if gradient.shape != (n,):
            raise CalculatorError(
                f"{self._name()}: got a gradient of shape {gradient.shape}, expected ({n},) for "
                f"{n} coordinates. The calculator must give forces of shape (n_atoms, 3)."
            )
        # Forces of shape (3, n_atoms) would pass above, and push the wrong atoms.
        results = getattr(self.calculator, "results", None)
        forces = results.get("forces") if isinstance(results, dict) else None
        if forces is not None and np.shape(forces)[1:] != (3,):
            raise CalculatorError(
                f"{self._name()}: got forces of shape {np.shape(forces)}, expected (n_atoms, 3). "
                "Repair the calculator."
            )

    def _refuse_gradient(self, gradient: np.ndarray) -> NoReturn:
        x = np.asarray(self.inner.get_x())
        bad = int(np.flatnonzero(~np.isfinite(gradient))[0])
        if not np.isfinite(x).all():
            bad = int(np.flatnonzero(~np.isfinite(x))[0])
            raise CalculatorError(
                f"{self._name()}: coordinate {bad} is {x[bad]}. Repair the positions first."
            )
        raise CalculatorError(
            f"{self._name()}: component {bad} of the gradient is {gradient[bad]}, and "
            f"{np.count_nonzero(~np.isfinite(gradient))} of {len(gradient)} components are not "
            "finite. Check that the calculator fits the structure, and that no atoms are too "
            "close to each other."
        )

    def _missing(self, error: NotImplementedError) -> str:
        message = f"{self._name()}: the calculator does not give what is asked of it ({error})."
        known = getattr(self.calculator, "implemented_properties", None)
        if not known:
            return f"{message} Use one that gives energy and forces, and stress to move a cell."
        missing = [p for p in ("energy", "forces", "stress") if p not in known]
        if not missing:
            return (
                f"{message} It has energy, forces and stress, so this structure, or a setting, is "
                "what it cannot do. Choose another calculator."
            )
        return (
            f"{message} It gives {', '.join(known)}, and not {' or '.join(missing)}. Forces and "
            "an energy are always needed, the stress to move a cell."
        )

    def _images(self) -> list[Any]:
        """Atoms in the target: of a band there are several, of a function none."""
        images = getattr(self._target, "images", None)  # a band shows only evaluated ones itself
        try:
            images = list(self.inner.iterimages()) if images is None else images
        except Exception:
            return []
        return [image for image in images if hasattr(image, "calc")]

    def _name(self) -> str:
        images = self._images()
        target = type(self._target).__name__
        if not images:
            return f"{target} of {self.inner.ndofs()} coordinates"
        formula = images[0].get_chemical_formula()
        kinds = {type(i.calc).__name__ for i in images if i.calc is not None}
        calculators = f" with calculator {', '.join(sorted(kinds))}" if kinds else ""
        if len(images) > 1:
            return f"{target} of {len(images)} images of {formula!r}{calculators}"
        within = "" if getattr(self.inner, "atoms", None) is images[0] else f" in {target}"
        return f"structure {formula!r}{within}{calculators}"
