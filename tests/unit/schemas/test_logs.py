import contextlib
import io
import json
import logging
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.logs import configure_logs, get_logger
from schemas.redaction import MAX_TEXT_LENGTH, redact_text, redacted
from schemas.settings import Log

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJNQVJLRUQifQ.MARKED"

json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]))
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.tuples(st.text()), inner),
    max_leaves=20,
)


class Screen(io.StringIO):
    """Standard error as a terminal or, by default, as a file."""

    is_terminal = False

    def isatty(self):
        return self.is_terminal


def configured(log, *, terminal=False):
    screen = Screen()
    screen.is_terminal = terminal
    # Only the set-up looks for standard error; pytest has its own there at any other time.
    with contextlib.redirect_stderr(screen):
        configure_logs(log)
    return screen


@pytest.fixture(params=["json", "console"])
def written(request):
    return configured(Log(format=request.param)).getvalue


@pytest.fixture
def lines():
    screen = configured(Log(format="json"))
    return lambda: [json.loads(line) for line in screen.getvalue().splitlines()]


def fail_with_secrets(text):
    left_over = "MARKED"
    raise RuntimeError(text, len(left_over))


def test_a_line_is_an_outcome_with_fields(lines):
    get_logger("x").info("handled", delivery="d1", attempt=2, duration_s=0.5)
    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "handled", "level": "info", "delivery": "d1", "attempt": 2, "duration_s": 0.5}


@pytest.mark.parametrize(
    "secret",
    [
        f"sent {JWT} to it",
        "Authorization: Bearer MARKED",
        "authorization='bearer MARKED'",
        "{'Authorization': 'Bearer MARKED'}",
        "Basic MARKED",
        "access_token=MARKED&x=1",
        '{"refresh_token": "MARKED", "x": 1}',
        '{"refreshToken":"MARKED and MARKED"}',
        '{\\"access_token\\":\\"MARKED\\"}',
        "client_secret = MARKED",
        "GET /oauth/callback/demo?code=MARKED&state=MARKED HTTP/1.1",
        '{"code": "MARKED"}',
        "postgresql://user:MARKED@localhost:5432/db",
        "postgresql://user:MA@RKED/MARKED@localhost/db",
        "password: MARKED",
        "api_key=MARKED, apikey:MARKED",
        "authenticationValue: MARKED",
    ],
)
def test_a_secret_in_a_text_is_blanked_wherever_it_stands(written, secret):
    log = get_logger("x")
    log.warning("noticed", note=secret, deep={"list": [{"note": secret}]}, error=ValueError(secret))
    log.warning(secret)
    logging.getLogger("other").warning("noticed %s", secret)
    try:
        fail_with_secrets(secret)
    except RuntimeError:
        log.warning("failed", exc_info=True)
        logging.getLogger("other").warning("failed", exc_info=True)
    text = written()
    assert "fail_with_secrets" in text
    assert "RuntimeError" in text
    for part in ("MARKED", "RKED", JWT):
        assert part not in text


@pytest.mark.parametrize(
    "name",
    [
        *(
            "token",
            "access_token",
            "refreshToken",
            "client_secret",
            "secret_key",
            "password",
            "Authorization",
            "cookie",
        ),
        *("api_key", "private_key", "credentials", "authenticationValue", "body", "payload", "raw", "code"),
    ],
)
def test_a_secret_field_is_blanked_at_any_depth(written, name):
    get_logger("x").warning("noticed", **{name: "MARKED"}, deep=[{"deeper": {name: {"x": "MARKED"}}}])
    text = written()
    assert "MARKED" not in text
    assert text.count("[redacted]") == 2


def test_bytes_are_never_written(written):
    get_logger("x").warning("noticed", first=b"MARKED", more=[bytearray(b"MARKED"), memoryview(b"MARKED")])
    assert "MARKED" not in written()


def test_an_object_is_written_as_its_redacted_text(lines):
    @dataclass
    class Grant:
        access_token: str

    get_logger("x").info("noticed", grant=Grant("MARKED"), error=ValueError("token=MARKED"))
    (line,) = lines()
    assert "MARKED" not in json.dumps(line)
    assert line["error"] == "token=[redacted]"


@pytest.mark.parametrize("text", ["exit code: 1", "status code 500", "state: active", "a token was refreshed", "12:30"])
def test_a_text_without_a_secret_stays_as_it_is(text):
    assert redact_text(text) == text


def test_a_traceback_names_places_and_no_variables(written):
    try:
        fail_with_secrets("nothing in here")
    except RuntimeError:
        get_logger("x").warning("failed", exc_info=True)
    text = written()
    assert "nothing in here" in text
    assert "MARKED" not in text


@pytest.mark.parametrize("format_", ["json", "console"])
def test_a_record_that_can_not_be_formatted_is_not_repeated(format_):
    class Shy:
        def __str__(self):
            raise ValueError("MARKED")

    screen = configured(Log(format=format_))
    logging.getLogger("other").warning("%d pieces", "MARKED")
    get_logger("x").warning("noticed", field=Shy())
    text = screen.getvalue()
    assert "MARKED" not in text
    assert text.count("log_record_lost") == 2


def test_what_the_vendor_sent_can_not_forge_a_line_or_move_the_cursor(written):
    get_logger("x").warning("noticed", type="Contact\nforged=1\x1b[2J\r")
    logging.getLogger("other").warning("Contact\nforged=1\x1b[2J\r")
    text = written()
    assert len(text.splitlines()) == 2
    assert "\x1b[2J" not in text


def test_odd_values_are_written_all_the_same(lines):
    endless: list[object] = []
    endless.append(endless)
    get_logger("x").info("noticed", big=10**400, lone="\ud800", nan=float("nan"), endless=endless, keys={(1, 2): 3})
    (line,) = lines()
    assert line["big"] == "an integer of 1329 bits"
    assert line["lone"] == "\\ud800"
    assert line["nan"] is None
    assert line["keys"] == {"(1, 2)": 3}


def test_the_level_and_the_noise_of_libraries_are_bounded():
    screen = configured(Log(format="json", level="warning"))
    get_logger("x").info("handled")
    logging.getLogger("aiohttp.access").info("GET /")
    get_logger("x").warning("refused")
    assert [json.loads(line)["event"] for line in screen.getvalue().splitlines()] == ["refused"]


def test_a_file_gets_json_and_a_terminal_text():
    file = configured(Log())
    get_logger("x").warning("refused")
    assert json.loads(file.getvalue())["event"] == "refused"
    terminal = configured(Log(), terminal=True)
    get_logger("x").warning("quarantined")
    assert "quarantined" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")


@given(json_like)
def test_whatever_is_logged_becomes_plain_json(value):
    text = json.dumps(redacted(value))
    text.encode()


@pytest.mark.parametrize(
    "piece",
    [
        "://a:",
        "token",
        "bearer ",
        '"',
        "token=",
        "token=tttttttttttttttttttt ",
        "eyJa.",
        "a" * 100,
        "\\",
        "code=",
        "?state='",
    ],
)
def test_of_a_text_of_any_length_only_its_head_is_looked_at(piece):
    head = (piece * MAX_TEXT_LENGTH)[:MAX_TEXT_LENGTH]
    cut = redact_text(head + "a" * 1_000_000)
    assert cut == redact_text(head + "b" * 1_000_000)
    assert len(cut) < 4 * MAX_TEXT_LENGTH
