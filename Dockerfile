# The service as one static binary on an empty image:
#
#   docker build -t dockerhub_username/movies-api .
#
# Needs BuildKit, Docker's default since version 23 (before: DOCKER_BUILDKIT=1). Another Rust or
# another last stage: --build-arg BUILD_IMAGE=… RUNTIME_IMAGE=…, see deploy/docker/README.md.
ARG BUILD_IMAGE=rust:1-bookworm
ARG RUNTIME_IMAGE=scratch

# On the machine's own architecture: for another one it is compiled across, not emulated.
FROM --platform=$BUILDPLATFORM ${BUILD_IMAGE} AS build
ARG BUILDARCH
ARG TARGETARCH
WORKDIR /src

# A compiler with musl's headers for what is C (jemalloc, zstd, ring), a linker for rustc, which
# brings its own musl; and where cargo looks for both. (Outlined atomics are glibc's: with them
# nothing links to musl.)
RUN set -eu; \
    case "${TARGETARCH:?build with BuildKit}" in \
      amd64) cpu=x86_64 flags= ;; \
      arm64) cpu=aarch64 flags=-mno-outline-atomics ;; \
      *) echo "for amd64 and arm64 only, not $TARGETARCH"; exit 1 ;; \
    esac; \
    if [ "$TARGETARCH" = "$BUILDARCH" ]; then \
      packages=musl-tools; \
    else \
      dpkg --add-architecture "$TARGETARCH"; \
      packages="gcc-$(echo "$cpu" | tr _ -)-linux-gnu musl-dev:$TARGETARCH"; \
    fi; \
    apt-get update; \
    apt-get install --yes --no-install-recommends $packages; \
    rm -rf /var/lib/apt/lists/*; \
    musl_gcc=/usr/local/bin/movies-musl-gcc; \
    { echo '#!/bin/sh'; \
      echo "exec $cpu-linux-gnu-gcc $flags \"\$@\" -specs /usr/lib/$cpu-linux-musl/musl-gcc.specs"; \
    } > "$musl_gcc"; \
    chmod 755 "$musl_gcc"; \
    target="$cpu-unknown-linux-musl"; \
    rustup target add "$target"; \
    mkdir /.cargo; \
    { echo "build.target = '$target'"; \
      echo "target.$target.linker = '$cpu-linux-gnu-gcc'"; \
      echo "env.CC_$(echo "$target" | tr - _) = '$musl_gcc'"; \
    } > /.cargo/config.toml

# Dependencies alone, with nothing of ours but manifests: this layer is made anew only when one of
# these files changes.
COPY .cargo/config.toml .cargo/
COPY Cargo.toml Cargo.lock ./
COPY crates/store/Cargo.toml crates/store/
COPY crates/server/Cargo.toml crates/server/
COPY crates/sim/Cargo.toml crates/sim/
COPY xtask/Cargo.toml xtask/
RUN set -eu; \
    for crate in crates/store crates/server crates/sim xtask; do \
      mkdir "$crate/src"; echo 'fn main() {}' | tee "$crate/src/main.rs" > "$crate/src/lib.rs"; \
    done; \
    cargo build --profile dist --locked --package movies-api

# The commit, which the sources here do not tell.
ARG REVISION=
COPY crates/store crates/store
COPY crates/server crates/server
# What stood for them is younger than they are, so cargo would take it for their build.
RUN set -eu; \
    rm -r target/*-musl/dist/.fingerprint/movies-*; \
    MOVIES_COMMIT="$REVISION" cargo build --profile dist --locked --package movies-api; \
    mkdir -p /image/data /image/etc/ssl/certs; \
    cp target/*-musl/dist/movies-api /image/; \
    cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/

FROM ${RUNTIME_IMAGE}
ARG REVISION=
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="movies-api" \
      org.opencontainers.image.description="One binary that turns a bucket into a linearizable movie catalogue" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The user owns /data alone. With a bucket nothing is written, and the root may be read-only.
COPY --from=build --chown=65532:65532 /image/data /data
COPY --from=build /image/etc /etc
COPY --from=build /image/movies-api /movies-api
USER 65532:65532
WORKDIR /data
# Off loopback it must be said who is let in: MOVIES_AUTH=users, or none for everybody.
ENV MOVIES_LISTEN=0.0.0.0:5000
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["/movies-api", "health"]
ENTRYPOINT ["/movies-api"]
