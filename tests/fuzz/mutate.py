"""Bending good inputs: bytes, lines of text, JSON (through base64 into what it carries), msgpack."""

import base64
import binascii
import json
from collections.abc import Sequence
from functools import lru_cache
from random import Random
from typing import Any, Final

import msgspec

INTEGERS: Final = (0, 1, -1, 2, 255, 256, 2**31, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30)
SPELLINGS: Final = (
    "null", "true", "false", "{}", "[]", '""', "-0", "1.0", "1e0", "1e400", "NaN", "9" * 5_000, '"\\ud800"',
    '"\\udc00\\ud800"', '"\\u0041"', '"\\/"', '"\u202e"', '"\x7f"', '"\U000e0041"', '"a\\u0000b"', "[" * 3_000,
    '{"a":' * 3_000, "[" * 900 + "]" * 900, "",
)  # fmt: skip
"""What a hand-written document may have in a place, none of it canonical everywhere, some of it not even JSON."""
LINES: Final = (
    b"", b" ", b"\r", b"\t", b"\x00", b"#", "— ".encode(), "— a AAAA".encode(), b"\xff", b"0", b"index -1",
    b"a = " + b"[" * 3_000, b'policy = "a\\u0000b"',
)  # fmt: skip


class Raw(str):
    """Text that stands in a JSON document as it is."""

    __slots__ = ()


class Members(list[tuple[str, Any]]):
    """A JSON object as its members, which may repeat."""


Tree = Any
"""JSON: Members, list, str, int, float, bool, None, Raw. Msgpack: what msgspec makes of it."""


def mutate_bytes(data: bytes, dice: Random, others: Sequence[bytes] = ()) -> bytes:
    """A few small changes of bytes, or a splice with another input."""
    bent = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        at = dice.randrange(len(bent) + 1)
        match dice.randrange(8):
            case 0 | 1 if at < len(bent):
                bent[at] ^= 1 << dice.randrange(8)
            case 2 if at < len(bent):
                bent[at] = dice.randrange(256)
            case 3:
                bent[at:at] = bytes((dice.randrange(256),))
            case 4:
                del bent[at : at + dice.choice((1, 2, 16))]
            case 5:
                bent[at:at] = bent[at : at + dice.choice((1, 8, 64))]
            case 6:
                del bent[at:]
            case _ if others:
                other = dice.choice(others)
                bent[at:] = other[dice.randrange(len(other) + 1) :]
    return bytes(bent)


def mutate_lines(data: bytes, dice: Random, others: Sequence[bytes] = ()) -> bytes:
    """Lines dropped, doubled, exchanged, replaced, or changed within."""
    lines = data.split(b"\n")
    for _ in range(dice.choice((1, 1, 2, 4))):
        at = dice.randrange(len(lines))
        match dice.randrange(6):
            case 0 if len(lines) > 1:
                del lines[at]
            case 1:
                lines.insert(dice.randrange(len(lines) + 1), lines[at])
            case 2:
                to = dice.randrange(len(lines))
                lines[at], lines[to] = lines[to], lines[at]
            case 3:
                lines[at] = dice.choice(LINES)
            case 4 if others:
                lines[at] = dice.choice(dice.choice(others).split(b"\n"))
            case _:
                lines[at] = mutate_bytes(lines[at], dice)
    return b"\n".join(lines)


def parse(data: bytes) -> Tree:
    """JSON as a tree in which members keep their order. Requires JSON."""
    return json.loads(data, object_pairs_hook=Members)


def write(tree: Tree) -> bytes:
    """The JSON of a tree, as terse as the canonical form; members in their order."""
    return _write(tree).encode("utf-8", "surrogatepass")


def _write(tree: Tree) -> str:
    if isinstance(tree, Raw):
        return tree
    if isinstance(tree, Members):
        return "{" + ",".join(f"{json.dumps(name)}:{_write(value)}" for name, value in tree) + "}"
    if isinstance(tree, list):
        return "[" + ",".join(map(_write, tree)) + "]"
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":"))


def strings_of(tree: Tree) -> list[str]:
    """All strings of a tree: what may stand for one another."""
    if isinstance(tree, str):
        return [tree]
    if isinstance(tree, Members):
        return [text for _, value in tree for text in strings_of(value)]
    return [text for value in tree for text in strings_of(value)] if isinstance(tree, list) else []


def mutate_json(data: bytes, dice: Random, others: Sequence[bytes] = ()) -> bytes:
    """A few changes of a JSON document along its structure; of bytes, where it was bent out of JSON before."""
    try:
        tree = parse(data)
        words = [*strings_of(tree), *_words_of(tuple(others[:8]))]
        for _ in range(dice.choice((1, 1, 1, 2, 3))):
            tree = mutate_tree(tree, dice, words)
        return write(tree)
    except (ValueError, RecursionError):
        return mutate_bytes(data, dice, others)


@lru_cache(maxsize=64)
def _words_of(documents: tuple[bytes, ...]) -> tuple[str, ...]:
    return tuple(text for document in documents for text in strings_of(parse(document)))


def mutate_tree(tree: Tree, dice: Random, words: Sequence[str], *, spelling: bool = True) -> Tree:
    """The tree with one place changed. `words`: strings that may stand for others; `spelling`: also no JSON at all."""
    holders = [holder for holder in _holders(tree) if holder]
    if not holders or dice.random() < 0.02:
        return _other(tree, dice, words, spelling=spelling)
    holder = dice.choice(holders)
    at = dice.randrange(len(holder))
    match dice.randrange(9):
        case 0:
            del holder[at]
        case 1:
            holder.insert(dice.randrange(len(holder) + 1), holder[at])
        case 2:
            to = dice.randrange(len(holder))
            holder[at], holder[to] = holder[to], holder[at]
        case 3 if isinstance(holder, Members):
            name = dice.choice((*(name for name, _ in holder), "kind", "A", "\u202e", ""))
            holder[at] = (name, holder[at][1])
        case _ if isinstance(holder, Members):
            name, value = holder[at]
            holder[at] = (name, _other(value, dice, words, spelling=spelling))
        case _:
            holder[at] = _other(holder[at], dice, words, spelling=spelling)
    return tree


def _holders(tree: Tree) -> list[list[Any]]:
    if isinstance(tree, Members):
        return [tree, *(inner for _, value in tree for inner in _holders(value))]
    return [tree, *(inner for value in tree for inner in _holders(value))] if isinstance(tree, list) else []


def _other(value: Tree, dice: Random, words: Sequence[str], *, spelling: bool) -> Tree:
    if spelling and dice.random() < 0.15:
        return Raw(dice.choice(SPELLINGS))
    if isinstance(value, bool) or value is None:
        return dice.choice((True, False, None, 0))
    if isinstance(value, int):
        return dice.choice((value + 1, value - 1, -value, dice.choice(INTEGERS), str(value)))
    if isinstance(value, str):
        return _other_text(value, dice, words)
    if isinstance(value, bytes):
        return mutate_bytes(value, dice)
    if isinstance(value, list) and dice.random() < 0.3:
        return type(value)(sorted(value, key=repr) if dice.random() < 0.5 else value * dice.choice((2, 40)))
    return dice.choice((0, "", [], Members(), None))


def _other_text(text: str, dice: Random, words: Sequence[str]) -> str:
    if dice.random() < 0.6:
        inner = _inside(text, dice, words)
        if inner is not None:
            return inner
    match dice.randrange(5):
        case 0 | 1 if words:
            return dice.choice(words)
        case 2:
            return text + dice.choice((" ", "\n", "=", "A", "\u0000", "\u0410", "é"))
        case 3:
            return text * dice.choice((0, 2, 50))
        case _:
            at = dice.randrange(len(text) + 1)
            return text[:at] + dice.choice("0Aa-/+=Ω \n") + text[at + dice.randrange(2) :]


def _inside(text: str, dice: Random, words: Sequence[str]) -> str | None:
    """A string that carries bytes or lines, changed within; None for another one."""
    if "\n" in text:
        return mutate_lines(text.encode(), dice).decode("utf-8", "replace")
    try:
        carried = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    if not carried:
        return None
    if carried.startswith(b"{"):
        try:
            bent = write(mutate_tree(parse(carried), dice, words))
        except (ValueError, RecursionError):
            bent = mutate_bytes(carried, dice)
    else:
        bent = mutate_bytes(carried, dice)
    return base64.b64encode(bent).decode("ascii")


def mutate_msgpack(data: bytes, dice: Random, others: Sequence[bytes] = ()) -> bytes:
    """A change of a msgpack value along its structure; of bytes, where it was bent out of msgpack before."""
    try:
        tree = mutate_tree(msgspec.msgpack.decode(data), dice, ("Gossip", "Status", "VoteMessage"), spelling=False)
        return msgspec.msgpack.encode(tree)
    except (msgspec.MsgspecError, OverflowError, ValueError, TypeError, RecursionError):
        return mutate_bytes(data, dice, others)  # no msgpack, or an integer or key that msgpack does not have
