"""Conditions on fields of videos: ``duration < 60 and folder like 'x%'``."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from mmtvr.errors import SetupError, first_line, import_extra

if TYPE_CHECKING:
    from sqlglot import exp

#: Types of columns, as they are called in messages.
NUMBER, TEXT, BOOLEAN = 'number', 'text', 'boolean'
# Deeper than any condition that somebody writes, not than Python's stack.
MAX_DEPTH = 100
# Parts of a node; one with others, as a subquery or a flag, is refused.
UNDERSTOOD = {
    *('this', 'expression', 'expressions', 'low', 'high', 'negate'),
    *('table', 'quoted', 'is_string'),
}
EXAMPLE = "duration < 60 and folder like 'holiday%'"
GRAMMAR = (
    'a condition compares columns with values by = != < <= > >=, in (...), '
    'between ... and ..., like or is null, joined by and, or, not: '
    f'{EXAMPLE!r}'
)


class Filter:
    """A condition that was checked against the columns of an index.

    It is rendered again from its syntax tree: nothing of what was typed
    reaches an engine but names of columns and values.

    Args:
        where: The condition, in SQL.
        columns: Types of the columns by name.

    Raises:
        SetupError: It is no condition, names an unknown column, or compares
            a column with a value of another type.

    Example:
        >>> where = Filter("duration < 60 and not seen", dict(
        ...     duration=NUMBER, seen=BOOLEAN))
        >>> where.to_sql()
        '(`duration` < 60) AND (NOT `seen`)'
        >>> where.to_milvus()
        '(fields["duration"] < 60) and (not (fields["seen"] == true))'
    """

    def __init__(self, where: str, columns: Mapping[str, str]) -> None:
        self.where = where
        self._columns = columns
        self._tree = self._parse()
        # What is wrong with it is said now, not when an engine is asked.
        self.to_sql()

    def __repr__(self) -> str:
        return f'Filter({self.where!r})'

    def to_sql(self) -> str:
        """As LanceDB (DataFusion) takes it."""
        return _Sql(self._columns, self.where).render(self._tree)

    def to_postgres(self) -> str:
        """As PostgreSQL takes it, of columns with the collation ``C``."""
        return _Postgres(self._columns, self.where).render(self._tree)

    def to_milvus(self) -> str:
        """As Milvus takes it, of columns in a JSON field ``fields``.

        Raises:
            SetupError: Milvus has no such condition.
        """
        return _Milvus(self._columns, self.where).render(self._tree)

    def _parse(self) -> 'exp.Expression':
        sqlglot = import_extra('sqlglot', 'search', 'a filter of videos')
        try:
            return sqlglot.parse_one(self.where, dialect='postgres')
        except (sqlglot.errors.SqlglotError, RecursionError) as error:
            why = re.sub(r'\x1b\[\d+m', '', first_line(error))
            raise SetupError(
                f'the filter {self.where!r} cannot be read ({why}): {GRAMMAR}'
            ) from error


class _Renderer:
    """Turn a syntax tree of sqlglot into the language of an engine."""

    AND, OR, NOT, EQUAL = ' AND ', ' OR ', 'NOT ', '='

    def __init__(self, columns: Mapping[str, str], where: str) -> None:
        from sqlglot import exp

        self._columns, self._where = columns, where
        self._rules: dict[type, Callable[[Any], str]] = {
            exp.Paren: lambda node: self.render(node.this),
            exp.And: lambda node: self._join(node, self.AND),
            exp.Or: lambda node: self._join(node, self.OR),
            exp.Not: lambda node: f'{self.NOT}{self._enclose(node.this)}',
            exp.Column: self._truth,
            exp.EQ: lambda node: self._compare(node, self.EQUAL),
            exp.NEQ: lambda node: self._compare(node, '!='),
            exp.LT: lambda node: self._compare(node, '<'),
            exp.LTE: lambda node: self._compare(node, '<='),
            exp.GT: lambda node: self._compare(node, '>'),
            exp.GTE: lambda node: self._compare(node, '>='),
            exp.In: self._in,
            exp.Between: self._between,
            exp.Like: lambda node: self._like(node, 'LIKE'),
            exp.ILike: lambda node: self._like(node, 'ILIKE'),
            exp.Is: self._is,
        }
        self._depth = 0

    def render(self, node: Any) -> str:
        rule = self._rules.get(type(node))
        extra = {k for k, v in node.args.items() if v} - UNDERSTOOD
        if rule is None or extra:
            shown = node.sql('postgres')[:80]
            raise self._refuse(f'{shown!r} is no condition that it takes')
        if node.args.get('negate'):
            positive = node.copy()
            positive.set('negate', None)
            return f'{self.NOT}{self._enclose(positive)}'
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._refuse(f'it is nested more than {MAX_DEPTH} deep')
        try:
            return rule(node)
        finally:
            self._depth -= 1

    def _refuse(self, why: str) -> SetupError:
        return SetupError(
            f'the filter {self._where!r} cannot be used: {why}; {GRAMMAR}'
        )

    def _enclose(self, node: Any) -> str:
        text = self.render(node)
        return text if re.fullmatch(r'`\w+`|"\w+"', text) else f'({text})'

    def _join(self, node: Any, word: str) -> str:
        # Chains of one operator lean to the left: not nested, however long.
        parts, kind = [], type(node)
        while isinstance(node, kind):
            parts.append(node.expression)
            node = node.this
        parts.append(node)
        return word.join(self._enclose(part) for part in reversed(parts))

    def _find(self, node: Any) -> tuple[str, str]:
        """The name of a column, which is there, and its type."""
        from sqlglot import exp

        if not isinstance(node, exp.Column) or node.table:
            raise self._refuse(f'{node.sql("postgres")[:80]!r} is no column')
        name = node.name if node.name in self._columns else node.name.lower()
        if name not in self._columns:
            close = get_close_matches(name, self._columns, n=1)
            guess = f'; did you mean {close[0]}?' if close else '.'
            raise SetupError(
                f'the index has no column {node.name!r} (filter '
                f'{self._where!r}){guess} It has '
                f'{", ".join(sorted(self._columns))}'
            )
        return name, self._columns[name]

    def _value(self, node: Any, name: str, kind: str) -> str:
        from sqlglot import exp

        value: object = None
        sign = 1
        if isinstance(node, exp.Neg):
            node, sign = node.this, -1
        if isinstance(node, exp.Boolean):
            value = bool(node.this)
        elif isinstance(node, exp.Literal):
            value = node.this if node.is_string else float(node.this) * sign
        else:
            raise self._refuse(
                f'{node.sql("postgres")[:80]!r} is no value (texts stand in '
                'single quotes)'
            )
        types = {bool: BOOLEAN, float: NUMBER, str: TEXT}
        found = types[type(value)]
        if found != kind or (kind == NUMBER and not math.isfinite(value)):
            raise SetupError(
                f'the column {name} holds a {kind}, and the filter '
                f'{self._where!r} compares it with the {found} {node.this!r}'
            )
        if kind == NUMBER:
            return f'{value:.17g}'
        return self._literal(value)

    def _compare(self, node: Any, operator: str) -> str:
        from sqlglot import exp

        left, right = node.this, node.expression
        if not isinstance(left, exp.Column):
            swapped = {'<': '>', '>': '<', '<=': '>=', '>=': '<='}
            left, right = right, left
            operator = swapped.get(operator, operator)
        name, kind = self._find(left)
        value = self._value(right, name, kind)
        return f'{self._column(name)} {operator} {value}'

    def _in(self, node: Any) -> str:
        name, kind = self._find(node.this)
        if not node.expressions:
            raise self._refuse('`in` takes values in parentheses')
        values = [self._value(each, name, kind) for each in node.expressions]
        return self._among(self._column(name), values)

    def _between(self, node: Any) -> str:
        name, kind = self._find(node.this)
        low, high = (
            self._value(node.args[each], name, kind)
            for each in ('low', 'high')
        )
        column = self._column(name)
        return f'{column} >= {low}{self.AND}{column} <= {high}'

    def _like(self, node: Any, word: str) -> str:
        name, kind = self._find(node.this)
        if kind != TEXT:
            raise self._refuse(f'{name} holds a {kind}, `like` takes text')
        value = self._value(node.expression, name, kind)
        return f'{self._column(name)} {self._like_word(word)} {value}'

    def _is(self, node: Any) -> str:
        from sqlglot import exp

        name, kind = self._find(node.this)
        if isinstance(node.expression, exp.Boolean) and kind == BOOLEAN:
            return self._compare(node, self.EQUAL)
        if not isinstance(node.expression, exp.Null):
            raise self._refuse('`is` takes null')
        return self._null(name)

    def _truth(self, node: Any) -> str:
        name, kind = self._find(node)
        if kind != BOOLEAN:
            raise self._refuse(f'{name} holds a {kind}: compare it')
        return self._true(name)


class _Sql(_Renderer):
    def _column(self, name: str) -> str:
        return f'`{name}`'

    def _literal(self, value: str | bool) -> str:
        if isinstance(value, bool):
            return str(value).upper()
        return "'" + value.replace("'", "''") + "'"

    def _among(self, column: str, values: Sequence[str]) -> str:
        return f'{column} IN ({", ".join(values)})'

    def _like_word(self, word: str) -> str:
        return word

    def _null(self, name: str) -> str:
        return f'{self._column(name)} IS NULL'

    def _true(self, name: str) -> str:
        return self._column(name)


class _Postgres(_Sql):
    def _column(self, name: str) -> str:
        return f'"{name}"'

    def _like_word(self, word: str) -> str:
        # The collation C knows small and capital letters of ASCII alone.
        return 'COLLATE "default" ILIKE' if word == 'ILIKE' else word


class _Milvus(_Renderer):
    AND, OR, NOT, EQUAL = ' and ', ' or ', 'not ', '=='

    def _column(self, name: str) -> str:
        return f'fields[{json.dumps(name)}]'

    def _literal(self, value: str | bool) -> str:
        return json.dumps(value, ensure_ascii=False)

    def _among(self, column: str, values: Sequence[str]) -> str:
        # Milvus Lite has no `in` of a path in JSON.
        return ' or '.join(f'{column} == {value}' for value in values)

    def _like_word(self, word: str) -> str:
        if word == 'ILIKE':
            raise self._refuse('an index in Milvus has no `ilike`, use `like`')
        return 'like'

    def _null(self, name: str) -> str:
        raise self._refuse('an index in Milvus has no `is null`')

    def _true(self, name: str) -> str:
        return f'{self._column(name)} == true'
