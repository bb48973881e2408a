# One image for all functions; the argument selects one: docker run sluice load
#
#   docker build --tag sluice .
#   docker build --tag sluice-local --target local .     the service `functions` of compose.yaml

FROM python:3.13-slim-trixie AS bundles
WORKDIR /build
COPY requirements.lock ./
COPY shared shared
COPY sql sql
COPY functions functions
COPY terraform/migrate terraform/migrate
RUN python functions/bundle.py \
    && for each in build/*.zip; do python -m zipfile -e "$each" "/srv/$(basename "$each" .zip)"; done \
    && python functions/bundle.py --pins aiohttp click httpx psutil rich > /local.txt

FROM python:3.13-slim-trixie AS tools
RUN apt-get update && apt-get install --yes --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
COPY functions/slim.sh /

# One lock file pins the packages of all functions, so they do not conflict.
FROM tools AS installed
COPY --from=bundles /srv /srv
RUN python -m venv /venv \
    && for each in /srv/*/requirements.txt; do \
        /venv/bin/python -m pip install --no-cache-dir --no-compile --require-hashes --requirement "$each"; done

# The bytecode of what a function imports at its start is stored, as the root file system may be read-only.
FROM installed AS packages
RUN sh /slim.sh /venv \
    && for each in split load finish query intake status backup; do \
        SLUICE_PROJECT=- SLUICE_INBOX=- SLUICE_OUTBOX=- /venv/bin/python -c \
            "import sys, functions_framework, gunicorn.app.base; sys.path[0] = '/srv/$each'; import main"; done

FROM installed AS local-packages
COPY --from=bundles /local.txt /
RUN /venv/bin/python -m pip install --no-cache-dir --no-compile --require-hashes --requirement /local.txt \
    && sh /slim.sh /venv

FROM python:3.13-slim-trixie AS local
WORKDIR /sluice
COPY --from=local-packages /venv /venv
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY sql sql
COPY functions functions
COPY terraform/migrate terraform/migrate
RUN useradd --system --uid 10001 sluice && mkdir /state && chown sluice /state
USER 10001
ENV HOME=/tmp PATH=/venv/bin:$PATH PYTHONPATH=/sluice/shared PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 8080
ENTRYPOINT ["python", "-m", "sluice.local.container"]

FROM python:3.13-slim-trixie
COPY --from=packages /venv /venv
COPY --from=packages /srv /srv
RUN useradd --system --uid 10001 sluice
USER 10001
# The root file system may be read-only; gunicorn and matplotlib write to /tmp.
ENV HOME=/tmp PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PORT=8080
EXPOSE 8080
ENTRYPOINT ["/bin/sh", "-euc", "exec functions-framework --source \"/srv/$0/main.py\" --target \"$0\" --port \"$PORT\""]
CMD ["query"]
