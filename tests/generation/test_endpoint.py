"""Asking a model: what becomes of each way in which a server fails, what is kept, and what is never asked twice."""

import json
import multiprocessing
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from threading import Event
from types import SimpleNamespace

import pytest

from stand_in import Says, StandIn, error
from tunesmith.errors import ConfigError, RunError
from tunesmith.generation import chat_client, endpoint
from tunesmith.generation.endpoint import Refused, Reply, Request, Stopped, open_endpoint
from tunesmith.generation.exchange import Prompt
from tunesmith.sections import EndpointSection

SCHEMA = {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]}
KEY = "sk-very-secret"


@pytest.fixture
def server():
    server = StandIn()
    yield server
    server.close()


@pytest.fixture
def section(server, tmp_path):
    """`section(**keys)` is an endpoint at the stand-in."""
    return lambda **keys: EndpointSection(
        **{"model": "m", "base_url": server.url, "cache": str(tmp_path / "cache"), "timeout": 5, "retries": 3, **keys}
    )


@pytest.fixture
def waits(monkeypatch):
    """The seconds that the client would wait before requests: the clock stands still, and no wait takes time."""
    waits = []

    class RecordingEvent(Event):
        def wait(self, timeout=None):
            waits.append(timeout)
            return self.is_set()

    monkeypatch.setattr(endpoint, "Event", RecordingEvent)
    monkeypatch.setattr(chat_client, "time", SimpleNamespace(monotonic=lambda: 100.0))
    return waits


def question(text, **fields):
    return Request([{"role": "user", "content": text}], **fields)


def ask(section, *requests):
    """Return what becomes of the requests, in their order, and what was spent."""
    with open_endpoint(section, "file.yml") as endpoint:
        found = dict(endpoint.ask(requests))
        return [found[number] for number in range(len(requests))], endpoint.spent


def test_replies_come_as_they_are_made_and_in_bounds(server, section):
    server.script = lambda body, number: Says(body["messages"][0]["content"], seconds=0.05)
    found, spent = ask(section(concurrency=3, input_cost=1, output_cost=2), *[question(f"q{n}") for n in range(9)])
    assert [item.text for item in found] == [f"q{n}" for n in range(9)]
    assert server.busiest == 3
    assert spent[:4] == (9, 0, 90, 45)
    assert spent.cost == pytest.approx((90 * 1 + 45 * 2) / 1e6)
    body = server.asked[0]
    assert (body["model"], body["temperature"], body["max_tokens"], body["seed"]) == ("m", 0.0, 512, 0)


def test_requests_are_read_as_they_are_needed(server, section):
    read = []

    def requests():
        for number in range(100):
            read.append(number)
            yield question(f"q{number}")

    with open_endpoint(section(concurrency=2), "file.yml") as endpoint:
        replies = endpoint.ask(requests())
        next(replies)
        assert len(read) <= 5
        replies.close()
    assert len(server.asked) <= 5


def test_what_was_answered_is_not_asked_again_and_another_seed_is(server, section):
    first, spent = ask(section(), question("a"), question("a"), question("a", seed=1))
    assert len(server.asked) == 2
    assert (spent.requests, spent.cached) == (2, 1)
    again, spent = ask(section(), question("a"), question("a", seed=1))
    assert len(server.asked) == 2
    assert (spent.requests, spent.cached) == (0, 2)
    assert [item.text for item in again] == [item.text for item in first[1:]]
    assert all(item.cached for item in again)
    ask(section(model="other"), question("a"))
    ask(section(), question("a", max_tokens=3), question("a", temperature=1.0), question("a", schema={}))
    assert len(server.asked) > 5


def test_tokens_that_a_server_does_not_count_are_guessed(server, section):
    uncounted = {"choices": [{"message": {"content": "abcdef"}}], "usage": {"prompt_tokens": None}}
    server.script = lambda body, number: Says(body=json.dumps(uncounted))
    (found,), _ = ask(section(), question("a question"))
    assert found == Reply("abcdef", 3, 2, False)


@pytest.mark.parametrize(
    "fails",
    [
        Says(status=500, body="oops"),
        Says(status=503, headers=(("Retry-After", "0"),)),
        Says("half of it", cut=True),
        Says(body="{not json"),
        Says(body=json.dumps({"choices": []})),
        Says(body="null"),
        Says("late", seconds=0.7),
        Says("slow", drip=0.05),
    ],
    ids=lambda says: str(says.status if says.status != 200 else says.text or says.body),
)
def test_what_may_heal_is_tried_again(server, section, fails):
    server.script = lambda body, number: fails if number == 0 else Says("fine")
    (found,), spent = ask(section(timeout=0.5), question("a"))
    assert found == Reply("fine", 10, 5, False)
    assert spent.requests == len(server.asked) == 2


@pytest.mark.parametrize("form", ["600", "date"])
def test_retry_after_holds_for_all_that_are_in_flight(server, section, form, waits):
    moment = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=600), usegmt=True)
    limited = Says(status=429, headers=(("Retry-After", "600" if form == "600" else moment),), body=error("slow down"))
    server.script = lambda body, number: limited if number == 0 else Says("fine")
    found, _ = ask(section(concurrency=1), question("a"), question("b"))
    assert [item.text for item in found] == ["fine", "fine"]
    first, spread, again, other = waits
    assert first == 0
    assert 0 <= spread <= 0.5
    assert 500 < again == other <= 600


def test_a_server_that_wants_hours_ends_the_run(server, section):
    server.script = lambda body, number: Says(status=429, headers=(("Retry-After", "7200"),))
    with pytest.raises(Stopped, match="wait 120 minutes"):
        ask(section(), question("a"))


def test_pauses_grow(server, section, waits):
    server.script = lambda body, number: Says(status=500)
    (found,), _ = ask(section(retries=2), question("a"))
    assert len(server.asked) == 3
    first, second = (seconds for seconds in waits if seconds > 0)
    assert 0.5 <= first <= 1
    assert 1 <= second <= 2
    assert isinstance(found, Refused)
    assert "answers 500" in found.reason


def test_requests_per_minute(server, section, waits):
    ask(section(requests_per_minute=600), *[question(f"q{n}") for n in range(6)])
    assert sorted(waits) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, error(f"Incorrect API key provided: {KEY}"), "401 Unauthorized: .*is the key in MY_KEY right?"),
        (403, error("no"), "is the key in MY_KEY right?"),
        (404, error("no model m"), "404 Not Found: no model m; is `model: m` right, and `base_url`"),
        (405, "", "is `model: m` right"),
        (301, "", "301 Moved"),
        (402, error("pay first"), "pay first"),
        (429, error("You exceeded your quota", code="insufficient_quota"), "exceeded your quota"),
    ],
)
def test_what_cannot_heal_ends_the_run_at_once(server, section, monkeypatch, status, body, says):
    monkeypatch.setenv("MY_KEY", KEY)
    server.script = lambda _, number: Says(status=status, body=body)
    with pytest.raises((ConfigError, RunError), match=says) as caught:
        ask(section(api_key_env="MY_KEY", concurrency=1), *[question(f"q{n}") for n in range(5)])
    assert len(server.asked) == 1
    assert KEY not in str(caught.value)
    assert server.keys == [f"Bearer {KEY}"]


def test_the_key_stays_out_of_the_cache(server, section, monkeypatch, tmp_path):
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    server.script = lambda body, number: Says(f"your key is {KEY}")
    (found,), _ = ask(section(api_key_env="MY_KEY"), question("a"))
    assert found.text == "your key is (the key)"
    assert all(KEY.encode() not in file.read_bytes() for file in (tmp_path / "cache").iterdir())


def test_a_key_that_is_not_set_is_told_before_anything_is_sent(server, section, monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ConfigError, match="the environment variable MY_KEY is not set"):
        ask(section(api_key_env="MY_KEY"), question("a"))
    monkeypatch.setenv("MY_KEY", "sk\nsecret")
    with pytest.raises(ConfigError, match="what MY_KEY holds is no key") as caught:
        ask(section(api_key_env="MY_KEY"), question("a"))
    assert "secret" not in str(caught.value)
    server.script = lambda _, number: Says(status=401, body="no")
    with pytest.raises(ConfigError, match="set `api_key_env`"):
        ask(section(), question("a"))


def test_a_request_that_is_refused_for_its_own_sake_ends_alone(server, section):
    long = Says(status=400, body=error("the context has 8192 tokens", param="messages"))
    server.script = lambda body, number: long if "long" in body["messages"][0]["content"] else Says("fine")
    found, _ = ask(section(concurrency=1), question("a"), *[question(f"long {n}") for n in range(12)], question("b"))
    assert (found[0].text, found[-1].text) == ("fine", "fine")
    assert all("the context has 8192 tokens" in item.reason for item in found[1:-1])
    assert len(server.asked) == 14


def test_a_server_that_refuses_everything_is_given_up(server, section):
    server.script = lambda body, number: Says(status=422, body="unknown field")
    with pytest.raises(Stopped, match=r"10 requests in a row failed, .*unknown field"):
        ask(section(), *[question(f"q{n}") for n in range(100)])
    assert len(server.asked) < 30


def test_no_server_is_an_error_with_its_address(section):
    with pytest.raises(Stopped, match=r"no server answers at http://127.0.0.1:9/v1: ConnectError"):
        ask(section(base_url="http://127.0.0.1:9/v1", retries=1), question("a"))


def test_fields_that_a_server_does_not_take_are_left_out(server, section, capsys):
    def script(body, number):
        for name in ("max_tokens", "temperature", "response_format"):
            if name in body:
                return Says(status=400, body=error(f"Unsupported parameter: {name}", param=name))
        return Says('{"number": 1}')

    server.script = script
    found, _ = ask(section(retries=0), *[question(f"q{n}", schema=SCHEMA) for n in range(3)])
    assert [item.text for item in found] == ['{"number": 1}'] * 3
    assert server.asked[-1]["max_completion_tokens"] == 512
    assert "does not take `max_tokens`: `max_completion_tokens` is sent in its place" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        '{"number": 7}',
        'Sure!\n```json\n{"number": 7}\n```\nAnything else?',
        'The answer [as asked] is {"number": 7}. Not {"number": 8}.',
        '<think>{"number": 1}?</think>{"number": 7}',
        '{"wrong": 1} {"number": 7}',
    ],
)
def test_json_is_found_in_what_a_model_writes(server, section, text):
    server.script = lambda body, number: Says(text)
    (found,), _ = ask(section(), question("a", schema=SCHEMA))
    assert found.text == '{"number": 7}'
    assert server.asked[0]["response_format"]["json_schema"]["schema"] == SCHEMA


def test_a_reply_of_another_form_is_asked_for_again_with_the_fault(server, section):
    texts = ["seven", '{"number": "seven"}', '{"number": 7}']
    server.script = lambda body, number: Says(texts[number])
    (found,), spent = ask(section(), question("a", schema=SCHEMA))
    assert found == Reply('{"number": 7}', 30, 15, False)
    assert spent.requests == 3
    assert "it holds no JSON value" in server.asked[1]["messages"][-1]["content"]
    assert [turn["role"] for turn in server.asked[2]["messages"]] == ["user", "assistant", "user"]
    assert server.asked[2]["messages"][1]["content"] == '{"number": "seven"}'
    assert "$.number: 'seven' is not of type 'integer'" in server.asked[2]["messages"][-1]["content"]
    (again,), spent = ask(section(), question("a", schema=SCHEMA))
    assert again == found._replace(cached=True)
    assert spent.requests == 0


def test_a_form_that_never_fits_is_refused_and_stays_so_for_nothing(server, section):
    server.script = lambda body, number: Says('{"numb', finish="length")
    (found,), spent = ask(section(retries=2, concurrency=1), question("a", schema=SCHEMA, max_tokens=3))
    assert found == Refused(
        "no reply of 3 has the form that is asked for: it holds no JSON value (it was cut off at `max_tokens: 3`)"
    )
    assert spent.requests == 3
    assert ask(section(retries=2), question("a", schema=SCHEMA, max_tokens=3))[0] == [found]
    assert len(server.asked) == 3


@pytest.mark.parametrize("keys", [{"max_requests": 5}, {"max_cost": 5.0, "input_cost": 100_000, "output_cost": 0}])
def test_a_limit_stops_cleanly_and_the_next_run_goes_on(server, section, keys):
    server.script = lambda body, number: Says("fine", seconds=0.02)
    done = []
    with (
        open_endpoint(section(concurrency=2, **keys), "file.yml") as endpoint,
        pytest.raises(Stopped, match=f"`{next(iter(keys))}: 5` is reached. .*the same command goes on from here"),
    ):
        done += [number for number, _ in endpoint.ask(question(f"q{n}") for n in range(8))]
    assert 5 <= len(server.asked) <= (5 if "max_requests" in keys else 6)
    with open_endpoint(section(), "file.yml") as endpoint:
        found = dict(endpoint.ask(question(f"q{n}") for n in range(8)))
    assert len(found) == len(server.asked) == 8


def ask_in_another_process(section, count):
    ask(section, *[question(f"q{n}") for n in range(count)])


def test_two_processes_share_what_is_kept(server, section):
    server.script = lambda body, number: Says(body["messages"][0]["content"], seconds=0.01)
    both = [
        multiprocessing.get_context("spawn").Process(target=ask_in_another_process, args=(section(), 40))
        for _ in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    found, spent = ask(section(), *[question(f"q{n}") for n in range(40)])
    assert spent.requests == 0
    assert [item.text for item in found] == [f"q{n}" for n in range(40)]


def test_a_damaged_or_forbidden_cache_is_named(section, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/replies.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(RunError, match=r"replies\.sqlite cannot be used: .*set `cache`"):
        ask(section(cache=str(tmp_path / "bad")), question("a"))
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be used"):
        ask(section(cache=str(tmp_path / "file")), question("a"))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"base_url": "localhost:8000"}, "expects a URL"),
        ({"base_url": f"http://me:{KEY}@host/v1"}, "must not hold a key"),
        ({"base_url": f"http://host/v1?key={KEY}"}, "must not hold a key"),
        ({"base_url": None}, "remove `timeout`, or set `base_url`"),
        ({"max_cost": 1}, "needs `input_cost` and `output_cost`"),
        ({"concurrency": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_cannot_be(section, keys, says):
    with pytest.raises(ValueError, match=says) as caught:
        section(**keys)
    assert "must not" not in says or KEY not in caught.value.errors(include_input=False)[0]["msg"]


def test_time_is_not_lost_when_the_run_ends(server, section):
    """Those that wait for another try do not hold up the error."""
    server.script = lambda body, number: Says(status=401 if body["messages"][0]["content"] == "q3" else 500)
    with pytest.raises(ConfigError):
        ask(section(retries=9, concurrency=4), *[question(f"q{n}") for n in range(4)])
    assert len(server.asked) < 3 * 9, "no question had all its tries"


def test_a_prompt_of_tokens_is_sent_as_text_where_ids_are_not_taken(server, section, capsys):
    """Servers say so in many ways; a prompt that no text gives is refused, and the others go on as text."""
    refusals = ["prompt must be a string.", "Unexpected fields in the request: {'stop_token_ids'}"]
    for number, words in enumerate(refusals):
        server.asked.clear()

        def script(body, _, words=words):
            ids = isinstance(body["prompt"], list)
            text = json.dumps({"detail": words} if ids else {"choices": [{"text": "fine", "finish_reason": "stop"}]})
            return Says(status=422 if ids else 200, body=text)

        server.script = script
        prompts = [Prompt([1, 2], "a b", [0], ["</s>"]), Prompt([3], None, [0], ["</s>"])]
        asked = [Request([], prompt=prompt, seed=number) for prompt in prompts]
        found, _ = ask(section(concurrency=1), *asked)
        assert found[0] == Reply("fine", 2, 1, False)
        assert found[1] == Refused("the server takes no token ids, and no text becomes those of the prompt")
        sent = [(body["prompt"], body.get("stop"), body.get("stop_token_ids")) for body in server.asked]
        assert sent == [([1, 2], None, [0]), ("a b", ["</s>"], None)]
        assert capsys.readouterr().err.count("the server does not take token ids") == 1


def test_a_server_that_reads_a_text_as_more_tokens_is_refused(server, section):
    def script(body, number):
        choice = {"text": "fine", "finish_reason": "stop"}
        text = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1}})
        return Says(body=text) if isinstance(body["prompt"], str) else Says(status=400, body=error("give a string"))

    server.script = script
    (found,), _ = ask(section(), Request([], prompt=Prompt([1, 2], "a b", [0], ["</s>"])))
    assert found.reason.startswith("the server reads 9 tokens where 2 were trained: ")


def test_prompts_of_other_tokens_are_other_questions(server, section):
    server.script = lambda body, number: Says(body=json.dumps({"choices": [{"text": str(number)}]}))
    first = Prompt([1, 2], "a b", [0], ["</s>"])
    for prompt in (first, first._replace(ids=[1, 3]), first._replace(ends=[5]), first):
        ask(section(), Request([], prompt=prompt))
    assert len(server.asked) == 3
