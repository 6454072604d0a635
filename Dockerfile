# The application alone: PostgreSQL and NATS are services of their own, named by HAULAGE_POSTGRES_URL and HAULAGE_NATS_URL.
FROM python:3.13-slim AS build
WORKDIR /src
RUN pip install --no-cache-dir uv
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY domain domain
COPY sagas sagas
COPY projections projections
COPY infra infra
COPY src src
RUN uv sync --frozen --no-dev --no-editable

FROM python:3.13-slim
RUN useradd --system --create-home --uid 10001 haulage
COPY --from=build /src/.venv /src/.venv
ENV PATH=/src/.venv/bin:$PATH PYTHONUNBUFFERED=1 HAULAGE_HOME=/home/haulage/home
USER haulage
WORKDIR /home/haulage
ENTRYPOINT ["haulage"]
CMD ["up"]
