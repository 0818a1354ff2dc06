"""What a decorated class is to Thyme, and what is common to datasets and featuresets."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import FrameType, FunctionType
from typing import Any, Literal, NamedTuple

from thyme import _native
from thyme._literal import described
from thyme._place import Place, refuse, user_frame
from thyme._sourcecode import member_lines, source_file
from thyme._types import FieldType, Scope, UnsupportedAnnotation, field_type
from thyme.errors import Fault, definition_error

FORMAT = 1
ATTRIBUTE = "__thyme__"

Kind = Literal["dataset", "featureset"]


@dataclass(eq=False)
class Definition:
    """A dataset or a featureset: its class, its document, and the classes it refers to.

    Attributes:
        kind: Which of the two.
        cls: The decorated class.
        body: The document, but for what is only known once the module is complete (the extractors' code).
        references: The classes that the body refers to.
        places: Where the members stand, by name.
        at: Where the class stands.
    """

    kind: Kind
    cls: type
    body: dict[str, Any]
    references: tuple[type, ...]
    places: Mapping[str, Place]
    at: Place = field(default_factory=Place)

    @property
    def name(self) -> str:
        """The name it is committed under."""
        return self.cls.__name__

    def document(self) -> dict[str, Any]:
        """Its part of a definition document."""
        return self.body

    def needs(self) -> tuple[type, ...]:
        """The classes it refers to."""
        return self.references

    def check(self) -> None:
        """Has the engine judge it.

        Raises:
            DefinitionValueError: It is wrong.
            DefinitionTypeError: It is wrong in its types only.
        """
        document = document_of([self])
        known = document_of([one for one in closure([self]) if one is not self])
        faults = [self._precise(fault) for fault in _native.faults_of(document, known)]
        if faults:
            raise definition_error(faults, self.name)

    def _precise(self, fault: Fault) -> Fault:
        """The fault at the line of its member, which documents do not have for the fields of datasets."""
        owner, _, member = fault.subject.partition(".")
        place = self.places.get(member) if owner == self.name else None
        if place is None or fault.line not in (0, self.at.line):
            return fault
        return replace(fault, **place.document())


def definition_of(thing: object) -> Definition | None:
    """What a class was decorated as; None for anything else, its subclasses included."""
    if not isinstance(thing, type):
        return None
    found = thing.__dict__.get(ATTRIBUTE)
    return found if isinstance(found, Definition) else None


def is_kind(thing: object, kind: Kind) -> bool:
    """Whether a thing is a class decorated as such."""
    found = definition_of(thing)
    return found is not None and found.kind == kind


def closure(definitions: Iterable[Definition]) -> list[Definition]:
    """The definitions with everything that they refer to, what is referred to first."""
    ordered: list[Definition] = []
    seen: set[int] = set()

    def visit(definition: Definition) -> None:
        if id(definition) in seen:
            return
        seen.add(id(definition))
        for needed in definition.needs():
            found = definition_of(needed)
            if found is not None:
                visit(found)
        ordered.append(definition)

    for definition in definitions:
        visit(definition)
    return ordered


def document_of(definitions: Iterable[Definition]) -> dict[str, Any]:
    """The definition document of exactly these."""
    listed = list(definitions)
    return {
        "format": FORMAT,
        "datasets": [one.document() for one in listed if one.kind == "dataset"],
        "featuresets": [one.document() for one in listed if one.kind == "featureset"],
    }


class Member(NamedTuple):
    """An annotated name of a class."""

    name: str
    type: FieldType
    value: Any
    at: Place


class ClassReader:
    """Reads a class that is being decorated; faults are collected.

    Attributes:
        name: The class's name.
        at: The line of its `class` statement.
        faults: What is wrong so far.
        places: Where the members stand.
    """

    def __init__(self, cls: type, decorator: str) -> None:
        """Takes the class and the decorator it was given to."""
        if not isinstance(cls, type):
            refuse(f"{decorator} decorates a class, got {described(cls)}")
        if ATTRIBUTE in cls.__dict__:
            refuse(f"{cls.__name__} is decorated twice; keep one of @dataset and @featureset")
        frame = user_frame()
        self.cls = cls
        self.name = cls.__name__
        self.decorator = decorator
        self.faults: list[Fault] = []
        file = frame.f_code.co_filename
        source = source_file(file, frame.f_globals, fresh=True)
        node = source.class_at(self.name, frame.f_lineno) if source is not None else None
        self.at = Place(file, node.lineno if node is not None else frame.f_lineno)
        self.places = {name: Place(file, line) for name, line in member_lines(node).items()}
        self._scopes = _scopes(cls, frame)
        for base in cls.__mro__[1:]:
            if definition_of(base) is not None:
                message = f"{self.name} inherits from {base.__name__}, which is {_article(base)} itself"
                hint = "not supported; put what they share into a class without a decorator"
                self.fault("", f"{message}: {hint}", "type")

    def fault(self, member: str, message: str, kind: Literal["type", "value"] = "value") -> None:
        """Notes a fault of a member, or of the class itself if `member` is empty."""
        subject = f"{self.name}.{member}" if member else self.name
        self.faults.append(self.place(member).fault(message, subject=subject, kind=kind))

    def place(self, member: str) -> Place:
        """Where a member stands, as well as it is known."""
        return self.places.get(member, self.at)

    def refuse_faults(self) -> None:
        """Raises what was found, if anything."""
        if self.faults:
            raise definition_error(sorted(self.faults, key=lambda fault: fault.line), self.name)

    def namespace(self) -> dict[str, Any]:
        """The members of the class and of the plain classes it inherits from."""
        merged: dict[str, Any] = {}
        for owner, _ in self._scopes:
            merged.update(vars(owner))
        return merged

    def members(self, spec: type, wrapper: type) -> list[Member]:
        """The annotated names, in order, with the values that `spec` calls gave them.

        Args:
            spec: The class of what `field()` or `feature()` returns.
            wrapper: The generic class that may be spelled around the type.
        """
        called = "field()" if self.decorator == "@dataset" else "feature()"
        found: dict[str, Member] = {}
        namespace = self.namespace()
        for owner, scope in self._scopes:
            for name, annotation in inspect.get_annotations(owner).items():
                value = namespace.get(name)
                if isinstance(value, spec) and name not in self.places:
                    self.places[name] = value.place  # type: ignore[attr-defined]
                try:
                    data_type = field_type(annotation, scope, (wrapper,))
                except UnsupportedAnnotation as error:
                    self.fault(name, str(error), "type")
                    continue
                if data_type is None:
                    continue
                if isinstance(value, FunctionType):
                    self.fault(name, f"a method has the same name and hides it; rename the method {name}()")
                    continue
                if name in namespace and not isinstance(value, spec):
                    self.fault(
                        name, f"it is set to {described(value)}; leave the value out, or use {called}", "type"
                    )
                    continue
                found[name] = Member(name, data_type, value, self.place(name))
        for name, value in namespace.items():
            annotated = any(name in inspect.get_annotations(owner) for owner, _ in self._scopes)
            if isinstance(value, spec) and not annotated:
                self.places.setdefault(name, value.place)  # type: ignore[attr-defined]
                self.fault(name, f"it has no type; annotate it, such as `{name}: float = {called}`", "type")
        return list(found.values())

    def methods(self) -> Iterator[tuple[str, FunctionType]]:
        """The functions of the class, without `classmethod` or `staticmethod` around them.

        Some are wrapped by decorators of the user's and only behave like functions.
        """
        for name, value in self.namespace().items():
            function: Any = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
            if isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
                yield name, function


def _scopes(cls: type, frame: FrameType) -> list[tuple[type, Scope]]:
    """The class and its plain bases, furthest first, each with where its annotations are looked up."""
    scopes = []
    for owner in reversed(cls.__mro__):
        if owner is cls:
            scopes.append((owner, Scope(frame.f_globals, frame.f_locals)))
        elif owner is not object and owner.__module__ != "typing" and definition_of(owner) is None:
            module = sys.modules.get(owner.__module__)
            scopes.append((owner, Scope(vars(module) if module else {}, {})))
    return scopes


def _article(cls: type) -> str:
    found = definition_of(cls)
    return f"a {found.kind}" if found is not None else "a class"
