"""Eight numbers that a loop handles as one, in vector registers (two of AVX2, one of AVX-512).

The compiler's own vectoriser gives up where a loop writes several arrays, which could overlap, and on sums along a short
axis.  Lanes run eight pairs of atoms, or eight radial functions, side by side instead: ``take`` and ``put`` move eight
neighbouring elements from and to a row of an array with eight columns, ``spread`` and ``repeat`` give lanes that all hold one
number, ``+``, ``-`` and ``*`` act on each.  They exist inside compiled loops only.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.core import cgutils, errors, types
from numba.extending import intrinsic, models, overload, register_model

__all__ = ["N_LANES", "put", "repeat", "spread", "take"]

N_LANES = 8

_VECTOR = ir.VectorType(ir.DoubleType(), N_LANES)
_CONTRACT = ("contract",)  # a * b + c in one instruction


class _Lanes(types.Type):
    """Numba's type of lanes."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


_LANES = _Lanes()


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def _check(array: Any) -> None:
    if array.layout != "C":
        raise errors.TypingError(f"Lanes need rows that are contiguous in memory; got {array}.")


def _row(context: Any, builder: Any, array_type: Any, array: Any, row: Any) -> Any:
    """Pointer to the first element of a row, as one to lanes."""
    made = context.make_array(array_type)(context, builder, array)
    zero = ir.Constant(row.type, 0)
    pointer = cgutils.get_item_pointer(context, builder, array_type, made, [row, zero], wraparound=False)
    return builder.bitcast(pointer, ir.PointerType(_VECTOR))


@intrinsic  # type: ignore[untyped-decorator]
def take(typing: Any, array: Any, row: Any) -> Any:
    """Lanes from ``array[row]``."""
    _check(array)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = context.cast(builder, arguments[1], signature.args[1], types.intp)
        return builder.load(_row(context, builder, signature.args[0], arguments[0], place), align=8)

    return _LANES(array, row), generate


@intrinsic  # type: ignore[untyped-decorator]
def put(typing: Any, array: Any, row: Any, value: Any) -> Any:
    """Write lanes to ``array[row]``."""
    _check(array)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = context.cast(builder, arguments[1], signature.args[1], types.intp)
        builder.store(arguments[2], _row(context, builder, signature.args[0], arguments[0], place), align=8)
        return context.get_dummy_value()

    return types.void(array, row, value), generate


@intrinsic  # type: ignore[untyped-decorator]
def spread(typing: Any, number: Any) -> Any:
    """Lanes that all hold one number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _spread(builder, arguments[0])

    return _LANES(types.float64), generate


@intrinsic  # type: ignore[untyped-decorator]
def repeat(typing: Any, array: Any, row: Any, column: Any) -> Any:
    """Lanes that all hold ``array[row, column]``; without the question, which indexing asks, whether a number is negative."""
    _check(array)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = [context.cast(builder, arguments[k], signature.args[k], types.intp) for k in (1, 2)]
        pointer = cgutils.get_item_pointer(context, builder, signature.args[0], made, place, wraparound=False)
        return _spread(builder, builder.load(pointer))

    return _LANES(array, row, column), generate


def _spread(builder: Any, number: Any) -> Any:
    first = ir.Constant(ir.IntType(32), 0)
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), number, first)
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), N_LANES), [0] * N_LANES))


def _operation(name: str) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def of_lanes(typing: Any, left: Any, right: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, name)(*arguments, flags=_CONTRACT)

        return _LANES(left, right), generate

    return of_lanes


_add, _subtract, _multiply = (_operation(name) for name in ("fadd", "fsub", "fmul"))


@overload(operator.add, strict=False)  # type: ignore[untyped-decorator]
def _plus(left: Any, right: Any) -> Any:
    return (lambda left, right: _add(left, right)) if left is right is _LANES else None


@overload(operator.sub, strict=False)  # type: ignore[untyped-decorator]
def _minus(left: Any, right: Any) -> Any:
    return (lambda left, right: _subtract(left, right)) if left is right is _LANES else None


@overload(operator.mul, strict=False)  # type: ignore[untyped-decorator]
def _times(left: Any, right: Any) -> Any:
    return (lambda left, right: _multiply(left, right)) if left is right is _LANES else None
