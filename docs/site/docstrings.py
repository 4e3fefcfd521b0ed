"""Docstrings as Markdown, read without importing anything (an extension of griffe).

Ours have sections like `# Arguments`, as Larq's and Keras's, and equations between doubled
backslashes. Arguments of the models are stated as annotations of a class of options, of which
the package makes signatures and documentation when it is imported; here the same is done.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import griffe

_SECTION = re.compile(r"^# (.+)$", re.MULTILINE)
_ENTRY = re.compile(r"^(\*{0,2}[\w.]+(?:, \w+)*): ")
_FACTORY = "model_function"


class Docstrings(griffe.Extension):
    """Rewrites all docstrings of a package when it has been read."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        for thing in _all(pkg):
            if isinstance(thing, griffe.Function):
                _take_options(thing)
            if thing.docstring:
                thing.docstring.value = as_markdown(thing.docstring.value)


def _all(thing: griffe.Object) -> Iterator[griffe.Object]:
    yield thing
    for member in thing.members.values():
        if not member.is_alias:
            yield from _all(member)


def as_markdown(text: str) -> str:
    """A docstring with its sections as lists, and equations as the site's Markdown has them."""
    text = re.sub(r"\\\\\\(?=\s)", r"\\\\", text)
    text = re.sub(r"\\\\([\[\]()])", r"\\\1", text)
    head, *rest = _SECTION.split(text)
    sections = [
        f"**{title}**{{ .doc-section }}\n\n{_body(textwrap.dedent(body).strip())}"
        for title, body in zip(rest[::2], rest[1::2], strict=True)
    ]
    return "\n\n".join([head.strip(), *sections])


def _body(text: str) -> str:
    return "\n".join(map(_line, text.splitlines())) if _ENTRY.match(text) else text


def _line(line: str) -> str:
    """An entry, or what goes on with one, as part of a list."""
    entry = _ENTRY.match(line)
    if not entry:
        return f"    {line.strip()}".rstrip()
    names = ", ".join(f"`{name}`" for name in entry[1].split(", "))
    return f"- {names}: {line[entry.end() :]}"


def _take_options(function: griffe.Function) -> None:
    """Gives a model function the parameters that its options are."""
    calls = [d.value for d in function.decorators if d.callable_path.endswith(_FACTORY)]
    if not calls:
        return
    options = function.parent[str(calls[0].arguments[0])]
    fields = list(_fields(options))
    function.parameters = griffe.Parameters(
        *(
            griffe.Parameter(
                field.name,
                annotation=_elements(field)[0],
                kind=griffe.ParameterKind.keyword_only,
                default=_default(field),
            )
            for field in fields
        )
    )
    described = "\n".join(f"    {field.name}: {_text(field)}" for field in fields)
    result = ast.literal_eval(str(_module_of(options, "_RESULT")))
    head, references, tail = function.docstring.value.partition("# References\n")
    sections = f"# Arguments\n{described}\n\n{result}"
    function.docstring.value = f"{head}{sections}{references}{tail}"


def _fields(options: griffe.Class) -> Iterator[griffe.Attribute]:
    """The annotated attributes of a class and its bases, in the order of a dataclass."""
    found: dict[str, griffe.Attribute] = {}
    for kind in reversed([options, *options.mro()]):
        found |= {
            name: member
            for name, member in kind.members.items()
            if isinstance(member, griffe.Attribute) and "Annotated" in str(member.annotation)
        }
    yield from found.values()


def _default(field: griffe.Attribute) -> Any:
    """What a field is by default, where that is a constant's name that constant's value."""
    constant = field.module.members.get(str(field.value))
    return constant.value if isinstance(constant, griffe.Attribute) else field.value


def _elements(field: griffe.Attribute) -> list[Any]:
    return list(field.annotation.slice.elements)


def _text(field: griffe.Attribute) -> str:
    return str(ast.literal_eval(f"({_elements(field)[-1]})"))


def _module_of(options: griffe.Class, name: str) -> Any:
    modules = (kind.module for kind in [options, *options.mro()])
    return next(module[name].value for module in modules if name in module.members)
