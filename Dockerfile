# The portal, its jobs and the loader in one image; docker-compose.yml says which process runs where.

FROM python:3.11.14-slim-bookworm AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /venv
COPY requirements/portal.txt /portal.txt
RUN /venv/bin/pip install --require-hashes -r /portal.txt

FROM python:3.11.14-slim-bookworm
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN groupadd --gid 10001 ife && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent ife \
    && install -d -o ife -g ife /content
COPY --from=packages /venv /venv
WORKDIR /app
COPY manage.py pyproject.toml ./
COPY loader ./loader
COPY ifeportal ./ifeportal
COPY campaigns ./campaigns
COPY fleet ./fleet
COPY templates ./templates
# A key is given so that the static files get their production names; nothing is signed with it.
RUN SECRET_KEY="$(python -c 'import secrets; print(secrets.token_urlsafe(50))')" python manage.py collectstatic --noinput
USER ife
EXPOSE 8000
CMD ["daphne", "-b", "0.0.0.0", "-p", "8000", "ifeportal.asgi:application"]
