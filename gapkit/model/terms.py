"""One additive term of the model: a descriptor, a kernel, an amplitude, and how its sparse points are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from .._validation import check_choice, check_integer, check_real, describe
from ..descriptors import Descriptor
from ..gp.sparsify import check_selection
from ..kernels import Kernel

__all__ = ["Term", "name_terms"]


class Term(BaseEstimator):  # type: ignore[misc]
    """A sum of local energies delta² k(x_e, ·) over the environments of one descriptor.

    Parameters
    ----------
    descriptor : Descriptor
        Turns structures into environments.
    kernel : Kernel
        Covariance of environments at unit amplitude.
    delta : float, default 1.0
        Standard deviation of the energy of one environment before any data, eV.
    n_sparse : int or dict of str to int, default 1000
        Number of sparse points: a total, shared among the groups (centre species) in proportion to the square root of
        their environments with at least 10 each, or a number per group.
    selection : str, list of int, or dict of str to these or to arrays, default "auto"
        How sparse points are chosen among the environments of the training set, one way for all groups or one for each:

        * "uniform": one per cell of a grid over the features, for up to three of them;
        * "cur": by leverage in the leading half of the feature space (CUR);
        * "fps": each the farthest from those before;
        * "kmeans": the nearest to each centre of k-means;
        * "random": each with the same probability;
        * "cholesky": each the one whose energy those before it leave most uncertain (pivoted Cholesky of the kernel);
        * "leverage": drawn by their ridge leverage scores in the kernel;
        * "auto": "uniform" for up to three features, "cur" for more; also for groups that a dict leaves out;
        * a list: these very environments, counted from 0 in the order of frames and atoms (for pairs and triplets in the
          order of the descriptor), and ``n_sparse`` is not looked at.  In a dict by group only the environments of the group
          count, as in gap_fit's index files (which count from 1): ``{"Si": np.loadtxt(file, int) - 1}``;
        * in a dict by group, an array of shape (n, n_features + 1): these very sparse points, which need not occur in the
          training set.  The last column is the weight, which is 1 for descriptors with one environment per atom.
    scale : {None, "std", "range"}, array of shape (n_features,) or dict of str to array, default None
        What the features are divided by before the kernel: nothing, their standard deviation or range over the training set
        (group by group), or given numbers, for all groups or for each.  QUIP's theta is ``length_scale`` times this.

    Examples
    --------
    >>> from gapkit import SOAP, DotProduct, Term
    >>> Term(SOAP(r_cut=4.5), DotProduct(zeta=2), n_sparse=200).get_params()["descriptor__r_cut"]
    4.5
    """

    def __init__(
        self,
        descriptor: Descriptor,
        kernel: Kernel,
        *,
        delta: float = 1.0,
        n_sparse: int | Mapping[str, int] = 1000,
        selection: str | Sequence[int] | Mapping[str, Any] = "auto",
        scale: str | Sequence[float] | Mapping[str, Any] | None = None,
    ) -> None:
        self.descriptor = descriptor
        self.kernel = kernel
        self.delta = delta
        self.n_sparse = n_sparse
        self.selection = selection
        self.scale = scale

    def check_parameters(self) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range."""
        if not isinstance(self.descriptor, Descriptor):
            raise TypeError(describe("descriptor", "a gapkit descriptor such as SOAP()", self.descriptor))
        if not isinstance(self.kernel, Kernel):
            raise TypeError(describe("kernel", "a gapkit kernel such as DotProduct(zeta=4)", self.kernel))
        self.descriptor.check_parameters()
        if self.descriptor.predict_only:
            raise ValueError(
                describe("descriptor", "one that models can be fitted with", self.descriptor, "It only runs models of QUIP.")
            )
        if getattr(self.descriptor, "average", "off") != "off":
            raise ValueError(
                describe(
                    "average", "'off' in a model", self.descriptor.average, "Averages are for transform: they have no atoms."
                )
            )
        self.kernel.check_parameters()
        check_real("delta", self.delta, above=0.0, at_most=1e6, remedy="It is in eV per environment.")
        for n in self.n_sparse.values() if isinstance(self.n_sparse, Mapping) else [self.n_sparse]:
            check_integer("n_sparse", n, at_least=1)
        check_selection(self.selection)
        if self.scale is None or isinstance(self.scale, str):
            check_choice("scale", self.scale, (None, "std", "range"), "Or give one number per feature.")
            return
        for scale in self.scale.values() if isinstance(self.scale, Mapping) else [self.scale]:
            for number in np.atleast_1d(np.asarray(scale, float)):
                check_real("scale", float(number), above=0.0, remedy="Features are divided by it.")


def name_terms(terms: Sequence[Any] | None) -> list[tuple[str, Term]]:
    """Give unnamed terms the names that scikit-learn's ``make_pipeline`` would: the lower-case class, numbered if repeated.

    Raises
    ------
    TypeError
        If ``terms`` is not a list of Term or (name, Term).
    ValueError
        If it is empty, or a name is repeated or contains "__".
    """
    rule = "a list of Term or (name, Term)"
    if not isinstance(terms, (list, tuple)):
        raise TypeError(describe("terms", rule, terms, "Put a single term in a list."))
    if not terms:
        raise ValueError(describe("terms", rule + ", at least one", terms))
    named: list[tuple[str | None, Term]] = []
    for item in terms:
        name, term = item if isinstance(item, tuple) and len(item) == 2 else (None, item)
        if not isinstance(term, Term) or not (name is None or isinstance(name, str)):
            raise TypeError(describe("terms", rule, item))
        named.append((name, term))
    defaults = [type(term.descriptor).__name__.lower() for _, term in named]
    repeated = {d for d in defaults if defaults.count(d) > 1}
    counts: dict[str, int] = {}
    result = []
    for (name, term), default in zip(named, defaults, strict=True):
        counts[default] = counts.get(default, 0) + 1
        result.append((name or (f"{default}-{counts[default]}" if default in repeated else default), term))
    names = [name for name, _ in result]
    for name in names:
        if names.count(name) > 1 or "__" in name:
            raise ValueError(describe("terms", "given distinct names without '__'", names))
    return result
