import pytest

from mmtvr.errors import SetupError
from mmtvr.search.filters import BOOLEAN, NUMBER, TEXT, Filter

COLUMNS = dict(duration=NUMBER, folder=TEXT, seen=BOOLEAN)


@pytest.mark.parametrize(
    ('where', 'sql', 'milvus'),
    [
        ('60 > Duration', '`duration` < 60', 'fields["duration"] < 60'),
        (
            "folder in ('a', 'b''c') or not seen",
            "(`folder` IN ('a', 'b''c')) OR (NOT `seen`)",
            '(fields["folder"] == "a" or fields["folder"] == "b\'c") or '
            '(not (fields["seen"] == true))',
        ),
        (
            'duration between -1.5 and 2',
            '`duration` >= -1.5 AND `duration` <= 2',
            'fields["duration"] >= -1.5 and fields["duration"] <= 2',
        ),
        (
            "folder not like 'x%'",
            "NOT (`folder` LIKE 'x%')",
            'not (fields["folder"] like "x%")',
        ),
    ],
)
def test_conditions_are_rendered_for_each_engine(where, sql, milvus):
    found = Filter(where, COLUMNS)
    assert (found.to_sql(), found.to_milvus()) == (sql, milvus)
    assert found.to_postgres() == sql.replace('`', '"')


def test_is_not_null_is_not_is_null():
    found = Filter('folder is not null', COLUMNS)
    assert found.to_sql() == 'NOT (`folder` IS NULL)'
    with pytest.raises(SetupError, match='is null'):
        found.to_milvus()


@pytest.mark.parametrize(
    ('where', 'says'),
    [
        ('durations < 3', 'did you mean duration'),
        ("duration = 'x'", 'a number, .* the text'),
        ('folder = x', "'x' is no value"),
        ('duration <', 'cannot be read'),
        ('', 'cannot be read'),
        ('folder', 'compare it'),
        ("lower(folder) = 'x'", 'no column'),
        ('duration in (select 1)', 'SELECT'),
        ('duration = (select 1)', 'SELECT'),
        ('seen; drop table files', 'DROP'),
        ('duration < 1e999', 'compares it'),
        ('(' * 300 + 'seen' + ')' * 300, 'nested|cannot be read'),
    ],
)
def test_what_is_no_condition_on_the_columns_is_refused(where, says):
    with pytest.raises(SetupError, match=says):
        Filter(where, COLUMNS)


def test_values_cannot_leave_their_quotes():
    value = "b`\\\" or 1=1 --' '"
    where = "folder = '" + value.replace("'", "''") + "'"
    found = Filter(where, COLUMNS)
    assert found.to_sql() == f'`{"folder"}` = ' + "'" + (
        value.replace("'", "''") + "'"
    )
    assert found.to_milvus().endswith(r'"b`\\\" or 1=1 --' + "' '\"")
