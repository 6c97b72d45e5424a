"""Good messages made bad: bytes flipped, cut, repeated; and JSON whose values are not what they should be."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

#: What has broken decoders elsewhere. Raw JSON texts.
ODD = [
    "null", "true", "-1", "0", "1e400", "-1e400", "1e-400", "9" * 400, str(2**63), str(2**64), "0.1", "NaN", "Infinity",
    '""', '"\\ud800"', '"\\u0000"', '"../../etc/passwd"', '"' + "x" * 70_000 + '"', "[]", "{}", "[[]]",
    "[" * 20_000 + "]" * 20_000, '{"a":' * 5_000 + "1" + "}" * 5_000, '{"v":1,"v":2}', '"\\u202e<img src=x>"',
]  # fmt: skip
_MARK = "@here@"


def mutated(good: bytes, chance: Random) -> bytes:
    """One or a few changes."""
    data = good
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        data = _json(data, chance) if chance.random() < 0.5 else _bytes(data, chance)
    return data


def _bytes(data: bytes, chance: Random) -> bytes:
    if not data:
        return chance.randbytes(chance.randint(0, 20))
    begin = chance.randrange(len(data))
    end = min(len(data), begin + chance.choice([1, 1, 2, 8, 64, len(data)]))
    match chance.randrange(6):
        case 0:
            return data[:begin] + bytes([data[begin] ^ (1 << chance.randrange(8))]) + data[begin + 1 :]
        case 1:
            return data[:begin] + data[end:]
        case 2:
            return data[:begin]
        case 3:
            return data[:begin] + chance.randbytes(chance.randint(1, 30)) + data[begin:]
        case 4:
            return data[:begin] + data[begin:end] * chance.choice([2, 3, 50]) + data[end:]
        case _:
            return data + data[begin:end]


def _json(data: bytes, chance: Random) -> bytes:
    """One value replaced, removed or added; where it is no JSON, its bytes are changed."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return _bytes(data, chance)
    places = list(_places(tree))
    if not places:
        return chance.choice(ODD).encode("utf-8", "surrogatepass")
    parent, key = chance.choice(places)
    match chance.randrange(4):
        case 0:
            del parent[key]
            return _text(tree)
        case 1 if isinstance(parent, dict):
            parent[chance.choice(["v", "extra", "", "site"])] = parent[key]
            return _text(tree)
        case _:
            parent[key] = _MARK
            return _text(tree).replace(json.dumps(_MARK).encode(), chance.choice(ODD).encode("utf-8", "surrogatepass"))


def _text(tree: Any) -> bytes:
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    waiting = [tree]
    while waiting:
        here = waiting.pop()
        keys: Iterable[Any] = ()
        if hasattr(here, "keys"):  # a dict
            keys = list(here.keys())
        elif hasattr(here, "append"):  # a list
            keys = range(len(here))
        for key in keys:
            yield here, key
            waiting.append(here[key])
