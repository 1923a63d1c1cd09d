"""Pages for sign-in, second factors, sessions and API tokens: forms and views."""
