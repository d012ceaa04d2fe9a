# rgridd in a container, with the Docker host's socket as its way to the sandboxes:
#
#   docker build --build-arg COMMIT=$(git rev-parse --short HEAD) -t rgrid .
#   docker compose up -d
#
# Where no registry can be reached `make image` builds the stage `runtime` on a base made from Debian's packages, and puts
# this machine's binaries in (scripts/image). No BuildKit is needed.
ARG RUST_IMAGE=rust:1.90-slim-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

# All but the programs. First, so that `--target runtime` needs no compiler.
FROM ${BASE_IMAGE} AS runtime
# libssl: libpq speaks TLS with it. iptables: for `rgridd firewall`. util-linux has setpriv and comes with Debian.
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates libssl3 iptables \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/* /usr/share/doc /usr/share/man \
 && groupadd --system --gid 10001 rgrid \
 && useradd --system --uid 10001 --gid rgrid --home-dir /var/lib/rgrid --shell /usr/sbin/nologin rgrid \
 && install -d -o rgrid -g rgrid -m 750 /var/lib/rgrid
COPY packaging/container/entrypoint /usr/local/bin/rgrid-entrypoint
# What listens at all of a container's addresses asks for keys; the daemon refuses to start otherwise.
ENV RGRID_DATA_DIR=/var/lib/rgrid RGRID_HTTP__LISTEN=0.0.0.0:8080 RGRID_AUTH__MODE=keys RGRID_LOG__FORMAT=json
EXPOSE 8080
ENTRYPOINT ["rgrid-entrypoint"]
CMD ["serve"]
# Whether it lives, not whether it is ready: an orchestrator replaces what is unhealthy, and a database that is away is no
# reason to. A first start may pull images for minutes before it listens.
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
      org.opencontainers.image.description="Runs scripts once each in fresh, locked-down containers" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.source="https://github.com/rgrid/rgrid" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT"
