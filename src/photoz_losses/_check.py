"""What every room asks of its arguments: shapes always, values only where looking costs nothing."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Kind = TypeVar("Kind")
FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # that torch adds up
INTEGRAL = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)  # NumPy's, that torch keeps and adds not up
NUMBERS = (float, int, np.floating, np.integer)  # of one kind, and torch computes with them
LARGEST = 2**62  # that a count of anything may be: torch keeps sizes in 64 bits
DEEPEST = 64  # that lists may be nested: the dimensions that NumPy's arrays may have


def shown(value: object) -> str:
    """`value` as an error shows it: as it is written where that is short, else its type."""
    if isinstance(value, Tensor | np.ndarray):
        return f"a {type(value).__name__} of shape {tuple(value.shape)}"
    known = isinstance(value, str | bytes | Real | None)
    known = known and not (isinstance(value, int) and abs(value) >> 128)  # Python may write no such
    written = repr(value) if known else ""
    return written if 0 < len(written) <= 40 else type(value).__name__


def span(values: Tensor) -> str:
    """Least and largest of `values`, for an error."""
    low, high = (end.item() for end in values.detach().double().aminmax())
    if low != low:
        return "NaN"
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def instance(name: str, value: object, kind: type[Kind]) -> Kind:
    """`value` itself where it is of the class `kind`; TypeError otherwise."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(f"{name} must be {article} {kind.__name__}, got {shown(value)}")
    return value


def number(name: str, value: Any) -> Any:
    """`value` itself where it is a real number that float64 holds; TypeError, ValueError if not."""
    if not isinstance(value, NUMBERS):
        mend = ": convert it by float(...)" if isinstance(value, Real) else ""  # a Fraction
        raise TypeError(f"{name} must be a number, got {shown(value)}{mend}")
    if isinstance(value, Integral) and not -LARGEST <= int(value) <= LARGEST:
        raise ValueError(f"{name} must be a number between -2**62 and 2**62, got {shown(value)}")
    return value


def fraction(name: str, value: Any) -> Any:
    """`value` itself where it lies between 0 and 1, neither; TypeError, ValueError if not."""
    if not 0 < number(name, value) < 1:
        raise ValueError(
            f"{name} must lie between 0 and 1, got {value}: give fractions, not percentages"
        )
    return value


def count(name: str, value: Any, at_least: int) -> int:
    """`value` as an int where it is an integer of `at_least` so much; errors otherwise."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {shown(value)}")
    number = int(value)
    if not at_least <= number <= LARGEST:
        end = f"at least {at_least}" if number < at_least else "at most 2**62"
        raise ValueError(f"{name} must be {end}, got {shown(value)}")
    return number


def flag(name: str, value: Any) -> bool:
    """`value` as a bool where it is one; TypeError otherwise."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def mapping(name: str, value: Any) -> Mapping[Any, Any]:
    """`value` itself where it is a mapping; TypeError otherwise."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping, got {shown(value)}")
    return value


def is_kept(text: str, encode: Callable[[str], bytes] = str.encode) -> bool:
    """Whether files and pictures keep `text`: no NUL, no lone surrogate, which has no bytes."""
    try:
        return b"\0" not in encode(text)
    except UnicodeEncodeError:
        return False


def text(name: str, value: Any) -> str:
    """`value` as a str where it is text that is kept; TypeError, ValueError otherwise."""
    if not is_kept(instance(name, value, str)):
        raise ValueError(f"{name} must be text of UTF-8 without NUL, got {value!r}")
    return str.__str__(value)  # of an Enum of text too, which names itself otherwise


def object_id(name: str, value: Any) -> str:
    """`value`, one of the ids `name`, as text; TypeError, ValueError where it is none."""
    if not isinstance(value, str | Integral) or isinstance(value, bool):
        mend = ": call .decode() on each" if isinstance(value, bytes) else ""
        raise TypeError(f"{name} must be text or integers, got {shown(value)}{mend}")
    if isinstance(value, Integral) and not -(2**63) <= int(value) < 2**64:
        raise ValueError(f"{name} must be text, or integers of 64 bits, got {shown(value)}")
    written = str.__str__(value) if isinstance(value, str) else str(int(value))
    if not written:
        raise ValueError(f"{name} must be text that is not empty, got '': leave that galaxy out")
    return text(name, written)


def path(name: str, value: Any) -> Path:
    """`value` as a Path where it can be one; TypeError, ValueError if not."""
    written = value.__fspath__() if isinstance(value, PathLike) else value
    if not isinstance(written, str):
        raise TypeError(f"{name} must be a str or a Path, got {shown(value)}")
    if not is_kept(written, os.fsencode):
        raise ValueError(f"{name} must be text of UTF-8 without NUL, got {shown(written)}")
    return Path(written)


def calls(name: str, value: Any) -> Any:
    """`value` itself where it can be called; TypeError otherwise."""
    if not callable(value):
        raise TypeError(f"{name} must be callable, got {shown(value)}")
    return value


def generator(name: str, value: torch.Generator | None) -> torch.Generator | None:
    """`value` itself where it is a torch.Generator or None; TypeError otherwise."""
    if value is not None and not isinstance(value, torch.Generator):
        raise TypeError(f"{name} must be a torch.Generator or None, got {shown(value)}")
    return value


def several(name: str, values: Any, of: str, *, ordered: bool = True) -> Iterable[Any]:
    """`values` themselves where they can be walked through, in order; TypeError otherwise."""
    if not isinstance(values, Iterable) or (isinstance(values, Tensor) and not values.ndim):
        raise TypeError(f"{name} must be {of}, got {shown(values)}")
    if ordered and isinstance(values, set | frozenset):
        raise TypeError(
            f"{name} must be {of}, got {shown(values)}, whose order differs from run to run: "
            f"give a list"
        )
    return values


def is_nested(kind: type) -> bool:
    """Whether NumPy and torch read values of the class `kind` part by part, as they do a list."""
    flat = (str, bytes, bytearray, memoryview, range)
    return issubclass(kind, Sequence) and not issubclass(kind, flat)


def unmasked(name: str, values: Any, *, depth: int = 0) -> Any:
    """`values` themselves where neither they nor parts of them have a mask; TypeError otherwise.

    NumPy and torch drop the mask of another's array, and read what it hides. `depth` is how far
    down these parts lie: a list that holds itself has no end.
    """
    if depth > DEEPEST:
        raise TypeError(
            f"{name} must be nested at most {DEEPEST} deep, got more, or a list that holds itself: "
            f"make it flat"
        )
    nested = is_nested(type(values))
    kinds = set(map(type, values)) if nested else {type(values)}
    for kind in kinds:
        if not (issubclass(kind, np.ma.MaskedArray) or hasattr(kind, "unmasked")):  # astropy's
            continue
        mend = "leave out what is hidden"
        if not nested and values.ndim:
            known = "compressed()" if hasattr(kind, "compressed") else f"unmasked[~{name}.mask]"
            fill = "nan" if values.dtype.kind == "f" else "..."
            mend += f", {name}.{known}, or mark it, {name}.filled({fill})"
        raise TypeError(f"{name} must have no mask, got {kind.__name__}: {mend}")
    if any(map(is_nested, kinds)):
        for part in values:
            unmasked(name, part, depth=depth + 1)
    return values


def without_unit(name: str, values: Any, unit: str = "") -> Any:
    """`values`, in numbers of `unit` where they or parts of them have a unit; TypeError otherwise.

    Of astropy's Quantity and Column, and their like: NumPy drops the unit, and reads the numbers
    as another's. A logarithmic unit is none of the plain numbers that it could be converted to.
    """
    kind = type(values)
    if is_nested(kind):
        if not any(is_nested(part) or _may_have_unit(part) for part in set(map(type, values))):
            return values
        return [without_unit(name, part, unit) for part in values]
    given = _unit_of(values) if _may_have_unit(kind) else None
    if given is None:
        return values
    got = f"numbers in {given}" if str(given) else "numbers without a unit"
    try:
        if unit or not hasattr(given, "physical_unit"):
            return (values.quantity if hasattr(kind, "quantity") else values).to_value(unit)
    except Exception as error:  # each package of units has errors of its own
        raise _of_unit(name, unit, got) from error
    raise _of_unit(name, unit, got)


def _may_have_unit(kind: type) -> bool:
    known = ("unit", "units", "to_value")
    return issubclass(kind, np.ndarray) or any(hasattr(kind, name) for name in known)


def _unit_of(values: Any) -> Any:
    unit = getattr(values, "unit", None)
    return getattr(values, "units", None) if unit is None else unit


def _of_unit(name: str, unit: str, got: str) -> TypeError:
    must = f"be in {unit}" if unit else "have no unit"
    return TypeError(
        f"{name} must {must}, got {got}: convert them if need be, and give their .value"
    )


def plain(name: str, values: Any, unit: str = "") -> Any:
    """`values` in numbers of `unit`, without a mask; TypeError where they are not."""
    return without_unit(name, unmasked(name, values), unit)


def array(name: str, values: Any, unit: str = "") -> np.ndarray[Any, np.dtype[Any]]:
    """NumPy array, in `unit`, of a tensor or of anything like an array; bfloat16 as float32.

    TypeError for a mask, or another unit; ValueError where rows have unequal lengths.
    """
    values = without_tensors(name, plain(name, values, unit))
    try:
        found = np.asanyarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{name}: no array, rows of unequal lengths say: {error}") from None
    return np.asarray(plain(name, found, unit))  # of Dask's, say, what was computed has the mask


def without_tensors(name: str, values: Any) -> Any:
    """`values`, where they or parts of them are tensors as NumPy's arrays."""
    if isinstance(values, Tensor):
        values = dense(name, values).detach().cpu().resolve_conj().resolve_neg()
        known = values.is_complex() or values.dtype in (*FLOATING, *INTEGRAL, *UNSIGNED)
        known = known and values.dtype != torch.bfloat16
        return (values if known else values.float()).numpy()[()]  # a scalar where it is one
    if not is_nested(type(values)):
        return values
    if not any(issubclass(kind, Tensor) or is_nested(kind) for kind in set(map(type, values))):
        return values
    return [without_tensors(name, part) for part in values]


def numbers(
    name: str, values: Any, *, kinds: str = "biuf", unit: str = ""
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """`values` (numbers, nested sequences, arrays, tensors) in float64; TypeError otherwise.

    `kinds` are those of NumPy's types that count as numbers; what has a unit is converted to
    `unit`.
    """
    try:
        found = array(name, values, unit)
    except ValueError:
        found = np.array(None)
    if found.dtype.kind not in kinds:
        got = found.dtype if isinstance(values, np.ndarray | Tensor) else shown(values)
        raise TypeError(f"{name} must be numbers, got {got}")
    return np.array(found, dtype=np.float64)


def in_functorch() -> bool:
    """Whether this runs within ``vmap``, ``grad`` or another transform of ``torch.func``."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def can_read(*tensors: Tensor) -> bool:
    """Whether the values of `tensors` can be looked at: real tensors, outside compile and vmap."""
    if torch.compiler.is_compiling() or in_functorch():
        return False
    plain = (Tensor, torch.nn.Parameter)
    return all(type(tensor) in plain and tensor.device.type != "meta" for tensor in tensors)


def can_read_free(*tensors: Tensor) -> bool:
    """Whether looking at the values of `tensors` makes no one wait for a device."""
    return can_read(*tensors) and all(tensor.device.type == "cpu" for tensor in tensors)


def _as_tensor(name: str, value: Any) -> str:
    """How the array `value` becomes a tensor, for an error; TypeError for its mask or unit."""
    plain(name, value)
    held = f"{name}.to_numpy()" if hasattr(value, "to_numpy") else name
    dtype = getattr(value, "dtype", None)
    if isinstance(dtype, np.dtype) and not dtype.isnative:  # FITS's order of bytes: torch has none
        held += f".astype({dtype.str[1:]!r})"
    return (
        f": give torch.as_tensor({held})" if held != name else ": wrap it in torch.as_tensor(...)"
    )


def tensor(name: str, value: Any) -> Tensor:
    """`value` itself where it is a tensor; TypeError otherwise."""
    if not isinstance(value, Tensor):
        mend = ""
        if isinstance(value, list | tuple) and any(isinstance(part, Tensor) for part in value):
            mend = f" of tensors: unpack it, or pick the one that is {name}"
        elif isinstance(value, Mapping) and isinstance(value.get(name), Tensor):
            mend = f": take its entry {name!r}"
        elif isinstance(value, list | tuple | Real) or hasattr(value, "__array__"):
            mend = _as_tensor(name, value)
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}{mend}")
    return value


def dense(name: str, value: Any) -> Tensor:
    """`value` itself where it is a tensor with all its entries; TypeError otherwise."""
    if tensor(name, value).layout != torch.strided:
        raise TypeError(f"{name} must be dense, got {value.layout}: call {name}.to_dense()")
    found: Tensor = value
    return found


def floating(name: str, value: Any) -> Tensor:
    """`value` itself where it is a dense floating-point tensor; TypeError otherwise."""
    if tensor(name, value).dtype not in FLOATING:
        kind = "float16, bfloat16, float32 or float64" if value.is_floating_point() else ""
        call = "dequantize" if value.is_quantized else "float"
        raise TypeError(
            f"{name} must be {kind or 'a floating-point tensor'}, got {value.dtype}: "
            f"call {name}.{call}()"
        )
    return dense(name, value)


def each_floating(name: str, values: Any) -> list[Tensor]:
    """`values` as a list where all are dense floating-point tensors; TypeError otherwise."""
    mend = "call model.parameters()"
    if isinstance(values, torch.nn.Module) and not isinstance(values, Iterable):
        raise TypeError(f"{name} must be an iterable of tensors, got {shown(values)}: {mend}")
    walked = list(several(name, values, "an iterable of tensors", ordered=False))
    for value in walked:
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must hold floating-point tensors, got {shown(value)}: {mend}")
        if value.dtype not in FLOATING:
            raise TypeError(
                f"{name} must hold floating-point tensors, got one of {value.dtype}: leave it out"
            )
        if value.layout != torch.strided:
            raise TypeError(
                f"{name} must hold dense tensors, got one of {value.layout}: leave it out"
            )
    return walked


def at_least_single(name: str, value: Tensor) -> Tensor:
    """`value` in float32, or in float64 where it came so: half precision is for networks only."""
    return floating(name, value).to(torch.promote_types(value.dtype, torch.float32))


def cast(name: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    """`value` in `dtype`; ValueError where that makes a number infinite, if looking is free."""
    result = value.to(dtype)
    narrower = torch.finfo(dtype).max < torch.finfo(value.dtype).max
    if narrower and can_read_free(value) and bool((result.isinf() & value.isfinite()).any()):
        raise ValueError(
            f"{name} must be numbers that {dtype}, the type of the logits, holds, got "
            f"{span(value)}: give logits.to({value.dtype})"
        )
    return result


def redshift(name: str, value: Tensor) -> Tensor:
    """`value` itself where it is a float32 or float64 tensor; TypeError otherwise."""
    known = (torch.float32, torch.float64)
    if tensor(name, value).dtype in INTEGRAL:
        raise TypeError(
            f"{name} must be a floating-point tensor, got {value.dtype}: call {name}.float(); or "
            f"if these are labels of bins, which are no redshifts, bins.centers[{name}]"
        )
    if value.is_floating_point() and value.dtype not in known:
        raise TypeError(
            f"{name} must be float32 or float64, got {value.dtype}, which holds three or fewer "
            f"digits of a redshift: keep redshifts out of the half-precision cast"
        )
    return floating(name, value)


def same_shape(name: str, value: Tensor, expected: Sequence[int], of: str) -> None:
    """ValueError unless `value` has exactly the shape `expected`, which is that `of` something."""
    if tuple(value.shape) != tuple(expected):
        mend = ""
        if value.shape[-1:] == (1,) and tuple(value.shape[:-1]) == tuple(expected):
            mend = f": call {name}.squeeze(-1)"
        elif of.isidentifier() and tuple(expected) == (*value.shape, 1):
            mend = f": call {of}.squeeze(-1)"
        raise ValueError(
            f"{name} must have the shape {tuple(expected)} of {of}, got {tuple(value.shape)}{mend}"
        )


def mask(name: str, value: Tensor, expected: Sequence[int], of: str) -> None:
    """TypeError or ValueError unless `value` is a bool tensor of exactly the shape `expected`."""
    if dense(name, value).dtype != torch.bool:
        raise TypeError(f"{name} must be a bool tensor, got {value.dtype}: use ivar > 0")
    same_shape(name, value, expected, of)


def inverse_variance(name: str, value: Tensor, valid: Tensor | None) -> None:
    """ValueError where one at a valid pixel is negative or not finite, if looking costs nothing."""
    if not can_read_free(value):
        return
    used = value if valid is None else value[valid]
    if not bool(used.isfinite().all()):
        raise ValueError(
            f"{name} must be finite at valid pixels, got NaN or infinity: mark those pixels "
            f"invalid, valid={name}.isfinite()"
        )
    if not bool((used >= 0).all()):
        raise ValueError(
            f"{name} must not be negative, got {span(used)}: 0 marks an untrusted pixel"
        )


def broadcast(name: str, shape: Sequence[int], other: str, other_shape: Sequence[int]) -> None:
    """ValueError if there is no shape that both leading shapes broadcast to."""
    try:
        torch.broadcast_shapes(tuple(shape), tuple(other_shape))
    except RuntimeError:
        raise ValueError(
            f"{name} and {other} must agree in their leading dimensions, or broadcast: "
            f"got {tuple(shape)} and {tuple(other_shape)}"
        ) from None


def one_of(name: str, value: str, allowed: Sequence[str]) -> str:
    """`value` itself where it is among `allowed`; ValueError otherwise."""
    if not isinstance(value, str) or value not in allowed:
        expected = ", ".join(map(repr, allowed))
        raise ValueError(f"{name} must be one of {expected}, got {shown(value)}")
    return value


def increasing(name: str, values: Any, *, at_least: int, unit: str = "") -> Tensor:
    """`values` as a float64 vector, finite and strictly increasing; ValueError otherwise.

    What has a unit is converted to `unit`.
    """
    vector = torch.from_numpy(numbers(name, values, unit=unit))
    if vector.ndim != 1 or len(vector) < at_least:
        raise ValueError(
            f"{name} must be a vector of at least {at_least} number{'s'[: at_least > 1]}, "
            f"got shape {tuple(vector.shape)}"
        )
    if not vector.isfinite().all():
        raise ValueError(f"{name} must be finite, got NaN or infinity: drop those entries")
    steps = vector.diff()
    if (steps <= 0).any():
        at = int((steps <= 0).nonzero()[0])
        first, second = vector[at].item(), vector[at + 1].item()
        raise ValueError(
            f"{name} must increase strictly, got {first:g} followed by {second:g} at index {at}: "
            f"sort it (and what belongs to it), and drop repeated values"
        )
    return vector
