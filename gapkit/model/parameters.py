"""Parameters of the estimator by name, those of its terms and noise included, as scikit-learn's composites have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from sklearn.base import BaseEstimator

from .._validation import describe
from ..descriptors import SOAP
from ..gp.observations import Noise
from ..kernels import DotProduct
from .baseline import Baseline, wrap_calculator
from .glue import Glue
from .repulsion import ZBL
from .terms import Term, name_terms

__all__ = ["TermParameters"]


class TermParameters(BaseEstimator):  # type: ignore[misc]
    """Base of an estimator with ``terms``, ``noise`` and ``baseline``: ``get_params`` and ``set_params`` reach into them."""

    terms: Sequence[Term | tuple[str, Term]] | None
    noise: Noise | None
    baseline: Any

    def named_terms(self) -> list[tuple[str, Term]]:
        """Terms with their names; if none were given, those that a fit has chosen, else SOAP() alone."""
        if self.terms is None:
            chosen: list[tuple[str, Term]] | None = getattr(self, "terms_", None)
            return chosen or name_terms([Term(SOAP(), DotProduct())])
        return name_terms(self.terms)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name; those of the terms as ``<term>__<parameter>`` if ``deep``.

        Parameters
        ----------
        deep : bool, default True
            Whether to descend.

        Returns
        -------
        dict
        """
        params: dict[str, Any] = super().get_params(deep=False)
        params["baseline"] = wrap_calculator(self.baseline)
        if deep:
            for name, part in (("noise", self.noise), ("baseline", params["baseline"])):
                if isinstance(part, (Noise, Baseline, ZBL, Glue)):
                    params.update((f"{name}__{key}", value) for key, value in part.get_params(deep=True).items())
            if isinstance(self.terms, (list, tuple)):
                for name, term in self.named_terms():
                    params[name] = term
                    params.update((f"{name}__{key}", value) for key, value in term.get_params(deep=True).items())
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name, those of terms as ``<term>__<parameter>``.

        Parameters
        ----------
        **params : dict
            New values.

        Returns
        -------
        GAPRegressor
            The estimator itself.
        """
        own = super().get_params(deep=False)
        super().set_params(**{key: value for key, value in params.items() if key in own})
        for key, value in params.items():
            if key in own:
                continue
            name, _, rest = key.partition("__")
            if self.terms is None:
                self.terms = self.named_terms()  # the default, now to be changed
            if name == "noise" and self.noise is None:
                self.noise = Noise()
            parts: dict[str, Any] = {**dict(self.named_terms()), "noise": self.noise}
            if isinstance(self.baseline, (Baseline, ZBL, Glue)):
                parts["baseline"] = self.baseline
            if name not in parts:
                raise ValueError(describe(key, f"a parameter of {sorted({*parts, *own})}", value))
            if rest:
                parts[name].set_params(**{rest: value})
            else:
                self.terms = [(n, value if n == name else term) for n, term in self.named_terms()]
        return self
