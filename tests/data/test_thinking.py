from tunesmith.data.thinking import split_thinking, without_thinking


def test_reasoning_between_tags_is_taken_out():
    assert split_thinking("<think>\nso\n</think>\n\nyes") == ("so", "yes")
    assert split_thinking("yes") is None
    assert without_thinking("<reasoning>a\nb</reasoning>yes") == "yes"
    assert without_thinking("<think>open") == "<think>open"
