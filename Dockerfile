# One image for all functions; the argument selects one: docker run sluice load
#
#   docker build --tag sluice .
#   docker build --tag sluice-local --target local .     the service `functions` of compose.yaml

FROM python:3.11-slim-bookworm AS bundles
WORKDIR /build
COPY requirements.lock ./
COPY shared shared
COPY sql sql
COPY functions functions
COPY terraform/migrate terraform/migrate
RUN python functions/bundle.py \
    && for each in build/*.zip; do python -m zipfile -e "$each" "/srv/$(basename "$each" .zip)"; done

FROM python:3.11-slim-bookworm AS packages
COPY --from=bundles /srv /srv
# One lock file pins the packages of all functions, so they do not conflict.
RUN python -m venv /venv \
    && for each in /srv/*/requirements.txt; do \
        /venv/bin/python -m pip install --no-cache-dir --require-hashes --requirement "$each"; done

FROM python:3.11-slim-bookworm AS local
WORKDIR /sluice
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN python -m venv /venv \
    && /venv/bin/python -m pip install --no-cache-dir --require-hashes --requirement requirements.lock
COPY shared shared
COPY sql sql
COPY functions functions
COPY terraform/migrate terraform/migrate
RUN useradd --system --uid 10001 --create-home sluice && mkdir /state && chown sluice /state
USER 10001
ENV PATH=/venv/bin:$PATH PYTHONPATH=/sluice/shared PYTHONUNBUFFERED=1
EXPOSE 8080
ENTRYPOINT ["python", "-m", "sluice.local.container"]

FROM python:3.11-slim-bookworm
COPY --from=packages /venv /venv
COPY --from=bundles /srv /srv
RUN useradd --system --uid 10001 sluice
USER 10001
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PORT=8080
EXPOSE 8080
ENTRYPOINT ["/bin/sh", "-euc", "exec functions-framework --source \"/srv/$0/main.py\" --target \"$0\" --port \"$PORT\""]
CMD ["query"]
