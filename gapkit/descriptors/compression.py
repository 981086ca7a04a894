r"""Which products of density coefficients the SOAP vector keeps: all of them, or fewer for many species.

Each atom's coefficients c are a vector over (density s, radial index n).  The power spectrum is

.. math:: p_{abl} = \pi \sqrt{8 / (2l + 1)} \sum_m A_{alm} B_{blm}, \qquad A = W_1^T c, \quad B = W_2^T c

over pairs (a, b) of channels in blocks.  Without mixing matrices A = B = c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from scipy.sparse import csr_array

from .._validation import check_choice, check_integer, check_real, describe
from .base import atomic_number
from .radial import Array

__all__ = ["Channels", "channels_of", "check_compression"]

Index = NDArray[np.int64]

_KEYS = {"off": (), "mu2": (), "mu1nu1": (), "crossover": (), "nu": ("nu_r", "nu_s"), "mixed": ("channels", "seed")}
_EMPTY = np.empty((0, 0, 0, 0))


class Channels(NamedTuple):
    """What the loops need; see `gapkit._cpu.soap`.

    ``density_s``, ``weight_s``: density that each species adds to, and with which weight.  ``mix_left``, ``mix_right``: W of
    shape (n_densities, n_max, n_blocks, n_channels of a block), empty for none.  ``factor_k``: √2 for blocks whose elements
    stand for two.  ``centre_sd``: weight of a centre of species s in density d; None for its own, as a neighbour.  ``linear``:
    sparse matrix that maps the power spectrum to the features before they are normalised; None for the identity.
    """

    n_densities: int
    density_s: Index
    weight_s: Array
    mix_left: Array
    mix_right: Array
    block_k3: Index
    factor_k: Array
    centre_sd: Array | None = None
    linear: csr_array | None = None

    def n_pairs(self, n_max: int) -> int:
        """Number of pairs (a, b): features per l."""
        rows, columns = (mix.shape[3] if mix.size else n_max for mix in (self.mix_left, self.mix_right))
        triangles = int(self.block_k3[:, 2].sum())
        return triangles * rows * (rows + 1) // 2 + (len(self.block_k3) - triangles) * rows * columns


def check_compression(compression: Mapping[str, Any] | None) -> None:
    """Raise if ``compression`` is not what `SOAP` documents."""
    if compression is None:
        return
    if not isinstance(compression, Mapping):
        raise TypeError(describe("compression", "a dict such as {'mode': 'mu1nu1'}", compression))
    mode = compression.get("mode", "off")
    check_choice("compression['mode']", mode, tuple(_KEYS))
    allowed = {"mode", "species_weighting", *_KEYS[mode]}
    for name in sorted(set(compression) - allowed):
        raise ValueError(describe("compression", f"a dict with the keys {', '.join(sorted(allowed))}", name))
    for name in _KEYS[mode]:
        if name not in compression and name != "seed":
            raise ValueError(describe("compression", f"given {name!r} for the mode {mode!r}", dict(compression)))
    if mode == "nu":
        for name in ("nu_r", "nu_s"):
            check_integer(f"compression[{name!r}]", compression[name], at_least=0, at_most=2)
        if compression["nu_r"] == compression["nu_s"] == 2:
            raise ValueError(describe("compression['nu_s']", "below 2 where nu_r is 2", 2, "(2, 2) is the mode 'off'."))
    if mode == "mixed":
        check_integer("compression['channels']", compression["channels"], at_least=1, at_most=4096)
        check_integer("compression['seed']", compression.get("seed", 0), at_least=0)
    for species, weight in (compression.get("species_weighting") or {}).items():
        check_real(f"compression['species_weighting'][{species!r}]", weight)


def channels_of(compression: Mapping[str, Any] | None, species: Sequence[int], n_max: int) -> Channels:
    """Lay out the channels for some species (atomic numbers, ascending).

    Raises
    ------
    ValueError
        If species are weighted and one of them has no weight.
    """
    weights = (compression or {}).get("species_weighting") or {}
    settings = tuple((key, value) for key, value in (compression or {}).items() if key != "species_weighting")
    return _channels_of(settings, tuple(weights.items()), tuple(species), n_max)


@lru_cache(maxsize=32)  # several steps of every evaluation ask for them
def _channels_of(
    options: tuple[tuple[str, Any], ...], weighting: tuple[tuple[str | int, float], ...], species: tuple[int, ...], n_max: int
) -> Channels:
    settings = dict(options)
    mode, n_species = settings.get("mode", "off"), len(species)
    blind = mode == "mu2"
    densities = np.zeros(n_species, np.int64) if blind else np.arange(n_species)
    left = right = _EMPTY
    if mode == "off":
        blocks = [(s, t, int(s == t)) for s in range(n_species) for t in range(s, n_species)]
    elif mode == "crossover":
        blocks = [(s, s, 1) for s in range(n_species)]
    elif blind:
        blocks = [(0, 0, 1)]
    elif mode == "mixed":
        n, seed = int(settings["channels"]), int(settings.get("seed", 0))
        random = np.array([np.random.default_rng([seed, z]).standard_normal((2, n_max, n)) for z in species])
        left, right = (np.ascontiguousarray(random[:, q, :, :, None]) for q in (0, 1))
        blocks = [(k, k, 0) for k in range(n)]
    else:
        nu_r, nu_s = (2, 1) if mode == "mu1nu1" else (settings["nu_r"], settings["nu_s"])
        left, right = (_resolved(nu_r >= q, nu_s >= q, n_species, n_max) for q in (1, 2))
        if nu_r != 1 and nu_s != 1:  # both factors are the same: one array, so that the loops mix once
            left = right = left.reshape(n_species, n_max, 1, -1)
            blocks = [(0, 0, 1)]
        else:
            n_left, n_right = (mix.shape[2] if mix.size else n_species for mix in (left, right))
            blocks = [(s, t, 0) for s in range(n_left) for t in range(n_right)]
    doubled = np.array([mode == "off" or triangle == 1 for _, _, triangle in blocks])
    weights = _species_weights(dict(weighting), species)
    factors = np.where(doubled, np.sqrt(2.0), 1.0)
    return Channels(1 if blind else n_species, densities, weights, left, right, np.array(blocks, np.int64), factors)


def _resolved(radial: bool, species: bool, n_species: int, n_max: int) -> Array:
    """W that keeps or sums the radial index and the species; empty where it keeps both."""
    if radial and species:
        return _EMPTY
    of_species = np.eye(n_species) if species else np.ones((n_species, 1))
    of_radial = np.eye(n_max) if radial else np.ones((n_max, 1))
    result: Array = np.einsum("st,nm->sntm", of_species, of_radial)
    return result


def _species_weights(weighting: Mapping[str | int, float], species: Sequence[int]) -> Array:
    if not weighting:
        return np.ones(len(species))
    by_number = {atomic_number(k): float(v) for k, v in weighting.items()}
    missing = [chemical_symbols[z] for z in species if z not in by_number]
    if missing:
        raise ValueError(describe("compression['species_weighting']", f"given for {', '.join(missing)} too", dict(weighting)))
    return np.array([by_number[z] for z in species])
