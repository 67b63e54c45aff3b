from tunesmith.data.row_access import TrackedRow, is_empty, left_to_template, track_messages


def test_a_row_records_what_is_asked_for():
    row = TrackedRow({"a": 1, "b": 2, "c": None, "d": ""})
    assert (row["a"], row.get("x", 7), "b" in row) == (1, 7, True)
    assert row.unread() == {"b": 2}
    assert row == {"a": 1, "b": 2, "c": None, "d": ""}


def test_messages_record_it_too():
    row = TrackedRow({"turns": [{"role": "user", "mood": "glad"}, "text"]})
    tracked = track_messages(row, "turns", row["turns"])
    assert tracked[0]["role"] == "user"
    assert tracked[1] == "text"
    assert [(column, message.unread()) for column, message in row.rest] == [("turns", {"mood": "glad"})]
    left_to_template(row, "turns", {"name": "x"})
    assert row.rest[-1] == ("turns", {"name": "x"})


def test_a_plain_row_stays_one():
    items = [{"role": "user"}]
    assert track_messages({"turns": items}, "turns", items) is items
    left_to_template({}, "turns", {"name": "x"})


def test_values_that_say_nothing():
    assert all(map(is_empty, (None, "", " \n", [], {})))
    assert not any(map(is_empty, (0, False, "a", [None], {"a": None})))
