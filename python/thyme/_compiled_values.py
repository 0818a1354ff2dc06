"""The translation of expressions."""

from __future__ import annotations

import ast
import builtins
import datetime as dt
from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import Any

from thyme._compiled_names import FUNCTIONS, TEXT_METHODS, TIME_ATTRIBUTES, TIME_METHODS
from thyme._compiled_parts import Code, NotCompiled, Scope, Special
from thyme._lookup import DatasetHandle

_BINARY: Mapping[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.FloorDiv: "floor_div",
    ast.Mod: "mod",
    ast.Pow: "pow",
    ast.BitAnd: "and",
    ast.BitOr: "or",
    ast.BitXor: "xor",
}
_UNARY: Mapping[type[ast.unaryop], str] = {
    ast.Not: "not",
    ast.USub: "minus",
    ast.UAdd: "plus",
    ast.Invert: "invert",
}
_COMPARE: Mapping[type[ast.cmpop], str] = {
    ast.Eq: "eq",
    ast.NotEq: "not_eq",
    ast.Lt: "lt",
    ast.LtE: "lt_e",
    ast.Gt: "gt",
    ast.GtE: "gt_e",
    ast.In: "in",
    ast.NotIn: "not_in",
    ast.Is: "is",
    ast.IsNot: "is_not",
}
_KINDS = {
    int: "int",
    float: "float",
    str: "str",
    bool: "bool",
    dt.datetime: "datetime",
    dt.timedelta: "timedelta",
}
_NOT: Mapping[type[ast.expr], str] = {
    ast.Lambda: "a `lambda`",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a generator",
    ast.List: "a list",
    ast.Set: "a set",
    ast.Starred: "`*`",
    ast.Await: "`await`",
    ast.Yield: "`yield`",
    ast.YieldFrom: "`yield`",
    ast.Slice: "a slice",
}


class Expressions:
    """Writes the code that puts an expression's value onto the stack."""

    scope: Scope

    def __init__(self, code: Code, module: Mapping[str, Any], inputs: tuple[str, ...]) -> None:
        """Takes what to write to, what the module's names stand for, and the extractor's inputs."""
        self.code = code
        self.module = module
        self.inputs = inputs

    def inline(self, function: FunctionType, call: ast.Call) -> None:
        """Puts a function of the module where it is called."""
        raise NotImplementedError

    def expression(self, node: ast.expr) -> None:
        """Any expression.

        Raises:
            NotCompiled: Programs do not have it.
        """
        match node:
            case ast.Constant(value=value):
                self.code.constant(value, node)
            case ast.Name(id=name):
                self.load(name, node)
            case ast.BoolOp(op=operator, values=values):
                self._bool(operator, values)
            case ast.UnaryOp(op=operator, operand=operand):
                self.expression(operand)
                self.code.emit("unary", _UNARY[type(operator)])
            case ast.BinOp(left=left, op=operator, right=right):
                self.expression(left)
                self.expression(right)
                self.binary(operator, node)
            case ast.Compare():
                self._compare(node)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                self.expression(test)
                otherwise = self.code.emit("jump_if_false", 0)
                self.expression(body)
                after = self.code.emit("jump", 0)
                self.code.land(otherwise)
                self.expression(orelse)
                self.code.land(after)
            case ast.NamedExpr(target=ast.Name(id=name), value=value):
                self.expression(value)
                slot = self.scope.slot(name, self.code)
                self.code.emit("store", slot)
                self.code.emit("load", slot)
            case ast.Tuple(elts=items):
                self._items(items)
            case ast.Dict():
                self._dict(node)
            case ast.JoinedStr(values=parts):
                self._f_string(parts)
            case ast.Subscript(value=value, slice=index):
                self._subscript(value, index, node)
            case ast.Attribute():
                self._attribute(node)
            case ast.Call():
                self._call(node)
            case _:
                raise NotCompiled(_NOT.get(type(node), f"the expression {type(node).__name__}"), node)

    def binary(self, operator: ast.operator, node: ast.AST) -> None:
        """The operator, between what is on the stack."""
        name = _BINARY.get(type(operator))
        if name is None:
            sign = {ast.LShift: "<<", ast.RShift: ">>", ast.MatMult: "@"}.get(type(operator), "")
            raise NotCompiled(f"the operator `{sign}`", node)
        self.code.emit("binary", name)

    def is_builtin(self, name: str) -> bool:
        """Whether a name means the builtin here."""
        return not self.scope.has(name) and name not in self.module

    def special(self, node: ast.expr) -> Special | None:
        """What a name stands for if it is a parameter that is given to the program."""
        return self.scope.specials.get(node.id) if isinstance(node, ast.Name) else None

    def emit_special(self, special: Special) -> None:
        """Puts the time or an input onto the stack."""
        if special == "time":
            self.code.emit("time")
        else:
            self.code.emit("input", special)

    def load(self, name: str, node: ast.AST) -> None:
        """The value of a name."""
        special = self.scope.specials.get(name)
        if special in ("cls", "inputs"):
            raise NotCompiled(f"`{name}` by itself", node)
        if special is not None:
            self.emit_special(special)
        elif self.scope.has(name):
            self.code.emit("load", self.scope.slot(name, self.code))
        elif name in self.module:
            value = self.module[name]
            if isinstance(value, (ModuleType, FunctionType, type, DatasetHandle)) or callable(value):
                raise NotCompiled(f"`{name}` by itself", node)
            self.code.constant(value, node)
        else:
            raise NotCompiled(f"`{name}` by itself", node)

    def _bool(self, operator: ast.boolop, values: list[ast.expr]) -> None:
        jump = "jump_if_false_or_pop" if isinstance(operator, ast.And) else "jump_if_true_or_pop"
        places = []
        for value in values[:-1]:
            self.expression(value)
            places.append(self.code.emit(jump, 0))
        self.expression(values[-1])
        for place in places:
            self.code.land(place)

    def _compare(self, node: ast.Compare) -> None:
        if self._is_about_inputs(node):
            return
        self.expression(node.left)
        places = []
        for number, (operator, right) in enumerate(zip(node.ops, node.comparators, strict=True), 1):
            self._right_operand(operator, right)
            if number == len(node.ops):
                self.code.emit("compare", _COMPARE[type(operator)])
                break
            middle = self.code.local()
            self.code.emit("store", middle)
            self.code.emit("load", middle)
            self.code.emit("compare", _COMPARE[type(operator)])
            places.append(self.code.emit("jump_if_false_or_pop", 0))
            self.code.emit("load", middle)
        for place in places:
            self.code.land(place)

    def _right_operand(self, operator: ast.cmpop, node: ast.expr) -> None:
        if isinstance(operator, (ast.Is, ast.IsNot)):
            if not (isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool))):
                raise NotCompiled("`is` with something else than None, True or False", node)
        if isinstance(operator, (ast.In, ast.NotIn)):
            if isinstance(node, (ast.List, ast.Set)):
                self._items(node.elts)
                return
            found = self._constant_of(node)
            if type(found) in (list, set, frozenset):
                self.code.constant(tuple(found), node)
                return
        self.expression(node)

    def _constant_of(self, node: ast.expr) -> Any:
        """What a name of the module stands for."""
        if isinstance(node, ast.Name) and not self.scope.has(node.id):
            return self.module.get(node.id)
        return None

    def _is_about_inputs(self, node: ast.Compare) -> bool:
        """`"name" in inputs`, which is known now."""
        match node:
            case ast.Compare(
                left=ast.Constant(value=str(name)), ops=[ast.In() | ast.NotIn() as op], comparators=[of]
            ):
                if self.special(of) == "inputs":
                    self.code.constant((name in self.inputs) == isinstance(op, ast.In), node)
                    return True
        return False

    def _items(self, items: list[ast.expr]) -> None:
        for item in items:
            self.expression(item)
        self.code.emit("tuple", len(items))

    def _dict(self, node: ast.Dict) -> None:
        names = []
        for key, value in zip(node.keys, node.values, strict=True):
            if not (isinstance(key, ast.Constant) and isinstance(key.value, str)) or key.value in names:
                raise NotCompiled("a dict with keys other than different literal texts", node)
            names.append(key.value)
            self.expression(value)
        self.code.emit("dict", names)

    def _f_string(self, parts: list[ast.expr]) -> None:
        for part in parts:
            match part:
                case ast.Constant(value=value):
                    self.code.constant(value, part)
                case ast.FormattedValue(value=inner, conversion=-1 | 115, format_spec=None):
                    self.expression(inner)
                    self.code.emit("call", "str", 1)
                case _:
                    raise NotCompiled("an f-string with a format", part)
        self.code.emit("call", "concat", len(parts))

    def _subscript(self, value: ast.expr, index: ast.expr, node: ast.expr) -> None:
        if self.special(value) == "inputs":
            self.code.emit("input", self._input(index, node))
            return
        match index:
            case ast.List(elts=items):
                names = [one.value for one in items if isinstance(one, ast.Constant)]
                if not names or len(names) != len(items) or not all(isinstance(one, str) for one in names):
                    raise NotCompiled("fields of a row that are no literal texts", node)
                if len(set(names)) != len(names):
                    raise NotCompiled("a field of a row twice", node)
                self.expression(value)
                self.code.emit("fields", names)
            case _:
                self.expression(value)
                self.expression(index)
                self.code.emit("item")

    def _input(self, index: ast.expr, node: ast.expr) -> int:
        if not (isinstance(index, ast.Constant) and isinstance(index.value, str)):
            raise NotCompiled("an input whose name is no literal", node)
        if index.value not in self.inputs:
            raise NotCompiled(f'`"{index.value}"`, which is none of its inputs', node)
        return self.inputs.index(index.value)

    def _attribute(self, node: ast.Attribute) -> None:
        base = self._constant_of(node.value)
        if isinstance(base, ModuleType) and hasattr(base, node.attr):
            self.code.constant(getattr(base, node.attr), node)
        elif node.attr in TIME_ATTRIBUTES:
            self.expression(node.value)
            self.code.emit("part", node.attr)
        else:
            raise NotCompiled(f"the attribute `{ast.unparse(node)}`", node)

    def _call(self, node: ast.Call) -> None:
        function = node.func
        if isinstance(function, ast.Attribute):
            base = self._constant_of(function.value)
            if isinstance(base, DatasetHandle):
                self._lookup(base, node)
            elif isinstance(base, ModuleType):
                self._call_of(getattr(base, function.attr, None), node)
            else:
                self._method(function, node)
        elif isinstance(function, ast.Name) and not self.scope.has(function.id):
            name = function.id
            value = self.module[name] if name in self.module else getattr(builtins, name, None)
            if isinstance(value, FunctionType) and value.__globals__ is self.module:
                self.inline(value, node)
            else:
                self._call_of(value, node)
        else:
            raise NotCompiled(f"a call of `{ast.unparse(function)}`", node)

    def _call_of(self, function: Any, node: ast.Call) -> None:
        """Of a builtin or something imported."""
        what = f"a call of `{ast.unparse(node.func)}`"
        if function is dt.timedelta:
            self._timedelta(node)
            return
        node = _plainly(function, node)
        if node.keywords or any(isinstance(one, ast.Starred) for one in node.args):
            raise NotCompiled(f"{what} with such arguments", node)
        if function is builtins.isinstance:
            self._isinstance(node)
            return
        match node.args:
            case [ast.GeneratorExp() as each] if function is builtins.any or function is builtins.all:
                self._quantified(each, is_any=function is builtins.any)
                return
        try:
            name, least, most = FUNCTIONS[function]
        except (KeyError, TypeError):
            raise NotCompiled(what, node) from None
        if not least <= len(node.args) <= most:
            raise NotCompiled(f"{what} with {len(node.args)} arguments", node)
        for argument in node.args:
            if isinstance(argument, ast.List) and function in (builtins.any, builtins.all):
                self._items(argument.elts)
            else:
                self.expression(argument)
        self.code.emit("call", name, len(node.args))

    def _quantified(self, node: ast.GeneratorExp, *, is_any: bool) -> None:
        """`any(x > 1 for x in (a, b))`, as if it were written for each of them."""
        match node.generators:
            case [
                ast.comprehension(
                    target=ast.Name(id=name), iter=ast.Tuple(elts=items) | ast.List(elts=items)
                ) as of
            ]:
                pass
            case _:
                raise NotCompiled("a generator over something else than a literal tuple or list", node)
        slots = []
        for item in items:
            self.expression(item)
            slots.append(self.code.local())
            self.code.emit("store", slots[-1])
        outer = self.scope
        self.scope = outer.with_local(name, self.code.local())
        target, found = self.scope.slots[name], []
        for slot in slots:
            self.code.emit("load", slot)
            self.code.emit("store", target)
            skips = []
            for condition in of.ifs:
                self.expression(condition)
                skips.append(self.code.emit("jump_if_false", 0))
            self.expression(node.elt)
            if is_any:
                self.code.emit("unary", "not")
            found.append(self.code.emit("jump_if_false", 0))
            for place in skips:
                self.code.land(place)
        self.scope = outer
        self.code.constant(not is_any, node)
        over = self.code.emit("jump", 0)
        for place in found:
            self.code.land(place)
        self.code.constant(is_any, node)
        self.code.land(over)

    def _timedelta(self, node: ast.Call) -> None:
        """With arguments that are known now."""
        try:
            arguments = [ast.literal_eval(one) for one in node.args]
            keywords = {str(one.arg): ast.literal_eval(one.value) for one in node.keywords}
            value = dt.timedelta(*arguments, **keywords)
        except (ValueError, TypeError, OverflowError):
            raise NotCompiled("a timedelta of something else than literals", node) from None
        self.code.constant(value, node)

    def _isinstance(self, node: ast.Call) -> None:
        match node.args:
            case [value, ast.Tuple(elts=types)]:
                pass
            case [value, one]:
                types = [one]
            case _:
                raise NotCompiled("`isinstance` with such arguments", node)
        kinds = []
        for one in types:
            name = one.id if isinstance(one, ast.Name) and not self.scope.has(one.id) else ""
            kind = self.module[name] if name in self.module else getattr(builtins, name, None)
            if not isinstance(kind, type) or kind not in _KINDS:
                raise NotCompiled(f"`isinstance` of `{ast.unparse(one)}`", node)
            kinds.append(_KINDS[kind])
        self.expression(value)
        self.code.emit("is_instance", kinds)

    def _method(self, function: ast.Attribute, node: ast.Call) -> None:
        name, count = function.attr, len(node.args)
        if node.keywords or any(isinstance(one, ast.Starred) for one in node.args):
            raise NotCompiled(f"a call of `{ast.unparse(function)}` with such arguments", node)
        if self.special(function.value) == "inputs":
            self._get_input(name, node)
        elif name == "get" and count in (1, 2):
            self.expression(function.value)
            self.expression(node.args[0])
            self._default(node)
            self.code.emit("get")
        elif name in TIME_METHODS and count == 0:
            self.expression(function.value)
            self.code.emit("part", name)
        elif TEXT_METHODS.get(name) == count:
            self.expression(function.value)
            for argument in node.args:
                self.expression(argument)
            self.code.emit("call", name, count + 1)
        else:
            raise NotCompiled(f"a call of `{ast.unparse(function)}`", node)

    def _default(self, node: ast.Call) -> None:
        if len(node.args) == 2:
            self.expression(node.args[1])
        else:
            self.code.constant(None)

    def _get_input(self, name: str, node: ast.Call) -> None:
        """`inputs.get(name, default)`: an input is always there, and may be None."""
        if name != "get" or len(node.args) not in (1, 2):
            raise NotCompiled(f"a call of `{ast.unparse(node.func)}`", node)
        match node.args[0]:
            case ast.Constant(value=str(key)) if key not in self.inputs:
                self._default(node)
            case key_node:
                number = self._input(key_node, node)
                if len(node.args) == 2:
                    self.expression(node.args[1])
                    self.code.emit("pop")
                self.code.emit("input", number)

    def _lookup(self, dataset: DatasetHandle, node: ast.Call) -> None:
        """`Dataset.lookup(ts, key=...)`."""
        names = [one.arg for one in node.keywords]
        if not isinstance(node.func, ast.Attribute) or node.func.attr != "lookup":
            raise NotCompiled(f"a call of `{ast.unparse(node.func)}`", node)
        if len(node.args) != 1 or isinstance(node.args[0], ast.Starred) or None in names:
            raise NotCompiled(f"a call of `{ast.unparse(node.func)}` with such arguments", node)
        self.expression(node.args[0])
        for keyword in node.keywords:
            self.expression(keyword.value)
        self.code.emit("lookup", dataset.__name__, names)


def _plainly(function: Any, node: ast.Call) -> ast.Call:
    """A call as programs have it: `max((a, b))` as `max(a, b)`, `round(a, ndigits=1)` by place."""
    match node:
        case ast.Call(args=[ast.Tuple(elts=items) | ast.List(elts=items)], keywords=[]):
            if function in (builtins.min, builtins.max) and len(items) > 1:
                return ast.copy_location(ast.Call(node.func, items, []), node)
        case ast.Call(args=[one], keywords=[ast.keyword(arg="ndigits", value=digits)]):
            if function is builtins.round:
                return ast.copy_location(ast.Call(node.func, [one, digits], []), node)
    return node
