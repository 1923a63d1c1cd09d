"""Sign-in and account pages: adapters and forms for django-allauth, lockout, SSO, second factors, API tokens."""
