"""What a text alone tells; and that no secret is ever printed whole."""

import pytest

from tunesmith.checks.text import check_text, iterate_strings, mask_pieces, mask_secrets

SECRETS = {
    "AWS access key": "AKIA" + "ABCD1234EFGH5678",
    "GitHub token": "ghp_" + "a1B2c3" * 6,
    "GitLab token": "glpat-" + "a1B2c3D4e5F6g7H8i9J0",
    "Hugging Face token": "hf_" + "aBcDeFgHiJ" * 3 + "kLmN",
    "OpenAI or Anthropic key": "sk-proj-" + "a1B2c3D4" * 5,
    "Stripe key": "sk_live_" + "a1B2c3D4e5F6g7H8",
    "Slack token": "xoxb-" + "123456789012-abcdefABCDEF",
    "Google key": "AIza" + "a1B2c3D" * 5,
    "JSON web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abcdefGHIJKLMN",
    "private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA1234\nabcd\n-----END RSA PRIVATE KEY-----",
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_found_and_not_shown(name):
    text = f"The key is {SECRETS[name]} as you know."
    (found,) = [item for item in check_text(text) if item[0] == "secret"]
    assert found[1].startswith(name)
    assert SECRETS[name][:4] in found[1]
    assert SECRETS[name][6:14] not in found[1]
    for shown in (mask_secrets(text), mask_secrets(text, strict=True), "".join(mask_pieces(list(text)))):
        assert SECRETS[name][6:14] not in shown
        assert len(shown) == len(text)
        assert shown.startswith("The key is ")


def test_what_is_left_of_a_secret_that_was_cut_off_is_not_shown():
    assert mask_secrets("found 'ghp_a1B2c3a1B2") == "found 'ghp_••••••••••"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("mojibake", "cafÃ©"),
        ("mojibake", "itâ€™s"),
        ("mojibake", "20 Â°C"),
        ("mojibake", "ðŸ\x90\x9d"),
        ("mojibake", "Ð¿Ñ‡ÐµÐ»Ð°"),
        ("replacement-character", "caf\ufffd"),
        ("control-character", "a\x00b"),
        ("control-character", "a\x07b"),
        ("invisible-character", "\ufeffa"),
        ("invisible-character", "a\u200bb"),
        ("invisible-character", "a\u202eb"),
        ("decomposed-letters", "cafe\u0301"),
        ("email-address", "maja.bee+x@hive-7.co.uk"),
    ],
)
def test_what_is_suspicious_in_a_text(code, text):
    assert code in dict(check_text(text))


@pytest.mark.parametrize(
    "text",
    [
        "São Paulo, NÃO, À bientôt, Ünlü, Ångström, „Spaß“, «né»",
        "naïve façade — “quoted” … 20 °C ½ ©",
        "日本語 中文 한국어 العربية עברית हिन्दी ไทย",
        "🐝👩‍💻 ✓ → ∑",
        "a\tb\r\nc",
        "me@example.com, a@b.example, git@github.com, no-reply@acme.io, @decorator, user@localhost, A@B",
        "sk-learn, disk-usage, hf_hub_download, task-management-for-the-rest-of-us-all-of-us, eyJ, AKIA",
        "sk-container-for-the-whole-of-the-page-and-more",
        "Việt Nam",
        "",
    ],
)
def test_what_is_not(text):
    assert list(check_text(text)) == []


def test_addresses_are_not_shown():
    assert mask_secrets("to maja@hive.io") == "to m" + "•" * 11
    assert dict(check_text("to maja@hive.io"))["email-address"] == "m...@..."


def test_the_surroundings_of_a_character_do_not_show_a_secret():
    key = SECRETS["GitHub token"]
    (around,) = [detail for code, detail in check_text(f"{key} \x07 b") if code == "control-character"]
    assert key[10:20] not in around


def test_pieces_keep_their_lengths():
    pieces = ["my ", "ghp_a1B2c3", "a1B2c3a1B2c3", "a1B2c3a1B2c3a1B2c3", " ok"]
    assert [len(piece) for piece in mask_pieces(pieces)] == [len(piece) for piece in pieces]
    assert mask_pieces(pieces)[1] == "ghp_••••••"
    assert mask_pieces(pieces)[-1] == " ok"


def test_strings_are_found_at_every_depth():
    row = {"a": "1", "b": [{"c": "2"}, "3", [4, 5]], "ids": [1, 2, 3], "n": None, "system": "s"}
    assert list(iterate_strings(row)) == ["1", "2", "3", "s"]
    assert list(iterate_strings(row, skip="system")) == ["1", "2", "3"]
