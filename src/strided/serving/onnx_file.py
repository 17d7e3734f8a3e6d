"""Whether an ONNX file, which may be a stranger's, is one graph of standard operators.

ONNX Runtime would read other files that a tensor names, and call functions and subgraphs, whose
loops need not end. The fields are looked at as they lie in the file (onnx.proto of ONNX), so that
a service needs no package for it.
"""

from collections.abc import Callable, Iterator

DOMAINS = ("", "ai.onnx")  # two names of the standard operators

_Value = int | memoryview

_MOST_KEY = 2**32 - 1
_LENGTHS = {1: 8, 5: 4}  # of protobuf's fixed kinds, in bytes
_SUBGRAPH = "an operator with a graph of its own (If, Loop, Scan)"
_ELSEWHERE = "a tensor that lies in another file"


def require_plain_graph(content: bytes) -> None:
    """Raise ValueError, with the reason, for anything but one graph of standard operators."""
    _visit(memoryview(content), _MODEL)


def _visit(message: memoryview, readers: dict[int, Callable[[_Value], None]]) -> None:
    for field, value in _fields(message):
        if reader := readers.get(field):
            reader(value)


def _fields(message: memoryview) -> Iterator[tuple[int, _Value]]:
    """Yield each field of a protobuf message: its number, and a number or its bytes."""
    at = 0
    while at < len(message):
        key, at = _number(message, at)
        if key > _MOST_KEY:  # protobuf would pass over the upper bits, and read another field
            raise ValueError("it is no ONNX file")
        field, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _number(message, at)
            yield field, value
            continue
        if kind == 2:
            length, at = _number(message, at)
        elif kind in _LENGTHS:
            length = _LENGTHS[kind]
        else:
            raise ValueError("it is no ONNX file")
        if at + length > len(message):
            raise ValueError("it ends too early, or is no ONNX file")
        yield field, message[at : at + length]
        at += length


def _number(message: memoryview, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("it ends too early, or is no ONNX file")


def _refuse(what: str) -> Callable[[_Value], None]:
    def refuse(_: _Value) -> None:
        raise ValueError(f"it has {what}")

    return refuse


def _inside(readers: dict[int, Callable[[_Value], None]]) -> Callable[[_Value], None]:
    def enter(value: _Value) -> None:
        if isinstance(value, int):
            raise ValueError("it is no ONNX file")
        _visit(value, readers)

    return enter


def _domain(value: _Value) -> None:
    name = "" if isinstance(value, int) else bytes(value[:100]).decode("utf-8", "replace")
    if isinstance(value, int) or name not in DOMAINS:
        raise ValueError(f"it has operators of {name!a}, which are not ONNX's own")


def _location(value: _Value) -> None:
    if value:
        raise ValueError(f"it has {_ELSEWHERE}")


# what is looked at of each message, by the number of the field in onnx.proto
_TENSOR = {13: _refuse(_ELSEWHERE), 14: _location}
_ATTRIBUTE = {
    5: _inside(_TENSOR),
    6: _refuse(_SUBGRAPH),
    10: _inside(_TENSOR),
    11: _refuse(_SUBGRAPH),
    22: _refuse("a sparse tensor"),
    23: _refuse("a sparse tensor"),
}
_NODE = {5: _inside(_ATTRIBUTE), 7: _domain}
_GRAPH = {1: _inside(_NODE), 5: _inside(_TENSOR), 15: _refuse("a sparse tensor")}
_MODEL = {
    7: _inside(_GRAPH),
    8: _inside({1: _domain}),
    20: _refuse("a graph for training"),
    25: _refuse("a function of its own"),
}
