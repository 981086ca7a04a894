"""Any local descriptor of dscribe as a descriptor of gapkit: slow but right, and the way to try something new."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Mapping, Sequence
from math import log, sqrt
from typing import Any, ClassVar, Self

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from .._validation import check_cutoff, describe
from ..exceptions import ModelFormatError
from ..neighbors import NeighborList, check_structures
from .base import Descriptor, Features, atomic_number

__all__ = ["DScribe", "dscribe_from_plain", "dscribe_to_plain"]

Array = NDArray[np.float64]

_KNOWN = ("ACSF", "SOAP")


class DScribe(Descriptor):
    """A local descriptor object of dscribe, evaluated by dscribe itself.

    Every centre is put in a finite cluster with all neighbours within reach, in which every periodic image is an atom of its
    own.  dscribe's derivatives by the atoms of the cluster are then derivatives by pair vectors: forces and stress exist in
    crystals too.  dscribe has analytical derivatives for plain SOAP only and takes differences for the rest, which costs
    milliseconds to seconds per atom.  Most dscribe descriptors end with a step at their cutoff, so that forces jump there.

    Parameters
    ----------
    descriptor : dscribe.descriptors.SOAP or ACSF, or any other local descriptor
        Without averaging (LMBTR of dscribe 2.1.2 itself fails with ASE 3.29).  Its ``periodic`` is ignored: the structures
        decide.
    normalize : bool, default True
        Divide vectors by their norm, which dot-product kernels need.
    reach : float, optional
        Distance (Å) beyond which no atom matters.  Known for SOAP and ACSF; to be given for others.

    Attributes
    ----------
    species_ : list of int
        Atomic numbers that the dscribe object knows, ascending.

    References
    ----------
    L. Himanen et al., Comput. Phys. Commun. 247, 106949 (2020).

    Examples
    --------
    >>> from ase.build import bulk
    >>> from dscribe.descriptors import ACSF
    >>> descriptor = DScribe(ACSF(r_cut=4.0, g2_params=[[1.0, 2.0]], species=["Si"]), normalize=False)
    >>> descriptor.fit_transform([bulk("Si")]).round(3).tolist()
    [[1.503, 1.288], [1.503, 1.288]]
    """

    cutoff_width: ClassVar[None] = None
    """dscribe's hard cutoff."""

    def __init__(self, descriptor: Any, *, normalize: bool = True, reach: float | None = None) -> None:
        self.descriptor = descriptor
        self.normalize = normalize
        self.reach = reach

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        """Contents instead of the address of the dscribe object."""
        plain = ", ".join(f"{k}={v!r}" for k, v in _parameters(self.descriptor).items())
        return f"DScribe({type(self.descriptor).__name__}({plain}), normalize={self.normalize}, reach={self.reach})"

    def check_parameters(self) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range."""
        from dscribe.descriptors.descriptorlocal import DescriptorLocal

        if not isinstance(self.descriptor, DescriptorLocal):
            raise TypeError(describe("descriptor", "a local descriptor of dscribe, such as its SOAP", self.descriptor))
        if self.descriptor.average != "off":
            raise ValueError(
                describe(
                    "average", "'off' in the dscribe object", self.descriptor.average, "An average has no atoms to act on."
                )
            )
        if self.reach is not None:
            check_cutoff("reach", self.reach)
        elif _reach_of(self.descriptor) is None:
            raise ValueError(
                describe(
                    "reach", f"given for {type(self.descriptor).__name__}", None, "Beyond this distance (Å) no atom matters."
                )
            )

    def fit(self, X: Sequence[Atoms], y: None = None) -> Self:
        """Check the parameters; the species are those of the dscribe object.

        Parameters
        ----------
        X : list of ase.Atoms
            Structures.
        y : None
            Ignored.

        Returns
        -------
        DScribe
            The fitted descriptor itself.
        """
        check_structures(X, name="X")
        self.check_parameters()
        self.species_ = sorted({atomic_number(s) for s in self.descriptor.species} - {0})  # some add a dummy
        return self

    @property
    def neighbor_range(self) -> float:
        """Distance (Å) beyond which no atom is visited."""
        return float(_reach_of(self.descriptor) if self.reach is None else self.reach)  # type: ignore[arg-type]

    @property
    def n_features(self) -> int:
        """Length of a feature vector."""
        return int(self.descriptor.get_number_of_features())

    def compute(self, neighbors: NeighborList, *, jacobian: bool = False, centers: slice | None = None) -> Features:
        """Features of the environments of some atoms; see `Descriptor.compute`."""
        start, stop, _ = (centers or slice(None)).indices(neighbors.n_atoms)
        species = self.species_index(neighbors)
        offset = int(neighbors.first[start])
        values = np.empty((stop - start, self.n_features))
        gradient = np.zeros((int(neighbors.first[stop]) - offset, 3, self.n_features)) if jacobian else None
        engine = copy.deepcopy(self.descriptor)
        engine.periodic, engine.sparse = False, False
        for centre in range(start, stop):
            pairs = np.arange(neighbors.first[centre], neighbors.first[centre + 1])
            pairs = pairs[neighbors.distances[pairs] <= self.neighbor_range]
            cluster = Atoms(
                numbers=np.concatenate([[neighbors.numbers[centre]], neighbors.numbers[neighbors.neighbors[pairs]]]),
                positions=np.concatenate([np.zeros((1, 3)), neighbors.vectors[pairs]]),
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # dscribe 2.1.2 uses names that ASE is about to drop
                if gradient is None:
                    x = engine.create(cluster, centers=[0])[0]
                else:
                    by_atom, x = engine.derivatives(cluster, centers=[0], attach=True, return_descriptor=True)
                    x, block = x[0], by_atom[0, 1:]
            norm = float(np.linalg.norm(x)) if self.normalize else 1.0
            unit = x / (norm or 1.0)
            if gradient is not None:
                if self.normalize:  # d(x / |x|) = (dx - u (u . dx)) / |x|
                    block = (block - (block @ unit)[..., None] * unit) / (norm or np.inf)
                gradient[pairs - offset] = block
            values[centre - start] = unit
        return Features.of_atoms(values, species[start:stop], neighbors, (start, stop), gradient, None)

    def pullback(self, features: Features, dE_dx: Array, dE_dw: Array | None = None) -> Array:
        """Gradient of an energy with respect to pair vectors, from dscribe's derivatives; see `Descriptor.pullback`."""
        jacobian = features.jacobian
        if jacobian is None:
            owners = features.owners[:, 0]
            jacobian = self.compute(features.neighbors, jacobian=True, centers=slice(owners[0], owners[-1] + 1)).jacobian
        assert jacobian is not None  # noqa: S101 - for the type checker
        result: Array = np.einsum("qcf,qf->qc", jacobian, np.repeat(dE_dx, np.diff(features.first), axis=0))
        return result


def _reach_of(descriptor: Any) -> float | None:
    """Distance beyond which dscribe looks at no atom, None if unknown."""
    kind = type(descriptor).__name__
    if kind == "SOAP":
        return float(descriptor._r_cut) + float(descriptor._sigma) * sqrt(2.0 * log(1000.0))
    if kind == "ACSF":
        return float(descriptor.r_cut)
    return None


def _parameters(descriptor: Any) -> dict[str, Any]:
    """What the dscribe object was made with; SOAP keeps some of it under another name."""
    names = [name for name in inspect.signature(type(descriptor).__init__).parameters if name != "self"]
    return {name: getattr(descriptor, name, getattr(descriptor, f"_{name}", None)) for name in names}


def dscribe_to_plain(descriptor: Any) -> dict[str, Any]:
    """A dscribe object as its class name and parameters, for model files."""
    name = type(descriptor).__name__
    if name not in _KNOWN:
        raise TypeError(f"A model file can hold dscribe's {', '.join(_KNOWN)}; got {name}. Keep the model in memory.")
    return {"name": name, "parameters": _parameters(descriptor)}


def dscribe_from_plain(name: str, parameters: Mapping[str, Any]) -> Any:
    """Inverse of `dscribe_to_plain`; only classes of a fixed list are made."""
    import dscribe.descriptors

    if name not in _KNOWN:
        raise ModelFormatError(f"A model file can hold dscribe's {', '.join(_KNOWN)}; got {name!r}.")
    return getattr(dscribe.descriptors, name)(**parameters)
