"""Refusals of vendors, in their words: which field of a request they name."""

import json

import pytest

from stand_in import Says, StandIn
from tunesmith.generation.endpoint import Reply, Request, open_endpoint
from tunesmith.generation.refusal import error_message, find_refused_field
from tunesmith.sections import EndpointSection

SCHEMA = {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]}
BODY = ("model", "messages", "temperature", "max_tokens", "seed", "response_format")


def openai(message, param=None):
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": None}}


def pydantic(*loc, message="Extra inputs are not permitted", kind="extra_forbidden", value=0):
    return [{"type": kind, "loc": list(loc), "msg": message, "input": value}]


def gemini(message):
    return [{"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}]


REFUSALS = {
    "mistral": (422, {"object": "error", "message": {"detail": pydantic("body", "seed")}, "param": None}, "seed"),
    "fastapi": (422, {"detail": pydantic("body", "response_format", "json_schema")}, "response_format"),
    "vllm": (400, {"object": "error", "message": str(pydantic("body", "seed")), "code": 400}, "seed"),
    "vllm, format": (
        400,
        {"object": "error", "message": "json_schema response format is not supported"},
        "response_format",
    ),
    "sglang": (
        400,
        {"object": "error", "message": "Structured output is disabled: no grammar backend"},
        "response_format",
    ),
    "openai": (400, openai("Unsupported parameter: 'seed'", "seed"), "seed"),
    "openai, temperature": (
        400,
        openai("'temperature' does not support 0.0 with this model.", "temperature"),
        "temperature",
    ),
    "openai, length": (400, openai("Use 'max_completion_tokens' instead.", "max_tokens"), "max_tokens"),
    "openai, schema": (400, openai("Invalid schema for response_format 'reply'", "response_format"), "response_format"),
    "azure": (400, openai("Unrecognized request argument supplied: seed"), "seed"),
    "azure, format": (
        400,
        openai("response_format value as json_schema is enabled only for api versions 2024-08-01-preview and later"),
        "response_format",
    ),
    "groq": (400, openai("This model does not support response format `json_schema`."), "response_format"),
    "groq, property": (400, openai("property 'seed' is unsupported"), "seed"),
    "together": (422, {"id": "x", **openai("Input validation error: `seed` is not supported for this model")}, "seed"),
    "deepseek": (400, openai("This response_format type is unavailable now"), "response_format"),
    "gemini": (400, gemini('Invalid JSON payload received. Unknown name "seed": Cannot find field.'), "seed"),
    "anthropic": (
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "seed: Extra inputs are not permitted"},
        },
        "seed",
    ),
    "litellm": (500, openai('UnsupportedParamsError: bedrock does not support parameters: {"seed": 0}'), "seed"),
    "openrouter": (404, openai("No endpoints found that support response_format"), "response_format"),
    "tgi": (
        422,
        "Failed to deserialize: unknown field `seed`, expected one of `model`, `max_tokens`, `temperature`",
        "seed",
    ),
    "cohere": (400, {"message": "unsupported parameter: response_format.json_schema"}, "response_format"),
    "an error with status 200": (200, openai("seed is not supported by this provider"), "seed"),
}


@pytest.fixture
def server():
    server = StandIn()
    yield server
    server.close()


@pytest.mark.parametrize("vendor", REFUSALS)
def test_a_request_is_sent_again_without_the_refused_field_once(server, tmp_path, capsys, vendor):
    status, content, field = REFUSALS[vendor]
    text = content if isinstance(content, str) else json.dumps(content)
    server.script = lambda body, number: Says(status=status, body=text) if field in body else Says('{"number": 1}')
    section = EndpointSection(
        model="m", base_url=server.url, cache=str(tmp_path / "cache"), timeout=5, retries=0, concurrency=1
    )
    requests = [Request([{"role": "user", "content": f"question {n}"}], schema=SCHEMA) for n in range(3)]
    with open_endpoint(section, "file.yml") as endpoint:
        replies = dict(endpoint.ask(requests))
    assert [reply.text for reply in replies.values() if isinstance(reply, Reply)] == ['{"number": 1}'] * 3
    assert len(server.asked) == 4, "the server is asked once with the field"
    assert set(BODY) - set(server.asked[-1]) == {field}, "no other field is left out"
    assert capsys.readouterr().err.count(f"the server does not take `{field}`") == 1


@pytest.mark.parametrize(
    "content",
    [
        openai("This model's maximum context length is 4096 tokens; you requested 5000 (max_tokens 512)", "messages"),
        openai("max_tokens is too large: 100000; it must be at most 4096", "max_tokens"),
        {"detail": pydantic("body", "messages", 0, "content", message="Input should be a valid string", value="seed")},
        openai("The model `bytedance/seed-oss-36b` is unknown"),
        openai("unknown field"),
        "internal error",
    ],
)
def test_an_error_about_something_else_names_no_field(content):
    assert find_refused_field(content if isinstance(content, str) else json.dumps(content), BODY) is None


def test_a_field_that_was_not_sent_cannot_be_refused():
    assert find_refused_field(json.dumps(openai("Unsupported parameter: seed", "seed")), ("model", "messages")) is None


def test_the_message_of_an_error_is_read_in_each_form():
    assert error_message(json.dumps(openai("too long"))) == "too long"
    assert error_message(json.dumps(gemini("too long"))) == "too long"
    assert error_message("<html>\n bad\n gateway") == "<html> bad gateway"


def test_fields_are_left_out_from_the_start(server, tmp_path):
    section = EndpointSection(
        model="m", base_url=server.url, cache=str(tmp_path), omit_fields=["seed", "max_tokens", "response_format"]
    )
    server.script = lambda body, number: Says('{"number": 1}')
    with open_endpoint(section, "file.yml") as endpoint:
        list(endpoint.ask([Request([{"role": "user", "content": "question"}], schema=SCHEMA)]))
    assert set(server.asked[0]) == {"model", "messages", "temperature"}
