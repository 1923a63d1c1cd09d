"""URLs of sign-in and of the account pages. Only the views of django-allauth that are listed here are reachable."""

from allauth.account import views as accounts
from allauth.mfa.base import views as factors
from allauth.mfa.recovery_codes import views as codes
from allauth.mfa.webauthn import views as passkeys
from allauth.socialaccount.views import login_cancelled
from django.urls import path, re_path
from django.views.decorators.cache import never_cache

from ifeportal.accounts import sso
from ifeportal.accounts.limits.throttles import (
    CONFIRMATIONS,
    PASSKEY_SIGN_INS,
    RESET_KEYS,
    RESET_REQUESTS,
    SIGN_INS,
    SSO_SIGN_INS,
    limited,
)
from ifeportal.accounts.pages import token_views, views
from ifeportal.accounts.password_reset import requires_email

ALWAYS = ("GET", "HEAD", "POST")
confirm_password, confirm_code, confirm_passkey, change_password = (
    never_cache(limited(CONFIRMATIONS, view))
    for view in (
        views.ConfirmPasswordView.as_view(),
        views.ConfirmCodeView.as_view(),
        views.ConfirmPasskeyView.as_view(),
        views.ChangePasswordView.as_view(),
    )
)

urlpatterns = [
    path("login/", limited(SIGN_INS, accounts.login), name="account_login"),
    path("login/second-factor/", limited(SIGN_INS, factors.authenticate), name="mfa_authenticate"),
    path("login/passkey/", limited(PASSKEY_SIGN_INS, passkeys.login_webauthn, ALWAYS), name="mfa_login_webauthn"),
    path("login/cancelled/", login_cancelled, name="socialaccount_login_cancelled"),
    path("login/with/<slug:provider_id>/", limited(SSO_SIGN_INS, sso.start_login, ALWAYS), name="openid_connect_login"),
    path("login/with/<slug:provider_id>/back/", sso.callback, name="openid_connect_callback"),
    path(
        "login/forgotten/",
        requires_email(limited(RESET_REQUESTS, accounts.password_reset)),
        name="account_reset_password",
    ),
    path("login/forgotten/sent/", requires_email(accounts.password_reset_done), name="account_reset_password_done"),
    re_path(
        r"^login/forgotten/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        never_cache(requires_email(limited(RESET_KEYS, accounts.password_reset_from_key, ALWAYS))),
        name="account_reset_password_from_key",
    ),
    path(
        "login/forgotten/done/",
        requires_email(accounts.password_reset_from_key_done),
        name="account_reset_password_from_key_done",
    ),
    path("login/disabled/", accounts.account_inactive, name="account_inactive"),
    path("logout/", never_cache(accounts.logout), name="account_logout"),
    path("account/", never_cache(views.AccountView.as_view()), name="mfa_index"),
    path("account/confirm/", confirm_password, name="account_reauthenticate"),
    path("account/confirm/code/", confirm_code, name="mfa_reauthenticate"),
    path("account/confirm/passkey/", confirm_passkey, name="mfa_reauthenticate_webauthn"),
    path("account/password/", change_password, name="account_change_password"),
    path("account/app/", never_cache(views.AddAppView.as_view()), name="mfa_activate_totp"),
    path("account/app/remove/", never_cache(views.RemoveAppView.as_view()), name="mfa_deactivate_totp"),
    path("account/codes/", never_cache(codes.view_recovery_codes), name="mfa_view_recovery_codes"),
    path("account/codes/new/", never_cache(views.RenewCodesView.as_view()), name="mfa_generate_recovery_codes"),
    path("account/codes/file/", codes.download_recovery_codes, name="mfa_download_recovery_codes"),
    path("account/passkeys/add/", never_cache(views.AddPasskeyView.as_view()), name="mfa_add_webauthn"),
    path("account/passkeys/<int:pk>/", never_cache(views.RenamePasskeyView.as_view()), name="mfa_edit_webauthn"),
    path(
        "account/passkeys/<int:pk>/remove/", never_cache(views.RemovePasskeyView.as_view()), name="mfa_remove_webauthn"
    ),
    path("account/sessions/", never_cache(views.SessionListView.as_view()), name="usersessions_list"),
    path("account/tokens/", token_views.token_list, name="tokens"),
    path("account/tokens/<int:pk>/revoke/", token_views.revoke, name="token-revoke"),
]
