"""How sources call moe_sorting, and single functions out of modules that cannot be imported here."""

import ast
import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

NAME, MODULE = "moe_sorting", "aiter.fused_moe"


class CallForm(NamedTuple):
    """A call: how many arguments are positional, which are by keyword, and into how many names its result goes.

    unpacked: 0 where the result is kept whole.
    """

    positional: int
    keywords: frozenset[str]
    unpacked: int


def list_call_forms(file: Path, *, is_module: bool = False) -> list[CallForm]:
    """Return the calls of AITER's moe_sorting in a file. is_module: this is the file that defines it."""
    text = file.read_text(errors="replace")
    if NAME not in text:
        return []
    tree = ast.parse(text)
    names = {NAME} if is_module else set(_list_imported_names(tree))
    targets = {id(node.value): node.targets[0] for node in ast.walk(tree) if isinstance(node, ast.Assign)}
    return [
        _describe(call, targets.get(id(call)))
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in names
    ]


def _list_imported_names(tree: ast.Module) -> Iterator[str]:
    """Yield what the file calls moe_sorting, wherever in the file it is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == MODULE:
            yield from (alias.asname or alias.name for alias in node.names if alias.name == NAME)


def _describe(call: ast.Call, target: ast.expr | None) -> CallForm:
    unpacked = len(target.elts) if isinstance(target, ast.Tuple) else 0
    return CallForm(len(call.args), frozenset(word.arg or "**" for word in call.keywords), unpacked)


def list_holders(package: Path) -> set[str]:
    """Return the modules of a package that keep moe_sorting under a name of theirs when they are imported."""
    return {
        ".".join(file.relative_to(package.parent).with_suffix("").parts)
        for file in package.rglob("*.py")
        if NAME in (text := file.read_text(errors="replace")) and _imports_at_top(ast.parse(text))
    }


def _imports_at_top(tree: ast.Module) -> bool:
    top = ast.Module([node for node in tree.body if isinstance(node, ast.ImportFrom)], [])
    return any(_list_imported_names(top))


def format_signature(function: Callable[..., Any]) -> str:
    """Return a function's arguments with their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return ", ".join(str(parameter.replace(annotation=inspect.Parameter.empty)) for parameter in parameters)


def format_operator(name: str) -> str:
    """Return the arguments of an operator, where AITER's Python function takes *args; without a dummy in front."""
    arguments = getattr(torch.ops.aiter, name).default._schema.arguments
    texts = [f"{a.name}={a.default_value}" if a.has_default_value() else a.name for a in arguments]
    return ", ".join(text for text in texts if text != "dummy")


def take_functions(file: Path, names: Iterable[str], **known: Any) -> dict[str, Any]:
    """Return functions of a file by name, run with `known` for everything else that they mention, undecorated."""
    kept = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
    body: list[ast.stmt] = [ast.ImportFrom("__future__", [ast.alias("annotations")], 0)]
    for node in kept:
        if node.name in names:
            node.decorator_list = []
            body.append(node)
    module = ast.fix_missing_locations(ast.Module(body, []))
    namespace: dict[str, Any] = dict(known)
    exec(compile(module, str(file), "exec"), namespace)
    return namespace


def list_called_names(file: Path, function: str) -> list[str]:
    """Return what a function or method calls, in the order of the text; 'a.b' for methods."""
    found = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)]
    (body,) = [node.body for node in found if node.name == function]
    calls = [node for statement in body for node in ast.walk(statement) if isinstance(node, ast.Call)]
    return [ast.unparse(call.func) for call in sorted(calls, key=lambda call: (call.lineno, call.col_offset))]
