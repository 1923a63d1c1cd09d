"""Sign-in and one's own account:

adapters and forms for django-allauth, lockout, single sign-on, second factors, API tokens.
"""
