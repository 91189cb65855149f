"""The browser's way through an install: off to the consent page, and back with a code.

What was begun here is bound to the browser by a cookie and a signed, expiring state. What was begun in
the vendor's marketplace has no state: it is accepted, and never bound to anything in the browser
(facts.md, Consent page). Never logs or shows a code, a state or a token.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping

import aiohttp
from aiohttp import web
from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer
from pydantic import SecretStr

from ingest.pages import SAFE_HEADERS, Page, show
from levelgate.highlevel.oauth import Grant, GrantRefused, consent_url, exchange_code
from levelgate.highlevel.token_table import TokenStoreAway
from levelgate.highlevel.tokens import TokenStore
from schemas.errors import ApiUnavailable, LevelgateError, RateLimited
from schemas.ids import AppName
from schemas.logs import get_logger
from schemas.metrics import ReceiverMetrics
from schemas.settings import App, Settings

TOKENS = web.AppKey("tokens", TokenStore)
VENDOR_SESSION = web.AppKey("vendor_session", aiohttp.ClientSession)

COOKIE = "levelgate_install"
STATE_LIFETIME_S = 600

ALIAS = "gohighlevel"
"""The path of the vendor's own example; the app is then the state's, else the only one."""

_MAX_CODE_CHARS = 4096
_UNKNOWN_APP_LABEL = "(unknown)"  # no app can have this name

log = get_logger(__name__)


class _Ended(LevelgateError):
    """The install ends here, with this page."""

    def __init__(self, page: Page) -> None:
        super().__init__(page.word)
        self.page = page


class Callback:
    """`GET /oauth/start/{app}` and `GET /oauth/callback/{app}`."""

    def __init__(self, settings: Settings, metrics: ReceiverMetrics) -> None:
        self._apps: Mapping[AppName, App] = settings.apps
        self._vendor = settings.vendor
        self._public_url = settings.receiver.public_url.rstrip("/")
        self._states = _States(settings.secret_key)
        self._metrics = metrics
        for app in (*self._apps, _UNKNOWN_APP_LABEL):
            for page in Page:
                metrics.oauth_callbacks.labels(app, page.word)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; the receiver's application takes them."""
        return [
            web.get("/oauth/start/{app}", self.start, allow_head=False),
            # A HEAD, as link previews send it, must not spend a code.
            web.get("/oauth/callback/{app}", self.finish, allow_head=False),
        ]

    async def start(self, request: web.Request) -> web.Response:
        """Send the browser to the consent page, with a state that only this browser can bring back."""
        name = AppName(request.match_info["app"])
        app = self._apps.get(name)
        if app is None:
            return show(Page.UNKNOWN_APP, app=None)
        nonce = secrets.token_urlsafe(32)
        url = consent_url(
            self._vendor, app, redirect_uri=self._redirect_uri(name), state=self._states.make(name, nonce)
        )
        response = web.Response(status=302, headers={**SAFE_HEADERS, "Location": url})
        response.set_cookie(
            COOKIE,
            nonce,
            max_age=STATE_LIFETIME_S,
            path="/oauth",
            httponly=True,
            secure=self._public_url.startswith("https://"),
            samesite="Lax",  # the way back is a link from the vendor's site
        )
        return response

    async def finish(self, request: web.Request) -> web.Response:
        """Take the code that the browser brings, and store what it is traded for."""
        app: AppName | None = None
        try:
            app = self._app_of(request)
            page = await self._finished(request, app)
        except _Ended as ended:
            page = ended.page
        except Exception as error:  # noqa: BLE001 -- outermost: the person must see a page whatever happened
            page = Page.FAILED
            # Not log.exception(): the error's text may repeat the address, which holds the code.
            log.error("oauth_callback_failed", app=app, error=type(error).__name__)  # noqa: TRY400 -- see above
        self._metrics.oauth_callbacks.labels(app or _UNKNOWN_APP_LABEL, page.word).inc()
        log.info("oauth_callback_answered", app=app, outcome=page.word, with_state="state" in request.query)
        response = show(page, app=app)
        if page.mark == "good":
            response.del_cookie(COOKIE, path="/oauth")
        return response

    def _app_of(self, request: web.Request) -> AppName:
        """Return whose callback it is, as far as the path and the settings tell."""
        name = AppName(request.match_info["app"])
        if name in self._apps:
            return name
        if name == ALIAS and "state" in request.query:
            return self._states.app(request.query["state"], self._apps)
        if name == ALIAS and len(self._apps) == 1:
            return next(iter(self._apps))
        raise _Ended(Page.UNKNOWN_APP)

    async def _finished(self, request: web.Request, name: AppName) -> Page:
        query = request.query
        if "state" in query:
            self._states.check(query["state"], name, request.cookies.get(COOKIE, ""), self._apps)
        if "error" in query:
            return Page.DENIED
        code = query.get("code", "")
        if not 0 < len(code) <= _MAX_CODE_CHARS:
            return Page.INCOMPLETE
        tokens = request.app[TOKENS]
        # The redirect URI must be the one that brought the browser here.
        redirect_uri = self._redirect_uri(AppName(request.match_info["app"]))
        try:
            await tokens.probe()  # before the code is spent, or the tokens would be lost (design §9.12)
            grant = await exchange_code(
                request.app[VENDOR_SESSION], self._vendor, self._apps[name], code=code, redirect_uri=redirect_uri
            )
            return await self._stored(tokens, name, grant)
        except TokenStoreAway:
            return Page.TRY_AGAIN
        except GrantRefused:
            return Page.REFUSED
        except (ApiUnavailable, RateLimited):
            return Page.VENDOR_AWAY

    async def _stored(self, tokens: TokenStore, name: AppName, grant: Grant) -> Page:
        await tokens.store_grant(name, grant)
        if not grant.is_bulk:
            return Page.INSTALLED
        try:
            await tokens.install_bulk(name, grant)
        except LevelgateError as error:
            # The company's token is stored: its locations get theirs by INSTALL events and at their first use.
            log.warning("bulk_install_unfinished", app=name, error=type(error).__name__)
        return Page.INSTALLED_BULK

    def _redirect_uri(self, name: AppName) -> str:
        return f"{self._public_url}/oauth/callback/{name}"


class _States:
    """Signed states: for which app, and by which browser's cookie, an install was begun."""

    def __init__(self, secret: SecretStr) -> None:
        self._serializer = URLSafeTimedSerializer(
            secret.get_secret_value(),
            salt="levelgate oauth state",
            signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
        )

    def make(self, app: AppName, nonce: str) -> str:
        return str(self._serializer.dumps([app, _digest(nonce)]))

    def app(self, state: str, apps: Mapping[AppName, App]) -> AppName:
        """Return the app that `state` was made for; raise _Ended."""
        return self._read(state, apps)[0]

    def check(self, state: str, app: AppName, nonce: str, apps: Mapping[AppName, App]) -> None:
        """Make sure that `state` was made for `app` and for the browser whose cookie is `nonce`; raise _Ended."""
        begun_for, digest = self._read(state, apps)
        if begun_for != app or not hmac.compare_digest(digest, _digest(nonce)):
            raise _Ended(Page.WRONG_STATE)

    def _read(self, state: str, apps: Mapping[AppName, App]) -> tuple[AppName, str]:
        try:
            app, digest = self._serializer.loads(state, max_age=STATE_LIFETIME_S)
        except SignatureExpired:
            raise _Ended(Page.EXPIRED) from None
        except BadSignature:
            raise _Ended(Page.WRONG_STATE) from None
        if app not in apps:
            raise _Ended(Page.UNKNOWN_APP)
        return AppName(app), str(digest)


def _digest(nonce: str) -> str:
    return hashlib.sha256(nonce.encode(errors="replace")).hexdigest()
