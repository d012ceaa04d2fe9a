# rgridd in a container that starts sandboxes through the Docker host's socket:
#
#   docker build --build-arg COMMIT=$(git rev-parse --short HEAD) -t rgrid .
#   docker compose up -d
#
# If no registry can be reached, `make image` builds the stage `runtime` on a base made from Debian packages and adds
# binaries built on this machine (scripts/image). BuildKit is not needed.
ARG RUST_IMAGE=rust:1.90-slim-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

# Everything except the programs. First, so that `--target runtime` needs no compiler.
FROM ${BASE_IMAGE} AS runtime
# libssl: for libpq. iptables: for `rgridd firewall`. setpriv is part of util-linux, which is always installed.
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates libssl3 iptables \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/* /usr/share/doc /usr/share/man \
 && groupadd --system --gid 10001 rgrid \
 && useradd --system --uid 10001 --gid rgrid --home-dir /var/lib/rgrid --shell /usr/sbin/nologin rgrid \
 && install -d -o rgrid -g rgrid -m 750 /var/lib/rgrid
COPY packaging/container/entrypoint /usr/local/bin/rgrid-entrypoint
# The daemon requires keys to listen on all addresses.
ENV RGRID_DATA_DIR=/var/lib/rgrid RGRID_HTTP__LISTEN=0.0.0.0:8080 RGRID_AUTH__MODE=keys RGRID_LOG__FORMAT=json
EXPOSE 8080
ENTRYPOINT ["rgrid-entrypoint"]
CMD ["serve"]
# Checks liveness, not readiness: an orchestrator replaces unhealthy containers, which does not help if the database is
# unavailable. The first start may pull images for minutes before the daemon listens.
HEALTHCHECK --interval=10s --timeout=6s --start-period=10m --retries=3 CMD ["rgridd", "healthcheck"]

FROM ${RUST_IMAGE} AS build
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev mold pkg-config libssl-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG COMMIT=unknown
RUN RGRID_COMMIT="$COMMIT" cargo build --release --locked -p rgridd -p rgrid-cli \
 && install -D -t /out target/release/rgridd target/release/rgrid

FROM runtime
COPY --from=build /out/rgridd /out/rgrid /usr/local/bin/
ARG VERSION=0.1.0
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="RGrid" \
      org.opencontainers.image.description="Runs scripts in isolated containers, from a queue in Postgres" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.source="https://github.com/rgrid/rgrid" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT"
