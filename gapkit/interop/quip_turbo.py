"""The options of QUIP's soap_turbo to a `SOAP` with a `TurboBasis`, and back."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from .._validation import describe
from ..descriptors import SOAP, TurboBasis
from ..exceptions import ModelFormatError, NumericalWarning
from .arguments import Arguments

__all__ = ["turbo_descriptor", "turbo_text"]

Entries = list[tuple[int, int, float]]


def turbo_descriptor(options: Arguments, folder: Path, *, use_central_weight: bool = False) -> tuple[SOAP, list[int]]:
    """Read the options of a soap_turbo.

    Parameters
    ----------
    options : Arguments
        Such as "soap_turbo l_max=8 alpha_max={8 8} atom_sigma_r={0.5 0.5} … species_Z={6 1} central_index=1".
    folder : Path
        Where the compress_file lies, if there is one.
    use_central_weight : bool, default False
        Whether central_weight means what it says.  False: it is 1 unless there are several species and it is a list of
        numbers, as in the released QUIP (0.10.3), whose potentials were fitted so.

    Returns
    -------
    SOAP
        Not fitted.
    list of int
        Atomic numbers of the centres.

    Raises
    ------
    ModelFormatError
        If an option is missing or wrong, or the compress_file.

    Warns
    -----
    NumericalWarning
        If a central_weight that is not 1 is ignored.
    """
    n = options.integer("n_species", default=1)
    species = options.integers("species_Z", count=n)
    if options.text_of("scaling_mode", default="polynomial") != "polynomial":
        raise ModelFormatError(f"`scaling_mode` of soap_turbo must be polynomial; got {options.text!r}.")
    alpha_max = _of_species(options, n, "alpha_max", "n_max", integers=True)
    along = _of_species(options, n, "atom_sigma_r", "atom_sigma")
    across = _of_species(options, n, "atom_sigma_t", "atom_sigma")
    one_width = len({*along, *across}) == 1
    l_max = options.integer("l_max")
    mode, entries = options.text_of("compress_mode", default="").strip() or None, None
    if file := options.text_of("compress_file", default="").strip():
        mode, entries = None, _read_compression(folder / file, [int(x) for x in alpha_max], l_max)
    basis = TurboBasis(
        options.text_of("basis", default="poly3"),
        alpha_max=None if len(set(alpha_max)) == 1 else tuple(int(x) for x in alpha_max),
        atom_sigma_r=None if one_width else _short(along),
        atom_sigma_t=None if one_width else _short(across),
        atom_sigma_r_scaling=_short(_of_species(options, n, "atom_sigma_r_scaling", "atom_sigma_scaling", default=0.0)),
        atom_sigma_t_scaling=_short(_of_species(options, n, "atom_sigma_t_scaling", "atom_sigma_scaling", default=0.0)),
        amplitude_scaling=_short(_of_species(options, n, "amplitude_scaling", default=1.0)),
        central_weight=_central_weight(options, n, use_central_weight),
        nf=options.real("nf", default=4.0),
        radial_enhancement=options.integer("radial_enhancement", default=0),
        compress_mode=mode,
        P_transformation=entries,
        species_Z=tuple(species),
    )
    r_cut = options.real("rcut_hard", "cutoff")
    width = options.real("cutoff_transition_width", default=0.5)
    if "rcut_soft" in options:
        width = r_cut - options.real("rcut_soft")
    n_max, sigma = int(max(alpha_max)), min(*along, *across)
    soap = SOAP(r_cut, n_max, l_max, sigma, rbf=basis, species=sorted(species), cutoff_width=width)
    try:
        soap.check_parameters()
    except (TypeError, ValueError) as error:
        raise ModelFormatError(f"{error} It comes from {options.text!r}.") from error
    centre = options.integer("central_index", default=1)
    if not 1 <= centre <= n:
        raise ModelFormatError(f"`central_index` of soap_turbo must be from 1 to n_species; got {options.text!r}.")
    return soap, [species[centre - 1]]


def _of_species(
    options: Arguments, n: int, *keys: str, default: float | None = None, integers: bool = False
) -> Sequence[float]:
    """A number for each species; one in the text stands for all."""
    standard = None if default is None else [default]
    values: Sequence[float] = options.integers(*keys) if integers else options.reals(*keys, default=standard)
    if len(values) not in (1, n):
        raise ModelFormatError(describe(keys[0], f"one number or {n}, one per species", values, f"It is in {options.text!r}."))
    return values if len(values) == n else list(values) * n


def _short(values: Sequence[float]) -> float | tuple[float, ...]:
    """One number if all are equal."""
    return values[0] if len(set(values)) == 1 else tuple(values)


def _central_weight(options: Arguments, n: int, use: bool) -> float | tuple[float, ...]:
    weights = options.reals("central_weight", default=[1.0])
    if use or (n > 1 and len(weights) == n):
        return _short(_of_species(options, n, "central_weight", default=1.0))
    if any(weight != 1.0 for weight in weights):
        warnings.warn(
            f"central_weight={weights[0]:g} of soap_turbo is taken as 1, as QUIP 0.10.3 and its predecessors do although it is "
            "written in the file; a potential that was fitted with a QUIP that applies it would get wrong energies.",
            NumericalWarning,
            stacklevel=3,
        )
    return 1.0


def _read_compression(path: Path, alpha_max: list[int], l_max: int) -> Entries:
    """The matrix from power spectrum to features: a list of features to keep is one with ones."""
    try:
        words = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFormatError(
            f"`compress_file` of soap_turbo must be a text file; {path}: {error}. It must travel with the XML."
        ) from error
    try:
        *shape, n_features = (int(word) for word in words[: len(alpha_max) + 2])
        rest = words[len(alpha_max) + 2 :]
        if rest[0] == "P_transformation":
            triples = rest[1 : rest.index("end_transformation")]
            entries = [(int(i), int(j), float(value)) for i, j, value in zip(*[iter(triples)] * 3, strict=True)]
        else:
            entries = [(i, int(rest[i - 1]), 1.0) for i in range(1, n_features + 1)]
    except (ValueError, IndexError) as error:
        raise ModelFormatError(
            f"{path} must hold alpha_max of each species, l_max, the number of features, and then their numbers or a "
            f"P_transformation; {type(error).__name__}: {error}."
        ) from error
    if shape != [*alpha_max, l_max]:
        raise ModelFormatError(f"{path} must be of {[*alpha_max, l_max]}, alpha_max and l_max of the potential; got {shape}.")
    n_channels = sum(alpha_max)
    n_products = n_channels * (n_channels + 1) // 2 * (l_max + 1)
    if any(not (1 <= i <= n_features and 1 <= j <= n_products) for i, j, _ in entries):
        raise ModelFormatError(f"{path} must be of features from 1 to {n_features} and products from 1 to {n_products}.")
    return [*entries, (n_features, 1, 0.0)]  # the last rows may be empty


def turbo_text(soap: SOAP, z: int) -> str:
    """Text that QUIP reads as a descriptor, with its own meaning of central_weight.

    Parameters
    ----------
    soap : SOAP
        Fitted, with a `TurboBasis`.
    z : int
        Atomic number of the centres.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If QUIP would not get the same features from a text.
    """
    basis = soap.rbf
    if not isinstance(basis, TurboBasis):
        raise ValueError(describe("rbf", "a TurboBasis to be written as soap_turbo", basis))
    for name, value in (("normalize", True), ("average", "off")):
        if getattr(soap, name) != value:
            raise ValueError(describe(name, f"{value!r} to be written as soap_turbo", getattr(soap, name)))
    if basis.P_transformation is not None:
        raise ValueError(describe("P_transformation", "None to be written", "entries", "QUIP reads them from a file."))
    species = list(soap.species_ if basis.species_Z is None else basis.species_Z)
    if z not in species:
        raise ValueError(describe("z", f"one of {species}, which have densities", z))
    weights = basis.central_weights(len(species))
    if len(species) == 1 and weights != [1.0]:
        raise ValueError(describe("central_weight", "1 for one species", weights[0], "QUIP 0.10.3 ignores other weights."))
    kinds = basis.kinds(soap.n_max, soap.sigma)
    kinds = kinds * (len(species) // len(kinds))
    columns: dict[str, Sequence[float]] = {
        "alpha_max": [kind.alpha_max for kind in kinds],
        "atom_sigma_r": [kind.sigma_r for kind in kinds],
        "atom_sigma_t": [kind.sigma_t for kind in kinds],
        "atom_sigma_r_scaling": [kind.sigma_r_scaling for kind in kinds],
        "atom_sigma_t_scaling": [kind.sigma_t_scaling for kind in kinds],
        "amplitude_scaling": [kind.amplitude_scaling for kind in kinds],
        "central_weight": weights,
        "species_Z": species,
    }
    r_cut, width = float(soap.r_cut), float(soap.cutoff_width or 0.0)
    words = [
        f"soap_turbo rcut_hard={r_cut!r} rcut_soft={r_cut - width!r} l_max={int(soap.l_max)} basis={basis.basis}",
        f"nf={float(basis.nf)!r} radial_enhancement={int(basis.radial_enhancement)} scaling_mode=polynomial",
        *(f"{key}={{{' '.join(map(repr, column))}}}" for key, column in columns.items()),
        f"n_species={len(species)} central_index={species.index(z) + 1}",
    ]
    if basis.compress_mode is not None:
        words.append(f"compress_mode={basis.compress_mode}")
    return " ".join(words)
