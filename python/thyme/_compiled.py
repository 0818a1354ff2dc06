"""Translates extractors into programs that Rust runs with Python's semantics.

A program is instructions for a stack; `crates/thyme-query/src/compiled` runs it and has their meaning.
Whatever a run is not sure of it leaves to CPython, and so everything that raises: what is translated here
needs to be right only where it gives a value. What programs do not have is not translated, and the reason is
kept.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from thyme._compiled_names import function_named
from thyme._compiled_parts import Code, Loop, NotCompiled, Scope, stored_names
from thyme._compiled_values import Expressions

ROUNDS_MAX = 100
"""The rounds of a loop, which are written out."""

INSTRUCTIONS_MAX = 10_000
"""Functions are put where they are called, so a short text could become a long program."""


@dataclass(frozen=True)
class Translation:
    """What became of an extractor.

    Attributes:
        program: The program as JSON; None if there is none.
        reason: Why there is none: what cannot be translated.
        line: The line of the text that it is in.
    """

    program: str | None
    reason: str = ""
    line: int = 0


def translate(
    tree: ast.Module,
    name: str,
    module: Mapping[str, Any],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    takes_dict: bool,
) -> Translation:
    """Translates an extractor.

    Args:
        tree: The module that it travelled as.
        name: The name of its function there.
        module: What the names of the module stand for.
        inputs: Its inputs, in order.
        outputs: Its outputs, in order.
        takes_dict: Whether it takes them as one dict.
    """
    try:
        node = function_named(tree, name)
        work = _Body(tree, module, tuple(inputs))
        work.extractor(node, takes_dict)
        if len(work.code.instructions) > INSTRUCTIONS_MAX:
            raise NotCompiled("a text that becomes too long with the functions it calls", node)
    except NotCompiled as found:
        return Translation(None, found.construct, found.line)
    except RecursionError:
        return Translation(None, "a text that is nested too deeply", 0)
    program = {
        "constants": work.code.constants,
        "locals": work.code.locals,
        "code": work.code.instructions,
        "outputs": list(outputs),
    }
    return Translation(json.dumps(program))


class _Body(Expressions):
    """One run over an extractor and the functions that it calls."""

    def __init__(self, tree: ast.Module, module: Mapping[str, Any], inputs: tuple[str, ...]) -> None:
        super().__init__(Code(), module, inputs)
        self._tree = tree
        self._calling: list[str] = []

    def extractor(self, node: ast.FunctionDef, takes_dict: bool) -> None:
        """Translates the extractor's own function."""
        parameters = _parameters(node)
        if len(parameters) < 2:
            raise NotCompiled("parameters other than cls, ts and inputs", node)
        scope = Scope(node.name, stored_names(node))
        scope.bind_special(parameters[0], "cls")
        scope.bind_special(parameters[1], "time")
        taken = parameters[2:]
        if takes_dict:
            scope.bind_special(taken[0], "inputs")
            taken = taken[1:]
        else:
            for number, parameter in enumerate(taken[: len(self.inputs)]):
                scope.bind_special(parameter, number)
            taken = taken[len(self.inputs) :]
        self._bind_defaults(node, scope, taken, parameters)
        self.scope = scope
        self._prepare(scope)
        self._statements(node.body)
        self.code.constant(None)
        self.code.emit("return")

    def inline(self, function: FunctionType, call: ast.Call) -> None:
        """Puts a function where it is called."""
        name = function.__name__
        if name == "<lambda>":
            raise NotCompiled(f"`{ast.unparse(call.func)}`, a `lambda`", call)
        if name in self._calling or len(self._calling) > 20:
            raise NotCompiled(f"the recursion of `{name}`", call)
        node = function_named(self._tree, name)
        if function.__code__.co_firstlineno != node.lineno:
            raise NotCompiled(f"`{name}`, which is no plain function", call)
        parameters = _parameters(node)
        if any(isinstance(one, ast.Starred) for one in call.args) or any(
            k.arg is None for k in call.keywords
        ):
            raise NotCompiled("`*` or `**` in a call", call)
        given = dict(zip(parameters, call.args, strict=False))
        named = {str(keyword.arg): keyword.value for keyword in call.keywords}
        if len(call.args) > len(parameters) or set(named) & set(given) or not set(named) <= set(parameters):
            raise NotCompiled(f"a call of `{name}` that does not fit it", call)
        given.update(named)
        scope = Scope(name, stored_names(node))
        for parameter, argument in given.items():
            special = self.special(argument)
            if special is not None and parameter not in scope.stored:
                scope.specials[parameter] = special
            else:
                self.expression(argument)
                self.code.emit("store", scope.slot(parameter, self.code))
        self._bind_defaults(node, scope, [one for one in parameters if one not in given], parameters)
        outer, self.scope = self.scope, scope
        self._calling.append(name)
        self._prepare(scope)
        scope.returns = []
        self._statements(node.body)
        self.code.constant(None)
        for place in scope.returns:
            self.code.land(place)
        self._calling.pop()
        self.scope = outer

    def _prepare(self, scope: Scope) -> None:
        """Parameters that are set again become locals."""
        for parameter in scope.stored & set(scope.specials):
            special = scope.specials.pop(parameter)
            if special in ("cls", "inputs"):
                raise NotCompiled(
                    f"`{parameter}` set to something else", function_named(self._tree, scope.name)
                )
            self.emit_special(special)
            self.code.emit("store", scope.slot(parameter, self.code))

    def _bind_defaults(
        self, node: ast.FunctionDef, scope: Scope, taken: list[str], parameters: list[str]
    ) -> None:
        defaults = dict(
            zip(reversed(parameters), reversed(_all_defaults(node, len(parameters))), strict=False)
        )
        for parameter in taken:
            default = defaults.get(parameter)
            if not isinstance(default, ast.Constant):
                raise NotCompiled(f"the default of `{parameter}`", default or node)
            self.code.constant(default.value, default)
            self.code.emit("store", scope.slot(parameter, self.code))

    def _statements(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            self._statement(statement)
            if len(self.code.instructions) > INSTRUCTIONS_MAX:
                raise NotCompiled("a text that becomes too long with the functions it calls", statement)

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Return():
                self._return(node)
            case ast.If():
                self._if(node)
            case ast.Assign(targets=targets, value=value):
                self.expression(value)
                for number, target in enumerate(targets, 1):
                    if number < len(targets):
                        temporary = self.code.local()
                        self.code.emit("store", temporary)
                        self.code.emit("load", temporary)
                        self._assign(target)
                        self.code.emit("load", temporary)
                    else:
                        self._assign(target)
            case ast.AnnAssign(target=ast.Name() as target, value=value):
                if value is not None:
                    self.expression(value)
                    self._assign(target)
            case ast.AugAssign(target=ast.Name(id=name) as target, op=operator, value=value):
                self.load(name, target)
                self.expression(value)
                self.binary(operator, node)
                self._assign(target)
            case ast.Pass():
                pass
            case ast.Expr(value=ast.Constant()):
                pass
            case ast.Expr(value=value):
                self.expression(value)
                self.code.emit("pop")
            case ast.Try(finalbody=[]):
                self._try(node)
            case ast.Try(finalbody=[first, *_]):
                raise NotCompiled("`finally`", first)
            case ast.For():
                self._for(node)
            case ast.Break() if self.scope.loops:
                self.scope.loops[-1].breaks.append(self.code.emit("jump", 0))
            case ast.Continue() if self.scope.loops:
                self.scope.loops[-1].continues.append(self.code.emit("jump", 0))
            case ast.Raise():
                self.code.emit("defer")
            case ast.Assert(test=test):
                self.expression(test)
                fails = self.code.emit("jump_if_false", 0)
                goes_on = self.code.emit("jump", 0)
                self.code.land(fails)
                self.code.emit("defer")
                self.code.land(goes_on)
            case _:
                raise NotCompiled(_STATEMENTS.get(type(node), f"the statement {type(node).__name__}"), node)

    def _return(self, node: ast.Return) -> None:
        if node.value is None:
            self.code.constant(None)
        else:
            self.expression(node.value)
        if self.scope.returns is None:
            self.code.emit("return")
        else:
            self.scope.returns.append(self.code.emit("jump", 0))

    def _if(self, node: ast.If) -> None:
        self.expression(node.test)
        otherwise = self.code.emit("jump_if_false", 0)
        self._statements(node.body)
        after = self.code.emit("jump", 0)
        self.code.land(otherwise)
        self._statements(node.orelse)
        self.code.land(after)

    def _try(self, node: ast.Try) -> None:
        """What raises is left to CPython, and with it what is done about it.

        Handlers are never reached, then. They are translated all the same: they have to be pure, too.
        """
        self._statements(node.body)
        self._statements(node.orelse)
        over = self.code.emit("jump", 0)
        for handler in node.handlers:
            types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
            if not all(one is None or isinstance(one, (ast.Name, ast.Attribute)) for one in types):
                raise NotCompiled("`except` with such a type", handler)
            self._statements(handler.body)
        self.code.land(over)

    def _for(self, node: ast.For) -> None:
        """A loop over so many items, as if its body were written for each of them."""
        items = self._items_of_loop(node)
        slots = []
        for item in items:
            self.expression(item)
            slots.append(self.code.local())
            self.code.emit("store", slots[-1])
        loop = Loop()
        self.scope.loops.append(loop)
        for slot in slots:
            self.code.emit("load", slot)
            self._assign(node.target)
            self._statements(node.body)
            for place in loop.continues:
                self.code.land(place)
            loop.continues.clear()
        self.scope.loops.pop()
        self._statements(node.orelse)
        for place in loop.breaks:
            self.code.land(place)

    def _items_of_loop(self, node: ast.For) -> list[ast.expr]:
        match node.iter:
            case ast.Tuple(elts=items) | ast.List(elts=items):
                pass
            case ast.Call(func=ast.Name(id="range"), args=bounds, keywords=[]) if self.is_builtin("range"):
                numbers = _range(bounds, node)[: ROUNDS_MAX + 1]
                items = [ast.copy_location(ast.Constant(number), node) for number in numbers]
            case _:
                raise NotCompiled(
                    "a `for` loop over something else than a literal tuple, list or range", node
                )
        if len(items) > ROUNDS_MAX or any(isinstance(one, ast.Starred) for one in items):
            raise NotCompiled(f"a `for` loop of more than {ROUNDS_MAX} rounds, or over `*`", node)
        return items

    def _assign(self, target: ast.expr) -> None:
        """Stores what is on the stack."""
        match target:
            case ast.Name(id=name):
                self.code.emit("store", self.scope.slot(name, self.code))
            case ast.Tuple(elts=items) | ast.List(elts=items):
                self.code.emit("unpack", len(items))
                for item in items:
                    self._assign(item)
            case _:
                raise NotCompiled("an assignment to something else than a name", target)


_STATEMENTS: Mapping[type[ast.stmt], str] = {
    ast.While: "a `while` loop",
    ast.With: "`with`",
    ast.Match: "`match`",
    ast.Delete: "`del`",
    ast.Global: "`global`",
    ast.Nonlocal: "`nonlocal`",
    ast.Import: "an `import`",
    ast.ImportFrom: "an `import`",
    ast.FunctionDef: "a function inside it",
    ast.ClassDef: "a class inside it",
    ast.AugAssign: "an assignment to something else than a name",
    ast.AnnAssign: "an assignment to something else than a name",
}


def _parameters(node: ast.FunctionDef) -> list[str]:
    arguments = node.args
    if arguments.vararg or arguments.kwarg or arguments.kwonlyargs:
        raise NotCompiled("parameters with `*`", node)
    return [one.arg for one in arguments.posonlyargs + arguments.args]


def _all_defaults(node: ast.FunctionDef, parameters: int) -> list[ast.expr | None]:
    """The defaults of the parameters, in order; None for those without."""
    defaults: list[ast.expr | None] = list(node.args.defaults)
    return [None] * (parameters - len(defaults)) + defaults


def _range(bounds: list[ast.expr], node: ast.For) -> range:
    """A range that is known now."""
    try:
        values = [ast.literal_eval(one) for one in bounds]
        return range(*values)
    except (ValueError, TypeError):
        raise NotCompiled("a `for` loop over a range that is not literal", node) from None
