"""Values of libraries and tables as JSON has them."""

from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import numpy
import pandas
import pytest

from tunesmith import encode
from tunesmith.data.plain import plain_row, plain_value
from tunesmith.data.types import BadRow, Row
from tunesmith.errors import DataError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (numpy.float32("nan"), None),
        (numpy.float64("nan"), None),
        (Decimal("NaN"), None),
        (numpy.float32(0.5), 0.5),
        (numpy.int64(3), 3),
        (numpy.bool_(True), True),
        (numpy.str_("x"), "x"),
        (numpy.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (numpy.array([1.0, float("nan")]), [1.0, None]),
        (numpy.array(["x", {"y": Decimal(1)}], dtype=object), ["x", {"y": 1}]),
        (Decimal("19.90"), 19.9),
        (Decimal("12345678901234567890"), 12345678901234567890),
        (date(2024, 1, 2), "2024-01-02"),
        (datetime(2024, 1, 2, 3, 4, tzinfo=timezone.utc), "2024-01-02T03:04:00+00:00"),
        (pandas.Timestamp("2024-01-02 03:04:05.5"), "2024-01-02T03:04:05.500000"),
        (pandas.NaT, None),
        (time(3, 4), "03:04:00"),
        (timedelta(minutes=1.5), 90.0),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"Q\xc3\xa9", "Qé"),
        ((1, [b"x"]), [1, ["x"]]),
    ],
)
def test_values_of_libraries_become_those_of_json(value, expected):
    plain = plain_value(value)
    assert plain == expected
    assert type(plain) is type(expected)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\xff", "column a: 1 bytes that are not UTF-8 text; remove the column"),
        ([{"b": object()}], "column a: a object is neither text nor number, list or mapping"),
    ],
)
def test_a_value_without_such_a_form_makes_a_bad_row(value, reason):
    assert plain_row(Row("f", 3, {"a": value})) == BadRow("f", 3, reason)


def test_a_row_of_pandas_is_encoded_as_the_same_row_of_a_file(tokenizer):
    frame = pandas.DataFrame({"instruction": ["Add.", "Say a."], "input": ["1+1", numpy.nan], "output": ["2", "a"]})
    encoded = encode(frame.iloc[1], dataset={"type": "alpaca"}, tokenizer=tokenizer)
    row = {"instruction": "Say a.", "output": "a"}
    assert encoded == encode(row, dataset={"type": "alpaca"}, tokenizer=tokenizer)
    with pytest.raises(DataError, match="column output: 1 bytes that are not UTF-8 text"):
        encode(row | {"output": b"\xff"}, dataset={"type": "alpaca"}, tokenizer=tokenizer)
