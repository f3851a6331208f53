"""Docstrings as Markdown: roles and directives of reStructuredText.

The docstrings are those that OpenMMLab's tools read. Griffe calls
``on_instance`` for each object before it is rendered.
"""

import re
import textwrap
from typing import Any

import griffe

ROLE = re.compile(r':(?:class|func|meth|data|mod|attr|math):`([^`]+)`')
DIRECTIVE = re.compile(
    r'^( *)\.\. (math|code-block|code)::[ ]*(.*)\n((?:\n|\1 +.*\n?)*)',
    re.MULTILINE,
)


class MarkdownDocstrings(griffe.Extension):
    """Rewrites each docstring that is loaded."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """Write roles as code, formulas and code as blocks."""
    # The section whose prompts are shown as code.
    text = re.sub(r'^( *)Example:$', r'\1Examples:', text, flags=re.MULTILINE)
    return ROLE.sub(_name, DIRECTIVE.sub(_block, text + '\n')).rstrip()


def _name(match: re.Match[str]) -> str:
    name = match[1]
    # ~package.Class stands for Class.
    return f'`{name.rpartition(".")[2] if name[0] == "~" else name}`'


def _block(match: re.Match[str]) -> str:
    indent, kind, rest, body = match.groups()
    lines = textwrap.dedent(body).strip('\n').split('\n')
    if kind == 'math':
        language, lines = 'latex', [rest, *lines]
    else:
        language = rest
    block = [f'```{language}', *(line for line in lines if line), '```']
    return '\n' + textwrap.indent('\n'.join(block), indent) + '\n\n'
