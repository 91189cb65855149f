"""What the person in the browser is shown during an install: one page for each way it can end.

Pure. No page loads anything from anywhere, repeats anything from the request, or says which tenant it was.
"""

import base64
import hashlib
from enum import Enum
from html import escape
from http import HTTPStatus

from aiohttp import web

from schemas.ids import AppName

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --dim: #5b6576; --paper: #f4f6f9; --card: #fff; --line: #e1e6ee }
@media (prefers-color-scheme: dark) {
  :root { --ink: #eef1f6; --dim: #a3adbd; --paper: #12161d; --card: #1b212b; --line: #2c3543 }
}
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
main { width: 100%; max-width: 30rem; padding: 2.5rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 1rem; box-shadow: 0 1rem 3rem rgb(20 30 50 / 8%) }
.mark { width: 3rem; height: 3rem; border-radius: 50%; display: grid; place-items: center; color: #fff;
  font-size: 1.5rem; font-weight: 700 }
.good { background: #16834f } .wait { background: #a86412 } .bad { background: #b3353b }
h1 { margin: 1.25rem 0 .5rem; font-size: 1.375rem; line-height: 1.3; text-wrap: balance }
p { margin: 0 0 1rem } .next { color: var(--dim); margin: 0 }
a { display: inline-block; margin-top: 1.5rem; padding: .625rem 1.125rem; border-radius: .5rem; background: #2456d6;
  color: #fff; font-weight: 600; text-decoration: none }
a:focus-visible { outline: 3px solid #7fa4ff; outline-offset: 2px }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

SAFE_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address holds the code and the state
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Page(Enum):
    """A way that an install can end: its word (the metric's label), status, mark and texts."""

    INSTALLED = (
        "installed",
        HTTPStatus.OK,
        "good",
        "The app is connected",
        "Everything is set up, and nothing more is needed here.",
        "You can close this window.",
    )
    INSTALLED_BULK = (
        "installed_bulk",
        HTTPStatus.OK,
        "good",
        "The app is connected to your agency",
        "Its locations are being connected now; each is ready within a few minutes.",
        "You can close this window.",
    )
    DENIED = (
        "denied",
        HTTPStatus.FORBIDDEN,
        "wait",
        "The app was not connected",
        "The permission was not given, so nothing has been changed in your account.",
        "If that was a mistake, start again.",
    )
    EXPIRED = (
        "expired",
        HTTPStatus.BAD_REQUEST,
        "wait",
        "This took too long",
        "For your safety an installation must be finished within ten minutes. Nothing has been changed.",
        "Please start again.",
    )
    WRONG_STATE = (
        "wrong_state",
        HTTPStatus.BAD_REQUEST,
        "bad",
        "This installation was not begun in this browser",
        "It was stopped, and nothing has been changed. This also happens where cookies are blocked.",
        "Please start again, and stay in the same browser until the end.",
    )
    INCOMPLETE = (
        "incomplete",
        HTTPStatus.BAD_REQUEST,
        "bad",
        "Something is missing",
        "This address is opened by the marketplace at the end of an installation; it does nothing by itself.",
        "Please start again.",
    )
    REFUSED = (
        "refused",
        HTTPStatus.BAD_REQUEST,
        "bad",
        "The installation was not confirmed",
        "It can be confirmed once, and only for a short time: perhaps this page was loaded a second time.",
        "If the app does not work yet, please start again.",
    )
    UNKNOWN_APP = (
        "unknown_app",
        HTTPStatus.NOT_FOUND,
        "bad",
        "There is no such app here",
        "The address may be mistyped, or the app may have moved.",
        "Please ask whoever gave you this link.",
    )
    VENDOR_AWAY = (
        "vendor_away",
        HTTPStatus.BAD_GATEWAY,
        "wait",
        "The marketplace did not answer",
        "The installation could not be finished, and the fault is not yours.",
        "Please start again in a few minutes.",
    )
    TRY_AGAIN = (
        "try_again",
        HTTPStatus.SERVICE_UNAVAILABLE,
        "wait",
        "We can't finish this right now",
        "Your installation could not be stored safely, so it was stopped.",
        "Please start again in a few minutes.",
    )
    FAILED = (
        "failed",
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "bad",
        "Something went wrong on our side",
        "We have been told of it.",
        "Please start again in a few minutes.",
    )

    def __init__(self, word: str, status: HTTPStatus, mark: str, title: str, text: str, hint: str) -> None:
        self.word = word
        self.status = status
        self.mark = mark
        self.title = title
        self.text = text
        self.hint = hint


_SIGNS = {"good": "✓", "wait": "!", "bad": "×"}  # noqa: RUF001 -- a sign to be seen, no letter


def show(page: Page, *, app: AppName | None) -> web.Response:
    """Return the page; where `app` is known and the person should start again, with a link that does it."""
    again = "" if app is None or page.mark == "good" else f'<a href="/oauth/start/{escape(app)}">Start again</a>'
    body = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{escape(page.title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<div class="mark {page.mark}" aria-hidden="true">{_SIGNS[page.mark]}</div>
<h1>{escape(page.title)}</h1>
<p>{escape(page.text)}</p>
<p class="next">{escape(page.hint)}</p>
{again}
</main>
</body>
</html>
"""
    return web.Response(text=body, status=page.status, content_type="text/html", charset="utf-8", headers=SAFE_HEADERS)
