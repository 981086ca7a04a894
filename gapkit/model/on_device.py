"""A fitted potential on a GPU: which of its parts go there, and as what.

Kernels, sums over sparse points and standard deviations are those of the CPU, given CuPy's arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell

from .._backend import cupy
from .._cuda.engine import Engine, Evaluation
from .._cuda.geometry import Geometry
from .._cuda.launch import launch
from .._cuda.memory import Memory, memory_errors
from .._validation import describe
from ..descriptors import ACSF, SOAP, Descriptor, ThreeBody, TwoBody
from ..descriptors.acsf_on_device import AcsfOnDevice
from ..descriptors.on_device import DeviceDescriptor, PairsOnDevice
from ..descriptors.soap_on_device import SoapOnDevice
from ..descriptors.triplets_on_device import TripletsOnDevice
from ..exceptions import InvalidStructureError, NotOnGPUError
from ..gp.environment_variance import EnvironmentVariance
from ..gp.sparse_term import SparseTerm
from ..neighbors import SHORTEST_DISTANCE, NeighborList, check_structures
from .device_spread import Collector, CommitteeOnDevice, Environments, FastSpreadOnDevice, PriorSpreadOnDevice, SpreadOnDevice
from .potential import ON_DEVICE, Potential, posterior_of
from .prediction import STD_DEFAULT, Prediction, wanted_deviations
from .repulsion import Repulsion
from .sums import ExactSum, PointSum, sums_of

__all__ = ["ModelOnDevice", "check_uncertainty", "model_on_device", "on_device", "prediction_of"]

_REMEDY = "Use device='cpu', or device='auto', which does."


def descriptor_on_device(descriptor: Descriptor, species: Sequence[int], name: str) -> DeviceDescriptor:
    """The device's form of a fitted descriptor; ``name`` is what messages call its term.

    Raises
    ------
    NotOnGPUError
        If it has none.
    """
    if isinstance(descriptor, SOAP):
        return SoapOnDevice(descriptor, species)
    if isinstance(descriptor, TwoBody):
        return PairsOnDevice(descriptor, species)
    if isinstance(descriptor, ACSF):
        return AcsfOnDevice(descriptor, species)
    if isinstance(descriptor, ThreeBody):
        return TripletsOnDevice(descriptor, species)
    raise NotOnGPUError(describe("device", f"'cpu' with the term {name}", "cuda", f"{descriptor!r} has no GPU code. {_REMEDY}"))


class TermOnDevice:
    """A `gapkit._cuda.engine.DeviceTerm`.

    Parameters
    ----------
    number : int
        Of the term in the model.
    term : SparseTerm
        With CuPy's arrays.
    sums : list of PointSum or None
        Energies of environments of each group, of CuPy's arrays.
    descriptor : DeviceDescriptor
        The device's form of the term's descriptor.
    """

    def __init__(self, number: int, term: SparseTerm, sums: Sequence[PointSum | None], descriptor: DeviceDescriptor) -> None:
        self.number, self.term, self.sums, self.descriptor = number, term, sums, descriptor
        self.blocks: list[Any] = []

    def prepare(self, geometry: Geometry, memory: Memory) -> None:
        """Divide the environments into blocks."""
        self.blocks = self.descriptor.blocks(geometry, memory, [len(points) for points in self.term.points])

    def add(self, geometry: Geometry, energies: Any, gradient: Any, spreads: Sequence[Any]) -> None:
        """Add energies of atoms and gradients of pairs, as `gapkit.model.prediction` does on the CPU."""
        for block in self.blocks:
            features, of_group = self.descriptor.compute(geometry, block), self.sums[block.group]
            assert of_group is not None  # noqa: S101 - groups without points have no block
            kernel = None
            if spreads and isinstance(of_group, ExactSum):
                energy, slope, kernel = of_group.with_kernel(features.values)
            else:
                energy, slope = of_group(features.values)
            of_weight, n_times = None, self.descriptor.multiplicity
            if n_times != 1.0:
                energy, slope = n_times * energy, n_times * slope
            if features.weights is not None:
                of_weight, energy = energy, energy * features.weights
                slope = slope * features.weights[:, None]
            self.descriptor.add_energies(block, energy, energies)
            self.descriptor.pullback(geometry, block, features, slope, of_weight, gradient)
            environments = Environments(self.number, self.term, self.descriptor, geometry, block, features, kernel)
            for spread in spreads:
                spread.add(environments)


class RepulsionOnDevice:
    """The `gapkit._cuda.engine.DeviceTerm` of a `Repulsion`."""

    def __init__(self, core: Repulsion, species: Sequence[int]) -> None:
        index = core.species_index[list(species)]
        self.constants = cupy().asarray(np.ascontiguousarray(core.constants[np.ix_(index, index)]))

    def prepare(self, geometry: Geometry, memory: Memory) -> None:
        """Nothing is to be divided."""

    def add(self, geometry: Geometry, energies: Any, gradient: Any, spreads: Sequence[Any]) -> None:
        """Add energies of atoms and gradients of pairs."""
        of_pairs = geometry.vectors, geometry.distances, energies, gradient
        launch("repulsion", geometry.n_atoms, geometry.first, geometry.neighbors, geometry.species, self.constants, *of_pairs)


def on_device(potential: Potential, names: Sequence[str] = (), *, skin: float = 0.0, memory: Memory | None = None) -> Engine:
    """Put a potential on the GPU.

    Parameters
    ----------
    potential : Potential
        Fitted.
    names : sequence of str, optional
        What messages call its terms.
    skin : float, default 0
        Extra range of the list of pairs, Å; for molecular dynamics.
    memory : Memory, optional
        What may be used; default: what is free.

    Returns
    -------
    Engine

    Raises
    ------
    NotOnGPUError
        If a part of it has no GPU code; the message names it.
    """
    xp, terms = cupy(), []
    known = [set(potential.e0), *(set(term.descriptor.species_) for term in potential.terms)]
    if isinstance(potential.core, Repulsion):
        known.append(set(np.flatnonzero(potential.core.species_index >= 0).tolist()))
    species = sorted(set.intersection(*known))
    for t, (term, alphas) in enumerate(zip(potential.terms, potential.coefficients, strict=True)):
        name = repr(names[t]) if names else f"number {t}"
        descriptor = descriptor_on_device(term.descriptor, species, name)
        there, tables = term.on_device(xp), potential.tables[t]
        sums = sums_of(there, [xp.asarray(a) for a in alphas])
        if tables is not None:
            sums = [None if t is None or of is None else t.on_device(xp, of) for t, of in zip(tables, sums, strict=True)]
        terms.append(TermOnDevice(t, there, sums, descriptor))
    cores = []
    if potential.core is not None:
        if not isinstance(potential.core, Repulsion):
            what = type(potential.core).__name__
            raise NotOnGPUError(
                describe("device", f"'cpu' with the baseline's {what}", "cuda", f"It has no GPU code. {_REMEDY}")
            )
        cores.append(RepulsionOnDevice(potential.core, species))
    e0 = [potential.e0[z] for z in species]
    return Engine([*cores, *terms], species, e0, potential.neighbor_range, xp, skin=skin, memory=memory)


class ModelOnDevice:
    """A potential, and what of it is on the GPU.

    Parameters
    ----------
    potential : Potential
        Fitted.
    engine : Engine
        From `on_device`.
    """

    def __init__(self, potential: Potential, engine: Engine) -> None:
        self.potential, self.engine = potential, engine

    def twin(self, skin: float) -> ModelOnDevice:
        """The same model with the pairs of another structure: for molecular dynamics, with a skin (Å)."""
        return ModelOnDevice(self.potential, self.engine.twin(skin))

    @property
    def terms(self) -> list[SparseTerm]:
        """Those of the potential, with CuPy's arrays."""
        return [term.term for term in self.engine.terms if isinstance(term, TermOnDevice)]

    @cached_property
    def with_posterior(self) -> Potential:
        """The potential with CuPy's arrays, as far as standard deviations need them."""
        posterior, xp = posterior_of(self.potential), self.engine.xp
        there = replace(posterior, factor=xp.asarray(posterior.factor), weights=xp.asarray(posterior.weights))
        return replace(self.potential, terms=self.terms, posterior=there)

    @cached_property
    def with_fast_posterior(self) -> Potential:
        """The same for estimates."""
        fast, put, result = self.potential.fast, self.engine.xp.asarray, replace(self.with_posterior)
        low_rank = replace(fast.low_rank, directions=put(fast.low_rank.directions), eigenvalues=put(fast.low_rank.eigenvalues))
        members = [[[put(alpha) for alpha in term] for term in member] for member in fast.members]
        result.__dict__["fast"] = replace(fast, low_rank=low_rank, projection=put(fast.projection), members=members)
        return result

    @cached_property
    def environment_variances(self) -> list[list[EnvironmentVariance | None]]:
        """What the sparse points leave open, per term and group."""
        pairs = zip(self.terms, self.potential.environment_variances, strict=True)
        return [[v and v.on_device(self.engine.xp, term) for v in of_term] for term, of_term in pairs]

    def predict(
        self, atoms: Atoms, *, uncertainty: str | None = None, std: Collection[str] = STD_DEFAULT, frame: int = 0
    ) -> Prediction:
        """Evaluate a structure: `gapkit.model.prediction.predict` of one structure.

        Parameters
        ----------
        atoms : ase.Atoms
            One structure.
        uncertainty : None, "exact", "fast" or "prior", default None
            Standard deviations.
        std : collection of {"energy", "energies", "forces", "stress"}, default the first two
            Which; the last two with "fast" only.
        frame : int, default 0
            What messages call the structure.

        Returns
        -------
        Prediction

        Raises
        ------
        InvalidStructureError
            If it is invalid, or has a species that the model does not know.
        NotOnGPUError
            If the uncertainty has no GPU code.
        DeviceMemoryError
            If the GPU has too little memory.
        """
        potential, engine = self.potential, self.engine
        spreads = self.spreads(uncertainty, std)
        self.check(atoms, frame)
        cell = complete_cell(atoms.cell.array)
        with memory_errors(engine.xp):
            result = engine.evaluate(atoms.numbers, atoms.positions, cell, atoms.pbc, energies=True, spreads=spreads)
        if result.shortest < SHORTEST_DISTANCE:
            NeighborList.from_atoms([atoms], potential.neighbor_range, first_frame=frame)  # raises, naming the atoms
        return prediction_of(atoms, result)

    def spreads(self, uncertainty: str | None, std: Collection[str] = STD_DEFAULT) -> Callable[[int], list[Collector]] | None:
        """What makes collectors of standard deviations for a number of atoms; None if none are wanted; see `predict`."""
        if uncertainty is None:
            return None
        check_uncertainty(uncertainty, std)
        wanted, memory = wanted_deviations(uncertainty, std), self.engine.memory
        of_energies, of_derivatives = wanted & {"energy", "energies"}, wanted & {"forces", "stress"}

        def collectors(n_atoms: int) -> list[Collector]:
            result: list[Collector] = []
            if uncertainty == "prior":
                result.append(PriorSpreadOnDevice(self.potential, self.environment_variances, n_atoms))
            elif of_energies and uncertainty == "fast":
                result.append(FastSpreadOnDevice(self.with_fast_posterior, n_atoms, wanted=of_energies, memory=memory))
            elif of_energies:
                result.append(SpreadOnDevice(self.with_posterior, n_atoms, wanted=of_energies, memory=memory))
            if of_derivatives:
                result.append(CommitteeOnDevice(self.with_fast_posterior, n_atoms, wanted=of_derivatives, memory=memory))
            return result

        return collectors

    def check(self, atoms: Atoms, frame: int = 0) -> None:
        """Raise InvalidStructureError if a structure is invalid, or has a species that the model does not know."""
        potential, engine = self.potential, self.engine
        check_structures([atoms], first_frame=frame)
        if not set(atoms.numbers.tolist()) <= set(engine.species):
            neighbors = NeighborList.from_atoms([atoms], potential.neighbor_range, first_frame=frame)
            for term in potential.terms:
                term.descriptor.species_index(neighbors)  # raises, naming the species
            raise InvalidStructureError(f"A species has no atomic energy in frame {frame}; give it in e0.")


def check_uncertainty(uncertainty: str | None, std: Collection[str]) -> None:
    """Raise `NotOnGPUError` if an uncertainty has no GPU code."""
    wanted = wanted_deviations(uncertainty, std)
    if uncertainty == "exact" and wanted & {"forces", "stress"}:
        what = f"uncertainty={uncertainty!r} and std={tuple(std)}"
        remedy = "A GPU gives exact ones of energies, and 'fast' ones of all. For others use device='cpu'."
        raise NotOnGPUError(describe("device", f"'cpu' with {what}", "cuda", remedy))


def model_on_device(potential: Potential, names: Sequence[str] = ()) -> ModelOnDevice:
    """A potential on the GPU: put there once, and kept as long as the potential is."""
    kept: dict[str, Any] = potential.__dict__  # as functools.cached_property does
    if ON_DEVICE not in kept:
        kept[ON_DEVICE] = ModelOnDevice(potential, on_device(potential, names))
    result: ModelOnDevice = kept[ON_DEVICE]
    return result


def prediction_of(atoms: Atoms, result: Evaluation) -> Prediction:
    """What the engine found of a structure, local energies among it."""
    has_stress = bool(atoms.pbc.any()) and atoms.cell.rank == 3
    assert result.energies is not None  # noqa: S101 - for the type checker
    return Prediction(
        energy=result.energy,
        energies=result.energies,
        forces=result.forces,
        stress=result.virial / atoms.cell.volume if has_stress else None,
        energy_std=result.energy_std,
        energies_std=result.energies_std,
        forces_std=result.forces_std,
        stress_std=result.virial_std / atoms.cell.volume if has_stress and result.virial_std is not None else None,
    )
