"""Products of a Jacobian with sparse points where a neighbour moves only some of the features: those of its species.

The other features x of the environment can only be scaled, as by the norm: their derivatives are x times one number, a pair's
rate, which that of the largest tells.  With n species a neighbour moves about 2/n of the features of SOAP.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .._backend import row_ops

__all__ = ["MovedPoints"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]


class MovedPoints:
    """Sparse points of one group, cut into what a neighbour of each species moves: together at most twice their size.

    Parameters
    ----------
    moved : sequence of ndarray of int
        From `Descriptor.moved_features`.
    points : ndarray of shape (n_points, n_features)
        What Jacobians are multiplied by.
    """

    def __init__(self, moved: Sequence[Index], points: Array) -> None:
        self.points = points
        self.parts = [(columns, np.ascontiguousarray(points[:, columns])) for columns in moved]

    def multiply(self, jacobian: Array, entries: Index, values: Array, environment: Index, species: Index, out: Array) -> None:
        """``out[p] = jacobian[entries[p]] @ points.T``.

        Parameters
        ----------
        jacobian : ndarray of shape (n_entries, 3, n_features)
            Derivatives of the features.
        entries : ndarray of shape (n_pairs,)
            Those that are wanted.
        values : ndarray of shape (n_environments, n_features)
            Features of the environments.
        environment, species : ndarray of shape (n_pairs,)
            Environment of each pair, and species of its neighbour.
        out : ndarray of shape (n_pairs, 3, n_points)
            Overwritten.
        """
        everything = values @ self.points.T
        for s, (columns, points) in enumerate(self.parts):
            pairs = np.flatnonzero(species == s)
            if not len(pairs):
                continue
            still = np.abs(values)
            still[:, columns] = -1.0
            largest = np.argmax(still, axis=1)[environment[pairs]]
            value = values[environment[pairs], largest]
            rate = jacobian[entries[pairs], :, largest] / np.where(value == 0.0, 1.0, value)[:, None]
            of_moved = np.empty((len(pairs), 3, len(columns)))
            row_ops().columns_of_entries(jacobian, entries[pairs], columns, of_moved)
            products = (of_moved.reshape(-1, len(columns)) @ points.T).reshape(len(pairs), 3, -1)
            of_still = everything - values[:, columns] @ points.T
            row_ops().place_products(products, rate, of_still, environment[pairs], pairs, out)
