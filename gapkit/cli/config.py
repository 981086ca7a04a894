"""gap.yaml: one flat, strict configuration, to an estimator and back.

A block is one term and merges the parameters of Term, descriptor and kernel:

    soap: {r_cut: 5.0, n_max: 8, l_max: 6, sigma: 0.5, zeta: 4, delta: 1.0, n_sparse: 1000}
    noise: {energy: 1e-3, forces: 0.05, stress: 1e-2, liquid: {forces: 0.2}}
    e0: auto
    baseline: {type: zbl}
    card: {dft: {functional: PBE, code: VASP, cutoff: 520 eV}, citation: doi of the data}
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from .._validation import unknown_key
from ..descriptors import DESCRIPTORS, DScribe, QuipBasis, ThreeBody, TurboBasis, TwoBody
from ..exceptions import ConfigError
from ..gp import Noise
from ..kernels import KERNELS, Constant, Kernel, Product, Sum
from ..model import SEARCHES, ZBL, Baseline, GAPRegressor, Glue, Term
from ..model.baseline import wrap_calculator

__all__ = ["card_of", "config_of", "dump_config", "has_terms", "model_from_config", "override", "read_config"]

Config = dict[str, Any]

_KERNEL_OF_PARAMETER = {"zeta": "dot_product", "length_scale": "rbf"}  # without the key "kernel"
_TERM_PARAMETERS = ("delta", "n_sparse", "selection", "scale")
_FOREIGN_BASES: dict[str, type[QuipBasis | TurboBasis]] = {"quip": QuipBasis, "turbo": TurboBasis}
_TOP = ("noise", "e0", "baseline", "approximation", "optimize", "force_fraction", "jitter", "random_state", "labels", "card")
_LABEL_KINDS = ("energy", "forces", "stress")


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers: PyYAML takes 1e-3 for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def read_config(path: str | Path) -> Config:
    """Read a YAML file.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    dict

    Raises
    ------
    ConfigError
        If it is not YAML, or not a mapping.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}. `gapkit init` writes one.")
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} must be YAML; {error}") from error
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise ConfigError(f"{path} must hold blocks such as `soap: {{r_cut: 5.0}}`; got {type(config).__name__}.")
    return config


def override(config: Config, assignments: list[str]) -> Config:
    """Apply ``--set soap.n_sparse=2000``.

    Parameters
    ----------
    config : dict
        Not changed.
    assignments : list of str
        "block.key=value" or "key=value", values in YAML.

    Returns
    -------
    dict
    """
    result = {key: dict(value) if isinstance(value, dict) else value for key, value in config.items()}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"--set must be key=value, e.g. soap.n_sparse=2000; got {text!r}.")
        *blocks, key = name.strip().split(".")
        place = result
        for block in blocks:
            place = place.setdefault(block, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {text}: {block!r} is not a block.")
        place[key] = yaml.load(value, _Loader)  # noqa: S506 - a SafeLoader
    return result


def model_from_config(config: Mapping[str, Any], *, verbose: int = 0) -> GAPRegressor:
    """Build the estimator that a configuration describes.

    Parameters
    ----------
    config : mapping
        From `read_config`.
    verbose : int, default 0
        For the estimator.

    Returns
    -------
    GAPRegressor

    Raises
    ------
    ConfigError
        If a key is unknown (with the nearest known one) or a value has the wrong kind.
    """
    terms: list[Term | tuple[str, Term]] = []
    for name, block in config.items():
        if name in _TOP:
            continue
        kinds = _descriptor_names()
        if name not in kinds and not (isinstance(block, Mapping) and "type" in block):
            raise ConfigError(unknown_key("block", name, [*kinds, *_TOP]) + ' A term with another name needs "type".')
        if not isinstance(block, Mapping):
            raise ConfigError(f"Block {name!r} must hold parameters such as {{r_cut: 5.0}}; got {block!r}.")
        terms.append((name, _term(name, block)))
    seed = config.get("random_state", 0)
    return GAPRegressor(
        terms or None,
        noise=_noise(config.get("noise", {}), "noise"),
        e0=config.get("e0", "auto"),
        baseline=_baseline(config.get("baseline")),
        approximation=config.get("approximation", "dtc"),
        optimize=_searches(config.get("optimize")),
        force_fraction=config.get("force_fraction", 1.0),
        jitter=config.get("jitter", 0.0),
        random_state=seed,
        verbose=verbose,
    )


def has_terms(config: Mapping[str, Any]) -> bool:
    """Whether a configuration has a block for a term."""
    return any(key not in _TOP for key in config)


def label_keys(config: Mapping[str, Any]) -> dict[str, str]:
    """Names of the label keys, from the block ``labels``."""
    block = config.get("labels") or {}
    if not isinstance(block, Mapping):
        raise ConfigError(f"Block 'labels' must be {{energy: REF_energy, ...}}; got {block!r}.")
    for key in block:
        if key not in _LABEL_KINDS:
            raise ConfigError(unknown_key("key in block 'labels'", key, _LABEL_KINDS))
    return {key: str(value) for key, value in block.items()}


def card_of(config: Mapping[str, Any]) -> Config:
    """What the maker says of the data, from the block ``card``: any keys, e.g. dft and citation; kept in the model file."""
    block = config.get("card") or {}
    if not isinstance(block, Mapping):
        raise ConfigError(f"Block 'card' must hold keys such as {{dft: {{functional: PBE}}, citation: ...}}; got {block!r}.")
    try:
        json.dumps(block)
    except TypeError as error:
        raise ConfigError(f"Block 'card' must hold text, numbers, lists and blocks; {error}. Quote dates.") from None
    return dict(block)


def config_of(model: GAPRegressor, *, defaults: bool = True) -> Config:
    """The configuration that an estimator amounts to.

    Parameters
    ----------
    model : GAPRegressor
        Fitted or not.
    defaults : bool, default True
        Whether to list parameters of terms that have their default value.

    Returns
    -------
    dict
    """
    kinds = {cls: kind for kind, cls in _descriptor_names().items()}
    config: Config = {}
    for name, term in model.named_terms():
        if type(term.descriptor) not in kinds:
            config[name] = repr(term.descriptor)
            continue
        kind = kinds[type(term.descriptor)]
        block: Config = {} if name == kind else {"type": kind}
        block.update(_plain(term.descriptor.get_params(deep=False)))
        block.update(_kernel_block(term.kernel))
        n = term.n_sparse
        block.update(delta=term.delta, n_sparse=dict(n) if isinstance(n, Mapping) else n)
        block["selection"] = _plain_selection(term.selection)
        block["scale"] = _plain_scale(term.scale)
        config[name] = block if defaults else _without_defaults(block, type(term.descriptor))
    noise: Noise = getattr(model, "noise_", None) or model.noise or Noise()
    config["noise"] = {k: v for k, v in noise.get_params(deep=False).items() if k != "per_config_type"}
    for name, other in (noise.per_config_type or {}).items():
        config["noise"][name] = {k: v for k, v in other.get_params(deep=False).items() if k != "per_config_type"}
    config["e0"] = dict(model.e0) if isinstance(model.e0, Mapping) else model.e0
    baseline = wrap_calculator(getattr(model, "baseline_", None) or model.baseline)
    if isinstance(baseline, Baseline):
        config["baseline"] = f"{baseline.describe()}: a calculator, for Python only"
    elif isinstance(baseline, Glue):
        config["baseline"] = f"Glue of {', '.join(baseline.pairs)}: tables, for Python only"
    elif baseline is not None:
        config["baseline"] = {"type": "zbl"} | baseline.get_params(deep=False)
    if model.approximation != "dtc":
        config["approximation"] = model.approximation
    if model.optimize:
        config["optimize"] = list(model.optimize)
    if model.force_fraction != 1.0:
        config["force_fraction"] = model.force_fraction
    if model.jitter:
        config["jitter"] = model.jitter
    config["random_state"] = model.random_state
    given = getattr(model, "card_", {}).get("given")
    if given:
        config["card"] = given
    return config


def dump_config(config: Config) -> str:
    """A configuration as YAML, one line per block.

    Parameters
    ----------
    config : dict
        From `config_of`.

    Returns
    -------
    str
    """
    lines = []
    for key, value in config.items():
        text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6).strip()
        lines.append(f"{key}: {text.removesuffix('...').strip()}")
    return "\n".join(lines)


def _snake(name: str) -> str:
    """SOAP -> soap, TwoBody -> two_body."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _descriptor_names() -> dict[str, type]:
    """Block types: the snake case of each descriptor class."""
    return {_snake(name): cls for name, cls in DESCRIPTORS.items() if cls is not DScribe}  # an object of Python, not of YAML


def _kernel_names() -> dict[str, type]:
    """Values of the key ``kernel``; sums and products are made in Python."""
    return {_snake(name): cls for name, cls in KERNELS.items() if cls not in (Constant, Sum, Product)}


def _parameters(cls: type) -> list[str]:
    return [name for name in inspect.signature(cls).parameters if name != "self"]


def _term(name: str, block: Mapping[str, Any]) -> Term:
    values = dict(block)
    kinds = _descriptor_names()
    kind = values.pop("type", name)
    if kind not in kinds:
        raise ConfigError(unknown_key(f"type of block {name!r}", kind, list(kinds)))
    descriptor_class = kinds[kind]
    kernel_class = _kernel_class(name, values, "rbf" if descriptor_class in (TwoBody, ThreeBody) else "dot_product")
    of_kernel = _parameters(kernel_class)
    known = [*_parameters(descriptor_class), *_TERM_PARAMETERS, *of_kernel, *_KERNEL_OF_PARAMETER, "type", "kernel"]
    for key in values:
        if key not in known:
            raise ConfigError(unknown_key(f"key in block {name!r}", key, known))
    kernel: Kernel = kernel_class(**{key: values.pop(key) for key in of_kernel if key in values})
    if isinstance(values.get("rbf"), Mapping):
        values["rbf"] = _foreign_basis(values["rbf"], name)
    if isinstance(values.get("exponents"), list):
        values["exponents"] = tuple(values["exponents"])  # YAML has none
    of_term = {key: values.pop(key) for key in _TERM_PARAMETERS if key in values}
    term = Term(descriptor_class(**values), kernel, **of_term)
    term.check_parameters()
    return term


def _kernel_class(name: str, values: Config, default: str) -> type:
    """The kernel of a block: by its key ``kernel``, which is taken out, else by the parameter that is there."""
    kinds = _kernel_names()
    chosen = [key for key in _KERNEL_OF_PARAMETER if key in values]
    if "kernel" in values:
        kind = str(values.pop("kernel"))
        if kind not in kinds:
            raise ConfigError(unknown_key(f"kernel of block {name!r}", kind, list(kinds)))
        foreign = [key for key in chosen if key not in _parameters(kinds[kind])]
        if foreign:
            raise ConfigError(f"Block {name!r} must not have {foreign}: the kernel {kind} has {_parameters(kinds[kind])}.")
        return kinds[kind]
    if len(chosen) > 1:
        raise ConfigError(f"Block {name!r} must have one of {chosen}: each belongs to another kernel. Remove one.")
    return kinds[_KERNEL_OF_PARAMETER[chosen[0]] if chosen else default]


def _kernel_block(kernel: Kernel) -> Config:
    """Keys of a block that make a kernel; a kernel that no block can make is shown as Python writes it."""
    kind = _snake(type(kernel).__name__)
    if kind not in _kernel_names():
        return {"kernel": repr(kernel)}
    implied = {} if kind in _KERNEL_OF_PARAMETER.values() else {"kernel": kind}
    return {**implied, **kernel.get_params(deep=False)}


def _plain_selection(selection: Any) -> Any:
    """Methods and lists of indices as YAML holds them."""
    if isinstance(selection, Mapping):
        return {group: _plain_selection(chosen) for group, chosen in selection.items()}
    if np.ndim(selection) == 2:
        return f"{len(selection)} given points: an array, for Python only"
    return selection if isinstance(selection, str) else [int(k) for k in selection]


def _plain_scale(scale: Any) -> Any:
    """Names and numbers as YAML holds them."""
    if isinstance(scale, Mapping):
        return {group: _plain_scale(of_group) for group, of_group in scale.items()}
    return scale if scale is None or isinstance(scale, str) else [float(s) for s in np.atleast_1d(scale)]


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters as YAML holds them."""
    types = {basis: {"type": name} for name, basis in _FOREIGN_BASES.items()}
    return {
        key: types[type(value)] | value.get_params(deep=False) if type(value) in types else value
        for key, value in parameters.items()
    }


def _without_defaults(block: Config, descriptor: type) -> Config:
    """Leave out what a reader of the file would fill in."""
    standard = {
        key: parameter.default for cls in (Term, descriptor) for key, parameter in inspect.signature(cls).parameters.items()
    }
    return {key: value for key, value in block.items() if key not in standard or standard[key] != value}


def _foreign_basis(block: Mapping[str, Any], name: str) -> QuipBasis | TurboBasis:
    """``rbf: {type: quip, central_weight: 0.5}``."""
    kind = _FOREIGN_BASES.get(str(block.get("type")))
    if kind is None:
        types = " or ".join(f"{{type: {known}, ...}}" for known in _FOREIGN_BASES)
        raise ConfigError(f"`rbf` of block {name!r} must be gto, polynomial, {types}; got {dict(block)!r}.")
    known = _parameters(kind)
    for key in block:
        if key not in (*known, "type"):
            raise ConfigError(unknown_key(f"key of rbf in block {name!r}", key, known))
    return kind(**{key: value for key, value in block.items() if key != "type"})


def _noise(block: Any, name: str) -> Noise:
    if not isinstance(block, Mapping):
        raise ConfigError(f"Block {name!r} must be {{energy: 1e-3, forces: 0.05, stress: 1e-2}}; got {block!r}.")
    known = [p for p in _parameters(Noise) if p != "per_config_type"]
    own = {key: value for key, value in block.items() if key in known}
    types = {}
    for key, value in block.items():
        if key in known:
            continue
        if not isinstance(value, Mapping):
            raise ConfigError(unknown_key(f"key in block {name!r}", key, known) + " A configuration type holds a block.")
        types[key] = _noise({**own, **value}, f"{name}.{key}")
    noise = Noise(**own, per_config_type=types or None)
    noise.check_parameters()
    return noise


def _baseline(block: Any) -> ZBL | None:
    """``baseline: {type: zbl, r_outer: 2.0}``; calculators are objects of Python, not of YAML."""
    if block is None:
        return None
    if not isinstance(block, Mapping) or block.get("type") != "zbl":
        raise ConfigError(
            f"Block 'baseline' must be {{type: zbl}}, with r_outer and r_inner if you like; got {block!r}. "
            "An ASE calculator is given in Python: GAPRegressor(baseline=Baseline(calculator))."
        )
    known = [*_parameters(ZBL), "type"]
    for key in block:
        if key not in known:
            raise ConfigError(unknown_key("key in block 'baseline'", key, known))
    return ZBL(**{key: value for key, value in block.items() if key != "type"})


def _searches(value: Any) -> tuple[str, ...]:
    """``optimize: [noise, delta]``, checked."""
    names = tuple(value) if isinstance(value, (list, tuple)) else () if value is None else (value,)
    for name in names:
        if name not in SEARCHES:
            raise ConfigError(unknown_key("entry of optimize", name, SEARCHES))
    return names
