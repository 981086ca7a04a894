"""QUIP's way to write options: ``key=value key={several values} key="text"``."""

from __future__ import annotations

from collections.abc import Mapping

from .._validation import describe
from ..exceptions import ModelFormatError

__all__ = ["Arguments", "parse_arguments", "split_descriptors", "split_words"]

_CLOSING = {"{": "}", '"': '"', "'": "'"}


class Arguments:
    """Options of one descriptor or command, by key; remembers which were asked for.

    Parameters
    ----------
    values : mapping of str to str
        Options in the order of the text; of a key given twice the last counts, as in QUIP.
    text : str
        Where they come from, for messages.
    """

    def __init__(self, values: Mapping[str, str], text: str) -> None:
        self.values = dict(values)
        self.text = text.strip()
        self._asked: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def text_of(self, *keys: str, default: str | None = None) -> str:
        """Value of a key, which may have several names; ``default`` None makes it mandatory.

        Raises
        ------
        ModelFormatError
            If a mandatory key is missing.
        """
        self._asked.update(keys)
        for key in keys:
            if key in self.values:
                return self.values[key]
        if default is None:
            raise ModelFormatError(f"QUIP's options must hold {' or '.join(keys)!r}; missing in {self.text!r}. Add it.")
        return default

    def real(self, *keys: str, default: float | None = None) -> float:
        """Value of a key as a number; raises ModelFormatError if it is none."""
        return self.reals(*keys, default=None if default is None else [default], count=1)[0]

    def reals(self, *keys: str, default: list[float] | None = None, count: int | None = None) -> list[float]:
        """Values of a key as numbers; raises ModelFormatError if they are none, or not ``count``."""
        text = self.text_of(*keys, default=None if default is None else " ".join(f"{x!r}" for x in default))
        try:
            numbers = [float(word.lower().replace("d", "e")) for word in text.split()]
        except ValueError as error:
            raise ModelFormatError(self._wrong(keys, "numbers", text)) from error
        if count is not None and len(numbers) != count:
            raise ModelFormatError(self._wrong(keys, f"{count} number" + "s" * (count != 1), text))
        return numbers

    def integer(self, *keys: str, default: int | None = None) -> int:
        """Value of a key as an integer; raises ModelFormatError if it is none."""
        return self.integers(*keys, default=None if default is None else [default], count=1)[0]

    def integers(self, *keys: str, default: list[int] | None = None, count: int | None = None) -> list[int]:
        """Values of a key as integers; raises ModelFormatError if they are none, or not ``count``."""
        numbers = self.reals(*keys, default=None if default is None else [float(x) for x in default], count=count)
        if any(x != int(x) for x in numbers):
            raise ModelFormatError(self._wrong(keys, "integers", " ".join(f"{x:g}" for x in numbers)))
        return [int(x) for x in numbers]

    def flag(self, *keys: str, default: bool | None = None) -> bool:
        """Value of a key as a Fortran logical; raises ModelFormatError if it is none."""
        text = self.text_of(*keys, default=None if default is None else "FT"[default])
        letter = text.strip().strip(".").upper()[:1]
        if letter not in ("T", "F"):
            raise ModelFormatError(self._wrong(keys, "T or F", text))
        return letter == "T"

    def asked(self) -> set[str]:
        """Keys that somebody asked for, whether they are there or not."""
        return set(self._asked)

    def not_asked(self) -> list[str]:
        """Keys that nobody asked for."""
        return [key for key in self.values if key not in self._asked]

    def _wrong(self, keys: tuple[str, ...], rule: str, got: str) -> str:
        given = next((key for key in keys if key in self.values), keys[0])
        return describe(given, rule, got, f"It is in {self.text!r}.")


def parse_arguments(text: str) -> Arguments:
    """Read ``key=value`` pairs; a key without value is true, and closing braces too many are ignored, as QUIP does.

    Parameters
    ----------
    text : str
        Values with blanks stand in braces or quotation marks, which may be nested in one another; so may a key with its value,
        as on a command line.

    Returns
    -------
    Arguments

    Raises
    ------
    ModelFormatError
        If a brace or quotation mark is not closed.
    """
    values: dict[str, str] = {}
    for word in split_words(text):
        key, sign, value = _bare(word).partition("=")
        if key.strip("}"):
            values[key] = _bare(value) if sign else "T"
    return Arguments(values, text)


def split_words(text: str) -> list[str]:
    """The words of a text; blanks in braces or quotation marks do not separate."""
    return _split(text, " \t\r\n")


def split_descriptors(text: str) -> list[str]:
    """The descriptors of ``gap={first : second}``, which a colon or semicolon separates."""
    return [part.strip() for part in _split(text, ":;") if part.strip()]


def _bare(value: str) -> str:
    """Without the braces or quotation marks around it."""
    while len(value) > 1 and value[0] in _CLOSING and value[-1] == _CLOSING[value[0]]:
        value = value[1:-1].strip()
    return value


def _split(text: str, separators: str) -> list[str]:
    """Split at separators outside braces and quotation marks."""
    parts, start = [], 0
    open_marks: list[str] = []
    for k, letter in enumerate(text):
        if open_marks and letter == open_marks[-1]:
            open_marks.pop()
        elif letter in _CLOSING and not (open_marks and open_marks[-1] != "}"):
            open_marks.append(_CLOSING[letter])
        elif not open_marks and letter in separators:
            parts.append(text[start:k])
            start = k + 1
    if open_marks:
        raise ModelFormatError(
            f"QUIP's options must close every brace and quotation mark; {open_marks[-1]!r} is missing in {text!r}."
        )
    return [part for part in [*parts, text[start:]] if part.strip()]
