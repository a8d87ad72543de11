"""Render a checkpoint's own chat template: Jinja that a stranger wrote, in a sandbox and with bounded work.

What bounds it, in any thread, since it is counted and not timed:
- The template has at most MOST_SOURCE characters, and only those filters and methods that chat templates use.
- A `for` costs its items times the nodes of its body, a macro's call all nodes of the template, other calls and
  operators what they copy; together at most MOST_WORK, about a second.
- No text, list or object that is made may count more than MOST_SIZE characters and items, those inside it counted at
  each place where they stand; nor may the output.
"""

from __future__ import annotations

import functools
import json
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.filters import FILTERS
from jinja2.runtime import Context, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError, safe_range
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from vila_core.errors import ConfigError

MOST_SOURCE = 100_000
MOST_WORK = 5_000_000
MOST_SIZE = 2_000_000
_PER_WORK = 1000  # characters that are copied while a node is run
_MOST_BITS, _MOST_INDENT = 2048, 64
_FILTERS = (
    "abs capitalize count d default dictsort e escape first float indent int items join last length list lower map "
    "max min reject rejectattr replace reverse safe select selectattr sort string title trim unique upper"
)
_METHODS = {
    str: "capitalize count endswith find index isalnum isalpha isdigit islower isspace isupper join lower lstrip "
    "partition removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip split splitlines startswith "
    "strip title upper",
    dict: "copy get items keys values",
    list: "copy count index",
    tuple: "count index",
}
_WIDE = re.compile(r"%[^a-zA-Z%]*(\d{4}|\*)")  # a format that fills up


def render_template(source: str, messages: Sequence[dict[str, str]], add_generation_prompt: bool) -> str:
    """Return the messages as the template writes them.

    Raises ConfigError, in one line, for whatever the template does wrong, and for more work than is allowed.
    """
    if len(source) > MOST_SOURCE:
        raise ConfigError(f"the chat template has {len(source)} characters, more than {MOST_SOURCE}")
    try:
        template = _compiled(source)
        template.environment.begin()
        return str(template.render(messages=messages, add_generation_prompt=add_generation_prompt))
    except MemoryError as err:
        raise ConfigError("the chat template fails: it takes too much memory") from err
    except RecursionError as err:
        raise ConfigError("the chat template fails: it is nested, or calls itself, too deeply") from err
    except Exception as err:  # a stranger's program: it may raise anything
        line = getattr(err, "lineno", None)
        reason = " ".join(str(err).split()) or type(err).__name__
        place = f" in line {line}" if line else ""
        raise ConfigError(f"the chat template fails{place}: {reason[:300]}; template: {source[:60]!r}...") from err


@functools.lru_cache(maxsize=8)
def _compiled(source: str) -> Any:
    return _Sandbox().from_string(source)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja with the settings of transformers' apply_chat_template, counting what it does."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=["jinja2.ext.loopcontrols"])
        self.globals = {"range": safe_range, "dict": dict, "namespace": Namespace, "raise_exception": _fail}
        self.filters = {name: self._counted_filter(FILTERS[name]) for name in _FILTERS.split()}
        self.filters["tojson"] = self._counted_filter(_tojson)
        self.finalize = self.written
        self.concat = self.joined  # type: ignore[method-assign,assignment]
        self._nodes = 1
        self._left = threading.local()

    def begin(self) -> None:
        """Allow the work of one rendering, in this thread."""
        self._left.work = MOST_WORK

    def spend(self, work: int) -> None:
        """Take from what is left."""
        self._left.work -= work
        if self._left.work < 0:
            raise SecurityError("it does more work than a prompt can need; see vila_core.chat_sandbox")

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        self._nodes = _size_of(tree)
        return _Guard().visit(tree)  # type: ignore[no-any-return]

    def counted(self, items: Any, body: int) -> Any:
        """Return what a loop runs over, paid for."""
        if not isinstance(items, Undefined | str | list | tuple | dict | range):
            items = list(islice(items, MOST_SIZE))
        self.spend(len(items) * body)
        return items

    def made(self, value: Any) -> Any:
        """Return a value that was just made, if it is not too large."""
        self.spend(1 + measured(value).work)
        return value

    def written(self, value: Any) -> Any:
        """Return a value that is to become text, if it may."""
        if not isinstance(value, str | Undefined):
            _require_plain(self.made(value))
        return value

    def joined(self, parts: Iterable[Any]) -> str:
        """Join texts, and other values as texts."""
        texts, size = [], 0
        for part in parts:
            texts.append(part if isinstance(part, str) else str(self.written(part)))
            size += len(texts[-1])
            if size > MOST_SIZE:
                raise SecurityError(f"it writes more than {MOST_SIZE} characters")
        self.spend(len(texts) + size // _PER_WORK)
        return "".join(texts)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute what may become large, if it does not."""
        sizes = (measured(left).size, measured(right).size)
        if operator == "*":
            _check_product(left, right, sizes)
        if operator == "**" and not (_bits(left) <= 64 and _bits(right) <= 6):
            raise SecurityError("a power is too large")
        if operator == "%" and isinstance(left, str):
            _require_plain(right)
            if _WIDE.search(left):
                raise SecurityError(f"the format {left[:40]!r} fills up too much")
        return self.made(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Call a macro, a global, or a method that templates use."""
        if getattr(__obj, "__self__", None) is __self:
            return __obj(*args)
        __self.spend(__self._nodes if isinstance(__obj, Macro) else 1)
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if not isinstance(__obj, Macro | Undefined) and all(__obj is not each for each in __self.globals.values()):
            known = next((names for kind, names in _METHODS.items() if isinstance(owner, kind)), "")
            if name not in known.split():
                raise SecurityError(f"calling {name or type(__obj).__name__} is not allowed")
        args = tuple(__self.counted(arg, 1) if hasattr(arg, "__next__") else arg for arg in args)
        _check_growth(name, (owner, *args))
        return __self.made(super().call(__context, __obj, *args, **kwargs))

    def _counted_filter(self, run: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(run)
        def counted(*args: Any, **kwargs: Any) -> Any:
            values = args[1:] if hasattr(run, "jinja_pass_arg") else args
            self.spend(1 + sum(measured(value).work for value in (*values, *kwargs.values())))
            if run is FILTERS["indent"] and not _is_narrow(values[1:], kwargs):
                raise SecurityError(f"indent takes a width up to {_MOST_INDENT}")
            if run in (FILTERS["string"], FILTERS["join"], _tojson):
                _require_plain(values[0])
            _check_growth(run.__name__.removeprefix("sync_").removeprefix("do_"), (*values, *kwargs.values()))
            found = run(*args, **kwargs)
            return self.made(list(found) if hasattr(found, "__next__") else found)

        return counted


class _Guard(NodeTransformer):
    """Puts the counting into a parsed template."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        """Let a loop pay for its items."""
        if node.recursive:
            raise SecurityError("recursive loops are not allowed")
        weight = _size_of(node)
        self.generic_visit(node)
        node.iter = _ask("counted", node.iter, nodes.Const(weight))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802
        """Let the operator ~ pay for its text."""
        self.generic_visit(node)
        return _ask("joined", nodes.Tuple(node.nodes, "load"))

    def visit_List(self, node: Any) -> nodes.Expr:  # noqa: N802
        """Measure what is made of other values."""
        self.generic_visit(node)
        is_plain = getattr(node, "ctx", "load") != "load" or all(isinstance(e, nodes.Const) for e in node.items)
        return node if is_plain else _ask("made", node)  # type: ignore[no-any-return]

    visit_Tuple = visit_Dict = visit_List  # noqa: N815

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:  # noqa: N802
        """Let a slice pay for its copy."""
        self.generic_visit(node)
        return _ask("made", node) if isinstance(node.arg, nodes.Slice) else node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:  # noqa: N802
        """Let a comparison pay for what is compared."""
        self.generic_visit(node)
        owners: list[Any] = [node, *node.ops]
        for owner in owners:
            if not isinstance(owner.expr, nodes.Const):
                owner.expr = _ask("made", owner.expr)
        return node


def _ask(name: str, *args: Any) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name), list(args), [], None, None)


def _size_of(node: nodes.Node) -> int:
    return 1 + sum(1 for _ in node.find_all(nodes.Node))


@dataclass(frozen=True, slots=True)
class Measure:
    """How large a value is, in characters and items, and what it costs to copy it."""

    size: int
    work: int


def measured(value: Any) -> Measure:
    """Measure a value and all in it; SecurityError for a size of more than MOST_SIZE."""
    characters, items, waiting = 0, 0, [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            characters += len(each)
        elif isinstance(each, list | tuple | dict | range):
            items += len(each)
            if items <= MOST_SIZE and not isinstance(each, range):
                waiting += [*each, *each.values()] if isinstance(each, dict) else each
        if characters + items > MOST_SIZE:
            raise SecurityError(f"it makes something of more than {MOST_SIZE} characters")
    return Measure(characters + items, items + characters // _PER_WORK)


def _require_plain(value: Any) -> None:
    """Refuse to write what is no value of JSON: it might hold more than is seen."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            waiting += [*each, *each.values()]
        elif isinstance(each, list | tuple):
            waiting += each
        elif not isinstance(each, str | int | float | Undefined | None | range):
            raise SecurityError(f"a {type(each).__name__} cannot be written")


def _check_product(left: Any, right: Any, sizes: tuple[int, int]) -> None:
    for value, times, size in ((left, right, sizes[0]), (right, left, sizes[1])):
        if isinstance(value, str | list | tuple) and isinstance(times, int) and (size + 1) * times > MOST_SIZE:
            raise SecurityError(f"it makes something of more than {MOST_SIZE} characters")
    if _bits(left) + _bits(right) > _MOST_BITS:
        raise SecurityError("a product is too large")


def _check_growth(name: str, values: Sequence[Any]) -> None:
    """Refuse what would grow beyond the limit before it does."""
    size = 0
    if name == "replace" and len(values) > 2 and all(isinstance(value, str) for value in values[:3]):
        size = len(values[0]) + values[0].count(values[1]) * len(values[2])
    if name == "join" and len(values) > 1:
        size = sum(len(value) * len(other) for value, other in (values[:2], values[1::-1]) if _are_sized(value, other))
    if size > MOST_SIZE:
        raise SecurityError(f"{name} makes something of more than {MOST_SIZE} characters")


def _are_sized(separator: Any, items: Any) -> bool:
    return isinstance(separator, str) and isinstance(items, str | list | tuple | dict | range)


def _is_narrow(positional: Sequence[Any], named: dict[str, Any]) -> bool:
    width = positional[0] if positional else named.get("width", 4)
    return (isinstance(width, int) and width <= _MOST_INDENT) or (isinstance(width, str) and len(width) <= _MOST_INDENT)


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 0


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
    """As transformers has it: letters stay as they are."""
    if indent is not None and (not isinstance(indent, int) or indent > _MOST_INDENT):
        raise SecurityError(f"tojson takes an indent up to {_MOST_INDENT}")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _fail(message: str) -> None:
    raise TemplateError(str(message))
