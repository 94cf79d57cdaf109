"""The terms of a job as a tree of their tokens, with the bonus of each way through it. Runs in the child, on the host.

A term is there as it was given, in lower case, with a capital and in capitals, each with a space before it and without.
The bonus grows with every token and counts from the last whole term on the way: who leaves the tree in the middle of a
term has none of it, so that nothing but whole terms gains.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from btworker.engine.quality.scripts import is_dense

ROOTS = 2
"""Nodes 0 and 1: any form may begin behind a space, a sign or a letter that is a word by itself; within a word only
those with a space before them."""
Form = tuple[int, ...]
"""Tokens of a term in one spelling."""


@dataclass(frozen=True, slots=True, eq=False)
class Trie:
    """The tree, in arrays over its nodes; children of one node stand together. All but `value` are int32."""

    token: Tensor
    """That leads to the node."""
    first: Tensor
    """The node's first child."""
    count: Tensor
    """How many children there are."""
    value: Tensor
    """What the way to the node gains over leaving the tree; float32, in the logits' unit."""
    held: Tensor
    """What of it is lost when the way breaks behind the node."""
    mid_word: Tensor
    """Not of nodes, but of every token: whether a word may go on behind it; bool."""
    widths: tuple[int, int]
    """Most children of an inner node, and those of the first root."""

    @property
    def arrays(self) -> tuple[Tensor, ...]:
        """Those of nodes."""
        return self.token, self.first, self.count, self.value, self.held

    @property
    def nodes(self) -> int:
        """How many there are, with the roots."""
        return len(self.token)


@dataclass(slots=True)
class Node:
    """A node while the tree grows."""

    token: int = 0
    gained: int = 0
    """Tokens since the last whole term on the way."""
    is_whole: bool = False
    """A term ends here."""
    children: "dict[int, Node]" = field(default_factory=dict)


def spellings(term: str) -> list[str]:
    """Spell a term as it is, in lower case, with a capital, and in capitals."""
    return list(dict.fromkeys((term, term.lower(), term[:1].upper() + term[1:], term.upper())))


class TrieMaker:
    """Makes the trees of one model's jobs."""

    def __init__(self, tokenizer: Any, *, banned: Sequence[int], size: int = 0) -> None:
        """`banned` are tokens that are never chosen, `size` is that of the vocabulary; 0: the tokenizer's."""
        self._size = size or tokenizer.encoding.n_vocab
        self._tokenizer = tokenizer
        self._banned = frozenset(banned)

    def make(self, terms: Sequence[str], *, bonus: float) -> Trie | None:
        """Make the tree of all terms, `bonus` a token; None where there is nothing to be favoured."""
        root = Node(is_whole=True)
        for term in terms if bonus else ():
            for form in self.forms(term, " "):
                grow(root, form)
        begin_a_word = len(root.children)  # they stand first, so that the second root has a part of the first one's
        for term in terms if bonus else ():
            for form in self.forms(term, ""):
                grow(root, form)
        return arrays(root, begin_a_word, bonus, self._mid_word) if root.children else None

    def forms(self, term: str, before: str) -> list[Form]:
        """Tokenise all spellings, with this before them; forms with banned tokens are left out."""
        encode = self._tokenizer.encode
        found = dict.fromkeys(tuple(encode(before + text, disallowed_special=())) for text in spellings(term))
        return [form for form in found if not self._banned.intersection(form)]

    @cached_property
    def _mid_word(self) -> Tensor:
        """Trie.mid_word: what ends with a letter or a digit, but for scripts in which a letter is a word."""
        endings = (self._ending(token) for token in range(self._tokenizer.eot))
        within = [sign.isalnum() and not is_dense(sign) for sign in endings]
        return torch.tensor(within + [False] * (self._size - len(within)))

    def _ending(self, token: int) -> str:
        """Find the last sign of a word; empty for a number without a token."""
        try:
            data: bytes = self._tokenizer.encoding.decode_single_token_bytes(token)
        except KeyError:
            return ""
        return data.decode("utf-8", "replace")[-1:]


def grow(root: Node, form: Form) -> None:
    """Add a form to the tree."""
    node = root
    for token in form:
        node = node.children.setdefault(token, Node(token))
    node.is_whole = True


def arrays(root: Node, begin_a_word: int, bonus: float, mid_word: Tensor) -> Trie:
    """Lay a tree out; of the root's children, the first `begin_a_word` have a space before them."""
    nodes = [root, root, *_by_breadth(root)]
    counts = [len(node.children) for node in nodes]
    counts[1] = begin_a_word
    firsts, after = [ROOTS, ROOTS], ROOTS + counts[0]
    for count in counts[ROOTS:]:
        firsts.append(after)
        after += count
    values = torch.tensor([node.gained * bonus for node in nodes], dtype=torch.float32)
    is_whole = torch.tensor([node.is_whole for node in nodes])
    numbers = ([node.token for node in nodes], firsts, counts)
    tokens, first, children = (torch.tensor(some, dtype=torch.int32) for some in numbers)
    widths = max(counts[ROOTS:]), counts[0]
    return Trie(tokens, first, children, values, values.masked_fill(is_whole, 0.0), mid_word, widths)


def _by_breadth(root: Node) -> Iterator[Node]:
    """List all nodes below, those of one parent together, and count what each has gained."""
    parents = [root]
    while parents:
        children = []
        for parent in parents:
            for child in parent.children.values():
                child.gained = 1 + (0 if parent.is_whole else parent.gained)
                yield child
                children.append(child)
        parents = children
