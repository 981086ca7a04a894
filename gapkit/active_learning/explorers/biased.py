r"""Dynamics that seek what the model does not know: the potential energy minus a multiple of its uncertainty.

.. math:: E_\text{biased} = E - \tau \sum_i \sigma_i

with the standard deviations of the local energies and their exact gradient.  The multiple follows the steps of a stretch so
that the bias has a given share of the forces so far: it fades as the model learns.  One structure alone would not do: in a
perfect crystal, where walks begin, both forces are nothing but rounding.

References
----------
C. van der Oord, M. Sachs, D. P. Kovács, C. Ortner, G. Csányi, npj Comput. Mater. 9, 168 (2023).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from ...calculator import GAPCalculator
from ...model import GAPRegressor

__all__ = ["BiasedCalculator"]


class BiasedCalculator(GAPCalculator):
    """A model whose forces drive atoms to where its local energies are uncertain.

    Parameters
    ----------
    model : GAPRegressor
        Fitted, with its posterior.
    bias : float
        Root mean square of the forces of the bias, relative to those of the model, over the structures so far.

    Attributes
    ----------
    tau : float
        The multiple of the uncertainty at the last structure.
    """

    def __init__(self, model: GAPRegressor, *, bias: float, **kwargs: Any) -> None:
        super().__init__(model, **kwargs)
        self.bias = bias
        self.tau = 0.0
        self._squares = np.zeros(2)  # of the forces of the model and of the uncertainty, summed over structures

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Collection[str] = ("energy",),
        system_changes: Collection[str] = tuple(all_changes),
    ) -> None:
        """Evaluate the model and its uncertainty; see `GAPCalculator.calculate`."""
        super().calculate(atoms, properties, system_changes)
        results: dict[str, Any] = self.results
        (of_std,) = self.model.std_gradient([self.atoms])
        self._squares += np.mean(results["forces"] ** 2), np.mean(of_std.forces**2)
        self.tau = self.bias * float(np.sqrt(self._squares[0] / self._squares[1])) if self._squares[1] > 0.0 else 0.0
        energy = results["energy"] - self.tau * of_std.value
        energies = results["energies"] - self.tau * of_std.energies_std
        results |= {"energy": energy, "free_energy": energy, "energies": energies}
        results["forces"] = results["forces"] - self.tau * of_std.forces
        if "stress" in results and of_std.stress is not None:
            results["stress"] = results["stress"] - self.tau * of_std.stress


def calculator_of(model: GAPRegressor, bias: float | None) -> Calculator:
    """The calculator of a stretch."""
    return GAPCalculator(model) if bias is None else BiasedCalculator(model, bias=bias)
