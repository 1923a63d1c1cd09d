"""Says why a connection failed: name, refusal, proxy, TLS. Pure.

Texts contain host names of ours and constants of OpenSSL, never a text that a proxy or a store sent.
"""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError, ProxyError, SSLError, TimeoutError
from urllib3.util.ssl_match_hostname import CertificateError

from loader.errors import Code
from loader.s3.http.proxies import Proxy

_TUNNEL: Final = re.compile(r"Tunnel connection failed: ([0-9]{3})")
_TLS_ALERT: Final = "\x15\x03"  # first bytes of the answer of a TLS port to a request without TLS
# X509_V_ERR_… of OpenSSL's x509_vfy.h
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_UNKNOWN_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21, 24, 27})
_WRONG_NAME: Final = frozenset({62, 64})
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "HTTPS_PROXY")
_NOTHING_IN_COMMON: Final = ("HANDSHAKE_FAILURE", "PROTOCOL_VERSION", "NO_PROTOCOLS", "UNSUPPORTED_PROTOCOL")
SIGN_IN_SERVICE: Final = "the sign-in service"
TLS_EXPECTED: Final = "the store uses TLS on this port: use https:// in its address"


def connection_failure(error: HTTPError, proxy: Proxy | None, peer: str = "the store") -> tuple[Code, str]:
    """Return code and reason of an error of urllib3. `proxy`: the one through which the connection to `peer` goes."""
    causes = list(causes_of(error))
    if proxy and (status := _tunnel_status(causes)):
        return Code.NETWORK, _proxy_refusal(proxy, status, peer)
    if proxy and isinstance(error, ProxyError):
        return _unreachable_proxy(proxy, causes)
    if isinstance(error, NameResolutionError):
        return Code.NETWORK, f"the host name of {peer} cannot be resolved"
    if isinstance(error, NewConnectionError):  # a subclass of TimeoutError in urllib3
        return Code.NETWORK, f"{peer} refused the connection or is unreachable"
    if isinstance(error, TimeoutError):
        return Code.TIMEOUT, f"{peer} did not respond in time"
    if isinstance(error, SSLError):
        return Code.NETWORK, tls_failure(error, peer)
    if isinstance(error.__cause__, http.client.IncompleteRead):
        return Code.SHORT_BODY, "the connection closed before the end of the body"
    if any(isinstance(cause, http.client.BadStatusLine) and str(cause).startswith(_TLS_ALERT) for cause in causes):
        return Code.NETWORK, TLS_EXPECTED
    return Code.NETWORK, f"the connection failed ({type(causes[-1]).__name__})"


def library_failure(error: BaseException, proxy: Proxy | None, peer: str) -> str:
    """Return why TLS or the proxy failed, for an error of a library that uses urllib3; "" for any other reason."""
    causes = list(causes_of(error))
    if proxy and (status := _tunnel_status(causes)):
        return _proxy_refusal(proxy, status, peer)
    inner = next((cause for cause in causes if isinstance(cause, SSLError | ProxyError)), None)
    return connection_failure(inner, proxy, peer)[1] if inner else ""


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, the error that caused it, and so on."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        # urllib3 also wraps an error without raising it.
        wrapped = next((each for each in cause.args if isinstance(each, BaseException)), None)
        cause = cause.__cause__ or cause.__context__ or wrapped


def _tunnel_status(causes: list[BaseException]) -> int | None:
    """Return the status with which a proxy refused CONNECT; None if it did not."""
    found = (_TUNNEL.match(str(cause)) for cause in causes if isinstance(cause, OSError))
    return next((int(match[1]) for match in found if match), None)


def _proxy_refusal(proxy: Proxy, status: int, peer: str) -> str:
    if status == 407 and proxy.user is None:
        return f"the proxy {proxy} requires a user name and a password in HTTPS_PROXY (407)"
    if status == 407:
        return f"the proxy {proxy} does not accept the user name and password in HTTPS_PROXY (407)"
    if status >= 500:
        return f"the proxy {proxy} cannot reach {peer} ({status})"
    return f"the proxy {proxy} does not allow the connection to {peer} ({status})"


def _unreachable_proxy(proxy: Proxy, causes: list[BaseException]) -> tuple[Code, str]:
    for cause in causes[1:]:
        if isinstance(cause, NameResolutionError):
            return Code.NETWORK, f"the host name of the proxy {proxy} cannot be resolved"
        if isinstance(cause, NewConnectionError):
            return Code.NETWORK, f"the proxy {proxy} refused the connection or is unreachable"
        if isinstance(cause, TimeoutError):
            return Code.TIMEOUT, f"the proxy {proxy} did not respond in time"
        if isinstance(cause, ssl.SSLError):
            return Code.NETWORK, _tls_reason(cause, f"the proxy {proxy}")
    return Code.NETWORK, f"the connection to the proxy {proxy} failed ({type(causes[-1]).__name__})"


def tls_failure(error: BaseException, peer: str = "the store") -> str:
    """Return why TLS to `peer` failed. `error`: any error that an ssl.SSLError caused."""
    causes = list(causes_of(error))
    if any(isinstance(cause, CertificateError) for cause in causes):  # botocore lets urllib3 compare the names
        return f"the certificate of {peer} is for another name"
    found = [cause for cause in causes if isinstance(cause, ssl.SSLError)]
    return _tls_reason(found[-1], peer) if found else f"the TLS connection to {peer} failed"


def _tls_reason(error: ssl.SSLError, peer: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate_reason(error, peer)
    reason = error.reason or type(error).__name__
    if reason.endswith(_NO_TLS):
        return f"{peer} does not use TLS on this port: use http:// in its address, or the port that it uses for https"
    if reason.endswith(_NOTHING_IN_COMMON):
        return f"{peer} and this machine have no TLS version or cipher in common"
    if reason.endswith("CERTIFICATE_REQUIRED"):
        return f"{peer} requires a client certificate"
    return f"the TLS connection to {peer} failed ({reason})"


def _certificate_reason(error: ssl.SSLCertVerificationError, peer: str) -> str:
    code, now = error.verify_code, f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    if code in _UNKNOWN_AUTHORITY:
        bundle = "REQUESTS_CA_BUNDLE" if peer == SIGN_IN_SERVICE else "AWS_CA_BUNDLE"
        return (
            f"the certificate of {peer} is not from an authority that this machine trusts; "
            f"set {bundle} to a file with the authority's certificate"
        )
    if code in _WRONG_NAME:
        return f"the certificate of {peer} is for another name ({error.verify_message.rstrip('.')})"
    if code == _EXPIRED:
        return f"the certificate of {peer} has expired, or the clock of this machine is wrong: it says {now}"
    if code == _NOT_YET_VALID:
        return f"the certificate of {peer} is not valid yet; the clock of this machine is probably wrong: it says {now}"
    return f"the certificate of {peer} was rejected ({error.verify_message})"
