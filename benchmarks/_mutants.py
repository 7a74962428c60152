"""Small changes to a module's syntax tree, one at a time, in an order that its source decides."""

from __future__ import annotations

import ast
import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
}


@dataclass(frozen=True)
class Mutant:
    """The change at place `index` of those of a module; `text` is its line as it was, stripped."""

    line: int
    column: int
    text: str
    change: str
    source: str = field(repr=False)
    index: int

    @property
    def tree(self) -> ast.Module:
        """The changed module, made anew at each call; it compiles."""
        tree = ast.parse(self.source)
        _, _, apply = next(itertools.islice(_changes(tree), self.index, None))
        apply()
        return ast.fix_missing_locations(tree)

    @property
    def key(self) -> tuple[str, str, int]:
        """What stays the same when other lines of the module move."""
        return self.text, self.change, self.column


def mutants(source: str) -> list[Mutant]:
    """Every mutant of a module. Left alone: annotations, decorators, texts, logging."""
    lines = source.splitlines()
    found = []
    for index, (node, change, _) in enumerate(_changes(ast.parse(source))):
        text = lines[node.lineno - 1].strip()
        indent = len(lines[node.lineno - 1]) - len(lines[node.lineno - 1].lstrip())
        column = node.col_offset - indent
        found.append(Mutant(node.lineno, column, text, change, source, index))
    return found


_Change = tuple["ast.expr | ast.stmt", str, Callable[[], None]]


def _changes(tree: ast.Module) -> Iterator[_Change]:
    for parent in _code(tree):
        yield from _of_statements(parent)
        yield from _of_operators(parent)
        match parent:
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
                if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp):
                    yield test, "negated", _attribute(parent, "test", _negated(test))
            case ast.Constant(value=bool(value)):
                yield parent, f"{value} to {not value}", _attribute(parent, "value", not value)
            case ast.Constant(value=int(number) | float(number)):
                other_number = number + 1
                change = f"{number} to {other_number}"
                yield parent, change, _attribute(parent, "value", other_number)
            case ast.Return(value=ast.expr() as value) if not (
                isinstance(value, ast.Constant) and value.value is None
            ):
                nothing = ast.Constant(None)
                yield parent, "returns None", _attribute(parent, "value", nothing)


def _of_operators(parent: ast.AST) -> Iterator[_Change]:
    match parent:
        case ast.Compare(ops=ops):
            for place, operator in enumerate(ops):
                for other in _COMPARISONS[type(operator)]:
                    change = f"{type(operator).__name__} to {other.__name__}"
                    yield parent, change, _setter(ops, place, other())
        case ast.BinOp(op=operator) | ast.AugAssign(op=operator):
            if type(operator) in _OPERATORS:
                instead = _OPERATORS[type(operator)]
                change = f"{type(operator).__name__} to {instead.__name__}"
                yield parent, change, _attribute(parent, "op", instead())
        case ast.BoolOp(op=operator):
            swapped: ast.boolop = ast.Or() if isinstance(operator, ast.And) else ast.And()
            change = f"{type(operator).__name__} to {type(swapped).__name__}"
            yield parent, change, _attribute(parent, "op", swapped)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield parent, "Not left out", _attribute(parent, "operand", _negated(operand))


def _of_statements(parent: ast.AST) -> Iterator[_Change]:
    """Calls for their effect, additions and exits that are left out."""
    for body in (getattr(parent, name, None) for name in ("body", "orelse", "finalbody")):
        if not isinstance(body, list):
            continue
        for place, statement in enumerate(body):
            match statement:
                case ast.Expr(value=ast.Call() as call) if not _logs(call):
                    yield statement, "left out", _setter(body, place, ast.Pass())
                case ast.AugAssign():
                    yield statement, "left out", _setter(body, place, ast.Pass())
                case ast.Break():
                    yield statement, "continue", _setter(body, place, ast.Continue())
                case ast.Continue():
                    yield statement, "break", _setter(body, place, ast.Break())


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that a test could tell a change of."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "type_params", "bases"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _left_alone(child):
                yield from _code(child)


def _left_alone(node: ast.AST) -> bool:
    match node:
        case ast.JoinedStr() | ast.Import() | ast.ImportFrom():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call() as call):
            return _logs(call)
        case ast.ClassDef(bases=bases):
            return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in bases)
        case _:
            return False


def _logs(call: ast.Call) -> bool:
    function = call.func
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "log"
    )


def _negated(test: ast.expr) -> ast.expr:
    return ast.copy_location(ast.UnaryOp(op=ast.Not(), operand=copy.deepcopy(test)), test)


def _setter(items: list[Any], place: int, value: ast.AST) -> Callable[[], None]:
    def apply() -> None:
        before = items[place]
        items[place] = ast.copy_location(value, before) if isinstance(before, ast.stmt) else value

    return apply


def _attribute(node: ast.AST, name: str, value: object) -> Callable[[], None]:
    return lambda: setattr(node, name, value)
