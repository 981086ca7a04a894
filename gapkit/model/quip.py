"""QUIP's potentials as fitted estimators, and estimators as QUIP's potentials."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from ..descriptors import Descriptor, DistanceNb
from ..exceptions import BaselineError, ModelFormatError
from ..gp.observations import Noise
from ..gp.sparse_term import SparseTerm
from ..interop.quip_bodies import contracted_coordinate, expanded_coordinate
from ..interop.quip_descriptors import read_descriptor, species_of_text, write_descriptor
from ..interop.quip_records import GluePair, QuipCoordinate, QuipModel
from ..interop.quip_writer import GAP_VERSION
from ..kernels import RBF, Constant, DotProduct, Kernel, PiecewisePolynomial, Sum
from .baseline import Baseline, wrap_calculator
from .glue import Glue
from .potential import Potential
from .repulsion import ZBL, Repulsion, core_of
from .terms import Term

if TYPE_CHECKING:
    from .regressor import GAPRegressor

__all__ = ["from_quip", "to_quip"]

Array = NDArray[np.float64]

_CLOSEST = 0.05  # Å: below, tables go on as straight lines
_KNOTS = 2000
_ROUNDING = 1e-12  # relative, of coefficients that were divided by delta² and multiplied again


@dataclass
class _Combined:
    """Coordinates of one descriptor and kernel: one term, with a group of environments for each."""

    descriptor: Descriptor
    kernel: Kernel
    delta: float
    members: dict[int, QuipCoordinate] = field(default_factory=dict)

    def is_like(self, other: _Combined) -> bool:
        return repr(self) == repr(other)

    def __repr__(self) -> str:
        return f"{type(self.descriptor).__name__} {self.descriptor.get_params()} {self.kernel!r} {self.delta!r}"

    def sparse_term(self, first_column: int) -> SparseTerm:
        """The sparse points; predict-only, without factors."""
        n, d = len(self.descriptor.group_names_), self.descriptor.n_features
        points, weights, scales, columns = [], [], [], []
        for group in range(n):
            one = self.members.get(group)
            points.append(np.empty((0, d)) if one is None else one.points)
            of_points = np.ones(0) if one is None else one.cutoffs
            weights.append(np.ones(len(of_points)) if self.descriptor.one_per_atom else of_points)
            scales.append(np.ones(d) if one is None or one.theta is None else one.theta)
            columns.append(slice(first_column, first_column + len(points[-1])))
            first_column += len(points[-1])
        with_scales = any(one.theta is not None for one in self.members.values())
        factors = [np.empty((0, 0))] * n
        return SparseTerm(
            self.descriptor, self.kernel, self.delta, points, weights, scales if with_scales else None, factors, columns
        )

    def coefficients(self, energy_scale: float) -> list[Array]:
        """alpha of `Potential`, eV: QUIP's times its amplitude (and cutoff functions of sparse points that have no weight)."""
        factor = self.delta**2 * energy_scale
        members = [self.members.get(group) for group in range(len(self.descriptor.group_names_))]
        alphas = [np.empty(0) if one is None else one.alpha * factor for one in members]
        if self.descriptor.one_per_atom:
            return [a if one is None else a * one.cutoffs for a, one in zip(alphas, members, strict=True)]
        return alphas

    def term(self) -> Term:
        """As parameters."""
        thetas = [one.theta for one in self.members.values() if one.theta is not None]
        same = all(np.array_equal(thetas[0], theta) for theta in thetas)
        names = self.descriptor.group_names_
        return Term(
            self.descriptor,
            self.kernel,
            delta=self.delta,
            n_sparse={names[group]: len(one.alpha) for group, one in self.members.items()},
            scale=None if not thetas else thetas[0].tolist() if same else "range",
        )


def from_quip(quip: QuipModel, path: Path, baseline: Any = None, *, use_central_weight: bool = False) -> GAPRegressor:
    """Return a fitted estimator that predicts what QUIP predicts.

    Parameters
    ----------
    quip : QuipModel
        From `gapkit.interop.quip_xml.read_quip`.
    path : Path
        The file: for messages, and for files that descriptors name.
    baseline : Baseline or ase calculator, optional
        In place of the potential under the Gaussian processes; needed if that is not a Glue.
    use_central_weight : bool, default False
        See `gapkit.load`.

    Returns
    -------
    GAPRegressor

    Raises
    ------
    BaselineError
        If the potential under the Gaussian processes is not known here, or a baseline is given for a model without one.
    ModelFormatError
        If a descriptor is unknown or does not fit its sparse points, or what gapkit wrote along is not this model.
    """
    from .regressor import GAPRegressor

    name = str(path)
    if quip.gapkit:
        return _written_along(quip, name)
    species = _species(quip)
    under = _core(quip, species, name, baseline)
    combined = _combined(quip, species, path, use_central_weight)
    sparse: list[SparseTerm] = []
    for one in combined:
        sparse.append(one.sparse_term(sum(term.n_points for term in sparse)))
    e0 = {z: quip.e0.get(z, 0.0) * quip.energy_scale for z in species}
    by_symbol = {chemical_symbols[z]: energy for z, energy in e0.items()}
    model = GAPRegressor([one.term() for one in combined], e0=by_symbol, baseline=under)
    coefficients = [one.coefficients(quip.energy_scale) for one in combined]
    model.potential_ = Potential(sparse, e0, coefficients, None, core=core_of(under))
    model.terms_, model.noise_ = model.named_terms(), Noise()
    model.baseline_, model.baseline_probes_ = under, []
    model.factors_, model.training_, model.search_, model.calibration_ = {}, None, None, None
    model.e0_source_ = dict.fromkeys(by_symbol, "QUIP's file")
    model.n_labels_, model.unexplained_, model.table_errors_ = {}, {}, {}
    model.familiar_std_ = 0.0
    model.card_ = {}
    return model


def _species(quip: QuipModel) -> list[int]:
    """Atomic numbers that the model is about: those in its descriptors, else those of its Glue, else those with an energy."""
    named = set().union(*(species_of_text(one.descriptor) for one in quip.coordinates))
    of_glue = {z for pair in quip.glue for z in pair}
    with_energy = {z for z, energy in quip.e0.items() if energy != 0.0}
    return sorted(named or of_glue or with_energy or quip.e0)


def _core(quip: QuipModel, species: list[int], name: str, baseline: Any) -> Baseline | Glue | None:
    """What lies under the Gaussian processes."""
    if not quip.core:
        if baseline is not None:
            raise BaselineError(f"{name} has no potential under its Gaussian processes; `baseline` must be None.")
        return None
    if baseline is not None:
        wrapped = wrap_calculator(baseline)
        if not isinstance(wrapped, Baseline):
            raise TypeError(f"`baseline` must be an ASE calculator; got {type(baseline).__name__}.")
        return wrapped
    if not re.match(r"IP\s+Glue\b", quip.core) or not quip.glue:
        raise BaselineError(
            f"{name} needs the potential {quip.core!r} under its Gaussian processes, which gapkit does not have. Make an ASE "
            "calculator that gives its energies and write gapkit.load(path, baseline=calculator)."
        )
    embedded = [chemical_symbols[z] for z in species if z in quip.embedding]
    if embedded:
        raise BaselineError(
            f"{name} has a Glue with an embedding energy of {', '.join(embedded)}; gapkit has only its pair energies. Give an "
            "ASE calculator: gapkit.load(path, baseline=calculator)."
        )
    pairs = {
        f"{chemical_symbols[low]}-{chemical_symbols[high]}": {
            "r": pair.r.tolist(),
            "energy": (pair.energy * quip.energy_scale).tolist(),
            "slopes": [slope if slope >= 1e30 else slope * quip.energy_scale for slope in pair.slopes],
        }
        for (low, high), pair in quip.glue.items()
    }
    return Glue(pairs).explicit()


def _combined(quip: QuipModel, species: list[int], path: Path, use_central_weight: bool) -> list[_Combined]:
    """Coordinates by descriptor and kernel; coordinates about the same environments are terms of their own."""
    result: list[_Combined] = []
    name, folder = str(path), path.parent
    for number, one in enumerate(quip.coordinates, 1):
        read = read_descriptor(one.descriptor, quip.gap_version, folder, theta=one.theta, use_central_weight=use_central_weight)
        read.descriptor.species_ = list(species)
        d = one.points.shape[1]
        if d != read.descriptor.n_features:
            raise ModelFormatError(
                f"{name}: descriptor {number} must have {read.descriptor.n_features} dimensions; got {d}. Its text is "
                f"{one.descriptor!r}."
            )
        if isinstance(read.descriptor, DistanceNb):
            one = expanded_coordinate(one, read.descriptor)
        elif len(np.unique(one.permutations, axis=0)) > 1:
            raise ModelFormatError(f"{name}: descriptor {number} has permutations, which {one.descriptor!r} should not have.")
        new = _Combined(read.descriptor, _kernel(one, d), one.delta)
        groups = read.groups()
        place = next((c for c in result if c.is_like(new) and not set(groups) & set(c.members)), new)
        if place is new:
            result.append(new)
        place.members.update(dict.fromkeys(groups, one))
    return result


def _kernel(one: QuipCoordinate, d: int) -> Kernel:
    """Kernel of unit amplitude, over features divided by theta; f0² comes on top."""
    if one.kernel == "dot_product":
        assert one.zeta is not None  # noqa: S101 - for the type checker
        return DotProduct(int(one.zeta) if one.zeta == int(one.zeta) else one.zeta)
    kernel: Kernel = RBF(1.0) if one.kernel == "ard_se" else PiecewisePolynomial(1.0, dimension=d)
    return kernel + Constant((one.f0 / one.delta) ** 2) if one.f0 != 0.0 else kernel


def to_quip(model: GAPRegressor, *, posterior: bool = True) -> QuipModel:
    """Records for QUIP of a fitted estimator.

    Parameters
    ----------
    model : GAPRegressor
        Fitted, with descriptors and kernels that QUIP has.
    posterior : bool, default True
        Whether to write gapkit's own file along, which QUIP skips, so that error bars and refits survive.  Models without
        posterior have nothing that QUIP's elements do not hold.

    Returns
    -------
    QuipModel

    Raises
    ------
    ValueError
        If QUIP has no such descriptor, kernel or baseline.
    """
    potential, coordinates = model.potential_, []
    for term, of_term in zip(potential.terms, potential.coefficients, strict=True):
        for group, (points, alpha) in enumerate(zip(term.points, of_term, strict=True)):
            if len(points):
                coordinates.append(_coordinate(term, group, alpha))
    baseline, glue = model.baseline_, {}
    if isinstance(baseline, Baseline):
        raise ValueError(
            f"QUIP has no {baseline.describe()} under a GAP; got one in the model. Fit without it (baseline: null)."
        )
    if baseline is not None:
        glue = _glue(_tabulated(baseline) if isinstance(baseline, ZBL) else baseline)
    digest = sha256(b"".join(one.points.tobytes() + one.alpha.tobytes() for one in coordinates)).hexdigest()
    along = posterior and potential.posterior is not None
    return QuipModel(
        label=f"GAP_gapkit_{digest[:16]}",
        gap_version=GAP_VERSION,
        e0=dict(potential.e0),
        coordinates=coordinates,
        core="IP Glue" if glue else "",
        glue=glue,
        gapkit=_own_file(model) if along else b"",
    )


def _coordinate(term: SparseTerm, group: int, coefficients: Array) -> QuipCoordinate:
    d = term.points[group].shape[1]
    kind, zeta, length_scale, offset = _kind(term.kernel, d)
    scale = np.ones(d) if term.scales is None else term.scales[group]
    if kind == "dot_product" and term.scales is not None:
        raise ValueError("QUIP does not divide features before a scalar product; got a `scale` with DotProduct. Leave it out.")
    result = QuipCoordinate(
        descriptor=write_descriptor(term.descriptor, group),
        kernel=kind,
        delta=float(term.delta),
        f0=float(term.delta * np.sqrt(offset)),
        zeta=zeta,
        theta=None if kind == "dot_product" else length_scale * scale,
        permutations=np.arange(d)[None],
        points=term.points[group],
        cutoffs=term.weights[group],
        alpha=coefficients / term.delta**2,
    )
    return contracted_coordinate(result, term.descriptor) if isinstance(term.descriptor, DistanceNb) else result


def _kind(kernel: Kernel, d: int) -> tuple[str, float | None, float, float]:
    """QUIP's name of a kernel, zeta, length scale, and the constant that is added to it."""
    offset = 0.0
    if isinstance(kernel, Sum):
        parts = sorted((kernel.k1, kernel.k2), key=lambda k: isinstance(k, Constant))
        if isinstance(parts[1], Constant) and not isinstance(parts[0], (Constant, DotProduct)):
            kernel, offset = parts[0], float(parts[1].value)
    if isinstance(kernel, DotProduct):
        return "dot_product", float(kernel.zeta), 1.0, 0.0
    if isinstance(kernel, RBF):
        return "ard_se", None, float(kernel.length_scale), offset
    if isinstance(kernel, PiecewisePolynomial) and kernel.dimension == d:
        return "pp", None, float(kernel.length_scale), offset
    raise ValueError(
        f"QUIP has no kernel {kernel!r}. It knows DotProduct, RBF, PiecewisePolynomial with the dimension of the descriptor, "
        "and the latter two plus a Constant."
    )


def _tabulated(zbl: ZBL) -> Glue:
    """A repulsion as tables: cubic splines, spaced in proportion to r, miss 1e-11 of the energy and 1e-8 of the force."""
    pairs, core = {}, Repulsion.from_radii(zbl)
    for name, outer in zbl.r_outer.items():
        inner = zbl.r_inner[name]  # where the switch begins, third derivatives jump: a knot
        r = np.concatenate([np.geomspace(_CLOSEST, inner, _KNOTS)[:-1], np.geomspace(inner, outer, _KNOTS)])
        z1, z2 = (chemical_symbols.index(symbol) for symbol in name.split("-"))
        value, slope = np.array([core.of_pair(z1, z2, x) for x in r]).T
        pairs[name] = {"r": r.tolist(), "energy": value.tolist(), "slopes": [float(slope[0]), 0.0]}
    return Glue(pairs)


def _glue(glue: Glue) -> dict[tuple[int, int], GluePair]:
    result = {}
    for name, table in glue.pairs.items():
        low, high = sorted(chemical_symbols.index(symbol) for symbol in name.split("-"))
        first, last = table.get("slopes", (0.0, 0.0))
        result[low, high] = GluePair(np.asarray(table["r"], float), np.asarray(table["energy"], float), (first, last))
    return result


def _own_file(model: GAPRegressor) -> bytes:
    """What `GAPRegressor.save` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gap"
        model.save(path)
        return path.read_bytes()


def _written_along(quip: QuipModel, name: str) -> GAPRegressor:
    """The estimator that gapkit wrote along, if it still is what the XML says."""
    from .loading import load

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gap"
        path.write_bytes(quip.gapkit)
        model = load(path)
    own = to_quip(model, posterior=False)
    same = own.e0 == quip.e0 and len(own.coordinates) == len(quip.coordinates)
    for a, b in zip(own.coordinates, quip.coordinates, strict=False):
        same = same and a.descriptor == b.descriptor and np.array_equal(a.points, b.points)
        same = same and np.allclose(a.alpha, b.alpha, rtol=_ROUNDING, atol=0.0)
    if not same:
        raise ModelFormatError(
            f"{name} was changed after gapkit wrote it: its <gapkit> element holds another model. Remove the element to use "
            "what QUIP reads."
        )
    return model
