"""Command lines of gap_fit, QUIP's program that fits, as plain records.

Which keys there are, their defaults and what they mean was found from documentation and by running the program; see
docs/gap_fit.rst.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .._validation import check_choice, describe
from ..exceptions import ConfigError, ModelFormatError, NumericalWarning
from .arguments import Arguments, parse_arguments, split_descriptors, split_words

__all__ = ["GapFitCommand", "GapFitDescriptor", "Sigmas", "read_gap_fit"]

_PROGRAMS = ("gap_fit", "teach_sparse")

_LABELS = ("energy", "force", "virial", "stress", "hessian", "local_property")

_ALIASES = {
    "at_file": "atoms_filename",
    "baseline_ip_args": "core_ip_args",
    "baseline_param_filename": "core_param_file",
    "config_type_kernel_regularisation": "config_type_sigma",
    "default_kernel_regularisation": "default_sigma",
    "default_kernel_regularisation_local_property": "default_local_property_sigma",
    "do_copy_at_file": "do_copy_atoms_file",
    "gp_file": "gap_file",
    "hessian_displacement": "hessian_delta",
    "kernel_regularisation_is_per_atom": "sigma_per_atom",
    "kernel_regularisation_parameter_name": "sigma_parameter_name",
}
"""Other names of keys."""

_WITHOUT_EFFECT = (
    *("condition_number_norm", "config_file", "default_local_property_sigma", "do_copy_atoms_file", "do_ip_timing"),
    *("export_covariance", "hessian_delta", "linear_system_dump_file", "local_property_mask_parameter_name"),
    *("mpi_blocksize_cols", "mpi_blocksize_rows", "mpi_print_all", "openmp_chunk_size", "sparse_separate_file"),
    *("sparse_use_actual_gpcov", "template_file", "verbosity"),
)
"""Keys of output, parallel work and labels that gapkit does not have: they do not change the model."""

_KERNELS = {"ard_se": "ard_se", "gaussian": "ard_se", "dot_product": "dot_product", "pp": "pp"}

_METHODS = (
    *("none", "random", "pivot", "cluster", "uniform", "kmeans", "covariance", "fuzzy", "file", "index_file"),
    *("cur_covariance", "cur_points"),
)
_SIGMAS_PER_TYPE = 5  # a name and four numbers


class Sigmas(NamedTuple):
    """Regularisation of each kind of label: eV, eV/Å, eV, and of Hessians."""

    energy: float
    force: float
    virial: float
    hessian: float


@dataclass(frozen=True)
class GapFitDescriptor:
    """One descriptor of ``gap={...}`` and how it is fitted.

    Attributes
    ----------
    text : str
        As gap_fit writes it into its XML, options of the fit included; without species that ``add_species`` adds.
    name : str
        Such as "soap".
    kernel : {"ard_se", "dot_product", "pp"}
    delta, f0 : float
        eV.
    zeta : float or None
        Exponent of the scalar product.
    theta_uniform : float or None
        Length scale of all dimensions.
    theta_fac : list of float
        Length scales over the range of the data, one or one for each dimension; empty if not given.
    theta_file : str
        File of length scales; "" if not given.
    n_sparse : int
        Sparse points for every combination of species; 0 where something else says how many.
    config_type_n_sparse : str
        Sparse points by configuration type; "" if not given.
    sparse_method : str
        In lower case.
    sparse_file : str
        For "file" and "index_file".
    add_species : bool
        Whether there is one of it for every combination of species.
    """

    text: str
    name: str
    kernel: str
    delta: float
    f0: float
    zeta: float | None
    theta_uniform: float | None
    theta_fac: list[float]
    theta_file: str
    n_sparse: int
    config_type_n_sparse: str
    sparse_method: str
    sparse_file: str
    add_species: bool


@dataclass(frozen=True)
class GapFitCommand:
    """What gap_fit is asked to do.

    Attributes
    ----------
    atoms_filename : str
        Training structures.
    descriptors : list of GapFitDescriptor
    default_sigma : Sigmas
    config_type_sigma : dict of str to Sigmas
        By configuration type; "default" replaces ``default_sigma``.
    sigma_per_atom : bool
        Whether those of energies and virials are multiplied by the square root of the number of atoms.
    keys : dict of str to str
        Names of labels and properties in the file, prefix included: "energy", "force", "virial", "stress", "hessian",
        "local_property", "config_type", "sigma", "force_mask".
    named : frozenset of str
        Those of ``keys`` that the command names.
    e0 : float, dict of str to float, or None
        Energies of isolated atoms (one for all, or by chemical symbol, 0 for others), eV; None: by ``e0_method``.
    e0_method : {"isolated", "average"}
    e0_offset : float
        Added to all of them, eV.
    sparse_jitter : float
        eV².
    core_ip_args, core_param_file : str
        Potential under the model; "" without.
    gap_file : str
        What gap_fit would write.
    rnd_seed : int
        Negative: from the clock.
    """

    atoms_filename: str
    descriptors: list[GapFitDescriptor]
    default_sigma: Sigmas
    config_type_sigma: dict[str, Sigmas]
    sigma_per_atom: bool
    keys: dict[str, str]
    named: frozenset[str]
    e0: float | dict[str, float] | None
    e0_method: str
    e0_offset: float
    sparse_jitter: float
    core_ip_args: str
    core_param_file: str
    gap_file: str
    rnd_seed: int

    def sigmas_of(self, config_type: str) -> Sigmas:
        """Regularisation of the frames of a configuration type, "" for those without one."""
        default = self.config_type_sigma.get("default", self.default_sigma)
        return self.config_type_sigma.get(config_type, default)


def read_gap_fit(command: str, folder: str | Path = ".") -> GapFitCommand:
    """Read a command line of gap_fit.

    Parameters
    ----------
    command : str
        Options, with or without what a shell needs: the name of the program and what stands before it, quotation marks, ends
        of lines behind a backslash.  With ``config_file`` the options in that file count and no others.
    folder : str or Path, default "."
        Where ``config_file`` is.

    Returns
    -------
    GapFitCommand

    Raises
    ------
    ConfigError
        If a brace is not closed, a mandatory key is missing, a value is no number, or gapkit has no such method.
    FileNotFoundError
        If there is no ``config_file``.

    Warns
    -----
    NumericalWarning
        About keys that gap_fit does not know.
    """
    try:
        return _command(_options(command, Path(folder)))
    except ModelFormatError as error:
        raise ConfigError(str(error)) from error


def _options(command: str, folder: Path) -> Arguments:
    """Options by their main names."""
    words = split_words(command.replace("\\\n", " ").replace("\n", " "))
    programs = [k for k, word in enumerate(words) if word.rpartition("/")[2] in _PROGRAMS]
    text = " ".join(words[programs[-1] + 1 if programs else 0 :])
    values = _by_main_names(parse_arguments(text).values)
    file = values.get("config_file", "").strip()
    if file:
        if not (folder / file).exists():
            raise FileNotFoundError(f"`config_file` must exist; there is no {folder / file}.")
        text = (folder / file).read_text(encoding="utf-8").replace("\n", " ")
        values = _by_main_names(parse_arguments(text).values)
    return Arguments(values, text)


def _by_main_names(values: Mapping[str, str]) -> dict[str, str]:
    """Of a key that is there under two names, too, the last counts."""
    return {_ALIASES.get(key.lower(), key.lower()): value for key, value in values.items()}


def _command(options: Arguments) -> GapFitCommand:
    _refuse(options)
    descriptors = [_descriptor(text) for text in split_descriptors(options.text_of("gap"))]
    if not descriptors:
        raise ConfigError(describe("gap", "{descriptor options : descriptor options}", "{}", "Write at least one."))
    prefix, keys, named = options.text_of("parameter_name_prefix", default=""), {}, set()
    for name in (*_LABELS, "config_type", "sigma", "force_mask"):
        key = f"{name}_parameter_name"
        keys[name] = prefix + options.text_of(key, default=name)
        if key in options:
            named.add(name)
    result = GapFitCommand(
        atoms_filename=options.text_of("atoms_filename"),
        descriptors=descriptors,
        default_sigma=Sigmas(*options.reals("default_sigma", count=4)),
        config_type_sigma=_sigmas_of_types(options.text_of("config_type_sigma", default="")),
        sigma_per_atom=options.flag("sigma_per_atom", default=True),
        keys=keys,
        named=frozenset(named),
        e0=_e0(options.text_of("e0")) if "e0" in options else None,
        e0_method=options.text_of("e0_method", default="isolated").lower(),
        e0_offset=options.real("e0_offset", default=0.0),
        sparse_jitter=options.real("sparse_jitter", default=1e-10),
        core_ip_args=options.text_of("core_ip_args", default=""),
        core_param_file=options.text_of("core_param_file", default="quip_params.xml"),
        gap_file=options.text_of("gap_file", default="gap_new.xml"),
        rnd_seed=options.integer("rnd_seed", default=-1),
    )
    check_choice("e0_method", result.e0_method, ("isolated", "average"))
    known = [*options.asked(), *_WITHOUT_EFFECT]
    for key in options.not_asked():
        if key not in _WITHOUT_EFFECT:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.7)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            warnings.warn(f"gap_fit has no option {key!r}; it is ignored.{hint}", NumericalWarning, stacklevel=4)
    return result


def _refuse(options: Arguments) -> None:
    """Raise ConfigError about what gapkit does not do at all."""
    for key in ("sparsify_only_no_fit", "dryrun"):
        if options.flag(key, default=False):
            raise ConfigError(describe(key, "F", "T", "gapkit estimate says what a fit would take. Leave the key out."))
    if options.real("local_property0", default=0.0) != 0.0:
        raise ConfigError("gapkit does not fit local properties; got local_property0. Leave it out to fit energies.")


def _descriptor(raw: str) -> GapFitDescriptor:
    text = _without_outer_braces(raw)
    options = parse_arguments(text)
    stray = [key for key in options.values if _is_number(key)]
    if stray:
        warnings.warn(
            f"gap_fit takes one pair of braces off each value inside gap={{...}}, so that it skips {', '.join(stray)} in "
            f"{raw!r}, and so does gapkit. Write key={{{{1 2 3}}}} with double braces if they are meant.",
            NumericalWarning,
            stacklevel=5,
        )
        text = " ".join(word for word in split_words(text) if not _is_number(word))
    kind, method = options.text_of("covariance_type").lower(), options.text_of("sparse_method", default="random").lower()
    where = f"It is in {text!r}."
    if kind not in _KERNELS:
        raise ConfigError(describe("covariance_type", f"one of {', '.join(_KERNELS)}", kind, where))
    if method not in _METHODS:
        raise ConfigError(describe("sparse_method", f"one of {', '.join(_METHODS)}", method, where))
    n_sparse, of_types = options.integer("n_sparse", default=0), options.text_of("config_type_n_sparse", default="").strip()
    if n_sparse < 1 and not of_types and method not in ("none", "file", "index_file"):
        raise ConfigError(describe("n_sparse", "at least 1", n_sparse, where))
    zeta, theta_uniform, theta_fac, theta_file = _length_scales(options, _KERNELS[kind], where)
    delta = options.real("delta", "energy_scale")
    if delta <= 0.0:
        raise ConfigError(describe("delta", "above 0", delta, where))
    return GapFitDescriptor(
        text=text,
        name=split_words(text)[0],
        kernel=_KERNELS[kind],
        delta=delta,
        f0=options.real("f0", default=0.0),
        zeta=zeta,
        theta_uniform=theta_uniform,
        theta_fac=theta_fac,
        theta_file=theta_file,
        n_sparse=n_sparse,
        config_type_n_sparse=of_types,
        sparse_method=method,
        sparse_file=options.text_of("sparse_file", default=None if method in ("file", "index_file") else ""),
        add_species=options.flag("add_species", default=True),
    )


def _length_scales(options: Arguments, kernel: str, where: str) -> tuple[float | None, float | None, list[float], str]:
    """Of zeta, theta_uniform, theta_fac and theta_file the one that is given, checked."""
    zeta, uniform = (
        options.real(*names) if any(name in options for name in names) else None
        for names in (("zeta", "soap_exponent"), ("theta_uniform", "lengthscale_uniform"))
    )
    factors = options.reals("theta_fac", "lengthscale_factor", default=[])
    file = options.text_of("theta_file", "lengthscale_file", default="").strip()
    given = sum((zeta is not None, uniform is not None, bool(factors), bool(file)))
    if given != 1 or (zeta is not None) != (kernel == "dot_product"):
        rule = "zeta" if kernel == "dot_product" else "one of theta_uniform, theta_fac and theta_file"
        raise ConfigError(f"`covariance_type` {kernel} must come with {rule}, and with none of the others. {where}")
    for value in (zeta, uniform, *factors):
        if value is not None and value <= 0.0:
            raise ConfigError(describe("zeta" if zeta is not None else "theta", "above 0", value, where))
    return zeta, uniform, factors, file


def _without_outer_braces(text: str) -> str:
    """Without the outermost pair of braces of each value, as gap_fit passes descriptors on."""
    result, depth = [], 0
    for letter in text:
        depth -= letter == "}"
        if letter not in "{}" or depth > 0:
            result.append(letter)
        depth += letter == "{"
    return "".join(result)


def _is_number(word: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eEdD][-+]?\d+)?", word) is not None


def _sigmas_of_types(text: str) -> dict[str, Sigmas]:
    """``type:E:F:V:H:type:E:F:V:H``; colons and blanks separate."""
    words = [word for word in re.split(r"[:\s]+", text) if word]
    rule, remedy = "{type:energy:force:virial:hessian:type:...}", "Names of types hold neither blanks nor colons."
    if len(words) % _SIGMAS_PER_TYPE:
        raise ConfigError(describe("config_type_sigma", rule, text, remedy))
    result = {}
    for k in range(0, len(words), _SIGMAS_PER_TYPE):
        name, *numbers = words[k : k + _SIGMAS_PER_TYPE]
        if not all(map(_is_number, numbers)):
            raise ConfigError(describe("config_type_sigma", rule, text, remedy))
        result[name] = Sigmas(*(float(x.lower().replace("d", "e")) for x in numbers))
    return result


def _e0(text: str) -> float | dict[str, float]:
    """One number, or ``Si:-158.5:O:-432``."""
    words = [word for word in re.split(r"[:\s]+", text) if word]
    if len(words) == 1 and _is_number(words[0]):
        return float(words[0].lower().replace("d", "e"))
    symbols, numbers = words[::2], words[1::2]
    if not words or len(words) % 2 or not all(map(_is_number, numbers)) or any(map(_is_number, symbols)):
        raise ConfigError(describe("e0", "a number (eV) or {Si:-158.5:O:-432.1}", text))
    return {symbol: float(x.lower().replace("d", "e")) for symbol, x in zip(symbols, numbers, strict=True)}
