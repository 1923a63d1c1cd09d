"""Sign-in settings of Django, django-allauth and django-axes, built from the environment."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from ifeportal.conf.environment import Config

SSO_PROVIDER_ID: Final = "sso"  # of the sign-in service in URLs
FAILURE_LIMIT: Final = 5
COOL_OFF: Final = timedelta(minutes=15)


def signin_settings(config: Config, *, https: bool) -> dict[str, Any]:
    """Return Django settings by name. `https`: whether the portal is served over HTTPS only."""
    return _passwords() | _lockout() | _allauth() | _second_factors(https) | _single_sign_on(config)


def _passwords() -> dict[str, Any]:
    return {
        "AUTHENTICATION_BACKENDS": [
            "axes.backends.AxesStandaloneBackend",  # first, so that no password of a locked-out user is checked
            "allauth.account.auth_backends.AuthenticationBackend",
        ],
        "PASSWORD_HASHERS": [
            "ifeportal.accounts.hashers.Argon2",
            "ifeportal.accounts.hashers.PBKDF2",
        ],
        "SESSION_ENGINE": "ifeportal.accounts.sessions.store",
        "PASSWORD_RESET_TIMEOUT": 3 * 3600,  # seconds
        "LOGIN_URL": "account_login",
        "LOGIN_REDIRECT_URL": "fleet",
        "LOGOUT_REDIRECT_URL": "account_login",
    }


def _lockout() -> dict[str, Any]:
    return {
        "AXES_FAILURE_LIMIT": FAILURE_LIMIT,
        "AXES_COOLOFF_TIME": COOL_OFF,
        # By the pair: an attacker on another network cannot lock a user out.
        "AXES_LOCKOUT_PARAMETERS": [["username", "ip_address"]],
        "AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT": False,
        "AXES_RESET_ON_SUCCESS": True,
        "AXES_HANDLER": "ifeportal.accounts.limits.lockout.CountFirst",
        "AXES_DISABLE_ACCESS_LOG": True,  # it would grow without limit
        "AXES_ENABLE_ADMIN": False,  # our admin shows no form data
        "AXES_USERNAME_CALLABLE": "ifeportal.accounts.limits.lockout.attempted_username",
        "AXES_CLIENT_IP_CALLABLE": "ifeportal.accounts.limits.networks.client_network",
        "AXES_LOCKOUT_CALLABLE": "ifeportal.accounts.limits.lockout.lockout_response",
        "AXES_SENSITIVE_PARAMETERS": ["csrfmiddlewaretoken"],  # the log may contain user name and network
        "AXES_VERBOSE": False,
    }


def _allauth() -> dict[str, Any]:
    return {
        "ACCOUNT_ADAPTER": "ifeportal.accounts.adapters.AccountAdapter",
        "ACCOUNT_FORMS": {
            "login": "ifeportal.accounts.pages.forms.SignInForm",
            "change_password": "ifeportal.accounts.pages.forms.NewPasswordForm",
            "reset_password": "ifeportal.accounts.pages.forms.ForgottenPasswordForm",
            "user_token": "ifeportal.accounts.pages.forms.ResetKeyForm",
        },
        "ACCOUNT_RATE_LIMITS": False,  # they count in the cache, and only after a look; `attempts` counts instead
        "ACCOUNT_LOGIN_METHODS": {"username"},
        "ACCOUNT_EMAIL_VERIFICATION": "none",  # staff enter the addresses
        "ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS": False,
        "ACCOUNT_SESSION_REMEMBER": True,
    }


def _second_factors(https: bool) -> dict[str, Any]:
    return {
        "MFA_ADAPTER": "ifeportal.accounts.adapters.MFAAdapter",
        "MFA_FORMS": {
            "authenticate": "ifeportal.accounts.pages.codes.SecondFactorForm",
            "reauthenticate": "ifeportal.accounts.pages.codes.ConfirmCodeForm",
            "activate_totp": "ifeportal.accounts.pages.codes.ActivateAppForm",
            "add_webauthn": "ifeportal.accounts.pages.passkeys.AddPasskeyForm",
            "authenticate_webauthn": "ifeportal.accounts.pages.passkeys.PasskeySecondFactorForm",
            "login_webauthn": "ifeportal.accounts.pages.passkeys.PasskeySignInForm",
            "reauthenticate_webauthn": "ifeportal.accounts.pages.passkeys.PasskeyReauthenticationForm",
        },
        "MFA_RATE_LIMITS": False,  # as ACCOUNT_RATE_LIMITS
        "MFA_SUPPORTED_TYPES": ["totp", "webauthn", "recovery_codes"],
        "MFA_PASSKEY_LOGIN_ENABLED": True,
        "MFA_ALLOW_UNVERIFIED_EMAIL": True,
        "MFA_TOTP_ISSUER": "ifeportal",
        "MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN": not https,  # browsers allow passkeys on localhost without TLS
    }


def _single_sign_on(config: Config) -> dict[str, Any]:
    app = {
        "provider_id": SSO_PROVIDER_ID,
        "name": config.oidc_name,
        "client_id": config.oidc_client_id,
        "secret": config.oidc_client_secret,
        "settings": {"server_url": config.oidc_issuer},
    }
    return {
        "SOCIALACCOUNT_ADAPTER": "ifeportal.accounts.sso.SocialAccountAdapter",
        "SOCIALACCOUNT_EMAIL_VERIFICATION": "none",
        # A link instead of a form: our form-action policy blocks the redirect of a form to the service.
        "SOCIALACCOUNT_LOGIN_ON_GET": True,
        "SOCIALACCOUNT_PROVIDERS": {
            "openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": [app] if config.oidc_issuer else []}
        },
    }
