"""A recipe: blocks of kinds of structures, made one after the other, with where each structure comes from."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np
from ase import Atoms

from ..._validation import check_integer, check_real, describe, unknown_key
from ...exceptions import ConfigError
from ...labeling import canonical
from ...model.progress import track
from ...neighbors import check_structures
from .base import Details, Made, Plan, are_too_close, plain_copy
from .crystals import rattle, strain, volume
from .defects import divacancy, interstitial, vacancy
from .molecules import dimer, isolated
from .paths import neb
from .planes import grain_boundary, stacking_fault, surface, terrace
from .random_cells import random
from .snapshots import md

__all__ = ["KINDS", "BlockCount", "Generated", "generate"]

KINDS: dict[str, Callable[..., Plan]] = {
    "isolated": isolated,
    "dimer": dimer,
    "volume": volume,
    "strain": strain,
    "rattle": rattle,
    "vacancy": vacancy,
    "divacancy": divacancy,
    "interstitial": interstitial,
    "surface": surface,
    "terrace": terrace,
    "stacking_fault": stacking_fault,
    "grain_boundary": grain_boundary,
    "neb": neb,
    "random": random,
    "md": md,
}
"""What can be made, by the names that recipes use."""


@dataclass
class BlockCount:
    """How many structures a block has given.

    Attributes
    ----------
    name, kind : str
    frames : int
        That were kept.
    too_close : int
        That were left out because atoms were too close.
    """

    name: str
    kind: str
    frames: int = 0
    too_close: int = 0


@dataclass
class Generated:
    """Structures of a recipe.

    Attributes
    ----------
    frames : list of ase.Atoms
        Without labels; ``info`` has ``config_type`` (the block), ``gapkit_kind``, ``gapkit_parameters``, ``gapkit_frame`` and
        ``gapkit_seed``.
    blocks : list of BlockCount
    """

    frames: list[Atoms] = field(default_factory=list)
    blocks: list[BlockCount] = field(default_factory=list)


def generate(
    recipe: Mapping[str, Mapping[str, Any] | None],
    start: Sequence[Atoms] = (),
    *,
    driver: Any = None,
    min_distance: float = 0.5,
    random_state: int = 0,
    verbose: int = 0,
) -> Generated:
    """Make structures to be labelled.

    Parameters
    ----------
    recipe : mapping of str to mapping
        Blocks: the name of a kind (`KINDS`), or any name with the kind under ``type``; the name becomes the configuration type
        of its structures.  Values are parameters of the kind, and ``start``, structures of its own.
    start : sequence of ase.Atoms, optional
        What kinds start from: crystals in their conventional cell, molecules, the ends of a path.
    driver : ase calculator, optional
        What drives dynamics and relaxes paths.
    min_distance : float, default 0.5
        Structures with atoms closer than this share of the sum of their covalent radii are left out.
    random_state : int, default 0
        Seed; a block gives the same structures whatever other blocks there are.
    verbose : int, default 0
        Whether to show a progress bar.

    Returns
    -------
    Generated

    Raises
    ------
    ConfigError
        If a kind or parameter is unknown, with the nearest known one.
    ValueError
        If a value is out of range, distances cannot be had, or no structure is left.
    InvalidStructureError
        If a start is none that a kind can use, e.g. a cell that is too small.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from gapkit.datasets import generate
    >>> made = generate({"volume": {"n": 5}, "hot": {"type": "rattle", "n": 3}}, [bulk("Cu", cubic=True)])
    >>> [atoms.info["config_type"] for atoms in made.frames]
    ['volume', 'volume', 'volume', 'volume', 'volume', 'hot', 'hot', 'hot']
    """
    check_integer("random_state", random_state, at_least=0)
    check_real("min_distance", min_distance, at_least=0.0, at_most=1.0, remedy="It is relative to the sum of covalent radii.")
    if not recipe:
        raise ValueError(describe("recipe", "at least one block", dict(recipe), f"Kinds are {', '.join(KINDS)}."))
    common = _plain(start, "start") if len(start) else []
    blocks = [_Block.of(name, block or {}, common, driver, random_state) for name, block in recipe.items()]
    result = Generated()
    total = sum(block.plan.total for block in blocks)
    for block, made in track(_all(blocks), "generating", total, show=bool(verbose)):
        if not result.blocks or result.blocks[-1].name != block.name:
            result.blocks.append(BlockCount(block.name, block.kind))
        if are_too_close(made.atoms, min_distance):
            result.blocks[-1].too_close += 1
        else:
            result.blocks[-1].frames += 1
            result.frames.append(_with_provenance(made, block, random_state))
    if not result.frames:
        raise ValueError(
            f"`min_distance` must leave some structures; got {min_distance:g}, and in all {total} atoms are closer than that "
            "share of the sum of their covalent radii. Look at the start, or lower it."
        )
    return result


@dataclass(frozen=True)
class _Block:
    name: str
    kind: str
    parameters: Details
    plan: Plan

    @classmethod
    def of(cls, name: str, block: Mapping[str, Any], common: list[Atoms], driver: Any, seed: int) -> _Block:
        """Check a block; nothing is made yet."""
        if not isinstance(block, Mapping):
            raise ConfigError(f"Block {name!r} must hold parameters such as {{n: 20}}; got {block!r}.")
        kind = block.get("type", name)
        if kind not in KINDS:
            named = "" if "type" in block else " A block of another name needs `type`."
            raise ConfigError(unknown_key("kind", kind, KINDS) + named)
        signature = inspect.signature(KINDS[kind]).parameters
        known = [p.name for p in signature.values() if p.kind is p.KEYWORD_ONLY and p.name != "driver"]
        given = {key: value for key, value in block.items() if key not in ("type", "start")}
        for key in given:
            if key not in known:
                raise ConfigError(unknown_key(f"parameter of {kind!r}", key, [*known, "start"]))
        starts = _plain(block["start"], f"{name}.start") if block.get("start") is not None else common
        rng = np.random.default_rng([seed, crc32(str(name).encode())])
        drives = {"driver": driver} if "driver" in signature else {}
        plan = KINDS[kind](starts, rng, **given, **drives)
        parameters = {key: given.get(key, signature[key].default) for key in known}
        return cls(str(name), kind, parameters, plan)


def _all(blocks: Sequence[_Block]) -> Iterator[tuple[_Block, Made]]:
    for block in blocks:
        for made in block.plan.structures:
            yield block, made


def _plain(frames: Sequence[Atoms], name: str) -> list[Atoms]:
    return [plain_copy(atoms) for atoms in check_structures(frames, name=name)]


def _with_provenance(made: Made, block: _Block, seed: int) -> Atoms:
    atoms = canonical(made.atoms)  # with the digits that files keep: what is labelled now is what is read later
    atoms.info["config_type"] = f"{block.name}_{made.suffix}" if made.suffix else block.name
    atoms.info["gapkit_kind"] = block.kind
    for key, values in (("gapkit_parameters", block.parameters), ("gapkit_frame", made.details)):
        if text := _text(values):  # extended xyz has no empty words
            atoms.info[key] = text
    atoms.info["gapkit_seed"] = seed
    return atoms


def _text(values: Details) -> str:
    """Names and values as words, which extended xyz keeps."""
    return " ".join(f"{name}={_word(value)}" for name, value in values.items() if value is not None)


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "(" + ",".join(map(_word, value)) + ")"
    return f"{value:.8g}" if isinstance(value, float) else str(value)
