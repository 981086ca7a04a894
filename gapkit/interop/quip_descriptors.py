"""The text of a QUIP descriptor to a descriptor of gapkit and the environments it stands for, and back."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..descriptors import SOAP, Descriptor, DistanceNb, QuipBasis, ThreeBody, TurboBasis, TwoBody
from ..exceptions import ModelFormatError, NumericalWarning
from .arguments import Arguments, parse_arguments
from .quip_bodies import body_text, cluster_numbers, distance_nb, matching_groups, three_body, two_body
from .quip_turbo import turbo_descriptor, turbo_text

__all__ = ["QuipDescriptor", "read_descriptor", "species_of_text", "write_descriptor"]

Array = NDArray[np.float64]

_KNOWN = ("distance_2b", "angle_3b", "distance_Nb", "soap", "soap_turbo")
_DIVIDED_SINCE = 1423143769  # gap_version from which on elements of soap are divided by √(2l + 1)
_OWN_REFERENCE_SINCE = 1426512068  # gap_version from which on the centre is by default in the density of its own species

# what gap_fit writes into the text along with the descriptor
_OF_THE_FIT = frozenset(
    (
        *("add_species", "config_type_n_sparse", "covariance_type", "delta", "energy_scale", "f0", "lengthscale_factor"),
        *("lengthscale_file", "lengthscale_uniform", "mark_sparse_atoms", "n_sparse", "n_sparseX", "print_sparse_index"),
        *("soap_exponent", "sparse_file", "sparse_method", "theta_fac", "theta_file", "theta_uniform"),
        *("unique_descriptor_tolerance", "unique_hash_tolerance", "zeta"),
    )
)


@dataclass(frozen=True)
class QuipDescriptor:
    """What one descriptor text stands for.

    Attributes
    ----------
    descriptor : Descriptor
        Not fitted.
    numbers : tuple of int
        Atomic numbers that select environments: of the centres (soap), of both atoms (pairs), of the centre and both
        neighbours (triplets), or of all atoms (clusters); 0 for any.
    """

    descriptor: Descriptor
    numbers: tuple[int, ...]

    def groups(self) -> list[int]:
        """Indices among ``group_names_`` of the (fitted) descriptor of the groups that are meant."""
        if isinstance(self.descriptor, SOAP):
            species = self.descriptor.species_
            return [k for k, z in enumerate(species) if 0 in self.numbers or z in self.numbers]
        return matching_groups(self.descriptor, self.numbers)


def read_descriptor(
    text: str, gap_version: int, folder: Path, *, theta: Array | None = None, use_central_weight: bool = False
) -> QuipDescriptor:
    """Read the text of a descriptor.

    Parameters
    ----------
    text : str
        Such as "soap l_max=6 n_max=8 atom_sigma=0.5 cutoff=5.0 Z=14 n_species=1 species_Z={14}"; options of the fit in it are
        not looked at.
    gap_version : int
        Of the file: decides what old texts mean.
    folder : Path
        Where it is, and the files that the text names.
    theta : ndarray of shape (n_features,), optional
        Length scales of an ard_se kernel, which the descriptor of clusters needs.
    use_central_weight : bool, default False
        Of soap_turbo: see `gapkit.interop.quip_turbo.turbo_descriptor`.

    Returns
    -------
    QuipDescriptor

    Raises
    ------
    ModelFormatError
        If gapkit does not have the descriptor, or an option is wrong.

    Warns
    -----
    NumericalWarning
        About options that QUIP does not know and ignores.
    """
    options = parse_arguments(text)
    name = next((word for word in options.values if options.values[word] == "T" and word in text.split()), "")
    options.flag(name, default=True)
    if name == "soap":
        result = QuipDescriptor(*_soap(options, gap_version))
    elif name == "soap_turbo":
        soap, centres = turbo_descriptor(options, folder, use_central_weight=use_central_weight)
        result = QuipDescriptor(soap, tuple(centres))
    elif name == "distance_2b":
        result = QuipDescriptor(two_body(options), (options.integer("Z1", default=0), options.integer("Z2", default=0)))
    elif name == "angle_3b":
        result = QuipDescriptor(three_body(options), _triplet(options))
    elif name == "distance_Nb":
        result = QuipDescriptor(distance_nb(options, theta, gap_version), cluster_numbers(options))
    else:
        raise ModelFormatError(
            f"Descriptors of QUIP must be among {', '.join(_KNOWN)}; got {name or text!r}. gapkit cannot run this model."
        )
    ignored = [key for key in options.not_asked() if key not in _OF_THE_FIT]
    if ignored:
        warnings.warn(
            f"QUIP does not know {', '.join(ignored)} of {name} and ignores it, and so does gapkit; if the model was fitted "
            "with a build that knew it, its energies are wrong.",
            NumericalWarning,
            stacklevel=2,
        )
    try:
        result.descriptor.check_parameters()
    except (TypeError, ValueError) as error:
        raise ModelFormatError(f"{error} It comes from {text.strip()!r}.") from error
    return result


def species_of_text(text: str) -> set[int]:
    """Atomic numbers that the text of a descriptor names; empty if it is about any species."""
    options = parse_arguments(text)
    keys = ("Z", "Z1", "Z2", "Z_center", "species_Z")
    return {z for key in keys if key in options for z in options.integers(key)} - {0}


def _triplet(options: Arguments) -> tuple[int, int, int]:
    centre = options.integer("Z_center", "Z", default=0)
    return centre, options.integer("Z1", default=0), options.integer("Z2", default=0)


def _soap(options: Arguments, gap_version: int) -> tuple[SOAP, tuple[int, ...]]:
    version = options.integer("xml_version", default=gap_version)
    if options.flag("average", default=False):
        raise ModelFormatError("soap with average=T has no energies of atoms; gapkit cannot run this model.")
    n_species = options.integer("n_species", default=1)
    species = tuple(options.integers("species_Z", default=[0], count=n_species))
    centres = tuple(options.integers("Z", default=[0], count=options.integer("n_Z", default=1)))
    everywhere = version < _OWN_REFERENCE_SINCE or options.flag("central_reference_all_species", default=n_species == 1)
    if n_species == 1 and (species == (0,) or centres == species):
        everywhere = False  # there is one density, and the centre is in it
    basis = QuipBasis(
        central_weight=options.real("central_weight", default=1.0),
        central_reference_all_species=everywhere,
        radial_basis=options.text_of("radial_basis", default="EQUISPACED_GAUSS"),
        basis_error_exponent=options.real("basis_error_exponent", default=10.0),
        cutoff_dexp=options.integer("cutoff_dexp", default=0),
        cutoff_scale=options.real("cutoff_scale", default=1.0),
        cutoff_rate=options.real("cutoff_rate", default=1.0),
        nu_R=options.integer("nu_R", default=2),
        nu_S=options.integer("nu_S", default=2),
        R_mix=options.flag("R_mix", default=False),
        Z_mix=options.flag("Z_mix", default=False),
        sym_mix=options.flag("sym_mix", default=False),
        coupling=options.flag("coupling", default=True),
        K=options.integer("K", default=0),
        mix_shift=options.integer("mix_shift", default=0),
        Z_map=_groups_of_species(options.text_of("Z_map", default="")),
        diagonal_radial=options.flag("diagonal_radial", default=False),
        covariance_sigma0=options.real("covariance_sigma0", default=0.0),
        species_Z=species,
        divide_by_degeneracy=gap_version >= _DIVIDED_SINCE,
    )
    soap = SOAP(
        options.real("cutoff"),
        options.integer("n_max"),
        options.integer("l_max"),
        options.real("atom_gaussian_width", "atom_sigma"),
        rbf=basis,
        cutoff_width=options.real("cutoff_transition_width", default=0.5),
        normalize=options.flag("normalise", "normalize", default=True),
    )
    return soap, centres


def _groups_of_species(text: str) -> list[list[list[int]]] | None:
    """Z_map: groups between commas, parts between colons."""
    if not text.strip():
        return None
    return [[[int(z) for z in group.split()] for group in part.split(",")] for part in text.split(":")]


def write_descriptor(descriptor: Descriptor, group: int) -> str:
    """Text that QUIP reads for one group of environments.

    Parameters
    ----------
    descriptor : Descriptor
        Fitted.
    group : int
        Index into its ``group_names_``.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If QUIP does not have the descriptor.
    """
    if isinstance(descriptor, DistanceNb):
        return body_text(descriptor, (descriptor.species_[group],) * int(descriptor.order))
    if isinstance(descriptor, (TwoBody, ThreeBody)):
        return body_text(descriptor, _numbers_of_group(descriptor, group))
    if isinstance(descriptor, SOAP) and isinstance(descriptor.rbf, TurboBasis):
        return turbo_text(descriptor, descriptor.species_[group])
    if isinstance(descriptor, SOAP) and isinstance(descriptor.rbf, QuipBasis):
        return _soap_text(descriptor, descriptor.rbf, descriptor.species_[group])
    name = type(descriptor).__name__
    if isinstance(descriptor, SOAP):
        name += f" with rbf={descriptor.rbf!r}"
    raise ValueError(
        f"QUIP has no {name}. It knows SOAP with a QuipBasis or TurboBasis, TwoBody and ThreeBody: fit such a model, e.g. "
        "`gapkit init TRAIN --recipe quip`."
    )


def _numbers_of_group(descriptor: TwoBody | ThreeBody, group: int) -> tuple[int, ...]:
    species = descriptor.species_
    pairs = [(low, high) for high in range(len(species)) for low in range(high + 1)]
    if isinstance(descriptor, TwoBody):
        low, high = pairs[group]
        return species[low], species[high]
    low, high = pairs[group % len(pairs)]
    return species[group // len(pairs)], species[low], species[high]


def _soap_text(soap: SOAP, basis: QuipBasis, centre: int) -> str:
    species = soap.species_ if basis.species_Z is None else list(basis.species_Z)
    if not basis.divide_by_degeneracy:
        raise ValueError("Files of today's QUIP must divide by √(2l + 1); got divide_by_degeneracy=False. Fit the model anew.")
    words = [
        f"soap cutoff={float(soap.r_cut)!r} cutoff_transition_width={float(soap.cutoff_width or 0.0)!r}",
        f"n_max={int(soap.n_max)} l_max={int(soap.l_max)} atom_sigma={float(soap.sigma)!r} normalise={_flag(soap.normalize)}",
    ]
    for key, value in basis.get_params().items():
        if key in ("species_Z", "divide_by_degeneracy"):
            continue
        if key == "Z_map":
            if value is not None:
                words.append(
                    f"Z_map={{{' : '.join(' , '.join(' '.join(map(str, group)) for group in part) for part in value)}}}"
                )
        elif isinstance(value, bool):
            words.append(f"{key}={_flag(value)}")
        else:
            words.append(f"{key}={value}")
    words.append(f"n_Z=1 Z={centre} n_species={len(species)} species_Z={{{' '.join(map(str, species))}}}")
    return " ".join(words)


def _flag(value: bool) -> str:
    return "T" if value else "F"
