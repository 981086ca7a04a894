"""gap_fit in reverse: from a command line of QUIP's program to an estimator that fits the same model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from ..descriptors.base import species_of
from ..exceptions import ConfigError, InvalidLabelError
from ..gp.observations import Labels, labels_of
from ..interop.gap_fit import GapFitCommand, read_gap_fit
from ..interop.quip_xml import read_glue, read_quip
from .atomic_energies import isolated_atoms
from .baseline import without_baseline
from .gap_fit_labels import noise_of_types, read_labelled
from .gap_fit_terms import terms_of
from .glue import Glue
from .regressor import GAPRegressor
from .terms import Term

__all__ = ["GapFitJob", "from_gap_fit"]


@dataclass(frozen=True)
class GapFitJob:
    """What a command line of gap_fit amounts to.

    Attributes
    ----------
    model : GAPRegressor
        Not fitted.
    frames : list of ase.Atoms
        Training structures with their labels.
    keys : dict of str to dict of str to int
        Kind of label -> key in the file -> number of frames that have it.
    output : Path
        The XML that gap_fit would write.
    chosen : list of str
        Descriptors whose sparse points gapkit chooses in its own way, as gap_fit's choice cannot be reproduced.
    """

    model: GAPRegressor
    frames: list[Atoms]
    keys: dict[str, dict[str, int]]
    output: Path
    chosen: list[str]


def from_gap_fit(
    command: str, folder: str | Path = ".", *, train: str | Path | None = None, points_from: str | Path | None = None
) -> GapFitJob:
    """Make an estimator that fits what gap_fit would fit, and read its training structures.

    Rows, noise and covariance of the sparse points are those of gap_fit to rounding, given the same sparse points.  Which ones
    gap_fit chooses depends on its random numbers and the order of its neighbour lists and cannot be reproduced: give its
    XML as ``points_from``.

    Parameters
    ----------
    command : str
        Options of gap_fit such as ``"at_file=train.xyz gap={soap l_max=6 ...} default_sigma={0.001 0.05 0.05 0.0}"``, as they
        stand in a shell or without its quotation marks, or ``"config_file=..."``.
    folder : str or Path, default "."
        What the names of files are relative to.
    train : str or Path, optional
        Training structures in place of those of ``at_file``.
    points_from : str or Path, optional
        XML of a model that gap_fit made with this command: its sparse points and length scales are taken.

    Returns
    -------
    GapFitJob

    Raises
    ------
    ConfigError
        If the command is not complete, contradicts itself, or asks for what gapkit does not have.
    FileNotFoundError
        If a file does not exist.
    InvalidLabelError
        If labels are not what gap_fit accepts.
    ModelFormatError
        If ``points_from`` is not a model, or a descriptor is not known.

    Examples
    --------
    >>> import tempfile, gapkit
    >>> from pathlib import Path
    >>> from ase.io import write
    >>> from gapkit.datasets import load_silicon
    >>> command = '''gap_fit at_file=train.xyz force_parameter_name=forces "default_sigma={0.001 0.05 0.5 0}" "gap={distance_2b
    ...     cutoff=4.0 covariance_type=ard_se theta_uniform=1.0 delta=1.0 n_sparse=10 sparse_method=uniform}"'''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(Path(folder) / "train.xyz", load_silicon(config_types=["isolated_atom", "eos"]))
    ...     job = gapkit.from_gap_fit(command, folder)
    >>> job.model.fit(job.frames).n_sparse_
    10
    """
    folder = Path(folder)
    options = read_gap_fit(command, folder)
    frames, keys = read_labelled(folder / (options.atoms_filename if train is None else train), options)
    labels = [labels_of(atoms, k) for k, atoms in enumerate(frames)]
    quip = None if points_from is None else read_quip(folder / points_from)
    baseline = _core(options, folder)
    terms, chosen = terms_of(options.descriptors, frames, folder, quip)
    model = GAPRegressor(
        terms,
        noise=noise_of_types(options, frames),
        e0=_atomic_energies(options, frames, without_baseline(baseline, frames, labels), terms),
        baseline=baseline,
        jitter=options.sparse_jitter,
        random_state=max(options.rnd_seed, 0),
    )
    return GapFitJob(model, frames, keys, folder / options.gap_file, chosen)


def _core(options: GapFitCommand, folder: Path) -> Glue | None:
    """The potential under the model."""
    if not options.core_ip_args.strip():
        return None
    advice = "Leave the key out and set an ASE calculator: job.model.set_params(baseline=...); mind e0, which contains it."
    if not re.match(r"\s*IP\s+Glue\b", options.core_ip_args):
        raise ConfigError(f"`core_ip_args` must be IP Glue; got {options.core_ip_args!r}, which gapkit does not have. {advice}")
    tables, embedding = read_glue(folder / options.core_param_file)
    if embedding:
        raise ConfigError(
            f"{options.core_param_file} has embedding energies; gapkit has only the pair energies of Glue. {advice}"
        )
    pairs = {
        f"{chemical_symbols[low]}-{chemical_symbols[high]}": {
            "r": pair.r.tolist(),
            "energy": pair.energy.tolist(),
            "slopes": list(pair.slopes),
        }
        for (low, high), pair in tables.items()
    }
    return Glue(pairs).explicit()


def _atomic_energies(
    options: GapFitCommand, frames: Sequence[Atoms], labels: Sequence[Labels], terms: Sequence[Term]
) -> dict[str, float]:
    """Energy of each species by gap_fit's rules, which know no least squares."""
    symbols = [chemical_symbols[z] for z in species_of(frames)]
    if options.e0 is not None:
        given = options.e0 if isinstance(options.e0, dict) else dict.fromkeys(symbols, options.e0)
        return {symbol: given.get(symbol, 0.0) + options.e0_offset for symbol in symbols}
    energies = [y.energy for y in labels]
    if options.e0_method == "average":
        per_atom = [e / len(atoms) for e, atoms in zip(energies, frames, strict=True) if e is not None]
        if not per_atom:
            raise InvalidLabelError("`e0_method` average needs energies; no frame has one. Give e0.")
        return dict.fromkeys(symbols, float(np.mean(per_atom)) + options.e0_offset)
    found: dict[str, float] = {}
    for k in isolated_atoms(frames, max(term.descriptor.neighbor_range for term in terms)):
        symbol, energy = chemical_symbols[int(frames[k].numbers[0])], energies[k]
        if energy is not None and symbol in found:
            raise InvalidLabelError(
                f"`e0_method` isolated needs one isolated atom of {symbol}; frame {k} is another. Remove it."
            )
        if energy is not None:
            found[symbol] = energy + options.e0_offset
    missing = [symbol for symbol in symbols if symbol not in found]
    if missing:
        raise InvalidLabelError(
            f"`e0_method` isolated needs a frame with one isolated atom and its energy for every species; there is none for "
            f"{', '.join(missing)}. Add it, give e0, or use e0_method=average."
        )
    return found
